"""How a process tells the one that started it that it is ready: sd_notify's datagram, so systemd understands it as well.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import os
import secrets
import socket
from contextlib import suppress
from typing import Final, Self

VARIABLE: Final = "NOTIFY_SOCKET"
_READY: Final = b"READY=1"
_LONGEST: Final = 4096


def tell_ready() -> None:
    """Say so, if somebody wants to know."""
    address = os.environ.get(VARIABLE)
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(OSError):
        # "@" stands for the zero byte of a name that lies in no folder, which an environment cannot carry.
        sender.sendto(_READY, address.replace("@", "\0", 1) if address.startswith("@") else address)


class Listener:
    """Where one child tells that it is ready."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        name = f"landsigma-{os.getpid()}-{secrets.token_hex(8)}"
        self._socket.bind(f"\0{name}")
        self.address: Final = f"@{name}"
        """What the child's environment has as `VARIABLE`."""
        self._heard = False

    def heard(self) -> bool:
        """The child told that it is ready, at some time."""
        with suppress(BlockingIOError):
            while not self._heard:
                self._heard = _READY in self._socket.recv(_LONGEST).splitlines()
        return self._heard

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
