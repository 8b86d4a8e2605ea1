"""One child process: started, asked to end, and never left behind."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

_STDERR: Final = 2
_PR_SET_PDEATHSIG: Final = 1
"""Of prctl(2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the server that runs in a process of its own."""

    name: str
    command: tuple[str, ...]
    is_ready: Callable[[], bool]
    """Whether it does its work, once it was started."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside that of this process."""
    descriptors: tuple[int, ...] = ()
    """Open files that it inherits."""


class Child:
    """A running part."""

    def __init__(self, part: Part) -> None:
        """Start it.

        It leads a process group: Ctrl-C at a terminal reaches the parent alone, and what it forked can be ended with it. It
        gets SIGTERM when the thread that starts it ends, however that ends.
        """
        parent = os.getpid()
        prctl = ctypes.CDLL(None).prctl

        def end_with_parent() -> None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it ended before this was asked for
                os._exit(1)

        self.part: Final = part
        self.started: Final = time.monotonic()
        self._process: Final = subprocess.Popen(  # noqa: S603  the command is ours
            part.command,
            env={**os.environ, **part.environment},
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,  # what the parent itself prints is for programs to read
            pass_fds=part.descriptors,
            start_new_session=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509  nothing in it needs a lock that another thread may hold
        )

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def end(self, patience_s: float) -> None:
        """Wait for its end; kill it, and whatever is left of its group."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
