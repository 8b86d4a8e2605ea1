"""Where the pixels of a grid lie in a raster, and what the raster's values are there.

Not GDAL's warper: it would interpolate decibels where power is meant, and its results differ in the last bits from one
window to the next. Here a pixel's value depends on its place on the shared lattice alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final, Self, TypeVar

import numpy as np
import rasterio.crs
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio import Affine

from contract.grid import Grid, Window
from workers.arrays import BoolArray, FloatArray

NODE_STEP_PX: Final = 32
"""Pixels between two exact projections. Between them, over 320 m, two map projections are linear to each other within
some (320 m)^2 / (8 * 6400 km) = 2 mm; a projection of every pixel costs twenty times as much."""
SAME_PIXEL: Final = 1e-3
"""Pixels by which the origins of two lattices may miss each other and still count as one."""

CHUNK_PX: Final = 32768
"""Pixels resampled at a time: indices and weights stay in a core's cache, and memory is not a matter of the window."""

Positions = NDArray[np.float64]
_Stored = TypeVar("_Stored", np.float32, np.bool_)


class Resampling(StrEnum):
    """How a value between pixel centres is found."""

    NEAREST = "nearest"
    """The pixel that holds the point: for classes."""
    BILINEAR = "bilinear"
    """From the four centres around the point: for quantities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandPixels:
    """A band over a window."""

    values: FloatArray
    """(rows, cols), 0 where missing."""
    missing: BoolArray
    """(rows, cols), True where there is no observation."""

    @classmethod
    def nothing(cls, shape: tuple[int, int]) -> Self:
        """No observation anywhere."""
        return cls(values=np.zeros(shape, np.float32), missing=np.ones(shape, np.bool_))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the centres of a window's pixels lie in a raster, in pixels from its upper left corner."""

    shape: tuple[int, int]
    """Rows and columns of the window."""
    box: Window | None
    """Pixels of the raster that the window needs; None where it lies beside the raster."""
    of_rows: Callable[[slice], tuple[Positions, Positions]]
    """Rows and columns in the raster for some rows of the window. The two broadcast to (rows, cols)."""
    aligned: bool
    """Both lattices are one: every point is the centre of a pixel, and there is nothing to interpolate."""


def place(grid: Grid, window: Window, crs: rasterio.crs.CRS, transform: Affine, shape: tuple[int, int]) -> Placement:
    """Where a window's pixels lie in a raster of that CRS, transform and shape.

    Raises:
        pyproj.exceptions.ProjError: There is no way from the grid's CRS to the raster's.
    """
    first_row, first_col = grid.lattice_origin
    rows = first_row + window.row + np.arange(window.height)
    cols = first_col + window.col + np.arange(window.width)
    if crs == rasterio.crs.CRS.from_user_input(grid.crs) and transform.is_rectilinear:
        at_rows = (-(rows[:, None] + 0.5) * grid.resolution_m - transform.f) / transform.e
        at_cols = ((cols[None] + 0.5) * grid.resolution_m - transform.c) / transform.a
        return Placement(
            shape=window.shape,
            box=_box(at_rows, at_cols, shape),
            of_rows=lambda part: (at_rows[part], at_cols),
            aligned=_is_aligned(grid.resolution_m, transform),
        )
    project = Transformer.from_crs(grid.crs, CRS.from_wkt(crs.to_wkt()), always_xy=True)
    node_cols, node_rows = np.meshgrid(_nodes(cols), _nodes(rows))
    x, y = project.transform((node_cols + 0.5) * grid.resolution_m, -(node_rows + 0.5) * grid.resolution_m)
    pixel = ~transform
    at_nodes = pixel.d * x + pixel.e * y + pixel.f, pixel.a * x + pixel.b * y + pixel.c
    return Placement(
        shape=window.shape,
        box=_box(*at_nodes, shape),
        of_rows=lambda part: (_between(at_nodes[0], part, rows, cols), _between(at_nodes[1], part, rows, cols)),
        aligned=False,
    )


