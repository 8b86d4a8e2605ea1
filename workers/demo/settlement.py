"""Towns at the valleys' edges, and the roads between them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from workers.arrays import FloatArray
from workers.demo.noise import fractal, stream
from workers.demo.terrain import Path, Terrain, bent, draw, meanders

TOWNS: Final = 11
SPACING: Final = 0.15
"""Least distance between towns, as a share of the scene's shorter side."""
LARGEST: Final = 0.055
"""Radius of the first town, as such a share; the others are smaller and smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Where people live and drive."""

    density: FloatArray
    """Above 0 in towns; 1 in the middle of each."""
    main_road_px: FloatArray
    """Distance to the nearest main road."""


def settle(terrain: Terrain, seed: int) -> Settlement:
    """Towns and roads for a terrain."""
    step, shape = terrain.step_px, terrain.slope.shape
    coarse = (slice(step // 2, None, step), slice(step // 2, None, step))
    slope, wet = terrain.slope[coarse], (terrain.lake | terrain.river)[coarse]
    towns = _sites(terrain, coarse, seed)
    cost = 1.0 + (slope / 0.04) ** 2 + np.where(terrain.lake[coarse], 60.0, np.where(wet, 5.0, 0.0))
    warp = meanders(shape, seed)
    roads = [bent(path, warp, step) for path in _roads(cost.astype(np.float64), towns)]
    road_px = ndimage.distance_transform_edt(draw(shape, roads, [1.0] * len(roads)) == 0).astype(np.float32)
    return Settlement(density=_density(terrain, towns, road_px, seed), main_road_px=road_px)


def _sites(terrain: Terrain, coarse: tuple[slice, slice], seed: int) -> npt.NDArray[np.int64]:
    """Coarse cells (towns, 2), the best first: gentle ground near water but above the flood."""
    height, near = terrain.above_drainage_m[coarse], terrain.river_px[coarse]
    fine = fractal(height.shape, stream(seed, "sites"), exponent=1.0)
    score = -20 * terrain.slope[coarse] - np.abs(height - 6) / 12 - np.minimum(near, 150) / 60 + 0.5 * fine
    score[ndimage.binary_dilation(terrain.lake[coarse])] = -np.inf
    rows, columns = np.mgrid[: score.shape[0], : score.shape[1]]
    size = min(score.shape)
    border = np.minimum(np.minimum(rows, score.shape[0] - rows), np.minimum(columns, score.shape[1] - columns))
    score[border < 0.05 * size] = -np.inf
    found: list[tuple[int, int]] = []
    while len(found) < TOWNS and np.isfinite(score).any():
        row, column = divmod(int(score.argmax()), score.shape[1])
        found.append((row, column))
        score[np.hypot(rows - row, columns - column) < SPACING * size] = -np.inf
    return np.array(found)


def _roads(cost: FloatArray, towns: npt.NDArray[np.int64]) -> list[Path]:
    """Cheapest ways along a tree of all towns, from each town to its nearest two, and out of the scene."""
    rows, columns = cost.shape
    nodes = towns[:, 0] * columns + towns[:, 1]
    lengths, before = csgraph.dijkstra(_lattice(cost), directed=False, indices=nodes, return_predecessors=True)
    between = lengths[:, nodes]
    tree = csgraph.minimum_spanning_tree(between).tocoo()
    pairs = {(int(one), int(other)) for one, other in zip(tree.row, tree.col, strict=True)}
    pairs |= {(one, int(other)) for one in range(len(nodes)) for other in np.argsort(between[one])[1:3]}
    targets = [(one, int(nodes[other])) for one, other in pairs]
    exits = [(0, 0), (0, columns // 2), (0, columns - 1), (rows // 2, 0), (rows - 1, columns - columns // 3)]
    for row, column in exits:
        cell = row * columns + column
        targets.append((int(lengths[:, cell].argmin()), cell))
    return [_way_back(before[one], target, columns) for one, target in targets]


def _way_back(before: npt.NDArray[np.int32], target: int, columns: int) -> Path:
    cells = [target]
    while before[cells[-1]] >= 0:
        cells.append(int(before[cells[-1]]))
    return np.stack(np.divmod(cells, columns), axis=1)


def _lattice(cost: FloatArray) -> sparse.csr_array:
    """The graph of a raster's cells and their eight neighbours."""
    index = np.arange(cost.size).reshape(cost.shape)
    ends, weights = [], []
    for here, there, length in (
        (np.s_[:, :-1], np.s_[:, 1:], 1.0),
        (np.s_[:-1], np.s_[1:], 1.0),
        (np.s_[:-1, :-1], np.s_[1:, 1:], np.sqrt(2)),
        (np.s_[:-1, 1:], np.s_[1:, :-1], np.sqrt(2)),
    ):
        ends.append((index[here].ravel(), index[there].ravel()))
        weights.append((length * (cost[here] + cost[there]) / 2).ravel())
    rows, columns = (np.concatenate(part) for part in zip(*ends, strict=True))
    return sparse.csr_array((np.concatenate(weights), (rows, columns)), shape=(cost.size, cost.size))


def _density(terrain: Terrain, towns: npt.NDArray[np.int64], road_px: FloatArray, seed: int) -> FloatArray:
    """Towns grow round their middle and out along the roads, and stop at steep ground."""
    shape = terrain.slope.shape
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    outline = 1 + 0.22 * fractal(shape, stream(seed, "outline"), exponent=2.2, longest_px=80, shortest_px=8)
    along = np.exp(-road_px / 7)
    density = np.full(shape, -1.0, np.float32)
    for rank, (row, column) in enumerate((towns + 0.5) * terrain.step_px):
        radius = max(7.0, LARGEST * min(shape) / (1 + rank) ** 0.6)
        away = np.hypot(rows - row, columns - column) / radius
        grown = 1 - away * outline * (1 - 0.45 * along)
        density = np.maximum(density, grown.astype(np.float32))
    return np.asarray(density - 5.0 * np.maximum(terrain.slope - 0.12, 0), np.float32)
