"""Terrain: fractal hills, the rivers that drain them, and the lake that they fill."""

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from workers.arrays import BoolArray, FloatArray
from workers.demo.noise import Shape, fractal, stream

Path = npt.NDArray[np.float64]
"""Row and column of the points of a line, (points, 2), in pixels."""

RELIEF_M: Final = 75.0
"""Deviation of the hills."""
BASIN: Final = (0.40, 0.64)
"""Centre of the lake's basin, as a share of rows and columns."""
CHANNEL_SHARE: Final = 0.0035
"""Share of the area that must drain through a cell before it carries a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terrain:
    """The lie of the land at 10 m."""

    elevation_m: FloatArray
    slope: FloatArray
    """Rise over run."""
    above_drainage_m: FloatArray
    """Height above the nearest stream or shore."""
    river_px: FloatArray
    """Distance to the nearest stream's bank, negative in the water."""
    river: BoolArray
    lake: BoolArray
    step_px: int
    """Pixels per cell of the coarse grid on which water and roads find their way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drainage:
    filled: FloatArray
    receiver: npt.NDArray[np.int64]
    """Flat index of the cell that each cell drains into; itself at the border."""
    area: FloatArray
    """Number of cells that drain through each cell."""


def make_terrain(shape: Shape, seed: int) -> Terrain:
    """The terrain of a seed."""
    step = max(2, min(shape) // 288)
    hills = _hills((-(-shape[0] // step), -(-shape[1] // step)), seed)
    drainage = _drain(hills)
    coarse = _carved(drainage)
    warp = meanders(shape, seed)
    streams, widths = _streams(drainage, warp, step)
    elevation = _enlarged(coarse, shape, step) + 3.0 * fractal(
        shape, stream(seed, "detail"), exponent=3.0, longest_px=60, shortest_px=4
    )
    lake = _lake(_enlarged(drainage.filled - hills, shape, step))
    width, distance, nearest = _distance_to_lines(shape, streams, widths)
    # Smooth where the nearest stream is another one all of a sudden.
    level = ndimage.gaussian_filter(ndimage.gaussian_filter(elevation, 6)[nearest[0], nearest[1]], 12)
    floor = 12.0 + 6.0 * width
    height = np.maximum(elevation - level, 0.0) * -np.expm1(-((distance / floor) ** 2))
    height += 0.02 * np.minimum(distance, 40)
    spill = np.median(_enlarged(drainage.filled, shape, step)[lake])
    elevation = np.where(lake, spill, level + height).astype(np.float32)
    smooth = ndimage.gaussian_filter(elevation, 1.5)
    fall_rows, fall_columns = np.gradient(smooth, 10.0)
    river = (distance <= width / 2) & ~lake
    return Terrain(
        elevation_m=smooth,
        slope=np.hypot(fall_rows, fall_columns),
        above_drainage_m=height.astype(np.float32),
        river_px=(distance - width / 2).astype(np.float32),
        river=river,
        lake=lake,
        step_px=step,
    )


def meanders(shape: Shape, seed: int) -> tuple[FloatArray, FloatArray]:
    """Row and column shifts in px that bend straight lines, and leave their crossings together."""
    rows, columns = (
        8.0 * fractal(shape, stream(seed, f"meander-{axis}"), exponent=2.5, longest_px=90, shortest_px=22)
        for axis in ("rows", "columns")
    )
    return rows, columns


def bent(path: Path, warp: tuple[FloatArray, FloatArray], step_px: int) -> Path:
    """A path of coarse cells as a smooth line in pixels, with points half a pixel apart."""
    smooth = ndimage.gaussian_filter1d(path.astype(np.float64), 2.5, axis=0, mode="nearest")
    smooth[[0, -1]] = path[[0, -1]]
    pixels = (smooth + 0.5) * step_px
    count = max(2, 3 * step_px * len(path))
    where = np.linspace(0, len(path) - 1, count)
    dense = np.stack([np.interp(where, np.arange(len(path)), pixels[:, axis]) for axis in (0, 1)], axis=1)
    last = np.array(warp[0].shape) - 1
    index = np.clip(np.rint(dense).astype(int), 0, last)
    shift = np.stack([warp[0][*index.T], warp[1][*index.T]], axis=1)
    line: Path = np.clip(dense + shift, 0, last)
    return line


def draw(shape: Shape, paths: list[Path], values: list[float]) -> FloatArray:
    """A raster with each path's value at its pixels, the largest where paths meet, 0 elsewhere."""
    raster = np.zeros(shape, np.float32)
    for path, value in zip(paths, values, strict=True):
        rows, columns = np.rint(path).astype(int).T
        raster[rows, columns] = np.maximum(raster[rows, columns], value)
    return raster


