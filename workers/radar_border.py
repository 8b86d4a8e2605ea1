"""The worthless pixels along the edge of a radar swath."""

from typing import Final

import numpy as np
from scipy import ndimage

from workers.arrays import BoolArray, FloatArray

EDGE_PX: Final = 5
"""Distance from the swath's edge within which nothing is believed: the sensor's ramp and interpolation with zeros."""
NOISE_PX: Final = 20
"""Distance within which power below the noise floor is not believed."""
NOISE_FLOOR: Final = 10**-3.5
"""Power of -35 dB: 10 dB and more below the noise-equivalent sigma nought of Sentinel-1 IW (Product Specification:
-22 dB at worst, about -30 dB at best), so no ground can return so little. What is left of border noise does."""

_CORE_RADIUS_PX: Final = 2
MARGIN_PX: Final = 2 * _CORE_RADIUS_PX + NOISE_PX
"""Pixels around a window that decide about pixels in it."""


def without_border(power: FloatArray, missing: BoolArray) -> BoolArray:
    """`missing` with the swath's edge added.

    An edge is where at least 5 x 5 px are missing together: that is the outside of a swath, or a radar shadow so large
    that its rim is noise as well. Single zeros stay single. The raster's own edge is none: a tile may end inside a swath.

    Args:
        power: (rows, cols), linear.
        missing: (rows, cols), True where there is no observation.
    """
    if not missing.any():
        return missing
    core = ndimage.minimum_filter(missing, 2 * _CORE_RADIUS_PX + 1, mode="constant", cval=0)
    noise = _within(core, NOISE_PX) & (power < NOISE_FLOOR)
    return np.asarray(missing | noise | _within(core, EDGE_PX))


def _within(core: BoolArray, distance_px: int) -> BoolArray:
    size = 2 * (_CORE_RADIUS_PX + distance_px) + 1
    return np.asarray(ndimage.maximum_filter(core, size, mode="constant", cval=0))
