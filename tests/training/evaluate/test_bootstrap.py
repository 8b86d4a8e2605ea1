import numpy as np
import pytest
from scipy.stats import bootstrap

from training.evaluate.bootstrap import Estimate, Resampling, mean_of, minus, over, quotient

PLACES = 25


def _pixels() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    place = np.repeat(np.arange(PLACES), 40)
    return random.normal(random.normal(size=PLACES)[place], 0.2), place


def test_intervals_are_those_of_a_bootstrap_over_the_means_of_places() -> None:
    values, place = _pixels()
    ours = Resampling(places=PLACES, draws=5000).estimate(mean_of(values, place, PLACES))
    means = values.reshape(PLACES, 40).mean(axis=1)
    theirs = bootstrap([means], np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)


def test_pixels_of_a_place_are_no_independent_witnesses() -> None:
    values, place = _pixels()
    by_place = Resampling(places=PLACES).estimate(mean_of(values, place, PLACES))
    by_pixel = Resampling(places=len(values)).estimate(mean_of(values, np.arange(len(values)), len(values)))
    assert by_place.high - by_place.low > 4 * (by_pixel.high - by_pixel.low)


def test_the_same_seed_gives_the_same_interval() -> None:
    values, place = _pixels()
    estimates = [
        Resampling(places=PLACES, draws=50, seed=seed).estimate(mean_of(values, place, PLACES)) for seed in (1, 1, 2)
    ]
    assert estimates[0] == estimates[1] != estimates[2]


def test_differences_are_paired() -> None:
    values, place = _pixels()
    first, second = mean_of(values, place, PLACES), mean_of(values + 1, place, PLACES)
    difference = Resampling(places=PLACES).estimate(minus(second, first))
    assert (difference.low, difference.high) == pytest.approx((1, 1))
    assert difference.above_zero


def test_a_ratio_weighs_pixels_and_not_places() -> None:
    value, size = np.array([1.0, 3.0, 3.0]), np.array([2.0, 4.0, 4.0])
    ratio = over(mean_of(value, np.array([0, 1, 1]), 2), mean_of(size, np.array([0, 1, 1]), 2))
    assert ratio(np.array([1.0, 1.0])) == pytest.approx(7 / 10)
    assert ratio(np.array([2.0, 0.0])) == pytest.approx(0.5)


def test_one_place_has_no_interval() -> None:
    estimate = Resampling(places=1).estimate(mean_of(np.array([1.0, 2.0]), np.array([0, 0]), 1))
    assert estimate == Estimate(value=1.5)
    assert not estimate.above_zero


def test_a_figure_that_most_draws_leave_undefined_has_no_interval() -> None:
    # Only the first of four places has pixels: a draw misses it with probability (3/4)^4 = 0.32.
    estimate = Resampling(places=4).estimate(mean_of(np.array([1.0]), np.array([0]), 4))
    assert estimate == Estimate(value=1.0)


def test_an_undefined_figure_is_none() -> None:
    estimate = Resampling(places=3).estimate(mean_of(np.array([]), np.array([], int), 3))
    assert estimate == Estimate()
    assert str(estimate) == "-"
    assert quotient(0, 0) is None


def test_estimates_read_as_figures_with_their_interval() -> None:
    assert str(Estimate(value=0.6, low=0.55, high=0.0123)) == "0.600 [0.550, 0.0123]"
