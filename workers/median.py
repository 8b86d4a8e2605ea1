"""Exact medians along a stack with gaps, by a sorting network over whole planes."""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.arrays import BoolArray, FloatArray

CHUNK_PX: Final = 16384
"""Pixels sorted at a time: the planes of a dozen dates stay in a core's cache."""


def masked_median(values: FloatArray, missing: BoolArray) -> FloatArray:
    """The median of what is there, (bands, rows, cols); 0 where nothing is.

    An even number gives the mean of the two in the middle, as `numpy.nanmedian` does, to the bit.

    Args:
        values: (dates, bands, rows, cols), at least one date; anything where missing.
        missing: (dates, rows, cols).
    """
    dates, bands, rows, cols = values.shape
    if dates == 1:
        return np.where(missing, np.float32(0), values[0])
    median = np.empty((bands, rows, cols), np.float32)
    step = max(1, CHUNK_PX // cols)
    for top in range(0, rows, step):
        part = slice(top, top + step)
        gaps = missing[:, part].reshape(dates, -1)
        # +inf sorts a gap to the end, -inf leaves a value as it is. Arithmetic, since masked assignment takes ten
        # times as long as the sorting.
        floor = (gaps - np.float32(0.5)) * np.float32(np.inf)
        count = dates - np.sum(gaps, axis=0, dtype=np.intp)
        lower, upper = np.maximum(count - 1, 0) >> 1, np.minimum(count >> 1, dates - 1)
        for band in range(bands):
            planes, order = _sorted(values[:, band, part].reshape(dates, -1), floor)
            middle = (_pick(planes, order[lower]) + _pick(planes, order[upper])) * np.float32(0.5)
            median[band, part] = np.where(count > 0, middle, np.float32(0)).reshape(-1, cols)
    return median


def _sorted(values: FloatArray, floor: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
    """Planes raised to their floor, and the order in which they ascend at every pixel."""
    dates, pixels = values.shape
    planes = np.empty((dates + 1, pixels), np.float32)
    np.fmax(values, floor, out=planes[:dates])
    order, spare = list(range(dates)), dates
    for low, high in _network(dates):
        one, other = planes[order[low]], planes[order[high]]
        np.minimum(one, other, out=planes[spare])
        np.maximum(one, other, out=other)
        order[low], spare = spare, order[low]
    return planes, np.array(order)


def _pick(planes: FloatArray, plane: NDArray[np.intp]) -> FloatArray:
    """At each pixel the value of the plane named for it."""
    pixels = planes.shape[1]
    return np.asarray(planes.ravel().take(plane * pixels + np.arange(pixels)))


@cache
def _network(size: int) -> tuple[tuple[int, int], ...]:
    """Pairs to compare and exchange, in order. Knuth, TAOCP 3, 5.2.2, algorithm M (Batcher's merge exchange)."""
    pairs = []
    top = 1 << max((size - 1).bit_length() - 1, 0)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            pairs += [(i, i + d) for i in range(size - d) if i & p == r]
            d, q, r = q - p, q // 2, p
        p //= 2
    return tuple(pairs)
