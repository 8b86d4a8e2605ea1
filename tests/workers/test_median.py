"""The median against numpy's, to the bit."""

import warnings

import numpy as np
import pytest

from workers import median
from workers.arrays import BoolArray, FloatArray
from workers.median import masked_median


def numpy_median(values: FloatArray, missing: BoolArray) -> FloatArray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all dates missing
        found = np.nanmedian(np.where(missing[:, None], np.nan, values), axis=0)
    return np.nan_to_num(found, nan=0.0)


@pytest.mark.parametrize("dates", [*range(1, 14), 20, 33])
def test_agrees_with_numpy_for_any_number_of_dates(dates: int) -> None:
    random = np.random.default_rng(dates)
    values = random.normal(0.1, 0.2, (dates, 2, 31, 47)).astype(np.float32)
    missing = random.random((dates, 31, 47)) < 0.4
    np.testing.assert_array_equal(masked_median(values, missing), numpy_median(values, missing))


def test_ties_and_neighbouring_floats_are_kept_apart() -> None:
    random = np.random.default_rng(0)
    pool = np.array([0.1, np.nextafter(np.float32(0.1), np.float32(1)), -0.1, 0.0], np.float32)
    values = random.choice(pool, (6, 1, 40, 30))
    missing = random.random((6, 40, 30)) < 0.3
    np.testing.assert_array_equal(masked_median(values, missing), numpy_median(values, missing))


def test_the_only_observation_is_the_median() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 1, 2, 2)
    missing = np.ones((3, 2, 2), np.bool_)
    missing[1] = False
    np.testing.assert_array_equal(masked_median(values, missing), values[1])


def test_nothing_observed_gives_zero_whatever_is_stored_there() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 7], np.float32).reshape(2, 1, 1, 2)
    assert masked_median(values, np.ones((2, 1, 2), np.bool_)).tolist() == [[[0.0, 0.0]]]


def test_does_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    values = random.normal(size=(5, 2, 37, 20)).astype(np.float32)
    missing = random.random((5, 37, 20)) < 0.4
    whole = masked_median(values, missing)
    monkeypatch.setattr(median, "CHUNK_PX", 30)
    np.testing.assert_array_equal(masked_median(values, missing), whole)
