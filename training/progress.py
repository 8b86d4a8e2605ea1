"""How a stage moves, on a terminal."""

import os
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.run import Watch

SHOWN: Final = 2
"""Figures of each step that have room on a line: the terms of the loss, which come first. The log has all."""

SPEED_OVER_S: Final = 300.0
"""Time that speed and time left are estimated from: several steps, also of slow machines."""


def is_first_process() -> bool:
    """Whether this process speaks for all: on several devices, the command runs once for each."""
    return os.environ.get("LOCAL_RANK", "0") == "0"  # launchers set it


class ProgressBar(Progress):
    """Loss terms, steps per second and time left. Silent where there is no terminal: the log says it all."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            speed_estimate_period=SPEED_OVER_S,
            disable=not console.is_terminal or console.is_dumb_terminal or not is_first_process(),
        )
        self._task = self.add_task("reading tables of contents", total=None, figures="")

    def checking(self, archive: str) -> Callable[[int, int], None]:
        """Told how many samples of an archive are checked, and of how many."""
        self.reset(self._task, total=None, description=f"checking {archive}", figures="")
        return lambda done, total: self.update(self._task, completed=done, total=total)

    def stepping(self, stage: str, steps: int) -> Watch:
        """Told the figures of each step. Where steps start anew, as from fold to fold, so does the bar."""
        expected = 0
        self.reset(self._task, total=None, description=f"{stage}: preparing", figures="")

        def watch(step: int, figures: Mapping[str, float]) -> None:
            nonlocal expected
            if step != expected or not step:
                self.reset(self._task, total=steps, completed=step, description=stage)
            expected = step + 1
            self.update(self._task, completed=expected, figures=self._worded(figures))

        return watch

    def _worded(self, figures: Mapping[str, float]) -> str:
        terms = [f"{name} {value:.4g}" for name, value in islice(figures.items(), SHOWN)]
        speed = self.tasks[self._task].speed
        return "  ".join([*terms, f"{speed:.3g} steps/s" if speed else ""]).rstrip()
