"""The server as a whole: which parts it has, and how each of them is started."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from pydantic import SecretStr

from contract.settings import Settings
from contract.submission import Queue
from service.api import address_of, check_settings, listen
from service.standalone.child import Part
from service.standalone.folder import held
from service.standalone.readiness import VARIABLE, Listener
from service.standalone.redis import redis_part, redis_url
from service.standalone.supervisor import Supervisor

_ANSWER_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How landsigma's command line is started in another process."""

    command: tuple[str, ...]
    path: str
    """Folder that its packages are imported from."""

    def environment(self, settings: Settings, **further: str) -> dict[str, str]:
        """Variables from which it reads these settings."""
        path = os.pathsep.join(filter(None, (self.path, os.environ.get("PYTHONPATH"))))
        return {**settings.environment(), "PYTHONPATH": path, **further}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server."""

    address: str
    """By which programs on this machine reach it."""
    supervisor: Supervisor
    """To be tended every so often."""


@contextmanager
def running(settings: Settings, program: Program, *, processes: int = 1) -> Iterator[Server]:
    """A server, ready, with workers of so many processes; nothing of it is left when the block is left.

    It starts a Redis of its own unless the settings name one.

    Raises:
        DataFolderInUse: Another server runs on the data folder.
        AddressUnusable: It cannot listen where the settings say.
        RedisMissing: It needs a Redis of its own, and there is none on this machine.
        LedgerUnusable, KeysNeeded: See `check_settings`.
        ServerPartFailed: A part does not come up.
    """
    with ExitStack() as stack:
        stack.enter_context(held(settings.data_dir))
        check_settings(settings)
        listener = stack.enter_context(listen(settings.host, settings.port))
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})  # it may have been any
        first: list[Part] = []
        if settings.broker_url is None:
            # Not in the data folder: the name of a socket is limited to 107 bytes, and not every disk takes one.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="landsigma-")))
            first.append(redis_part(folder, settings.data_dir))
            settings = settings.model_copy(update={"broker_url": SecretStr(redis_url(folder))})
        address = address_of(listener)
        parts = [
            _api(settings, program, listener.fileno(), address),
            *_workers(settings, program, stack, processes),
            _told(settings, program, stack, "beat", "beat"),
        ]
        supervisor = Supervisor([first, parts])
        stack.callback(supervisor.stop)
        supervisor.start()
        yield Server(address=address, supervisor=supervisor)


def _api(settings: Settings, program: Program, descriptor: int, address: str) -> Part:
    """The API on a socket of ours: connections wait there while it starts again, and are not refused."""
    return Part(
        name="API",
        command=(*program.command, "serve", "--no-worker", "--listener", str(descriptor)),
        is_ready=lambda: _is_ready(address),
        environment=program.environment(settings),
        descriptors=(descriptor,),
    )


def _workers(settings: Settings, program: Program, stack: ExitStack, processes: int) -> Iterator[Part]:
    """A worker, and another for the GPU's queue if blocks wait there: that one takes one process, and is alone with it."""
    queues: dict[str, tuple[Queue, ...]] = {"worker": (Queue.PLAN, Queue.BLOCKS_CPU)}
    if settings.blocks_queue is Queue.BLOCKS_GPU:
        queues["GPU worker"] = (Queue.BLOCKS_GPU,)
    for name, worked in queues.items():
        arguments = ("worker", "--queues", ",".join(worked), "--processes", str(processes))
        yield _told(settings, program, stack, name, *arguments)


def _told(settings: Settings, program: Program, stack: ExitStack, name: str, *arguments: str) -> Part:
    """A part that says itself when it is ready."""
    listener = stack.enter_context(Listener())
    return Part(
        name=name,
        command=(*program.command, *arguments),
        is_ready=listener.heard,
        environment=program.environment(settings, **{VARIABLE: listener.address}),
    )


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ready", timeout=_ANSWER_S, trust_env=False).is_success
    except httpx.TransportError:
        return False
