"""Keeps the parts of a server running."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from contract.errors import ServerPartFailed
from contract.logs import event
from service.standalone.child import Child, Part

WAKE_S: Final = 0.1
"""Between two looks at the children."""
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long parts are waited for, and how often they are started again."""

    ready_s: float = 120
    """From the start of a part to its first work; a busy machine takes half a minute to import everything."""
    first_wait_s: float = 0.5
    """Between a part's end and its next start; doubled with every other end."""
    longest_wait_s: float = 30
    steady_s: float = 60
    """A part that ran so long has come up: its earlier ends count no more."""
    ends: int = 6
    """So many ends, none of them after a steady run, and the server gives up."""
    leave_s: float = 20
    """From SIGTERM to SIGKILL. A worker leaves within a batch of chips, unless it is publishing."""


class _Post:
    """The place of one part, which a child fills."""

    def __init__(self, part: Part, patience: Patience) -> None:
        self.part, self._patience = part, patience
        self._ends = 0
        self._next_start = 0.0
        self.child: Child | None = None

    def start(self) -> None:
        self.child = Child(self.part)
        event(_LOG, "part started", part=self.part.name, pid=self.child.pid)

    def tend(self) -> None:
        """Start the part again if it ended, and when its wait is over.

        Raises:
            ServerPartFailed: It ends whenever it is started.
        """
        if self.child is None:
            if time.monotonic() >= self._next_start:
                self.start()
            return
        if self.child.status is not None:
            self._mourn(self.child)

    def _mourn(self, child: Child) -> None:
        """Clear away what the child left, and set the time of the next start."""
        patience, status = self._patience, child.status
        steady = time.monotonic() - child.started >= patience.steady_s
        self._ends = 1 if steady else self._ends + 1
        child.end(0)
        self.child = None
        if self._ends >= patience.ends:
            raise ServerPartFailed(
                self.part.name, f"ended {self._ends} times in a row, at last with status {status}; giving up"
            )
        wait_s = min(patience.longest_wait_s, patience.first_wait_s * 2 ** (self._ends - 1))
        self._next_start = time.monotonic() + wait_s
        event(_LOG, "part ended", level=logging.WARNING, part=self.part.name, status=status, again_in_s=wait_s)


class Supervisor:
    """Starts parts, starts them again, and stops them."""

    def __init__(self, stages: Sequence[Sequence[Part]], patience: Patience | None = None) -> None:
        """Start nothing yet.

        Args:
            stages: Parts of a stage start together, once those of the stages before are ready; they stop before them.
            patience: How long and how often; the default is for people who wait.
        """
        self._patience = patience or Patience()
        self._stages = [[_Post(part, self._patience) for part in stage] for stage in stages]

    def start(self) -> None:
        """Start every part, and wait until all of them are ready. To be called in a thread that outlives them.

        Raises:
            ServerPartFailed: One of them ends, or is not ready in time.
        """
        for stage in self._stages:
            for post in stage:
                post.start()
            for post in stage:
                self._await(post)

    def tend(self) -> None:
        """Start parts again that ended. To be called every `WAKE_S`, by the thread that started them.

        Raises:
            ServerPartFailed: One of them ends whenever it is started.
        """
        for stage in self._stages:
            for post in stage:
                post.tend()

    def stop(self) -> None:
        """Ask parts to end, those first that need others; kill what does not leave. None is left afterwards."""
        for stage in reversed(self._stages):
            children = [post.child for post in stage if post.child is not None]
            for child in children:
                child.ask_to_end()
            begun = time.monotonic()
            for child in children:
                child.end(max(0.0, begun + self._patience.leave_s - time.monotonic()))
                after_s = round(time.monotonic() - begun, 1)
                event(_LOG, "part stopped", part=child.part.name, status=child.status, after_s=after_s)
            for post in stage:
                post.child = None

    def _await(self, post: _Post) -> None:
        child, deadline = post.child, time.monotonic() + self._patience.ready_s
        assert child is not None  # noqa: S101  it was started just now
        while not post.part.is_ready():
            if child.status is not None:
                raise ServerPartFailed(post.part.name, f"ended with status {child.status} before it was ready")
            if time.monotonic() > deadline:
                raise ServerPartFailed(post.part.name, f"was not ready within {self._patience.ready_s:g} s")
            time.sleep(WAKE_S)
        event(_LOG, "part ready", part=post.part.name, after_s=round(time.monotonic() - child.started, 1))
