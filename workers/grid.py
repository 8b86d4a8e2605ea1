"""The pixel grid of a product: its CRS, its blocks and chips, and which of its pixels are in the AOI."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio import Affine
from rasterio.features import rasterize
from shapely import MultiPolygon
from shapely.geometry.base import BaseGeometry

from contract.errors import AoiTooWide, CrsUnusable
from contract.grid import Grid, Window
from workers.arrays import BoolArray
from workers.lonlat import LONLAT, joined, polygons_in, reprojected

EDGE_STEP_DEG: Final = 0.01
"""Edges straight in longitude and latitude bend in a projection; by less than 0.1 m within this length."""
PRECISION_M: Final = 1e-3
"""Projected outlines are rounded to this: an AOI drawn along the pixel lattice stays on it."""
LONGEST_EDGE_M: Final = 1e5
"""An edge of `EDGE_STEP_DEG` is at most 1.6 km long; where it projects to this, the CRS tears the AOI apart."""
WIDEST_M: Final = 1e6
"""Longest side of a grid in a zone that nobody chose. A UTM zone is 668 km wide; 500 km off its central meridian lengths
are 0.3 % too long, and further out worse. What spans more is mostly far-apart places with nodata between them."""
UPS_NORTH: Final = "EPSG:32661"
UPS_SOUTH: Final = "EPSG:32761"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """One model input: pixels to read, and the pixels of its output to keep."""

    read: Window
    """Square; `keep` grown by the halo or more. May stick out of block and grid."""
    keep: Window
    """Inside the block. The `keep` windows of a block cover it once, without overlap."""


def grid_for(area: MultiPolygon, *, resolution_m: float, crs: str | None) -> Grid:
    """The smallest grid on the shared pixel lattice that holds an area given in longitude and latitude.

    Args:
        area: Longitude, latitude; cut at the antimeridian.
        resolution_m: Pixel size.
        crs: Projected CRS in metres, or None for the UTM or UPS zone of the area's centroid.

    Raises:
        CrsUnusable: The CRS is unknown, not projected, not in metres, or cannot carry this area.
        AoiTooWide: No CRS is given, and the area spans more than a UTM or UPS zone can map.
    """
    code = crs_for(area, crs)
    projected = project_area(area, code)
    if _longest_edge(projected) > LONGEST_EDGE_M:
        raise CrsUnusable(code, "it tears the area of interest apart")
    if crs is None:
        _check_extent(projected)
    left, bottom, right, top = (bound / resolution_m for bound in projected.bounds)
    return Grid(
        crs=code,
        left_m=math.floor(left) * resolution_m,
        top_m=math.ceil(top) * resolution_m,
        resolution_m=resolution_m,
        height=math.ceil(top) - math.floor(bottom),
        width=math.ceil(right) - math.floor(left),
    )


def crs_for(area: MultiPolygon, crs: str | None) -> str:
    """The CRS of the grid that `grid_for` gives for the same arguments.

    Raises:
        CrsUnusable: The CRS is unknown, not projected or not in metres.
    """
    return _zone_of(area) if crs is None else _usable(crs)


def project_area(area: MultiPolygon, crs: str) -> BaseGeometry:
    """An area given in longitude and latitude in another CRS, valid, with its halves at the antimeridian united.

    Edges, straight in longitude and latitude, keep their course within 0.1 m; vertices are rounded to a millimetre.

    Raises:
        CrsUnusable: The area has no place in the CRS.
    """
    projected = reprojected(shapely.segmentize(joined(area), EDGE_STEP_DEG), LONLAT, crs)
    if not np.isfinite(shapely.get_coordinates(projected)).all():
        raise CrsUnusable(crs, "the area of interest lies outside of what it can project")
    rounded = shapely.set_precision(projected, PRECISION_M)
    shapely.prepare(rounded)
    return rounded


def outside_area(projected: BaseGeometry, grid: Grid, window: Window) -> BoolArray:
    """(rows, cols) of the window, True where a pixel's centre is outside the area; on its edge is inside.

    A pixel gets the same answer in every window: the rasterizer's rounding depends on the window, so pixels that the
    outline touches are decided by an exact predicate on their centres.
    """
    left, bottom, right, top = grid.bounds_m(window)
    near = MultiPolygon(polygons_in(shapely.intersection(projected, shapely.box(left, bottom, right, top))))
    if near.is_empty:
        return np.ones(window.shape, np.bool_)
    transform = Affine(grid.resolution_m, 0, left, 0, -grid.resolution_m, top)
    inside: BoolArray = rasterize([near], window.shape, transform=transform, dtype=np.uint8).astype(np.bool_)
    touched = rasterize([near.boundary], window.shape, transform=transform, dtype=np.uint8, all_touched=True)
    rows, cols = np.nonzero(touched)
    x = grid.left_m + (window.col + cols + 0.5) * grid.resolution_m
    y = grid.top_m - (window.row + rows + 0.5) * grid.resolution_m
    inside[rows, cols] = shapely.intersects_xy(projected, x, y)
    return ~inside


def cut_blocks(grid: Grid, block_px: int, projected: BaseGeometry) -> tuple[Window, ...]:
    """The blocks of a grid that hold at least one pixel centre of the area, row-major; cropped to the grid."""
    shapely.prepare(projected)
    return tuple(
        block for row in range(0, grid.height, block_px) for block in _row_of_blocks(grid, row, block_px, projected)
    )


def cut_chips(block: Window, grid: Grid, *, chip_px: int, halo_px: int, alignment_px: int) -> Iterator[Chip]:
    """The chips of a block, row-major.

    Chips start on multiples of `alignment_px` on the lattice that all grids of this CRS share, so a model with that
    stride sees every pixel alike whatever the block or the grid. The halo leaves at least the alignment of a chip, as
    `BundleManifest` makes sure.
    """
    lattice_row, lattice_col = grid.lattice_origin
    step = _Step(chip_px=chip_px, halo_px=halo_px, alignment_px=alignment_px)
    for read_row, row, stop_row in step.spans(block.row, block.stop_row, lattice_row):
        for read_col, col, stop_col in step.spans(block.col, block.stop_col, lattice_col):
            yield Chip(
                read=Window(row=read_row, col=read_col, height=chip_px, width=chip_px),
                keep=Window(row=row, col=col, height=stop_row - row, width=stop_col - col),
            )


def hull(windows: Sequence[Window]) -> Window:
    """The smallest window that holds them all."""
    row, col = min(window.row for window in windows), min(window.col for window in windows)
    height, width = max(window.stop_row for window in windows) - row, max(window.stop_col for window in windows) - col
    return Window(row=row, col=col, height=height, width=width)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """How chips follow each other along an axis."""

    chip_px: int
    halo_px: int
    alignment_px: int

    def spans(self, start: int, stop: int, origin: int) -> Iterator[tuple[int, int, int]]:
        """First pixel to read, first to keep, and the one after the last to keep, from `start` to `stop`."""
        while start < stop:
            read = start - self.halo_px - (start - self.halo_px + origin) % self.alignment_px
            end = min(read + self.chip_px - self.halo_px, stop)
            yield read, start, end
            start = end


def _row_of_blocks(grid: Grid, row: int, block_px: int, projected: BaseGeometry) -> Iterator[Window]:
    height = min(block_px, grid.height - row)
    blocks = [
        Window(row=row, col=col, height=height, width=min(block_px, grid.width - col))
        for col in range(0, grid.width, block_px)
    ]
    boxes = shapely.box(*np.transpose([grid.bounds_m(block) for block in blocks]))
    near, full = shapely.intersects(projected, boxes), shapely.covers(projected, boxes)
    for block, is_near, is_full in zip(blocks, near, full, strict=True):
        if is_full or (is_near and not outside_area(projected, grid, block).all()):
            yield block


def _zone_of(area: MultiPolygon) -> str:
    """UTM zone as Sentinel-2 tiles it, with the exceptions of Norway and Svalbard (MGRS); UPS at the poles."""
    centre = joined(area).centroid
    lon, lat = (centre.x + 180) % 360 - 180, centre.y
    if not -80 <= lat <= 84:  # noqa: PLR2004 - where UTM ends
        return UPS_NORTH if lat > 0 else UPS_SOUTH
    zone = int((lon + 180) // 6) + 1
    if 56 <= lat < 64 and 3 <= lon < 12:  # noqa: PLR2004 - 32V
        zone = 32
    if lat >= 72 and 0 <= lon < 42:  # noqa: PLR2004 - 31X, 33X, 35X, 37X
        zone = 31 + 2 * int(np.searchsorted([9, 21, 33], lon, side="right"))
    return f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"


def _usable(name: str) -> str:
    """The CRS as an authority code, or as WKT where it has none."""
    try:
        crs = CRS.from_user_input(name).to_2d()
    except CRSError as error:
        raise CrsUnusable(name, "it is unknown") from error
    if not crs.is_projected:
        raise CrsUnusable(name, "it is not projected")
    if any(axis.unit_conversion_factor != 1 for axis in crs.axis_info):
        raise CrsUnusable(name, f"its unit is {crs.axis_info[0].unit_name}")
    if any(axis.direction == "west" for axis in crs.axis_info):
        raise CrsUnusable(name, "its x axis points west")
    authority = crs.to_authority(min_confidence=100)
    return ":".join(authority) if authority else crs.to_wkt()


def _longest_edge(projected: BaseGeometry) -> float:
    rings = shapely.get_parts(projected.boundary)
    vertices, ring = shapely.get_coordinates(rings, return_index=True)
    edges = np.diff(vertices, axis=0)[np.diff(ring) == 0]
    return float(np.hypot(edges[:, 0], edges[:, 1]).max())


def _check_extent(projected: BaseGeometry) -> None:
    left, bottom, right, top = projected.bounds
    width_m, height_m = right - left, top - bottom
    if max(width_m, height_m) > WIDEST_M:
        raise AoiTooWide(width_m / 1e3, height_m / 1e3, WIDEST_M / 1e3)
