"""Landscape: what covers every pixel of the invented place, and which class that is.

The numbers here are taste: they were moved until pictures of it looked like a landscape from above.
"""

# ruff: noqa: PLR2004 - a name for each proportion would say nothing that its line does not

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from workers.arrays import BoolArray, FloatArray
from workers.demo.noise import Ids, Shape, cells, chance, fractal, mixed, stream
from workers.demo.settlement import Settlement, settle
from workers.demo.spectra import SHIFTS_DAYS, Surface, covers, textures
from workers.demo.terrain import Terrain, make_terrain

FOREST_SHARE: Final = 0.30
"""Of the land."""
ROTATION: Final = (
    (Surface.WHEAT, 0.36),
    (Surface.MAIZE, 0.25),
    (Surface.RAPE, 0.15),
    (Surface.BEET, 0.14),
    (Surface.FALLOW, 0.10),
)
"""Crops and their share of the parcels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """The ground, as all scenes see it."""

    surface: npt.NDArray[np.uint8]
    """`Surface` of each pixel."""
    shift: npt.NDArray[np.uint8]
    """Index into `SHIFTS_DAYS`."""
    brightness: FloatArray
    """Factor on the reflectance of the surface: parcels differ, and so do pixels."""
    elevation_m: FloatArray

    @property
    def truth(self) -> npt.NDArray[np.uint8]:
        """The class in ESA WorldCover's values."""
        return covers()[self.surface]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parcels:
    ids: Ids
    block: Ids
    """The group of parallel parcels that each belongs to."""
    block_border_px: FloatArray
    across_px: FloatArray
    """Position across the strips, along which furrows repeat."""
    edge: BoolArray


def make_landscape(shape: Shape, seed: int) -> Landscape:
    """The landscape of a seed."""
    terrain = make_terrain(shape, seed)
    settlement = settle(terrain, seed)
    salt = seed * 64
    parcels = _parcels(shape, seed, salt)
    surface = _fields(terrain, parcels, seed, salt)
    _plant_forests(surface, terrain, parcels, settlement, seed, salt)
    _lay_tracks_and_hedges(surface, parcels, salt)
    _dig_pits(surface, terrain, settlement, seed)
    _build(surface, settlement, parcels, salt)
    _fill_water(surface, terrain, settlement, seed)
    return Landscape(
        surface=surface,
        shift=(chance(parcels.ids, salt + 20) * len(SHIFTS_DAYS)).astype(np.uint8),
        brightness=_brightness(surface, parcels, seed, salt),
        elevation_m=terrain.elevation_m,
    )


def _parcels(shape: Shape, seed: int, salt: int) -> _Parcels:
    """Strips of fields, parallel inside a block, with blocks of every orientation."""
    rows, columns = (
        axis + 5.0 * fractal(shape, stream(seed, f"bend-{index}"), exponent=3.0, longest_px=300, shortest_px=40)
        for index, axis in enumerate(np.mgrid[: shape[0], : shape[1]].astype(np.float32))
    )
    block, border = cells(rows, columns, 78.0, salt + 1)
    angle = np.pi * chance(block, salt + 2)
    across = rows * np.cos(angle) + columns * np.sin(angle)
    along = columns * np.cos(angle) - rows * np.sin(angle)
    width = 10 + 18 * chance(block, salt + 3)
    length = 35 + 50 * chance(block, salt + 4)
    strip = across / width
    number = np.floor(strip)
    piece = along / length + chance(mixed(block, number), salt + 5)
    ids = mixed(block, number, np.floor(piece))
    into = np.minimum((strip - number) * width, (piece - np.floor(piece)) * length)
    return _Parcels(ids=ids, block=block, block_border_px=border, across_px=across, edge=into < 1.0)


