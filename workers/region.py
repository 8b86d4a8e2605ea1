"""A region of any size, cut into cells of one fixed grid: each is an area for one job, in the CRS that it is mapped in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from contract.grid import Grid, Window
from contract.scene import Area
from workers.aoi import area_of, geometry_of
from workers.grid import UPS_NORTH, UPS_SOUTH, crs_for, cut_blocks, grid_for, outside_area, project_area
from workers.lonlat import ANTIMERIDIAN_DEG, LONLAT, POLE_DEG, cut, polygons_in, unwrapped

CELL_M: Final = 100_000
"""Height and width of a cell; its corners are multiples of it in the CRS."""
OVERLAP_DEG: Final = 0.001
"""How far a zone's cells reach beyond the meridian or parallel where it ends, so that the pixels of two zones, which lie
askew, leave no gap: 1.4 pixels of 10 m at 82 degrees of latitude, 1.2 at the end of UTM."""
_EDGE_STEP_M: Final = 1000
"""Edges of a cell bend in longitude and latitude; by less than 0.11 m within this length, up to the end of UTM."""
_INSET_M: Final = 0.2
"""How far outlines stay inside their cells: more than edges bend, so that a job's grid never reaches into the next cell,
and less than half a pixel, so that no pixel of the cell is lost."""
_DIGITS: Final = 9
"""Decimals of a longitude or latitude that are kept: 0.1 mm."""
_BENT_ZONES: Final = (
    ((56, 64), {31: (0, 3), 32: (3, 12)}),
    ((72, 84), {31: (0, 9), 32: None, 33: (9, 21), 34: None, 35: (21, 33), 36: None, 37: (33, 42)}),
)
"""Between which parallels a UTM zone has other meridians than usual, as MGRS has it (Norway and Svalbard)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one job of a region maps."""

    id: str
    """Zone, and the kilometres east and north of its lower left corner: "33N-0500-4900". The same for ever."""
    crs: str
    area: Area
    """Of the region, in the cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Zone:
    name: str
    """"33N", "UPSN" or, where somebody chose the CRS, its code."""
    crs: str
    part: MultiPolygon
    """Of the region, in longitude and latitude."""


def cut_region(area: Area, *, resolution_m: float, crs: str | None = None) -> tuple[Cell, ...]:
    """The cells that hold at least one pixel centre of a region, by zone, then from south to north and west to east.

    Cells of one UTM zone share edges and no pixel; their jobs give the very pixels that one big job would give. Where
    zones meet, both map a strip of `OVERLAP_DEG`. In the polar zones cells may share pixels along an edge, as straight
    lines between two longitudes and latitudes bend ever more there.

    Args:
        area: The region, of any size.
        resolution_m: Pixel size; divides `CELL_M`.
        crs: One CRS for every cell; None for each UTM (or UPS) zone's own.

    Raises:
        CrsUnusable: The CRS is unknown, not projected, not in metres, or cannot carry the region.
    """
    region = geometry_of(area)
    zones = _zones(region) if crs is None else [_chosen(region, crs)]
    return tuple(cell for zone in zones for cell in _cells(zone, resolution_m))


def _zones(region: MultiPolygon) -> Iterator[_Zone]:
    shapely.prepare(region)
    for name, crs, territory in _territories():
        if region.intersects(territory):
            part = MultiPolygon(polygons_in(region.intersection(territory)))
            if not part.is_empty:
                yield _Zone(name=name, crs=crs, part=part)


def _chosen(region: MultiPolygon, crs: str) -> _Zone:
    code = crs_for(region, crs)
    return _Zone(name=re.sub(r"\W", "", code)[:16], crs=code, part=region)