def resample(read: Callable[[Window], BandPixels], placement: Placement, resampling: Resampling) -> BandPixels:
    """A raster's values at these points.

    A point is missing where it lies outside of the raster, or in a pixel that is missing; a missing neighbour has no
    weight. So neither a swath nor a hole grows or shrinks.

    Args:
        read: Gives the raster's pixels of a window inside of it; called at most once.
        placement: The points.
        resampling: Of no effect where the points are the centres of pixels.
    """
    result = BandPixels.nothing(placement.shape)
    if placement.box is None:
        return result
    raster = read(placement.box)
    if placement.aligned:
        return _copied(raster, placement.box, placement)
    value_at = _bilinear if resampling is Resampling.BILINEAR else _nearest
    step = max(1, CHUNK_PX // placement.shape[1])
    for top in range(0, placement.shape[0], step):
        part = slice(top, top + step)
        rows, cols = placement.of_rows(part)
        rows, cols = rows - placement.box.row, cols - placement.box.col
        values, missing = value_at(raster, rows, cols), _missing(raster, rows, cols)
        values[missing] = 0
        result.values[part], result.missing[part] = values, missing
    return result


def _copied(raster: BandPixels, box: Window, placement: Placement) -> BandPixels:
    """The raster's own pixels; a quarter of the time of looking each of them up."""
    result = BandPixels.nothing(placement.shape)
    height, width = placement.shape
    rows, cols = placement.of_rows(slice(1))
    window = Window(row=math.floor(rows[0, 0]), col=math.floor(cols[0, 0]), height=height, width=width)
    inside = window.intersection(box)
    if inside is not None:
        here, there = inside.slices_in(window), inside.slices_in(box)
        result.values[here], result.missing[here] = raster.values[there], raster.missing[there]
    return result


def _missing(raster: BandPixels, rows: Positions, cols: Positions) -> BoolArray:
    height, width = raster.missing.shape
    # NaN, a point without a place in the raster's CRS, fails both comparisons.
    inside = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
    return np.asarray(~inside | _pick(raster.missing, _inside(rows, height), _inside(cols, width)))


def _nearest(raster: BandPixels, rows: Positions, cols: Positions) -> FloatArray:
    height, width = raster.values.shape
    return _pick(raster.values, _inside(rows, height), _inside(cols, width))


def _bilinear(raster: BandPixels, rows: Positions, cols: Positions) -> FloatArray:
    """Weighted means of the pixels around; anything where the nearest pixel is missing."""
    height, width = raster.values.shape
    observed = (~raster.missing).astype(np.float32) if raster.missing.any() else None
    down, right = ((rows - 0.5) % 1).astype(np.float32), ((cols - 0.5) % 1).astype(np.float32)
    # Beyond the raster's edge the pixel at the edge stands in, which is as good as no weight.
    top_bottom = (_inside(rows - 0.5, height), 1 - down), (_inside(rows + 0.5, height), down)
    left_right = (_inside(cols - 0.5, width), 1 - right), (_inside(cols + 0.5, width), right)
    total = weight = np.zeros(np.broadcast_shapes(rows.shape, cols.shape), np.float32)
    for (row, row_share), (col, col_share) in product(top_bottom, left_right):
        share = row_share * col_share
        if observed is not None:
            share = share * _pick(observed, row, col)
        total, weight = total + share * _pick(raster.values, row, col), weight + share
    with np.errstate(invalid="ignore"):  # 0 / 0 where all four are missing, and NaN where there is no place
        return np.asarray(total / weight, np.float32)


def _pick(array: NDArray[_Stored], rows: NDArray[np.intp], cols: NDArray[np.intp]) -> NDArray[_Stored]:
    """Like `array[rows, cols]`, at half the time."""
    return np.asarray(array.ravel().take(rows * array.shape[1] + cols))


def _inside(at: Positions, length: int) -> NDArray[np.intp]:
    """The index of the pixel that holds each point, or of the nearest one at the raster's edge."""
    # fmin and fmax turn NaN into a number.
    return np.asarray(np.fmax(np.fmin(np.floor(at), length - 1), 0), np.intp)


def _box(rows: Positions, cols: Positions, shape: tuple[int, int]) -> Window | None:
    """The pixels of a raster of that shape that decide about the points among these."""
    spans = []
    for at in (rows, cols):
        known = at[np.isfinite(at)]
        if not known.size:
            return None
        spans.append((math.floor(known.min() - 0.5), math.floor(known.max() - 0.5) + 2))
    (top, bottom), (left, right) = spans
    needed = Window(row=top, col=left, height=bottom - top, width=right - left)
    return needed.intersection(Window(row=0, col=0, height=shape[0], width=shape[1]))


def _is_aligned(resolution_m: float, transform: Affine) -> bool:
    offsets = transform.c / resolution_m, transform.f / resolution_m
    return np.allclose((transform.a, -transform.e), resolution_m, rtol=1e-9, atol=0) and all(
        abs(offset - round(offset)) < SAME_PIXEL for offset in offsets
    )


def _nodes(lattice: NDArray[np.int_]) -> NDArray[np.int_]:
    """Multiples of the node step on the lattice that enclose these rows or columns."""
    return np.arange(lattice[0] // NODE_STEP_PX, lattice[-1] // NODE_STEP_PX + 2) * NODE_STEP_PX


def _between(nodes: Positions, part: slice, rows: NDArray[np.int_], cols: NDArray[np.int_]) -> Positions:
    """Positions at the pixels of some rows from those at the nodes around them, linear in both directions."""
    row_node, row_share = _node_of(rows)
    col_node, col_share = _node_of(cols)
    row_node, row_share = row_node[part], row_share[part, None]
    at_rows = nodes[row_node] * (1 - row_share) + nodes[row_node + 1] * row_share
    return np.asarray(at_rows[:, col_node] * (1 - col_share) + at_rows[:, col_node + 1] * col_share)


def _node_of(lattice: NDArray[np.int_]) -> tuple[NDArray[np.int_], Positions]:
    """The node before each row or column, counted from the first, and how far it is to the next, 0..1."""
    return lattice // NODE_STEP_PX - lattice[0] // NODE_STEP_PX, lattice % NODE_STEP_PX / NODE_STEP_PX