def _fields(terrain: Terrain, parcels: _Parcels, seed: int, salt: int) -> npt.NDArray[np.uint8]:
    """Meadows in the floodplain and on slopes, crops on the rest."""
    luck = chance(parcels.ids, salt + 6)
    damp = 0.8 * np.exp(-terrain.above_drainage_m / 2.5) + 6.0 * np.maximum(terrain.slope - 0.05, 0)
    damp += 0.03 + 0.12 * fractal(
        terrain.slope.shape, stream(seed, "damp"), exponent=3.0, longest_px=500, shortest_px=60
    )
    crop = np.searchsorted(np.cumsum([share for _, share in ROTATION])[:-1], chance(parcels.ids, salt + 7))
    arable = np.array([surface for surface, _ in ROTATION], np.uint8)[crop]
    grass = np.where(chance(parcels.ids, salt + 8) < 0.55, Surface.MEADOW, Surface.PASTURE)
    return np.where(luck < damp, grass, arable).astype(np.uint8)


def _plant_forests(
    surface: npt.NDArray[np.uint8],
    terrain: Terrain,
    parcels: _Parcels,
    settlement: Settlement,
    seed: int,
    salt: int,
) -> None:
    """Forest on steep and high ground with parcels for edges, shrubs on some of its rim, conifers in stands."""
    shape = terrain.slope.shape
    patches = fractal(shape, stream(seed, "forest"), exponent=2.6, longest_px=260, shortest_px=10)
    score = 14 * terrain.slope + terrain.above_drainage_m / 60 + 0.75 * patches + 0.8 * chance(parcels.ids, salt + 9)
    score -= 1.5 * np.maximum(settlement.density + 0.4, 0)
    limit = np.quantile(score[::4, ::4], 1 - FOREST_SHARE)
    rim = (score > limit - 0.12) & (chance(parcels.ids, salt + 10) < 0.5)
    surface[rim] = Surface.SHRUB
    stands = fractal(shape, stream(seed, "stands"), exponent=2.4, longest_px=150, shortest_px=6)
    conifer = stands + 1.6 * (chance(parcels.block, salt + 11) - 0.5) + 3 * (terrain.slope - 0.12) > 0
    forest = ndimage.binary_opening(score > limit, iterations=2)
    surface[forest] = np.where(conifer, Surface.CONIFER, Surface.BROADLEAF)[forest]
    felled = forest & (chance(parcels.ids, salt + 12) < 0.03)
    surface[felled] = Surface.SHRUB


def _lay_tracks_and_hedges(surface: npt.NDArray[np.uint8], parcels: _Parcels, salt: int) -> None:
    """Farm tracks round most blocks, hedges along some, and farmsteads at a few."""
    open_land = (surface >= Surface.MEADOW) & (surface <= Surface.FALLOW)
    luck = chance(parcels.block, salt + 13)
    surface[open_land & (parcels.block_border_px < 0.6) & (luck < 0.75)] = Surface.TRACK
    hedge = (parcels.block_border_px >= 0.6) & (parcels.block_border_px < 1.7) & (luck < 0.28)
    surface[open_land & hedge] = Surface.SHRUB
    copse = parcels.edge & (chance(parcels.ids, salt + 14) < 0.08)
    surface[open_land & copse] = Surface.BROADLEAF
    yard = (chance(parcels.ids, salt + 15) < 0.012) & (parcels.block_border_px < 4)
    surface[open_land & yard] = Surface.SUBURB


def _dig_pits(surface: npt.NDArray[np.uint8], terrain: Terrain, settlement: Settlement, seed: int) -> None:
    """Gravel pits by the road, with a pond in the deepest part."""
    shape = surface.shape
    rough = fractal(shape, stream(seed, "pits"), exponent=2.6, longest_px=160, shortest_px=5)
    apart = np.exp(-(((settlement.main_road_px - 18) / 14) ** 2))
    score = rough * apart - 4 * np.maximum(settlement.density + 0.2, 0) - 8 * np.maximum(terrain.slope - 0.15, 0)
    pit = ndimage.binary_opening(score > np.quantile(score[::4, ::4], 0.9965), iterations=2)
    surface[pit] = Surface.GRAVEL
    surface[pit & (score > np.quantile(score[::4, ::4], 0.9994))] = Surface.LAKE


