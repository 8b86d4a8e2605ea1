"""Where a job keeps what it works on and what it publishes."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contract.errors import JobFolderInUse, OutputNotWritable
from contract.request import MapResult

ITEM_NAME: Final = "item.json"
"""Published last: where it stands, the job's folder is complete."""
REPORT_NAME: Final = "report.json"


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The folder of one job: products at the top, unfinished work in a hidden folder that goes when the job ends."""

    root: Path

    @property
    def work(self) -> Path:
        """Everything that is not published."""
        return self.root / ".landsigma"

    @property
    def blocks(self) -> Path:
        """One folder for each attempt at a block."""
        return self.work / "blocks"

    def staging(self, attempt: int) -> Path:
        """Products of one attempt to finish the job, before they are published."""
        return self.work / f"staging.{attempt}"

    @property
    def ledger_url(self) -> str:
        """A ledger of this job alone, for `landsigma map`."""
        return f"sqlite:///{self.work / 'ledger.sqlite'}"

    @property
    def is_complete(self) -> bool:
        """All products are published."""
        return (self.root / ITEM_NAME).is_file()

    @property
    def report(self) -> MapResult | None:
        """What came of the finished job here; None where there is none."""
        path = self.root / REPORT_NAME
        return MapResult.model_validate_json(path.read_bytes()) if self.is_complete and path.is_file() else None

    @property
    def is_foreign(self) -> bool:
        """There is something here, and it is not a job's."""
        return self.root.is_dir() and not self.is_used and any(self.root.iterdir())

    @property
    def is_used(self) -> bool:
        """A job is here, finished or not."""
        return self.is_complete or self.work.is_dir()

    @property
    def has_blocks(self) -> bool:
        """At least one block was begun."""
        return self.blocks.is_dir() and any(self.blocks.iterdir())

    def block(self, index: int, attempt: int) -> Path:
        """The folder of the rasters of one attempt at a block, which no other attempt touches.

        They are complete when the ledger says that this attempt finished the block.
        """
        return self.blocks / f"{index:06d}.{attempt}"

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            OutputNotWritable: The folder cannot be made or written.
        """
        with writing_to(self.root):
            self.blocks.mkdir(parents=True, exist_ok=True)

    def keep_block(self, index: int, attempt: int) -> None:
        """Put a written block where whoever finishes the job can read it: it is there already."""

    def kept_block(self, index: int, attempt: int) -> Path:
        """The folder of the rasters of the attempt that finished a block, ready to be read."""
        return self.block(index, attempt)

    def empty_staging(self, attempt: int) -> Path:
        """The staging folder, without what a killed process may have left there.

        Raises:
            OutputNotWritable: It cannot be made.
        """
        staging = self.staging(attempt)
        with writing_to(staging):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
        return staging

    def publish(self, attempt: int) -> None:
        """Move what is staged to the top, the STAC item last of all.

        Raises:
            OutputNotWritable: A file cannot be moved.
        """
        for path in item_last(self.staging(attempt)):
            with writing_to(self.root / path.name):
                path.replace(self.root / path.name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this folder alone. The lock goes with the process, also when it is killed.

        Raises:
            JobFolderInUse: Another process holds it.
        """
        with ExitStack() as stack:
            with writing_to(self.work):
                lock = stack.enter_context((self.work / "lock").open("w"))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise JobFolderInUse(str(self.root), "another process is working on it; wait for it") from error
            yield

    def clean(self) -> None:
        """Remove the work folder."""
        shutil.rmtree(self.work, ignore_errors=True)

    def discard(self) -> None:
        """Remove everything of a job that nobody will go on with."""
        shutil.rmtree(self.root, ignore_errors=True)


def item_last(staging: Path) -> list[Path]:
    """The files of a folder in the order in which they are published."""
    return sorted(staging.iterdir(), key=lambda path: path.name == ITEM_NAME)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Tell a full disk or a read-only folder from every other failure.

    Raises:
        OutputNotWritable: The operating system refused to write.
    """
    try:
        yield
    except OSError as error:
        raise OutputNotWritable(str(path), error.strerror or str(error)) from error
