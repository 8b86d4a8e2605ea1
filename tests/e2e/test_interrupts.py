"""Ctrl-C ends a job within seconds, wherever it is waiting, and says how to go on."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Landsigma
from tests.faults import FaultyFiles, faulty_server

SOON_S = 10.0
"""Above it nobody believes that the key was heard."""
PATIENCE_S = 60.0


@pytest.fixture
def server(demo: Path) -> Iterator[FaultyFiles]:
    with faulty_server(demo) as files:
        yield files


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "did not come so far"
        time.sleep(0.02)


def arguments(demo: Path, source: str | Path, out: Path) -> list[str]:
    places = ["--source", str(source), "--bundle", "spectral-rules", "--out", str(out)]
    return ["map", str(demo / "aoi.geojson"), "--from", "2021-04-01", "--to", "2021-10-01", *places]


def interrupted(process: "subprocess.Popen[str]") -> str:
    """What a process says that is interrupted now, on stderr."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=SOON_S)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "Error" not in said
    return str(said)


def test_a_search_that_hangs(demo: Path, server: FaultyFiles, tmp_path: Path, landsigma: Landsigma) -> None:
    server.faults += ["stalled"] * 10
    process = landsigma(*arguments(demo, f"{server.address}/catalog.json", tmp_path / "out"))
    wait_until(lambda: bool(server.requests))
    assert "--resume" in interrupted(process)


def test_reads_that_hang(demo: Path, server: FaultyFiles, tmp_path: Path, landsigma: Landsigma) -> None:
    server.faults += [None] * len(list(demo.rglob("*.json"))) + ["stalled"] * 200
    process = landsigma(*arguments(demo, f"{server.address}/catalog.json", tmp_path / "out"))
    wait_until(lambda: any(".tif" in request for request in server.requests))
    assert "--resume" in interrupted(process)


def test_a_dry_run_that_hangs(demo: Path, server: FaultyFiles, tmp_path: Path, landsigma: Landsigma) -> None:
    server.faults += [None] * len(list(demo.rglob("*.json"))) + ["stalled"] * 200
    process = landsigma(*arguments(demo, f"{server.address}/catalog.json", tmp_path / "out"), "--dry-run")
    wait_until(lambda: any(".tif" in request for request in server.requests))
    interrupted(process)
    assert not (tmp_path / "out").exists()


def finishing(statement: str, command: list[str]) -> "subprocess.Popen[str]":
    """A job that runs a statement in place of its last step, now that all blocks are done."""
    script = f"""
import ctypes, signal, sys, threading
import workers.run
def finish_job(worker, job_id):
    {statement}
workers.run.finish_job = finish_job
sys.argv[1:] = {command!r}
import landsigma
landsigma.main()
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    while "finishing" not in process.stderr.readline():
        assert process.poll() is None
    return process


def test_rasters_that_are_long_in_the_making(demo: Path, tmp_path: Path, landsigma: Landsigma) -> None:
    """GDAL does not come back to Python while it writes a big raster; nor does `sleep` of the C library."""
    command = arguments(demo, demo / "catalog.json", tmp_path / "out")
    with finishing("ctypes.CDLL(None).sleep(60)", command) as process:
        assert "--resume" in interrupted(process)
    assert list((tmp_path / "out" / ".landsigma" / "blocks").iterdir())
    ended = landsigma(*command, "--resume")
    ended.communicate(timeout=PATIENCE_S)
    assert ended.returncode == 0
    assert (tmp_path / "out" / "item.json").is_file()


def test_a_signal_that_another_thread_gets(demo: Path, tmp_path: Path) -> None:
    """The system may give it to any thread; it does now and then on a busy machine."""
    elsewhere = "signal.pthread_kill(threading.get_ident(), signal.SIGINT); ctypes.CDLL(None).sleep(60)"
    with finishing(elsewhere, arguments(demo, demo / "catalog.json", tmp_path / "out")) as process:
        _, said = process.communicate(timeout=SOON_S)
        assert process.returncode == 130
        assert "--resume" in said
