"""Last step of a job: block rasters become the product, published with its STAC item last of all."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import rasterio

from contract.errors import JobEnded
from contract.ledger import Job
from contract.legend import LandCoverClass
from contract.request import Artifact, BlockReport, ClassArea, JobState, LostRead, MapResult, Plan
from contract.steps import StepClaim
from workers.bundle import Bundle
from workers.folder import REPORT_NAME
from workers.gdal import writing_environment
from workers.products.files import artifact, write_file
from workers.products.product import Product
from workers.products.publish import write_products
from workers.products.spec import raster_specs
from workers.products.stac import write_item
from workers.worker import Worker

PACKAGES: Final = ("landsigma", "numpy", "onnxruntime", "onnxruntime-gpu", "pystac", "rasterio")
"""Packages that a map's numbers can depend on."""


def finish_job(worker: Worker, job_id: str, *, claim: StepClaim | None = None) -> MapResult:
    """Publish a job whose blocks are all done. Does nothing where it is published already.

    Args:
        worker: Who does it.
        job_id: A job of which no block is open.
        claim: The right to, where several workers may come; None where this process alone has the job.

    Raises:
        LeaseLost: Another worker took it over, so nothing is published by this one.
        ValueError: A block is still open.
        JobEnded: The job was dismissed or failed meanwhile; nothing is published.
        OutputNotWritable: The disk is full or read-only; nothing half-written is published.
    """
    begun = time.perf_counter()
    job, still_open = worker.ledger.job(job_id), worker.ledger.open_blocks(job_id)
    if job.result is not None:
        return job.result
    if still_open or job.plan is None:
        raise ValueError(f"job {job_id} cannot be finished: blocks {still_open} are open")
    folder, reports = worker.folder_of(job_id), worker.ledger.block_reports(job_id)
    bundle = worker.planned_bundle(job.request.bundle, job.plan.bundle)
    product = _product(job, job.plan, bundle, reports)
    attempt = 0 if claim is None else claim.attempt
    staging = folder.empty_staging(attempt)
    kept = [(report.window, folder.kept_block(index, report.attempt)) for index, report in enumerate(reports)]
    with writing_environment():
        artifacts = tuple(artifact(path) for path in write_products(staging, product, kept))
    result = _result(job, job.plan, bundle, product, reports, artifacts, time.perf_counter() - begun)
    report = staging / REPORT_NAME
    write_file(report, f"{result.model_dump_json(indent=2)}\n".encode())
    write_item(staging, product, (*artifacts, artifact(report)))
    state = worker.ledger.status(job_id).state
    if state.is_final:
        raise JobEnded(job_id, state.value)
    if claim is not None:
        worker.ledger.renew(claim, lease_s=worker.lease_s)  # two that publish at a time would mix their files
    folder.publish(attempt)
    if not worker.ledger.succeed(job_id, result):
        raise JobEnded(job_id, worker.ledger.status(job_id).state.value)
    return result


def _product(job: Job, plan: Plan, bundle: Bundle, reports: Sequence[BlockReport]) -> Product:
    used = {name for report in reports for name in report.used_scenes}
    return Product(
        job_id=job.id,
        area=job.request.area,
        start=job.request.start,
        end=job.request.end,
        grid=plan.grid,
        manifest=bundle.manifest,
        manifest_sha256=bundle.sha256,
        specs=raster_specs(bundle.manifest, job.request.options.outputs),
        class_px={
            entry.value: sum(report.class_px[entry.value] for report in reports)
            for entry in bundle.manifest.legend.classes
        },
        scenes=tuple(scene for scene in plan.scenes if scene.id in used),
        software=dict(_software()),
        finished=datetime.now(UTC),
    )


def _result(  # noqa: PLR0913, PLR0917  what a report is made of
    job: Job,
    plan: Plan,
    bundle: Bundle,
    product: Product,
    reports: Sequence[BlockReport],
    artifacts: tuple[Artifact, ...],
    finish_s: float,
) -> MapResult:
    affected_px = sum(report.affected_px for report in reports)
    lost_reads = _merged(read for report in reports for read in report.lost_reads)
    return MapResult(
        job_id=job.id,
        state=JobState.SUCCESSFUL_WITH_GAPS if affected_px else JobState.SUCCESSFUL,
        request=job.request,
        bundle=bundle.reference,
        grid=plan.grid,
        aoi_px=sum(report.aoi_px for report in reports),
        mapped_px=sum(report.mapped_px for report in reports),
        affected_px=affected_px,
        lost_px=sum(report.lost_px for report in reports),
        unobserved_px={
            modality: sum(report.unobserved_px[modality] for report in reports) for modality in reports[0].unobserved_px
        },
        classes=tuple(_class_area(entry, product) for entry in product.manifest.legend.classes),
        scenes=plan.scenes,
        used_scenes=tuple(scene.id for scene in product.scenes),
        skipped_scenes=plan.skipped,
        lost_reads=lost_reads,
        notices=plan.notices,
        warnings=tuple(dict.fromkeys(warning for report in reports for warning in report.warnings)),
        blocks=len(reports),
        started=job.status.started or job.status.created,
        finished=product.finished,
        timings_s={
            "read": sum(report.read_s for report in reports),
            "inference": sum(report.inference_s for report in reports),
            "write": sum(report.write_s for report in reports),
            "finish": finish_s,
        },
        provider=" ".join(sorted({report.provider for report in reports})),
        provider_blocks=dict(Counter(report.provider for report in reports)),
        software=dict(product.software),
        artifacts=artifacts,
    )


def _class_area(entry: LandCoverClass, product: Product) -> ClassArea:
    pixels = product.class_px[entry.value]
    return ClassArea(
        value=entry.value,
        name=entry.name,
        pixels=pixels,
        area_km2=product.grid.area_km2(pixels),
        share=product.share(entry.value),
    )


def _merged(reads: Iterable[LostRead]) -> tuple[LostRead, ...]:
    """One entry for each scene, band and reason, with the pixels of all blocks."""
    pixels: Counter[tuple[str, str, str]] = Counter()
    for read in reads:
        pixels[read.scene, read.band, read.reason] += read.pixels
    return tuple(
        LostRead(scene=scene, band=band, reason=reason, pixels=count) for (scene, band, reason), count in pixels.items()
    )


def _software() -> Iterator[tuple[str, str]]:
    yield "gdal", rasterio.__gdal_version__
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            yield package, version(package)
