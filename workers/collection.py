"""What the runs of a schedule publish beside the folders of their jobs: a mosaic of each raster, and STAC collections."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import pystac

from contract.request import JobState
from contract.schedules import Run, Schedule
from workers.folder import ITEM_NAME, JobFolder
from workers.mosaic import Region, Sheet, write_mosaics
from workers.products.files import write_file
from workers.products.spec import raster_specs
from workers.products.stac import COLLECTION_NAME, new_collection
from workers.worker import Worker

VRT_TYPE: Final = "application/xml"
"""There is no registered media type for GDAL's virtual rasters."""
_LAST_INSTANT: Final = timedelta(seconds=1)
"""Spans are half-open; STAC's intervals are closed."""


def is_published(worker: Worker, name: str) -> bool:
    """Whether a run or schedule of that id has its collection, as far as this machine knows."""
    return (worker.folder_of(name).root / COLLECTION_NAME).is_file()


def publish_run(worker: Worker, schedule: Schedule, run: Run) -> None:
    """Write mosaics and collection of a run whose jobs are over, of those that succeeded. The same again is harmless.

    Raises:
        BundleError: The bundle that the jobs ran with is not there any more.
        OutputNotWritable: The disk is full or read-only, or the bucket refuses.
    """
    sheets, left_out = _of_one_bundle(list(_sheets(worker, run)))
    bundle = worker.planned_bundle(schedule.request.bundle, sheets[0].bundle)
    region = Region(area=schedule.request.area, sheets=sheets)
    folder = worker.folder_of(run.id)
    specs = raster_specs(bundle.manifest, schedule.request.options.outputs)
    mosaics = write_mosaics(folder.empty_staging(0), specs, region)
    folder.publish(0)
    span = schedule.request.span_at(run.nominal)
    collection = new_collection(
        f"landsigma-{run.id}",
        title=f"{schedule.request.title}, {run.nominal:%Y-%m-%d %H:%M} UTC",
        description=f"{_counted(run, len(sheets), left_out)} {region.attribution}.",
        area=schedule.request.area,
        span=(span.start, span.end - _LAST_INSTANT),
        keywords=["mosaic"],
    )
    for sheet in sheets:
        collection.add_link(pystac.Link("item", f"../{sheet.job_id}/{ITEM_NAME}", pystac.MediaType.GEOJSON))
    _add_mosaics(collection, mosaics, ".")
    _publish(folder, collection)


def publish_schedule(worker: Worker, schedule: Schedule, runs: Sequence[Run]) -> None:
    """Write the collection of a schedule: its published runs, latest first, and the mosaics of the latest of them.

    Raises:
        OutputNotWritable: The disk is full or read-only, or the bucket refuses.
    """
    request = schedule.request
    spans = [request.span_at(run.nominal) for run in runs]
    collection = new_collection(
        f"landsigma-{schedule.id}",
        title=request.title,
        description=f"Land cover of one region, mapped again and again at the times {request.cron!r} (UTC).",
        area=request.area,
        span=(min(span.start for span in spans), max(span.end for span in spans) - _LAST_INSTANT),
        keywords=["mosaic"],
    )
    for run in runs:
        title = f"{run.nominal:%Y-%m-%d %H:%M} UTC"
        collection.add_link(pystac.Link("child", f"../{run.id}/{COLLECTION_NAME}", pystac.MediaType.JSON, title))
    specs = raster_specs(worker.bundle(request.bundle).manifest, request.options.outputs)
    _add_mosaics(collection, [Path(f"{spec.name}.vrt") for spec in specs], f"../{runs[0].id}")
    _publish(worker.folder_of(schedule.id), collection)


def _sheets(worker: Worker, run: Run) -> Iterator[Sheet]:
    for job_id in run.job_ids:
        if worker.ledger.status(job_id).state in {JobState.SUCCESSFUL, JobState.SUCCESSFUL_WITH_GAPS}:
            result = worker.ledger.job(job_id).result
            if result is not None:
                yield Sheet.of(result)


def _of_one_bundle(sheets: Sequence[Sheet]) -> tuple[tuple[Sheet, ...], int]:
    """The sheets of the bundle that most jobs ran with, and how many others there are: two models make no one map."""
    (most, count), *_ = Counter(sheet.bundle for sheet in sheets).most_common(1)
    return tuple(sheet for sheet in sheets if sheet.bundle == most), len(sheets) - count


def _counted(run: Run, mapped: int, left_out: int) -> str:
    text = f"{mapped} of {len(run.job_ids)} jobs of one region."
    return f"{text} {left_out} more ran with another version of the bundle and are left out." if left_out else text


def _add_mosaics(collection: pystac.Collection, mosaics: Sequence[Path], folder: str) -> None:
    for path in mosaics:
        asset = pystac.Asset(f"{folder}/{path.name}", path.stem, "GDAL virtual raster", VRT_TYPE, ["data"])
        collection.add_asset(path.stem, asset)


def _publish(folder: JobFolder, collection: pystac.Collection) -> None:
    """Put the collection where the mosaics are already; where it stands, they do."""
    text = json.dumps(collection.to_dict(include_self_link=False), indent=2, ensure_ascii=False, allow_nan=False)
    content = f"{text}\n".encode()
    write_file(folder.empty_staging(0) / COLLECTION_NAME, content)
    folder.publish(0)
    if not (folder.root / COLLECTION_NAME).is_file():  # it went to a bucket; this is what `is_published` looks for
        write_file(folder.root / COLLECTION_NAME, content)
    shutil.rmtree(folder.work, ignore_errors=True)
