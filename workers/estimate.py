"""What a job will cost, before it starts."""

import time
from typing import Final

import numpy as np
from shapely import box, unary_union
from shapely.geometry.base import BaseGeometry

from contract.bands import BANDS, Modality
from contract.errors import AssetUnreadable
from contract.grid import Grid, Window
from contract.record import Record
from contract.request import MapRequest, Plan
from contract.scene import Scene
from workers.aoi import geometry_of
from workers.composite import READ_THREADS, STACK_BYTES
from workers.grid import project_area
from workers.model import Model
from workers.plan import bands_to_read, draft
from workers.products.spec import raster_specs
from workers.reading import SceneReader

BASE_BYTES: Final = 500 * 2**20
"""Python, GDAL's caches, ONNX Runtime and a small model: resident size of a run of one small block, measured."""
PROBE_PX: Final = 512
"""Height and width of the window that is read to time a source."""
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
    total_s: float
    """Reading and the model overlap, so the longer of the two."""
    memory_bytes: int
    notices: tuple[str, ...]

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Label and value of each line of a table."""
        return (
            *((f"scenes of {name.value}", str(count)) for name, count in self.scenes.items()),
            ("scenes left out", str(self.skipped_scenes)),
            ("grid", f"{self.grid.crs}, {self.grid.height} x {self.grid.width} px of {self.grid.resolution_m:g} m"),
            ("blocks", str(self.blocks)),
            ("area", f"{self.mapped_km2:,.1f} km2"),
            ("to read", f"{self.read_bytes / 2**30:,.2f} GiB uncompressed"),
            ("reading", f"about {self.read_s:,.0f} s"),
            ("model", f"about {self.model_s:,.0f} s"),
            ("together", f"about {self.total_s:,.0f} s, as the two overlap"),
            ("memory", f"about {self.memory_bytes / 2**30:,.1f} GiB"),
            *(("note", notice) for notice in self.notices),
        )


def estimate(request: MapRequest, model: Model, reader: SceneReader) -> Estimate:
    """Search the source, read one window of one scene of each modality, and run the model once.

    Raises:
        LandsigmaError: Whatever would make the job itself impossible.
    """
    drafted = draft(request, model.bundle.manifest)
    plan, grid = drafted.plan, drafted.plan.grid
    area = project_area(geometry_of(request.area), grid.crs)
    bands = bands_to_read(request, model.bundle.manifest)
    read_bytes = {name: _bytes_to_read(plan, drafted.blocks, name, bands[name]) for name in bands}
    read_s = sum(
        size * _seconds_per_byte(plan, area, name, bands[name][0], reader) for name, size in read_bytes.items()
    )
    model_s = _model_pixels(model, drafted.blocks) / model.pixels_per_s
    return Estimate(
        scenes={name: sum(scene.modality is name for scene in plan.scenes) for name in bands},
        skipped_scenes=len(plan.skipped),
        blocks=len(drafted.blocks),
        grid=grid,
        mapped_km2=area.area / 1e6,
        read_bytes=sum(read_bytes.values()),
        read_s=read_s,
        model_s=model_s,
        total_s=max(read_s, model_s),
        memory_bytes=_memory(request, model),
        notices=plan.notices,
    )


def _bytes_to_read(plan: Plan, blocks: tuple[Window, ...], modality: Modality, bands: tuple[str, ...]) -> int:
    needed = unary_union([box(*plan.grid.bounds_m(block)) for block in blocks])
    covered_m2 = sum(_footprint(scene, plan.grid).intersection(needed).area for scene in _of(plan, modality))
    per_m2 = sum(BYTES_PER_SAMPLE[modality] / BANDS[band].resolution_m ** 2 for band in bands)
    if modality is Modality.S2:
        per_m2 += 1 / 20**2  # SCL, one byte at 20 m
    return round(covered_m2 * per_m2)


def _seconds_per_byte(plan: Plan, area: BaseGeometry, modality: Modality, band: str, reader: SceneReader) -> float:
    """Time of one read of the first scene, spread over the threads that read at once; 0 where nothing can be read."""
    inside = area.representative_point()
    grid = plan.grid
    row, col = round((grid.top_m - inside.y) / grid.resolution_m), round((inside.x - grid.left_m) / grid.resolution_m)
    window = Window(row=row - PROBE_PX // 2, col=col - PROBE_PX // 2, height=PROBE_PX, width=PROBE_PX)
    for scene in _of(plan, modality):
        if not _footprint(scene, grid).contains(box(*grid.bounds_m(window)).centroid):
            continue
        begun = time.perf_counter()
        try:
            reader.read(scene, band, grid=grid, window=window)
        except AssetUnreadable:
            continue
        return (time.perf_counter() - begun) / (window.size_px * BYTES_PER_SAMPLE[modality]) / READ_THREADS
    return 0.0


def _model_pixels(model: Model, blocks: tuple[Window, ...]) -> float:
    """Pixels through the model, halo included."""
    manifest = model.bundle.manifest
    kept = manifest.chip_px - 2 * manifest.halo_px
    return sum(-(-block.height // kept) * -(-block.width // kept) for block in blocks) * manifest.chip_px**2


def _memory(request: MapRequest, model: Model) -> int:
    """One composite in the model, one being read and its stack, and the rasters of two blocks."""
    manifest = model.bundle.manifest
    side = request.options.block_px + 2 * manifest.chip_px
    composite = side**2 * sum(4 * len(entry.bands) + 2 for entry in manifest.inputs)
    rasters = request.options.block_px**2 * sum(
        len(spec.bands) * np.dtype(spec.dtype).itemsize for spec in raster_specs(manifest, request.options.outputs)
    )
    return BASE_BYTES + 2 * composite + 2 * rasters + STACK_BYTES


def _of(plan: Plan, modality: Modality) -> list[Scene]:
    return [scene for scene in plan.scenes if scene.modality is modality]


def _footprint(scene: Scene, grid: Grid) -> BaseGeometry:
    return project_area(geometry_of(scene.footprint), grid.crs)
