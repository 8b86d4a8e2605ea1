from math import ceil

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.bundle import ConformalThreshold
from tests.training.evaluate.examples import answers, random_answers
from training.evaluate.answers import Answers
from training.evaluate.conformal import (
    RAPS_PENALTY,
    Method,
    check_threshold,
    class_scores,
    fit_thresholds,
    guaranteed_coverage,
    prediction_sets,
)


def _threshold(value: float, *, method: Method = "lac", alpha: float = 0.1, blocks: int = 50) -> ConformalThreshold:
    return ConformalThreshold(alpha=alpha, method=method, threshold=value, calibration_blocks=blocks)


def _scores_of_labels(given: Answers, method: Method) -> NDArray:
    return class_scores(given.probabilities, method)[np.arange(len(given)), given.label]


@pytest.mark.parametrize("count", [19, 40, 101])
def test_with_one_pixel_to_a_block_it_is_split_conformal_prediction(count: int) -> None:
    given = random_answers(count)
    for fitted in fit_thresholds(given, np.arange(count)):
        ranked = np.sort(_scores_of_labels(given, fitted.method))
        assert fitted.threshold == ranked[ceil(round((count + 1) * (1 - fitted.alpha), 9)) - 1]
        assert fitted.calibration_blocks == count


def test_a_block_weighs_the_same_however_many_pixels_it_has() -> None:
    # Nine blocks of one pixel with p = 0.9 of the truth, one of 900 pixels with p = 0.6.
    truth = np.array([0.9] * 9 + [0.6] * 900)
    given = answers(np.stack([truth, 1 - truth], axis=1), np.zeros(909, int))
    block = np.array([*range(9), *[9] * 900])
    by_alpha = {entry.alpha: entry.threshold for entry in fit_thresholds(given, block) if entry.method == "lac"}
    assert by_alpha[0.2] == pytest.approx(1 - 0.9)  # 0.88 of the weight
    assert by_alpha[0.1] == pytest.approx(1 - 0.6)  # 0.99


def test_blocks_that_are_too_few_give_the_highest_score_and_a_weaker_promise() -> None:
    given = random_answers(200)
    block = np.arange(200) % 5
    fitted = {(entry.method, entry.alpha): entry for entry in fit_thresholds(given, block)}
    assert fitted["lac", 0.05].threshold == _scores_of_labels(given, "lac").max()
    assert guaranteed_coverage(fitted["lac", 0.05]) == pytest.approx(5 / 6)
    assert guaranteed_coverage(fitted["lac", 0.2]) == pytest.approx(0.8)


@pytest.mark.parametrize("method", ["lac", "raps"])
def test_sets_cover_new_blocks_as_promised(method: Method) -> None:
    # Blocks differ in how hard they are and in size; pixels of a block share their difficulty.
    random = np.random.default_rng(8)

    def blocks(count: int) -> tuple[Answers, NDArray]:
        block = np.repeat(np.arange(count), random.integers(1, 40, count))
        ease = random.normal(1, 2, count)[block]
        label = random.integers(0, 4, len(block))
        odds = np.exp(random.normal(size=(len(block), 4)) + ease[:, None] * np.eye(4)[label])
        return answers(odds / odds.sum(axis=1, keepdims=True), label), block

    covered = []
    for _ in range(150):
        fitted = next(entry for entry in fit_thresholds(*blocks(30)) if (entry.method, entry.alpha) == (method, 0.1))
        given, block = blocks(30)
        hit = prediction_sets(given.probabilities, fitted)[np.arange(len(given)), given.label]
        covered.append((np.bincount(block, hit) / np.bincount(block)).mean())
    # At least the promise, within 3 standard errors, and not by much.
    error = np.std(covered) / np.sqrt(len(covered))
    assert 0.9 - 3 * error < np.mean(covered) < 0.96


def test_lac_sets_hold_the_classes_above_a_probability() -> None:
    sets = prediction_sets(np.array([[0.5, 0.3, 0.2], [0.98, 0.01, 0.01]], np.float32), _threshold(0.75))
    np.testing.assert_array_equal(sets, [[True, True, False], [True, False, False]])


def test_raps_scores_are_sums_from_the_top_with_a_penalty_from_the_third_class_on() -> None:
    scores = class_scores(np.array([[0.2, 0.5, 0.25, 0.05]], np.float32), "raps")
    expected = [0.95 + RAPS_PENALTY, 0.5, 0.75, 1 + 2 * RAPS_PENALTY]
    np.testing.assert_allclose(scores, [expected], atol=1e-6)


@pytest.mark.parametrize("method", ["lac", "raps"])
def test_no_set_is_empty(method: Method) -> None:
    sets = prediction_sets(np.full((3, 4), 0.25, np.float32), _threshold(0.0, method=method))
    np.testing.assert_array_equal(sets.sum(axis=1), [1, 1, 1])


def test_a_check_counts_pixels_places_and_classes() -> None:
    certain = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.9, 0.1]])
    given = answers(certain, [0, 1, 1, 0], place=[0, 0, 1, 1], places=("near", "far", "unseen"))
    check = check_threshold(given, _threshold(0.5, blocks=3))
    assert check.coverage == pytest.approx(3 / 4)
    assert (check.worst_coverage, check.worst_place) == (0.5, "near")
    assert check.block_coverage == pytest.approx((0.5 + 1) / 2)
    assert check.mean_size == 1
    assert check.class_coverage == (1, 0.5)
    assert check.guaranteed == 0.75


def test_a_class_that_is_absent_has_no_coverage() -> None:
    check = check_threshold(answers([[0.9, 0.1]], [0]), _threshold(0.5))
    assert check.class_coverage == (1, None)
    assert check.class_size == (1, None)
