"""How a job that runs in this process moves, on a terminal or in a log."""

from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from contract.bands import Modality
from contract.request import BlockReport, JobStatus, Plan
from workers.terminal import say, stderr

if TYPE_CHECKING:
    from workers.model import Model


class ProgressBar(Progress):
    """Blocks, megapixels per second and time left: a bar on a terminal, a line for each block elsewhere."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[blocks]} blocks"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=stderr,
            disable=not stderr.is_terminal or stderr.is_dumb_terminal,
        )
        self._task = self.add_task("searching", total=None, blocks="-", rate="")
        self._done = self._total = 0

    def loaded(self, model: "Model") -> None:
        """Say what the model runs on."""
        say(f"model {model.bundle.manifest.title} on {model.provider}")

    def planned(self, plan: Plan, status: JobStatus, area_px: int) -> None:
        """Say what was found and set the bar's length."""
        for modality in Modality:
            count = sum(scene.modality is modality for scene in plan.scenes)
            say(f"{count} scenes of {modality.value}")
        for notice in plan.notices:
            say(notice, label="note")
        self._done, self._total = status.blocks_done, status.blocks_total or 0
        share = self._done / self._total if self._total else 0
        self.update(self._task, description="mapping", total=area_px, completed=share * area_px, blocks=self._blocks)

    def mapped(self, pixels: int) -> None:
        """Move the bar."""
        self.advance(self._task, pixels)
        self.update(self._task, rate=self._rate)

    def block_done(self, report: BlockReport) -> None:
        """Count the block, and say what it lost."""
        self._done += 1
        self.update(self._task, blocks=self._blocks)
        for lost in report.lost_reads:
            say(f"{lost.scene} {lost.band}, {lost.pixels} px: {lost.reason}", label="lost")
        if self.disable:
            say(f"{self._blocks} blocks mapped {self._rate}".rstrip())

    def finishing(self) -> None:
        """All blocks are done."""
        self.update(self._task, description="finishing", total=None)
        if self.disable:
            say("finishing")

    @property
    def _blocks(self) -> str:
        return f"{self._done}/{self._total}"

    @property
    def _rate(self) -> str:
        speed = self.tasks[self._task].speed
        return f"{speed / 1e6:.2f} Mpx/s" if speed else ""
