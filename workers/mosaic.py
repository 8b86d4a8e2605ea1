"""One mosaic for each raster of a region's finished jobs, without a copy of a pixel.

Jobs of one CRS lie on one lattice, so their mosaic has their very pixels. Where a region has jobs in several CRS, each CRS
has a mosaic of its own, and over them lies one in an equal-area projection around the region, by nearest neighbour. Paths
are relative, so the mosaics open as files, and by URL where the folders of the jobs are served beside theirs.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, Self
from xml.etree import ElementTree as ET

import rasterio
import rasterio.shutil
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from contract.grid import Grid, Window
from contract.request import BundleReference, MapResult
from contract.scene import Area
from workers.aoi import geometry_of
from workers.gdal import writing_environment
from workers.lonlat import joined
from workers.products.files import write_file
from workers.products.product import attribution
from workers.products.spec import RasterSpec
from workers.products.virtual import Source, offer_overviews, transform_of, virtual_raster

MOSAIC_SUFFIX: Final = ".vrt"
_EDGE_POINTS: Final = 101
"""On each edge of a mosaic that is projected, to find how far it reaches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A finished job, as far as a mosaic needs it; its whole result may be a megabyte."""

    job_id: str
    """Also the name of its folder, beside that of the mosaics."""
    grid: Grid
    bundle: BundleReference
    years: frozenset[int]
    """In which its scenes were acquired."""

    @classmethod
    def of(cls, result: MapResult) -> Self:
        """That of a job."""
        used = set(result.used_scenes)
        years = {scene.acquired.year for scene in result.scenes if scene.id in used} or {result.request.start.year}
        return cls(job_id=result.job_id, grid=result.grid, bundle=result.bundle, years=frozenset(years))


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """What is put together."""

    area: Area
    """What was to be mapped: decides the projection over several CRS, whichever jobs succeeded."""
    sheets: Sequence[Sheet]
    """At least one; all of one bundle."""

    @property
    def attribution(self) -> str:
        """Whose data all of it contains."""
        return attribution(year for sheet in self.sheets for year in sheet.years)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A raster of a mosaic."""

    path: str
    """Relative to the folder of the mosaics."""
    grid: Grid


def write_mosaics(folder: Path, specs: Sequence[RasterSpec], region: Region) -> tuple[Path, ...]:
    """One mosaic for each raster, `<name>.vrt`; beside it, over several CRS, those that it is made of.

    No raster is opened.

    Raises:
        OutputNotWritable: The disk is full or read-only.
    """
    with writing_environment():
        return tuple(_write_mosaic(folder, spec, region) for spec in specs)


def _write_mosaic(folder: Path, spec: RasterSpec, region: Region) -> Path:
    target = folder / f"{spec.name}{MOSAIC_SUFFIX}"
    parts = [_Part(path=f"../{sheet.job_id}/{spec.name}.tif", grid=sheet.grid) for sheet in region.sheets]
    zones = {crs: tuple(group) for crs, group in groupby(sorted(parts, key=_crs_of), key=_crs_of)}
    if len(zones) == 1:
        _write_virtual(target, spec, parts, region.attribution)
        return target
    around, warped = _around(region.area), []
    for crs, zone in zones.items():
        flat = folder / f"{spec.name}-{_short_name(crs)}{MOSAIC_SUFFIX}"
        _write_virtual(flat, spec, zone, region.attribution)
        warped.append(_write_warped(flat, around))
    _write_virtual(target, spec, warped, region.attribution)
    return target


def _crs_of(part: _Part) -> str:
    return part.grid.crs


def _short_name(crs: str) -> str:
    return re.sub(r"\W", "", crs)[:24]


def _around(area: Area) -> str:
    """Lambert's azimuthal equal-area projection around a region, rounded to whole degrees: nowhere torn."""
    west, south, east, north = joined(geometry_of(area)).bounds
    lon, lat = (round((west + east) / 2) + 180) % 360 - 180, round((south + north) / 2)
    return f"+proj=laea +lat_0={lat} +lon_0={lon} +datum=WGS84 +units=m +no_defs"


def _write_virtual(target: Path, spec: RasterSpec, parts: Sequence[_Part], tag: str) -> None:
    """A virtual raster of rasters that share CRS and lattice; where they overlap, the last that has an answer shows."""
    grid = _hull([part.grid for part in parts])
    sources = (Source(window=_window_in(grid, part.grid), path=part.path, see_through=spec.nodata) for part in parts)
    root = virtual_raster(spec, sources, grid, tag)
    offer_overviews(root)
    write_file(target, ET.tostring(root))


def _hull(grids: Sequence[Grid]) -> Grid:
    """The smallest grid that holds grids of one CRS and lattice."""
    bounds = [grid.bounds_m(grid.window) for grid in grids]
    lefts, bottoms, rights, tops = zip(*bounds, strict=True)
    return _grid(grids[0].crs, grids[0].resolution_m, (min(lefts), min(bottoms), max(rights), max(tops)))


def _grid(crs: str, resolution_m: float, bounds_m: Iterable[float]) -> Grid:
    """The smallest grid on the lattice that holds left, bottom, right, top."""
    left, bottom, right, top = (round(bound / resolution_m, 6) for bound in bounds_m)
    return Grid(
        crs=crs,
        left_m=math.floor(left) * resolution_m,
        top_m=math.ceil(top) * resolution_m,
        resolution_m=resolution_m,
        height=math.ceil(top) - math.floor(bottom),
        width=math.ceil(right) - math.floor(left),
    )


def _window_in(outer: Grid, inner: Grid) -> Window:
    (outer_row, outer_col), (row, col) = outer.lattice_origin, inner.lattice_origin
    return Window(row=row - outer_row, col=col - outer_col, height=inner.height, width=inner.width)


def _write_warped(flat: Path, crs: str) -> _Part:
    """A mosaic in another CRS, on the lattice of its resolution there, so that several lie side by side."""
    target = flat.with_name(f"{flat.stem}-warped{MOSAIC_SUFFIX}")
    with rasterio.open(flat, driver="VRT") as raster:
        bounds = transform_bounds(raster.crs, CRS.from_user_input(crs), *raster.bounds, densify_pts=_EDGE_POINTS)
        grid = _grid(crs, raster.transform.a, bounds)
        with WarpedVRT(
            raster,
            crs=crs,
            transform=transform_of(grid, grid.window),
            width=grid.width,
            height=grid.height,
            resampling=Resampling.nearest,
        ) as warped:
            rasterio.shutil.copy(warped, target, driver="VRT")
    root = ET.fromstring(target.read_bytes())  # noqa: S314  GDAL wrote it just now
    source = next(root.iter("SourceDataset"))
    source.text, source.attrib["relativeToVRT"] = flat.name, "1"
    offer_overviews(root)
    write_file(target, ET.tostring(root))
    return _Part(path=target.name, grid=grid)