def _build(surface: npt.NDArray[np.uint8], settlement: Settlement, parcels: _Parcels, salt: int) -> None:
    """Streets round small blocks, roofs and gardens inside them, halls at the rim, parks; and main roads."""
    shape = surface.shape
    density = settlement.density
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    quarter, _ = cells(rows, columns, 45.0, salt + 30)
    angle = np.pi / 2 * chance(quarter, salt + 31)
    across, along = rows * np.cos(angle) + columns * np.sin(angle), columns * np.cos(angle) - rows * np.sin(angle)
    width, length = 9.0 + 4 * chance(quarter, salt + 32), 13.0 + 9 * chance(quarter, salt + 33)
    plot = mixed(quarter, np.floor(across / width), np.floor(along / length))
    street = np.minimum(across % width, along % length) < 1.5
    house = chance(mixed(np.floor(across / 3), np.floor(along / 3), plot), salt + 34)
    luck = chance(plot, salt + 35)
    town = (density > 0) & ((luck < 0.35 + 6 * density) | (density > 0.2))
    homes = np.where(house < 0.15 + 0.5 * density, Surface.ROOFS, Surface.SUBURB)
    homes = np.where(house > 0.86 + 0.4 * density, Surface.BROADLEAF, homes)
    homes = np.where((density > 0.45) & (house < 0.8), Surface.CITY, homes)
    homes = np.where((luck > 0.88) & (density < 0.35), Surface.HALL, homes)
    homes = np.where((luck < 0.04) & (density > 0.15), Surface.PASTURE, homes)
    homes = np.where(street, Surface.ROAD, homes)
    surface[town] = homes[town]
    surface[settlement.main_road_px < 1.1] = Surface.ROAD
    verge = (settlement.main_road_px < 2.4) & (settlement.main_road_px >= 1.1) & (density < 0)
    surface[verge & (chance(parcels.ids, salt + 36) < 0.35)] = Surface.BROADLEAF


def _fill_water(surface: npt.NDArray[np.uint8], terrain: Terrain, settlement: Settlement, seed: int) -> None:
    """Water, trees and gravel on the banks, marsh and beaches round the lake; roads go over rivers."""
    shape = surface.shape
    patches = fractal(shape, stream(seed, "banks"), exponent=2.2, longest_px=80, shortest_px=4)
    natural = settlement.density < 0.1
    shore = ndimage.distance_transform_edt(~terrain.lake).astype(np.float32)
    bank = terrain.river_px
    surface[(bank < 1.8) & natural & (patches > -0.3)] = Surface.BROADLEAF
    surface[(bank < 2.5) & natural & (patches < -1.8)] = Surface.GRAVEL
    reach = 45 + 35 * patches
    flat = terrain.elevation_m < terrain.elevation_m[terrain.lake].min() + 8.0
    surface[(shore < reach) & flat & natural] = Surface.MARSH
    surface[(shore < 2.0) & natural & (patches < -1.3)] = Surface.GRAVEL
    bridge = settlement.main_road_px < 1.1
    surface[terrain.river & ~bridge] = Surface.RIVER
    surface[terrain.lake] = Surface.LAKE


def _brightness(surface: npt.NDArray[np.uint8], parcels: _Parcels, seed: int, salt: int) -> FloatArray:
    """Parcels that differ, soils that vary inside them, furrows, dark edges, and each surface's own grain."""
    shape = surface.shape
    grain = fractal(shape, stream(seed, "grain"), exponent=1.0, longest_px=14, shortest_px=2)
    soil = fractal(shape, stream(seed, "soil"), exponent=2.4, longest_px=200, shortest_px=4)
    field = (surface >= Surface.MEADOW) & (surface <= Surface.FALLOW)
    period = 2.6 + 2.4 * chance(parcels.ids, salt + 16)
    furrows = 0.035 * np.sin(2 * np.pi * parcels.across_px / period) - 0.13 * parcels.edge
    own = 0.26 * (chance(parcels.ids, salt + 17) - 0.5)
    factor = 1 + textures()[surface] * grain + np.where(field, own + furrows + 0.07 * soil, 0.04 * soil)
    return np.asarray(np.clip(factor, 0.4, 1.8), np.float32)
