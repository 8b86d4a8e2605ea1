"""What plan, block and finish work with; made once per process."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from contract.errors import BundleInvalid, Interrupted, SourceUnusable
from contract.ledger import Ledger
from contract.request import BlockReport, BundleReference, JobStatus, MapRequest, Plan
from workers.bundle import Bundle, find_bundle
from workers.folder import JobFolder
from workers.model import Model
from workers.reading import SceneReader

LEASE_S: Final = 3600.0
"""How long a step belongs to a worker that says nothing; far above the time a block takes."""


class Watcher(Protocol):
    """Someone who wants to see a job move. `block_done` comes from the thread that writes, the rest from the model's."""

    def loaded(self, model: Model) -> None:
        """The model is ready, on the execution provider that it found."""

    def planned(self, plan: Plan, status: JobStatus, area_px: int) -> None:
        """The plan stands for an AOI of about so many pixels; the first block is about to start."""

    def mapped(self, pixels: int) -> None:
        """So many more pixels went through the model."""

    def block_done(self, report: BlockReport) -> None:
        """A block is written."""

    def finishing(self) -> None:
        """All blocks are done; rasters are being put together."""


class NobodyWatches:
    """A watcher that looks away."""

    def loaded(self, model: Model) -> None:
        """Ignore it."""

    def planned(self, plan: Plan, status: JobStatus, area_px: int) -> None:
        """Ignore it."""

    def mapped(self, pixels: int) -> None:
        """Ignore it."""

    def block_done(self, report: BlockReport) -> None:
        """Ignore it."""

    def finishing(self) -> None:
        """Ignore it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One process's hands: ledger, folders, readers and loaded models."""

    name: str
    """Owner of leases. A restarted worker of the same name takes its own blocks up again."""
    ledger: Ledger
    folder_of: Callable[[str], JobFolder]
    """The folder of a job id."""
    shelves: tuple[Path, ...]
    """Folders with bundles."""
    reader: SceneReader
    lease_s: float = LEASE_S
    """How long a step belongs to this worker without another word from it."""
    sources: Mapping[str, str] | None = None
    """What the names of sources stand for, where requests may give no others; None: a request says it itself."""
    threads: int = 0
    """CPU threads of the model; 0 for every core."""
    engines: Path | None = None
    """Folder where TensorRT engines are kept; None: TensorRT is not tried."""
    watcher: Watcher = field(default_factory=NobodyWatches)
    stop: threading.Event = field(default_factory=threading.Event)
    """Set from outside to stop after the batches that are in the model."""
    _models: dict[str, Model] = field(default_factory=dict)

    def resolved(self, request: MapRequest) -> MapRequest:
        """The request with the source that its name stands for.

        Raises:
            SourceUnusable: There is no source of that name.
        """
        if self.sources is None:
            return request
        if request.source not in self.sources:
            raise SourceUnusable(request.source, f"the sources here are {', '.join(sorted(self.sources))}")
        return request.model_copy(update={"source": self.sources[request.source]})

    def bundle(self, name: str) -> Bundle:
        """The bundle of that name or path."""
        return find_bundle(name, self.shelves)

    def planned_bundle(self, name: str, planned: BundleReference) -> Bundle:
        """The bundle of that name or path, if it is still the one that a job was planned with.

        Raises:
            BundleInvalid: It was changed since: blocks of two models must not end in one map.
        """
        bundle = self.bundle(name)
        if bundle.reference != planned:
            found = f"{bundle.manifest.title} with manifest {bundle.sha256}"
            raise BundleInvalid(
                name,
                f"it is {found}, and the job was planned with {planned.name} {planned.version}, manifest {planned.sha256}; "
                "put that one back, or start anew",
            )
        return bundle

    def model(self, bundle: Bundle) -> Model:
        """The bundle's model, loaded at its first use."""
        if bundle.sha256 not in self._models:
            self._models[bundle.sha256] = Model(bundle, threads=self.threads, engines=self.engines)
            self.watcher.loaded(self._models[bundle.sha256])
        return self._models[bundle.sha256]

    def check_stop(self) -> None:
        """Leave if someone asked for it.

        Raises:
            Interrupted: `stop` is set.
        """
        if self.stop.is_set():
            raise Interrupted