def _hills(shape: Shape, seed: int) -> FloatArray:
    size = min(shape)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    hills = fractal(shape, stream(seed, "hills"), exponent=3.8, longest_px=0.35 * size, shortest_px=6)
    tilt = -3.0 * rows / shape[0] - 0.8 * columns / shape[1]
    away = np.hypot(rows - BASIN[0] * shape[0], 0.7 * (columns - BASIN[1] * shape[1])) / size
    basin = -0.9 * np.exp(-((away / 0.07) ** 2))
    return np.asarray(RELIEF_M * (hills + tilt + basin) + 400.0, np.float32)


def _drain(elevation: FloatArray) -> _Drainage:
    """Priority flood (Barnes et al. 2014, doi:10.1016/j.cageo.2013.04.024): every cell drains to the border."""
    rows, columns = elevation.shape
    filled = elevation.ravel().astype(np.float64)
    receiver = np.arange(rows * columns)
    done = np.zeros(rows * columns, bool)
    edge = np.zeros(elevation.shape, bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    queue = [(filled[cell], int(cell)) for cell in np.flatnonzero(edge)]
    done[[cell for _, cell in queue]] = True
    heapq.heapify(queue)
    order = []
    while queue:
        level, cell = heapq.heappop(queue)
        order.append(cell)
        row, column = divmod(cell, columns)
        for near_row in range(max(row - 1, 0), min(row + 2, rows)):
            for near_column in range(max(column - 1, 0), min(column + 2, columns)):
                near = near_row * columns + near_column
                if not done[near]:
                    done[near] = True
                    receiver[near] = cell
                    filled[near] = max(filled[near], level + 1e-3)
                    heapq.heappush(queue, (filled[near], near))
    area = np.ones(rows * columns)
    for cell in reversed(order):
        if receiver[cell] != cell:
            area[receiver[cell]] += area[cell]
    return _Drainage(
        filled=filled.reshape(elevation.shape).astype(np.float32),
        receiver=receiver,
        area=area.reshape(elevation.shape).astype(np.float32),
    )


def _carved(drainage: _Drainage) -> FloatArray:
    """The filled surface with valleys cut by running water, deeper the more of it there is."""
    depth = ndimage.gaussian_filter(np.log(drainage.area), 1.2) * 5.0
    return np.asarray(drainage.filled - depth, np.float32)


def _streams(drainage: _Drainage, warp: tuple[FloatArray, FloatArray], step: int) -> tuple[list[Path], list[float]]:
    """Paths from confluence to confluence, and the width of each in px."""
    area = drainage.area.ravel()
    columns = drainage.area.shape[1]
    channel = np.flatnonzero(area > CHANNEL_SHARE * area.size)
    inflows = np.bincount(drainage.receiver[channel], minlength=area.size)
    paths, widths = [], []
    for start in channel[(inflows[channel] != 1)]:
        cells = [int(start)]
        while drainage.receiver[cells[-1]] != cells[-1] and (len(cells) == 1 or inflows[cells[-1]] == 1):
            cells.append(int(drainage.receiver[cells[-1]]))
        if len(cells) > 1:
            paths.append(bent(np.stack(np.divmod(cells, columns), axis=1), warp, step))
            widths.append(float(0.2 + 14.0 * np.sqrt(area[cells[-2]] / area.size)))
    return paths, widths


def _distance_to_lines(
    shape: Shape, paths: list[Path], widths: list[float]
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int32]]:
    """For each pixel: width of the nearest line, distance to its middle in px, and where that is."""
    drawn = draw(shape, paths, widths)
    distance, nearest = ndimage.distance_transform_edt(drawn == 0, return_indices=True)
    return drawn[nearest[0], nearest[1]], distance.astype(np.float32), nearest


def _lake(depth_m: FloatArray) -> BoolArray:
    """The largest depression, up to where it spills over."""
    labels, _ = ndimage.label(depth_m > 1.0)
    lake = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return np.asarray(ndimage.binary_fill_holes(ndimage.binary_opening(lake, iterations=2)))


def _enlarged(coarse: FloatArray, shape: Shape, step: int) -> FloatArray:
    enlarged = ndimage.zoom(coarse, step, order=3, mode="nearest", grid_mode=True)
    return np.asarray(enlarged[: shape[0], : shape[1]], np.float32)
