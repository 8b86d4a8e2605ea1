"""What the surfaces of the demo look like to both sensors, through the year."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from workers.arrays import FloatArray

Spectrum = tuple[float, float, float, float, float, float]
"""Reflectance in B02, B03, B04, B08, and backscatter VV, VH in dB."""

SHIFTS_DAYS: Final = (-9, -3, 3, 9)
"""Parcels of one surface are early or late by these."""

# Medians over the patches of BigEarthNet v2 (reBEN, doi:10.48550/arXiv.2407.03653) in which a CORINE class has 100 pixels
# three away from any other class; the number behind is the CORINE class.
_CONIFER: Final = (0.019, 0.032, 0.022, 0.190, -10.0, -15.3)  # 312
_BROADLEAF: Final = (0.024, 0.035, 0.025, 0.236, -10.7, -15.9)  # 311, May to September
_BARE_BROADLEAF: Final = (0.019, 0.032, 0.033, 0.167, -10.6, -16.2)  # 311, October to April
_SHRUB: Final = (0.028, 0.045, 0.047, 0.213, -10.4, -16.6)  # 322, 323, 324
_MEADOW: Final = (0.032, 0.061, 0.045, 0.341, -12.3, -18.9)  # 231, NDVI above 0.6
_DRY_MEADOW: Final = (0.082, 0.106, 0.127, 0.249, -11.2, -19.2)  # 231, NDVI below 0.6
_CANOPY: Final = (0.032, 0.065, 0.042, 0.363, -11.9, -17.9)  # 211, NDVI above 0.75
_SOIL: Final = (0.088, 0.112, 0.141, 0.239, -10.9, -20.1)  # 211, April and May, NDVI below 0.32
_STUBBLE: Final = (0.054, 0.080, 0.093, 0.227, -11.3, -18.9)  # 211, August and September, NDVI below 0.5
_SUBURB: Final = (0.048, 0.071, 0.072, 0.251, -9.4, -16.3)  # 112
_CITY: Final = (0.069, 0.102, 0.131, 0.226, -7.5, -13.8)  # 111 and 121; backscatter of 111
_MARSH: Final = (0.031, 0.050, 0.055, 0.195, -10.5, -19.4)  # 411 and 412
_LAKE: Final = (0.012, 0.008, 0.007, 0.008, -21.3, -26.4)  # 512, without ice and mixed shores
# Typical curves of the ECOSTRESS spectral library (Meerdink et al. 2019, doi:10.1016/j.rse.2019.05.015);
# backscatter of smooth ground after Ulaby and Dobson (1989), Handbook of Radar Scattering Statistics for Terrain.
_ASPHALT: Final = (0.070, 0.083, 0.094, 0.125, -14.0, -21.5)
_TILES: Final = (0.062, 0.088, 0.128, 0.190, -6.0, -14.0)
_HALL: Final = (0.160, 0.185, 0.205, 0.260, -6.0, -14.5)
_GRAVEL: Final = (0.165, 0.205, 0.245, 0.305, -13.5, -22.5)
_RIVER: Final = (0.030, 0.044, 0.033, 0.022, -18.5, -25.0)
# Bloom and ripeness: d'Andrimont et al. (2020), doi:10.1016/j.rse.2020.111660; Meroni et al. (2021), doi:10.1016/j.rse.2020.112232.
_RAPE_BLOOM: Final = (0.048, 0.128, 0.108, 0.400, -10.5, -15.5)
_RIPE: Final = (0.062, 0.098, 0.132, 0.300, -13.0, -19.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A surface: its class in ESA WorldCover, and its looks at days of the year, linear between them."""

    cover: int
    calendar: tuple[tuple[int, Spectrum], ...]
    texture: float
    """Deviation of reflectance from pixel to pixel, as a share."""


class Surface(IntEnum):
    """What the ground can be. The value is the row in `KINDS`."""

    CONIFER = 0
    BROADLEAF = 1
    SHRUB = 2
    MEADOW = 3
    PASTURE = 4
    WHEAT = 5
    RAPE = 6
    MAIZE = 7
    BEET = 8
    FALLOW = 9
    SUBURB = 10
    CITY = 11
    HALL = 12
    ROOFS = 13
    ROAD = 14
    TRACK = 15
    GRAVEL = 16
    LAKE = 17
    RIVER = 18
    MARSH = 19


def _mean(first: Spectrum, second: Spectrum) -> Spectrum:
    middle = [(one + other) / 2 for one, other in zip(first, second, strict=True)]
    return middle[0], middle[1], middle[2], middle[3], middle[4], middle[5]


