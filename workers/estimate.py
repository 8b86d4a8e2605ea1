"""What a job will cost, before it starts."""

import math
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from contract.bands import BANDS, Modality
from contract.bundle import BundleManifest
from contract.grid import Grid, Window
from contract.record import Record
from contract.request import MapOptions, MapRequest, Plan
from workers.aoi import geometry_of
from workers.composite import STACK_BYTES, build_composite, stack_bytes_per_px
from workers.grid import cut_chips, hull, project_area
from workers.model import Model
from workers.plan import bands_to_read, draft
from workers.products.spec import raster_specs
from workers.radar_border import MARGIN_PX
from workers.reading import SceneReader
from workers.sighting import Sighting, sightings

PROBE_PX: Final = 1024
"""Height and width of the window that is read to time a source, unless blocks are smaller."""
PROBE_SCENES: Final = 4
"""Scenes of each sensor that are read there."""
FINISHED_BYTES_PER_S: Final = 25e6
"""Speed at which stored numbers become COGs, measured on two cores; most of it is compression."""
GDAL_CACHE_BYTES: Final = 256 << 20
"""Tiles that GDAL keeps at most; see `writing_environment`."""
LATER_BYTES: Final = 128 << 20
"""What is loaded only by a job: the ledger, and what draws the preview. Measured."""
SCATTER: Final = 1.6
"""Memory held for each byte in use, measured: what threads free stays with the process in pieces."""
SCENE_CLASS_M: Final = 20
"""Pixel size of SCL, of one byte."""
BYTES_PER_SAMPLE: Final = {Modality.S2: 2, Modality.S1: 4}


