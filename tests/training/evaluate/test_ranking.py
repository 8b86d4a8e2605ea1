import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from training.evaluate.ranking import GROUPS, Ranking

ALL = np.ones(6)


def _pixels(count: int, *, levels: int = 10**9) -> tuple[NDArray, NDArray, NDArray]:
    """Score, mark and place of pixels; few levels of the score make ties."""
    random = np.random.default_rng(count)
    marked = random.random(count) < 0.2
    score = np.floor((random.normal(size=count) + marked) * levels) / levels
    return score.astype(np.float32), marked, random.integers(0, 6, count)


def _ranking(count: int, **kwargs: int) -> Ranking:
    score, marked, place = _pixels(count, **kwargs)
    return Ranking.by(score, marked, place, 6)


def _aurc(score: NDArray, marked: NDArray) -> float:
    """By its definition: the mean of the running risk, most certain pixels first."""
    errors = marked[np.argsort(score, kind="stable")]
    return float((np.cumsum(errors) / np.arange(1, len(errors) + 1)).mean())


@pytest.mark.parametrize("levels", [2, 10**9])
def test_auroc_and_average_precision_are_those_of_scikit_learn(levels: int) -> None:
    score, marked, _ = _pixels(1500, levels=levels)
    ranking = _ranking(1500, levels=levels)
    assert ranking.auroc(ALL) == pytest.approx(roc_auc_score(marked, score), abs=1e-9)
    assert ranking.average_precision(ALL) == pytest.approx(average_precision_score(marked, score), abs=1e-9)


def test_weights_of_places_are_weights_of_their_pixels() -> None:
    score, marked, place = _pixels(1500)
    weights = np.array([0, 2, 1, 0, 3, 1.0])
    ranking = _ranking(1500)
    assert ranking.auroc(weights) == pytest.approx(roc_auc_score(marked, score, sample_weight=weights[place]))
    expected = average_precision_score(marked, score, sample_weight=weights[place])
    assert ranking.average_precision(weights) == pytest.approx(expected)


def test_a_place_drawn_twice_counts_as_two_copies_of_its_pixels() -> None:
    score, marked, place = _pixels(900)
    copies = np.concatenate([np.arange(900), np.flatnonzero(place == 2)])
    doubled = Ranking.by(score[copies], marked[copies], place[copies], 6)
    weights = np.array([1, 1, 2, 1, 1, 1.0])
    assert _ranking(900).aurc(weights) == pytest.approx(doubled.aurc(ALL))
    assert _ranking(900).risk_at(0.8, weights) == pytest.approx(doubled.risk_at(0.8, ALL))


def test_grouped_ranks_change_figures_in_the_fourth_digit() -> None:
    score, marked, _ = _pixels(40_000)
    ranking = _ranking(40_000)
    assert ranking.marked.shape == (6, GROUPS)
    assert ranking.auroc(ALL) == pytest.approx(roc_auc_score(marked, score), abs=1e-4)
    assert ranking.average_precision(ALL) == pytest.approx(average_precision_score(marked, score), abs=2e-3)
    assert ranking.aurc(ALL) == pytest.approx(_aurc(score, marked), abs=2e-4)


def test_aurc_is_the_mean_of_the_running_risk() -> None:
    score, marked, _ = _pixels(1500)
    assert _ranking(1500).aurc(ALL) == pytest.approx(_aurc(score, marked), abs=1e-9)


def test_aurc_of_ties_is_the_mean_over_their_orders() -> None:
    score = np.array([0.1, 0.5, 0.5, 0.5, 0.9], np.float32)
    marked = np.array([False, True, False, False, True])
    orders = [_aurc(np.arange(5), marked[[0, *middle, 4]]) for middle in itertools.permutations([1, 2, 3])]
    ranking = Ranking.by(score, marked, np.zeros(5, int), 1)
    assert ranking.aurc(np.ones(1)) == pytest.approx(np.mean(orders))


def test_a_score_without_information_has_the_overall_risk_at_every_coverage() -> None:
    marked = np.arange(1000) % 4 == 0
    ranking = Ranking.by(np.zeros(1000, np.float32), marked, np.zeros(1000, int), 1)
    assert ranking.auroc(np.ones(1)) == pytest.approx(0.5)
    assert ranking.aurc(np.ones(1)) == pytest.approx(0.25)
    assert ranking.risk_at(0.3, np.ones(1)) == pytest.approx(0.25)


def test_a_score_that_puts_all_errors_last_has_no_excess_aurc() -> None:
    marked = np.arange(2000) >= 1500
    ranking = Ranking.by(np.arange(2000, dtype=np.float32), marked, np.zeros(2000, int), 1)
    assert ranking.auroc(np.ones(1)) == 1
    assert ranking.excess_aurc(np.ones(1)) == pytest.approx(0, abs=1e-3)
    assert ranking.risk_at(0.75, np.ones(1)) == 0
    assert ranking.risk_at(0.8, np.ones(1)) == pytest.approx(100 / 1600)


def test_without_marked_pixels_only_areas_are_defined() -> None:
    ranking = Ranking.by(np.arange(9, dtype=np.float32), np.zeros(9, bool), np.zeros(9, int), 1)
    assert ranking.auroc(np.ones(1)) is None
    assert ranking.average_precision(np.ones(1)) is None
    assert ranking.aurc(np.ones(1)) == ranking.excess_aurc(np.ones(1)) == ranking.risk_at(0.8, np.ones(1)) == 0


def test_with_marked_pixels_only_the_risk_is_1() -> None:
    ranking = Ranking.by(np.arange(9, dtype=np.float32), np.ones(9, bool), np.zeros(9, int), 1)
    assert ranking.auroc(np.ones(1)) is None
    assert ranking.aurc(np.ones(1)) == pytest.approx(1)
    assert ranking.excess_aurc(np.ones(1)) == pytest.approx(0)


def test_a_draw_without_pixels_has_no_figures() -> None:
    ranking = Ranking.by(np.arange(9, dtype=np.float32), np.arange(9) > 5, np.zeros(9, int), 2)
    nobody = np.array([0.0, 2.0])
    figures = (ranking.auroc, ranking.average_precision, ranking.aurc, ranking.excess_aurc)
    assert [figure(nobody) for figure in figures] == [None] * 4
    assert ranking.risk_at(0.8, nobody) is None