# Crop calendars of central Europe: JRC MARS Bulletins; Meroni et al. (2021).
KINDS: Final = {
    Surface.CONIFER: Kind(cover=10, calendar=((0, _CONIFER),), texture=0.13),
    Surface.BROADLEAF: Kind(
        cover=10,
        calendar=((105, _BARE_BROADLEAF), (135, _BROADLEAF), (270, _BROADLEAF), (310, _BARE_BROADLEAF)),
        texture=0.13,
    ),
    Surface.SHRUB: Kind(cover=20, calendar=((0, _SHRUB),), texture=0.14),
    Surface.MEADOW: Kind(
        cover=30,
        calendar=((80, _DRY_MEADOW), (120, _MEADOW), (165, _MEADOW), (176, _DRY_MEADOW), (200, _MEADOW)),
        texture=0.05,
    ),
    Surface.PASTURE: Kind(
        cover=30,
        calendar=(
            (80, _DRY_MEADOW),
            (115, _MEADOW),
            (190, _MEADOW),
            (220, _mean(_MEADOW, _DRY_MEADOW)),
            (260, _MEADOW),
        ),
        texture=0.08,
    ),
    Surface.WHEAT: Kind(
        cover=40,
        calendar=(
            (85, _mean(_SOIL, _CANOPY)),
            (125, _CANOPY),
            (165, _CANOPY),
            (195, _RIPE),
            (212, _STUBBLE),
            (240, _SOIL),
        ),
        texture=0.05,
    ),
    Surface.RAPE: Kind(
        cover=40,
        calendar=((95, _CANOPY), (118, _RAPE_BLOOM), (136, _RAPE_BLOOM), (150, _CANOPY), (185, _RIPE), (205, _STUBBLE)),
        texture=0.05,
    ),
    Surface.MAIZE: Kind(
        cover=40, calendar=((135, _SOIL), (185, _CANOPY), (245, _CANOPY), (275, _STUBBLE)), texture=0.06
    ),
    Surface.BEET: Kind(cover=40, calendar=((110, _SOIL), (165, _CANOPY), (280, _CANOPY)), texture=0.06),
    Surface.FALLOW: Kind(
        cover=40, calendar=((100, _STUBBLE), (150, _mean(_STUBBLE, _CANOPY)), (230, _STUBBLE)), texture=0.09
    ),
    Surface.SUBURB: Kind(cover=50, calendar=((0, _SUBURB),), texture=0.16),
    Surface.CITY: Kind(cover=50, calendar=((0, _CITY),), texture=0.18),
    Surface.HALL: Kind(cover=50, calendar=((0, _HALL),), texture=0.07),
    Surface.ROOFS: Kind(cover=50, calendar=((0, _TILES),), texture=0.15),
    Surface.ROAD: Kind(cover=50, calendar=((0, _ASPHALT),), texture=0.05),
    Surface.TRACK: Kind(cover=30, calendar=((0, _mean(_MEADOW, _GRAVEL)),), texture=0.08),
    Surface.GRAVEL: Kind(cover=60, calendar=((0, _GRAVEL),), texture=0.10),
    Surface.LAKE: Kind(cover=80, calendar=((0, _LAKE),), texture=0.02),
    Surface.RIVER: Kind(cover=80, calendar=((0, _RIVER),), texture=0.04),
    Surface.MARSH: Kind(
        cover=90, calendar=((100, _mean(_MARSH, _DRY_MEADOW)), (150, _MARSH), (260, _MARSH)), texture=0.16
    ),
}


def spectra_of(day: int) -> FloatArray:
    """The looks of every surface on a day of the year, (surfaces, shifts, 6): four reflectances, VV and VH in dB."""
    table = np.empty((len(KINDS), len(SHIFTS_DAYS), 6), np.float32)
    for surface, kind in KINDS.items():
        days = [entry for entry, _ in kind.calendar]
        looks = np.array([spectrum for _, spectrum in kind.calendar])
        for column, shift in enumerate(SHIFTS_DAYS):
            table[surface, column] = [np.interp(day - shift, days, looks[:, index]) for index in range(6)]
    return table


def covers() -> npt.NDArray[np.uint8]:
    """The WorldCover value of every surface."""
    return np.array([KINDS[surface].cover for surface in Surface], np.uint8)


def textures() -> FloatArray:
    """The texture of every surface."""
    return np.array([KINDS[surface].texture for surface in Surface], np.float32)