class Estimate(Record):
    """What a job will cost. Times are those of this machine and of the source at this moment."""

    scenes: dict[Modality, int]
    skipped_scenes: int
    blocks: int
    grid: Grid
    mapped_km2: float
    read_bytes: int
    """Uncompressed samples of every band to read; what travels is usually a half to a third of it."""
    read_s: float
    model_s: float
    finish_s: float
    total_s: float
    """Reading a block overlaps with the model on the block before."""
    memory_bytes: int
    provider: str
    """ONNX Runtime execution provider that the model runs on."""
    notices: tuple[str, ...]

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Label and value of each line of a table."""
        return (
            *((f"scenes of {name.value}", str(count)) for name, count in self.scenes.items()),
            ("scenes left out", str(self.skipped_scenes)),
            ("grid", f"{self.grid.crs}, {self.grid.height} x {self.grid.width} px of {self.grid.resolution_m:g} m"),
            ("blocks", str(self.blocks)),
            ("area", f"{self.mapped_km2:,.1f} km2"),
            ("to read", f"{_size(self.read_bytes)} uncompressed"),
            ("reading", f"about {_duration(self.read_s)}"),
            ("model", f"about {_duration(self.model_s)} on {self.provider}"),
            ("finishing", f"about {_duration(self.finish_s)}"),
            ("together", f"about {_duration(self.total_s)}, as reading and model overlap"),
            ("memory", f"about {_size(self.memory_bytes)}"),
            *(("note", notice) for notice in self.notices),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sensor:
    """What there is to read of one sensor."""

    modality: Modality
    bands: tuple[str, ...]
    sighted: tuple[Sighting, ...]

    def size_bytes(self, grid: Grid, windows: Sequence[Window]) -> int:
        """Size of the samples of all bands in the windows; a sample counts in each window that holds it."""
        margin_px = MARGIN_PX if self.modality is Modality.S1 else 0
        boxes = shapely.box(*np.transpose([grid.bounds_m(window.grown(margin_px)) for window in windows]))
        covered_m2 = sum(float(shapely.area(shapely.intersection(one.footprint, boxes)).sum()) for one in self.sighted)
        per_m2 = sum(BYTES_PER_SAMPLE[self.modality] / BANDS[band].resolution_m ** 2 for band in self.bands)
        if self.modality is Modality.S2:
            per_m2 += 1 / SCENE_CLASS_M**2
        return round(covered_m2 * per_m2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """How a few reads went."""

    s_per_byte: float = 0.0
    notices: tuple[str, ...] = ()


def estimate(request: MapRequest, model: Model, reader: SceneReader) -> Estimate:
    """Search the source, read a window of some scenes of each sensor, and run the model once.

    Raises:
        LandsigmaError: Whatever would make the job itself impossible.
    """
    loaded_bytes = _resident_bytes()
    manifest = model.bundle.manifest
    drafted = draft(request, model.bundle)
    plan, grid, blocks = drafted.plan, drafted.plan.grid, drafted.blocks
    area = project_area(geometry_of(request.area), grid.crs)
    chips = [_chips(block, grid, area, manifest) for block in blocks]
    reads = [hull(of_block) for of_block in chips]
    sensors = _sensors(plan, bands_to_read(request, manifest))
    sizes = [sensor.size_bytes(grid, reads) for sensor in sensors]
    probes = [_probe(sensor, grid, area, request.options, reader) for sensor in sensors]
    read_s = sum(size * probe.s_per_byte for size, probe in zip(sizes, probes, strict=True))
    model_s = _model_s(model, chips)
    product_bytes_per_px = _product_bytes_per_px(request, manifest)
    finish_s = grid.window.size_px * product_bytes_per_px / FINISHED_BYTES_PER_S
    return Estimate(
        scenes={sensor.modality: len(sensor.sighted) for sensor in sensors},
        skipped_scenes=len(plan.skipped),
        blocks=len(blocks),
        grid=grid,
        mapped_km2=area.area / 1e6,
        read_bytes=sum(sizes),
        read_s=read_s,
        model_s=model_s,
        finish_s=finish_s,
        total_s=max(read_s, model_s) + min(read_s, model_s) / len(blocks) + finish_s,
        memory_bytes=loaded_bytes
        + LATER_BYTES
        + _job_bytes(sensors, reads, product_bytes_per_px=product_bytes_per_px, read_bytes=sum(sizes)),
        provider=model.provider,
        notices=(*plan.notices, *(notice for probe in probes for notice in probe.notices)),
    )


def _sensors(plan: Plan, bands: Mapping[Modality, tuple[str, ...]]) -> list[_Sensor]:
    known = sightings(plan.scenes, plan.grid)
    return [
        _Sensor(modality=name, bands=bands[name], sighted=tuple(one for one in known if one.scene.modality is name))
        for name in bands
    ]


def _chips(block: Window, grid: Grid, area: BaseGeometry, manifest: BundleManifest) -> list[Window]:
    """What the model reads for a block."""
    every = cut_chips(
        block, grid, chip_px=manifest.chip_px, halo_px=manifest.halo_px, alignment_px=manifest.alignment_px
    )
    return [chip.read for chip in every if area.intersects(shapely.box(*grid.bounds_m(chip.keep)))]


def _probe(sensor: _Sensor, grid: Grid, area: BaseGeometry, options: MapOptions, reader: SceneReader) -> _Probe:
    """Read some of the scenes as a job does, where one sees much of the area."""
    if not sensor.sighted:
        return _Probe()
    place = max((one.footprint.intersection(area) for one in sensor.sighted), key=shapely.area).representative_point()
    row, col = round((grid.top_m - place.y) / grid.resolution_m), round((place.x - grid.left_m) / grid.resolution_m)
    side_px = min(PROBE_PX, options.block_px)
    window = Window(row=row - side_px // 2, col=col - side_px // 2, height=side_px, width=side_px)
    near = tuple(one for one in sensor.sighted if one.meets(window))[:PROBE_SCENES]
    begun = time.perf_counter()
    composite = build_composite(
        near,
        grid=grid,
        window=window,
        bands={sensor.modality: sensor.bands},
        options=options,
        reader=reader,
        outside=np.zeros(window.shape, np.bool_),
        stop=Event(),
    )
    took_s = time.perf_counter() - begun
    lost = composite.lost_reads
    return _Probe(
        s_per_byte=took_s / replace(sensor, sighted=near).size_bytes(grid, [window]),
        notices=tuple(f"{read.scene} {read.band} cannot be read: {read.reason}" for read in lost),
    )


def _model_s(model: Model, chips: Sequence[Sequence[Window]]) -> float:
    """Every batch costs as much as a full one, and blocks share none."""
    manifest = model.bundle.manifest
    batches = sum(math.ceil(len(of_block) / manifest.batch) for of_block in chips)
    return batches * manifest.batch * manifest.chip_px**2 / model.pixels_per_s


def _product_bytes_per_px(request: MapRequest, manifest: BundleManifest) -> int:
    specs = raster_specs(manifest, request.options.outputs)
    return sum(len(spec.bands) * np.dtype(spec.dtype).itemsize for spec in specs)


def _resident_bytes() -> int:
    """Memory of this process now. Its peak as the system counts it would begin with that of the process it came from."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def _job_bytes(
    sensors: Sequence[_Sensor], reads: Sequence[Window], *, product_bytes_per_px: int, read_bytes: int
) -> int:
    """Memory of the two largest blocks, one being read and one in the model."""
    largest_px = sorted(read.size_px for read in reads)[-2:]
    block_bytes_per_px = product_bytes_per_px + sum(4 * len(sensor.bands) + 2 for sensor in sensors)
    stack_bytes = largest_px[-1] * max(stack_bytes_per_px(len(one.sighted), len(one.bands)) for one in sensors)
    used = sum(largest_px) * block_bytes_per_px + min(stack_bytes, STACK_BYTES) + min(read_bytes, GDAL_CACHE_BYTES)
    return round(SCATTER * used)


def _size(size_bytes: int) -> str:
    gibibytes = size_bytes / 2**30
    return f"{gibibytes:,.1f} GiB" if gibibytes >= 1 else f"{1024 * gibibytes:,.0f} MiB"


def _duration(seconds: float) -> str:
    for unit_s, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:,.1f} {unit}"
    return f"{math.ceil(seconds)} s"
