"""Random fields and cells: the same for the same seed, whatever is drawn before them."""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import fft

from workers.arrays import FloatArray

Ids = npt.NDArray[np.uint32]
Shape = tuple[int, int]

_MIX: Final = (np.uint32(0x7FEB352D), np.uint32(0x846CA68B))  # lowbias32, github.com/skeeto/hash-prospector


def stream(seed: int, purpose: str) -> np.random.Generator:
    """A random generator of its own for each purpose, so that a new feature leaves the others as they were."""
    return np.random.default_rng([seed, *purpose.encode()])


def fractal(
    shape: Shape,
    random: np.random.Generator,
    *,
    exponent: float,
    longest_px: float = np.inf,
    shortest_px: float = 2.0,
    stretch: float = 1.0,
) -> FloatArray:
    """A periodic random field of mean 0 and deviation 1, with power ~ frequency ** -exponent between two wavelengths.

    `stretch` above 1 draws it out along the columns.
    """
    spectrum = fft.rfft2(random.standard_normal(shape, dtype=np.float32), workers=2)
    rows = np.fft.fftfreq(shape[0]).astype(np.float32)[:, np.newaxis]
    columns = np.fft.rfftfreq(shape[1]).astype(np.float32)[np.newaxis] * np.float32(stretch)
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1.0
    # Soft ends: a hard one rings.
    band = np.exp(-((frequency * shortest_px / 2) ** 4)) * -np.expm1(-((frequency * min(longest_px, 1e6)) ** 4))
    spectrum *= frequency ** (-exponent / 2) * band
    spectrum[0, 0] = 0
    field: FloatArray = fft.irfft2(spectrum, s=shape, workers=2)
    return np.asarray(field / field.std(), np.float32)


def mixed(*keys: npt.ArrayLike) -> Ids:
    """One well-mixed id from several integer keys, element by element."""
    value = np.uint32(0x9E3779B9) + np.zeros(1, np.uint32)
    for key in keys:
        value = value ^ (np.asarray(key).astype(np.int64) & 0xFFFFFFFF).astype(np.uint32)
        value = value ^ (value >> np.uint32(16))
        value = value * _MIX[0]
        value = value ^ (value >> np.uint32(15))
        value = value * _MIX[1]
        value = value ^ (value >> np.uint32(16))
    return value


def chance(ids: npt.ArrayLike, salt: int) -> FloatArray:
    """A number in [0, 1) that belongs to the id."""
    # 24 bits: with more of them float32 would round up to 1.
    return (mixed(ids, salt) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def cells(rows: FloatArray, columns: FloatArray, spacing_px: float, salt: int) -> tuple[Ids, FloatArray]:
    """Voronoi cells of a jittered grid: the id of each pixel's cell, and its distance to the border in px."""
    row, column = np.floor(rows / spacing_px), np.floor(columns / spacing_px)
    nearest: FloatArray = np.full(rows.shape, np.inf, np.float32)
    second: FloatArray = np.full(rows.shape, np.inf, np.float32)
    ids: Ids = np.zeros(rows.shape, np.uint32)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            candidate = mixed(row + down, column + right, salt)
            seed_row = (row + down + 0.15 + 0.7 * chance(candidate, 1)) * spacing_px
            seed_column = (column + right + 0.15 + 0.7 * chance(candidate, 2)) * spacing_px
            distance = np.hypot(rows - seed_row, columns - seed_column).astype(np.float32)
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            nearest = np.where(closer, distance, nearest)
            ids = np.where(closer, candidate, ids)
    return ids, np.asarray((second - nearest) / 2, np.float32)
