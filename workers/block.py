"""Second step of a job: read a block, run it through the model, write its rasters.

Blocks overlap in time: while one is in the model, the next is being read and the one before is being written. A single
block goes through the very same code.
"""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from shapely.geometry.base import BaseGeometry

from contract.bands import Modality
from contract.errors import ErrorBudgetExceeded, LandsigmaError, LeaseLost
from contract.grid import Window
from contract.request import BlockReport, MapRequest, Plan
from contract.steps import Claim
from workers.ahead import ahead
from workers.aoi import geometry_of
from workers.arrays import BoolArray
from workers.composite import Composite, build_composite
from workers.folder import JobFolder, writing_to
from workers.grid import Chip, cut_chips, hull, outside_area, project_area
from workers.inference import BlockRasters, infer
from workers.model import Model
from workers.plan import bands_to_read
from workers.products.rasters import write_block_raster
from workers.products.spec import LANDCOVER, QUALITY, QUALITY_NODATA, RasterSpec, StoredArray, raster_specs
from workers.sighting import Sighting, sightings
from workers.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenJob:
    """A planned job with everything that its blocks share."""

    id: str
    request: MapRequest
    plan: Plan
    folder: JobFolder
    model: Model
    area: BaseGeometry
    """The AOI in the grid's CRS."""
    sighted: tuple[Sighting, ...]
    bands: dict[Modality, tuple[str, ...]]
    specs: tuple[RasterSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBlock:
    """A block whose pixels are in memory."""

    claim: Claim
    window: Window
    """The part of the block that holds the AOI's pixels; nothing beyond it is written."""
    chips: tuple[Chip, ...]
    outside: BoolArray
    """(rows, cols) of the window, True outside the AOI."""
    composite: Composite
    read_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InferredBlock:
    """A block whose rasters are in memory."""

    read: ReadBlock
    rasters: dict[str, StoredArray]
    unobserved: dict[Modality, BoolArray]
    inference_s: float


def work_blocks(worker: Worker, job_id: str, indices: Iterable[int]) -> None:
    """Work those of the blocks that nobody else holds or has finished.

    Raises:
        Interrupted: Someone asked the worker to stop.
        BundleInvalid: The bundle is not the one that the job was planned with.
        ErrorBudgetExceeded: Too many pixels lost all observations; the block at fault stays open.
        OutputNotWritable: The disk is full or read-only.
    """
    job = open_job(worker, job_id)
    claims: list[Claim] = []
    try:
        work_claims(worker, job, _claimed(worker, job_id, indices, claims))
    except LandsigmaError as error:
        for claim in claims:
            worker.ledger.release(claim, error=str(error))
        raise


def work_claims(worker: Worker, job: OpenJob, claims: Iterable[Claim]) -> None:
    """Work these blocks of an open job; see `work_blocks`. After an error, what is not done stays claimed."""
    with ThreadPoolExecutor(1, "read") as reading, ThreadPoolExecutor(1, "write") as writing:
        write: Future[None] | None = None
        for block in ahead(reading, partial(_read, worker, job), claims, count=1):
            inferred = _infer(worker, job, block)
            if write is not None:
                write.result()
            write = writing.submit(_write, worker, job, inferred)
        if write is not None:
            write.result()


def open_job(worker: Worker, job_id: str) -> OpenJob:
    """The job with its frozen plan, its model loaded.

    Raises:
        ValueError: The job is not planned.
        BundleError: The bundle is missing or is not what its manifest says.
    """
    request, plan = worker.ledger.job(job_id).request, worker.ledger.plan(job_id)
    if plan is None:
        raise ValueError(f"job {job_id} is not planned; plan it first")
    model = worker.model(worker.planned_bundle(request.bundle, plan.bundle))
    return OpenJob(
        id=job_id,
        request=request,
        plan=plan,
        folder=worker.folder_of(job_id),
        model=model,
        area=project_area(geometry_of(request.area), plan.grid.crs),
        sighted=sightings(plan.scenes, plan.grid),
        bands=bands_to_read(request, model.bundle.manifest),
        specs=raster_specs(model.bundle.manifest, request.options.outputs),
    )


def check_budget(job: OpenJob, reports: Iterable[BlockReport]) -> None:
    """Refuse to go on once the pixels that these blocks lost are above the budget of the whole AOI.

    Raises:
        ErrorBudgetExceeded: They are.
    """
    reports = tuple(reports)
    pixels = max(job.area.area / job.plan.grid.resolution_m**2, sum(report.aoi_px for report in reports))
    lost = sum(report.lost_px for report in reports) / pixels
    limit = job.request.options.max_lost_fraction
    if lost > limit:
        worst = max((read for report in reports for read in report.lost_reads), key=lambda read: read.pixels)
        raise ErrorBudgetExceeded(lost, limit, f"{worst.scene} {worst.band}: {worst.reason}")


def _claimed(worker: Worker, job_id: str, indices: Iterable[int], claims: list[Claim]) -> Iterator[Claim]:
    """The blocks that this worker wins, noted in `claims`."""
    for index in indices:
        claim = worker.ledger.claim(job_id, index, owner=worker.name, lease_s=worker.lease_s)
        if claim is not None:
            claims.append(claim)
            yield claim


def _read(worker: Worker, job: OpenJob, claim: Claim) -> ReadBlock:
    begun = time.perf_counter()
    grid, manifest = job.plan.grid, job.model.bundle.manifest
    beyond = outside_area(job.area, grid, claim.window)
    window = _trimmed(claim.window, beyond)
    outside = beyond[window.slices_in(claim.window)]
    every = cut_chips(
        window, grid, chip_px=manifest.chip_px, halo_px=manifest.halo_px, alignment_px=manifest.alignment_px
    )
    chips = tuple(chip for chip in every if not outside[chip.keep.slices_in(window)].all())
    with_halo = hull([chip.read for chip in chips])
    composite = build_composite(
        job.sighted,
        grid=grid,
        window=with_halo,
        bands=job.bands,
        options=job.request.options,
        reader=worker.reader,
        outside=outside_area(job.area, grid, with_halo),
        stop=worker.stop,
    )
    read_s = time.perf_counter() - begun
    return ReadBlock(claim=claim, window=window, chips=chips, outside=outside, composite=composite, read_s=read_s)


def _trimmed(window: Window, outside: BoolArray) -> Window:
    """The smallest window with all of the AOI's pixels."""
    rows, cols = (np.flatnonzero(~outside.all(axis=axis)) for axis in (1, 0))
    return Window(
        row=window.row + int(rows[0]),
        col=window.col + int(cols[0]),
        height=int(rows[-1] - rows[0]) + 1,
        width=int(cols[-1] - cols[0]) + 1,
    )


def _infer(worker: Worker, job: OpenJob, block: ReadBlock) -> InferredBlock:
    begun = time.perf_counter()
    window, composite = block.window, block.composite
    place = window.slices_in(composite.window)
    unobserved = {modality: composite.layers[modality].missing[place] for modality in job.bands}
    nothing = np.logical_and.reduce([block.outside | missing for missing in unobserved.values()])
    rasters = BlockRasters(window, job.specs, job.model.bundle.manifest.legend, nothing)
    infer(worker, job.model, composite, block.chips, rasters)
    rasters.arrays[QUALITY][:] = _quality(composite, place, block.outside)
    return InferredBlock(
        read=block, rasters=rasters.arrays, unobserved=unobserved, inference_s=time.perf_counter() - begun
    )


def _quality(composite: Composite, place: tuple[slice, slice], outside: BoolArray) -> StoredArray:
    """Counts of both sensors and the bits of those observed, (3, rows, cols), `QUALITY_NODATA` outside the AOI."""
    bands = np.zeros((3, *outside.shape), np.uint8)
    for position, modality in enumerate(Modality):
        layer = composite.layers.get(modality)
        if layer is not None:
            bands[position] = layer.count[place]
            bands[2] |= (~layer.missing[place]).astype(np.uint8) << position
    bands[:, outside] = QUALITY_NODATA
    return bands


def _write(worker: Worker, job: OpenJob, block: InferredBlock) -> None:
    begun = time.perf_counter()
    claim = block.read.claim
    folder = job.folder.block(claim.index, claim.attempt)
    with writing_to(folder):
        folder.mkdir(parents=True)
    for spec in job.specs:
        path = folder / f"{spec.name}.tif"
        write_block_raster(path, spec, block.rasters[spec.name], job.plan.grid, block.read.window)
    job.folder.keep_block(claim.index, claim.attempt)
    report = _report(job, block, write_s=time.perf_counter() - begun)
    if report.lost_px:
        check_budget(job, (*worker.ledger.block_reports(job.id), report))
    with suppress(LeaseLost):  # somebody else has the block, and it is theirs that counts
        worker.ledger.complete(claim, report)
        worker.watcher.block_done(report)


def _report(job: OpenJob, block: InferredBlock, *, write_s: float) -> BlockReport:
    inside = ~block.read.outside
    composite, window = block.read.composite, block.read.window
    place = window.slices_in(composite.window)
    affected = np.logical_or.reduce([composite.layers[name].lost[place] for name in job.bands]) & inside
    lost = (
        np.logical_or.reduce([composite.layers[name].lost[place] & gap for name, gap in block.unobserved.items()])
        & inside
    )
    pixels = np.bincount(block.rasters[LANDCOVER].ravel(), minlength=256)
    classes = {entry.value: int(pixels[entry.value]) for entry in job.model.bundle.manifest.legend.classes}
    return BlockReport(
        window=window,
        attempt=block.read.claim.attempt,
        aoi_px=int(inside.sum()),
        mapped_px=sum(classes.values()),
        affected_px=int(np.count_nonzero(affected)),
        lost_px=int(np.count_nonzero(lost)),
        unobserved_px={name: int((missing & inside).sum()) for name, missing in block.unobserved.items()},
        class_px=classes,
        lost_reads=composite.lost_reads,
        used_scenes=composite.used_scenes,
        warnings=composite.warnings,
        read_s=block.read.read_s,
        inference_s=block.inference_s,
        write_s=write_s,
        provider=job.model.provider,
    )
