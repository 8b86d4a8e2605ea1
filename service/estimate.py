"""What a job would cost, from what is asked for and from how long past jobs took. No source is asked."""

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
import shapely
from pydantic import ConfigDict

from contract.ledger import SUCCESSES, JobFilter, Ledger
from service.areas import MeasuredArea
from service.message import Message

PAST_JOBS: Final = 10
"""Latest jobs that the pace is taken from."""
_DEGREE_M: Final = 111_320.0
_COUNTED_BLOCKS: Final = 100_000
"""Up to so many are laid over the area one by one."""


class CostEstimate(Message):
    """What a job would cost."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "area_km2": 170.3,
                    "megapixels": 1.7,
                    "blocks": 1,
                    "seconds_per_megapixel": 21.4,
                    "expected_s": 36.4,
                    "past_jobs": 10,
                    "note": "scenes were not looked for; a job without any fails",
                }
            ]
        }
    )

    area_km2: float
    """On the WGS 84 ellipsoid."""
    megapixels: float
    """Of the map, at the model's resolution."""
    blocks: int
    """About: the grid is laid when the job is planned."""
    seconds_per_megapixel: float | None = None
    """Median of past jobs of the caller's with this bundle, from start to finish; missing while there are none."""
    expected_s: float | None = None
    """From start to finish at that pace; missing while there is none. Waiting in the queue comes on top."""
    past_jobs: int
    """How many the pace is taken from."""
    note: str = "scenes were not looked for; a job without any fails"


def cost(area: MeasuredArea, *, resolution_m: float, block_px: int, paces: tuple[float, ...]) -> CostEstimate:
    """The estimate for an area, at the median of `paces` (seconds per megapixel)."""
    megapixels = area.area_km2 / resolution_m**2
    pace = float(np.median(paces)) if paces else None
    return CostEstimate(
        area_km2=round(area.area_km2, 3),
        megapixels=round(megapixels, 3),
        blocks=_blocks(area, block_px * resolution_m),
        seconds_per_megapixel=None if pace is None else round(pace, 3),
        expected_s=None if pace is None else round(pace * megapixels, 1),
        past_jobs=len(paces),
    )


def paces_of(ledger: Ledger, owner: str | None, bundle: str) -> tuple[float, ...]:
    """Seconds per megapixel of the latest jobs with this bundle that ended well."""
    return tuple(_paces(ledger, owner, bundle))


def _paces(ledger: Ledger, owner: str | None, bundle: str) -> Iterable[float]:
    for status in ledger.jobs(limit=PAST_JOBS, where=JobFilter(owner=owner, states=SUCCESSES)):
        job = ledger.job(status.job_id)
        if job.request.bundle == bundle and job.result is not None and job.result.aoi_px:
            yield (job.result.finished - job.result.started).total_seconds() / (job.result.aoi_px / 1e6)


def _blocks(area: MeasuredArea, side_m: float) -> int:
    """Blocks that meet the area, on a grid laid from its north-west corner as if the ground were flat."""
    west, south, east, north = area.geometry.bounds
    high = side_m / _DEGREE_M
    wide = high / max(0.01, math.cos(math.radians((south + north) / 2)))
    rows, cols = math.ceil((north - south) / high), math.ceil((east - west) / wide)
    if rows * cols > _COUNTED_BLOCKS:
        return math.ceil(area.area_km2 * 1e6 / side_m**2)
    left, top = np.meshgrid(west + wide * np.arange(cols), north - high * np.arange(rows))
    shapely.prepare(area.geometry)
    boxes = shapely.box(left, top - high, left + wide, top)
    return int(shapely.intersects(area.geometry, boxes).sum())
