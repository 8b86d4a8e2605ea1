"""How many jobs a region is cut into, near enough for a limit: workers cut it, with projections that are not at hand here."""

import math
from typing import Final

import numpy as np
import shapely
from shapely import MultiPolygon

_CELL_DEG: Final = 100_000 / 0.9996 / 111_133
"""Of latitude: 100 km at UTM's scale on its central meridians, over the mean length of a degree."""
_ZONE_DEG: Final = 6
_UTM_DEG: Final = (-80, 84)
"""Latitudes that are mapped in UTM. Those beyond are in one zone for each pole."""


def cells_in(region: MultiPolygon) -> int:
    """About how many cells of 100 km share ground with a region, in the UTM (or UPS) zones that it lies in."""
    south, north = (math.floor(latitude / _CELL_DEG) for latitude in region.bounds[1::2])
    shapely.prepare(region)
    return sum(_cells_in_row(region, row) for row in range(south, north + 1))


def _cells_in_row(region: MultiPolygon, row: int) -> int:
    bottom, middle, top = (_CELL_DEG * (row + part) for part in (0, 0.5, 1))
    in_utm = _UTM_DEG[0] < middle < _UTM_DEG[1]
    half = _ZONE_DEG / 2 if in_utm else 180
    centres = np.arange(half - 180, 180, 2 * half)
    wide = _CELL_DEG / max(0.001, math.cos(math.radians(middle)))
    count = math.ceil(half / wide)
    edges = np.clip(wide * np.arange(-count, count + 1), -half, half)  # from the central meridian
    west, east = (np.add.outer(centres, part).ravel() for part in (edges[:-1], edges[1:]))
    near = (west <= region.bounds[2]) & (east >= region.bounds[0])
    return int(shapely.intersects(region, shapely.box(west[near], bottom, east[near], top)).sum())