def _territories() -> Iterator[tuple[str, str, BaseGeometry]]:
    """Name, CRS and extent of every zone, the whole Earth together, each grown by the overlap."""
    for zone in range(1, 61):
        south = _strip(_meridians(zone), -80, 0)
        yield f"{zone:02d}N", f"EPSG:{32600 + zone}", _northern(zone)
        yield f"{zone:02d}S", f"EPSG:{32700 + zone}", south
    yield "UPSN", UPS_NORTH, _strip((-ANTIMERIDIAN_DEG, ANTIMERIDIAN_DEG), 84, POLE_DEG)
    yield "UPSS", UPS_SOUTH, _strip((-ANTIMERIDIAN_DEG, ANTIMERIDIAN_DEG), -POLE_DEG, -80)


def _meridians(zone: int) -> tuple[float, float]:
    return 6.0 * zone - 186, 6.0 * zone - 180


def _northern(zone: int) -> BaseGeometry:
    usual, strips, below = _meridians(zone), [], 0
    for (south, north), bent in _BENT_ZONES:
        strips += [_strip(usual, below, south), _strip(bent.get(zone, usual), south, north)]
        below = north
    return shapely.unary_union(strips)


def _strip(meridians: tuple[float, float] | None, south: float, north: float) -> BaseGeometry:
    """Longitudes and latitudes, grown by the overlap but for the equator, where both hemispheres share their pixels."""
    if meridians is None:
        return Polygon()
    west, east = meridians
    south, north = (
        lat and max(-POLE_DEG, min(POLE_DEG, lat + by)) for lat, by in ((south, -OVERLAP_DEG), (north, OVERLAP_DEG))
    )
    return cut(shapely.box(west - OVERLAP_DEG, south, east + OVERLAP_DEG, north))


def _cells(zone: _Zone, resolution_m: float) -> Iterator[Cell]:
    projected = project_area(zone.part, zone.crs)
    west, south, east, north = (int(bound) for bound in np.floor(np.divide(projected.bounds, CELL_M)))
    to_lonlat = Transformer.from_crs(zone.crs, LONLAT, always_xy=True)
    for row in range(south, north + 1):
        for col in range(west, east + 1):
            if not projected.intersects(_square(row, col)):
                continue
            inside = shapely.intersection(zone.part, _outline(row, col, to_lonlat))
            part = MultiPolygon(polygons_in(shapely.set_precision(inside, 10**-_DIGITS)))
            if not part.is_empty and _holds_pixel(part, zone.crs, resolution_m):
                name = f"{zone.name}-{col * CELL_M // 1000:04d}-{row * CELL_M // 1000:04d}"
                yield Cell(id=name, crs=zone.crs, area=area_of(part))


def _square(row: int, col: int) -> Polygon:
    west, south = col * CELL_M + _INSET_M, row * CELL_M + _INSET_M
    return shapely.box(west, south, west + CELL_M - 2 * _INSET_M, south + CELL_M - 2 * _INSET_M)


def _outline(row: int, col: int, to_lonlat: Transformer) -> BaseGeometry:
    """A cell in longitude and latitude, cut at the antimeridian."""

    def inverse(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(to_lonlat.transform(xy[:, 0], xy[:, 1]))

    square = shapely.segmentize(_square(row, col), _EDGE_STEP_M)
    return cut(unwrapped(Polygon(inverse(shapely.get_coordinates(square)))))


def _holds_pixel(part: MultiPolygon, crs: str, resolution_m: float) -> bool:
    """Whether a pixel's centre lies in the part: without one, a job would have nothing to map."""
    projected, grid = project_area(part, crs), grid_for(part, resolution_m=resolution_m, crs=crs)
    return not outside_area(projected, grid, _middle(projected, grid)).all() or bool(cut_blocks(grid, 2048, projected))


def _middle(projected: BaseGeometry, grid: Grid) -> Window:
    """Some pixels well inside the area, which nearly always answer."""
    place = projected.representative_point()
    row = int((grid.top_m - place.y) // grid.resolution_m)
    col = int((place.x - grid.left_m) // grid.resolution_m)
    return Window(row=row - 1, col=col - 1, height=3, width=3)
