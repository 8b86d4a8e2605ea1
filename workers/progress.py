"""A live progress bar for a job that runs in this process."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from contract.bands import Modality
from contract.request import BlockReport, JobStatus, Plan


class ProgressBar:
    """Blocks, megapixels per second and time left, on a terminal; one line per block elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[blocks]} blocks"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("searching", total=None, blocks="-", rate="")
        self._done = self._total = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def planned(self, plan: Plan, status: JobStatus, area_px: int) -> None:
        """Say what was found and set the bar's length."""
        for modality in Modality:
            count = sum(scene.modality is modality for scene in plan.scenes)
            self._console.print(f"{count} scenes of {modality.value}", highlight=False)
        for notice in plan.notices:
            self._console.print(f"[yellow]note:[/] {notice}")
        self._done, self._total = status.blocks_done, status.blocks_total or 0
        share = self._done / self._total if self._total else 0
        self._progress.update(
            self._task, description="mapping", total=area_px, completed=share * area_px, blocks=self._blocks
        )

    def mapped(self, pixels: int) -> None:
        """Move the bar."""
        self._progress.advance(self._task, pixels)
        speed = self._progress.tasks[self._task].speed
        self._progress.update(self._task, rate=f"{speed / 1e6:.2f} Mpx/s" if speed else "")

    def block_done(self, report: BlockReport) -> None:
        """Count the block, and say what it lost."""
        self._done += 1
        self._progress.update(self._task, blocks=self._blocks)
        for lost in report.lost_reads:
            self._console.print(f"[yellow]lost:[/] {lost.scene} {lost.band}, {lost.pixels} px: {lost.reason}")

    def finishing(self) -> None:
        """All blocks are done."""
        self._progress.update(self._task, description="finishing", total=None)

    @property
    def _blocks(self) -> str:
        return f"{self._done}/{self._total}"
