from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from contract.bands import Modality
from tests.training.evaluate.examples import PLACES, answers, exam, formula, landscape, random_answers
from training.augment import Corruption
from training.evaluate.answers import Answers, Uncertainty
from training.evaluate.bootstrap import Resampling
from training.evaluate.ranking import Ranking
from training.evaluate.variance_tests import (
    VarianceTests,
    detect_spoiled,
    fuse_ranks,
    respond_to_boundaries,
    respond_to_corruption,
    respond_to_masking,
    run_variance_tests,
)
from training.tensors import Inputs, Prediction

RESAMPLING = Resampling(places=len(PLACES), draws=100)


def indifferent(inputs: Inputs) -> Prediction:
    """The formula with variances that say the same everywhere."""
    answer = formula(inputs)
    same = torch.full_like(answer.total, 0.01)
    return replace(answer, total=same, embedding=same, latent_variance=same)


def _spoiled(doubt: np.ndarray, spoiled: np.ndarray) -> Answers:
    """Two places whose pixels have a latent variance, the same embedding everywhere and even probabilities."""
    count = len(doubt)
    given = answers(
        np.full((count, 4), 0.25), np.zeros(count, int), place=np.arange(count) // 4 % 2, doubt=doubt, places=("a", "b")
    )
    return replace(given, spoiled=spoiled, embedding_norm=np.ones(count, np.float32))


def _boundaries(factor: float) -> Answers:
    given = random_answers(2000)
    at_boundary = np.arange(2000) % 5 == 0
    variance = np.where(at_boundary, factor, 1).astype(np.float32) * given.total
    return replace(given, at_boundary=at_boundary, total=variance, embedding=variance)


def test_v1_holds_where_latent_variance_alone_knows() -> None:
    spoiled = np.arange(400) % 4 == 0
    doubt = spoiled + np.random.default_rng(0).random(400)
    found = detect_spoiled("cloud", _spoiled(doubt, spoiled), Resampling(places=2, draws=100))
    precisions = {entry.uncertainty: entry.average_precision.value for entry in found.precisions}
    assert precisions[Uncertainty.LATENT] == pytest.approx(average_precision_score(spoiled, doubt.astype(np.float32)))
    assert precisions[Uncertainty.SHORTNESS] == precisions[Uncertainty.CONFIDENCE] == found.share == 0.25
    assert found.holds


def test_v1_does_not_hold_where_nothing_knows() -> None:
    spoiled = np.arange(400) % 4 == 0
    found = detect_spoiled("cloud", _spoiled(np.ones(400), spoiled), Resampling(places=2, draws=100))
    assert not found.holds


def test_v1_without_pixels_is_none() -> None:
    empty = _spoiled(np.array([]), np.array([], bool))
    assert detect_spoiled("cloud", empty, Resampling(places=2, draws=100)) is None


def test_v2_is_about_every_kind_at_every_level() -> None:
    asked = exam(4)
    found = respond_to_corruption(asked, asked.answers(), RESAMPLING)
    assert tuple(curve.kind for curve in found.curves) == tuple(Corruption)
    assert all([level.level for level in curve.levels] == [0, 1, 2, 3, 4, 5] for curve in found.curves)
    assert found.holds == all(curve.rises for curve in found.curves)


def test_v2_variance_rises_as_the_inputs_are_hidden() -> None:
    asked = exam(4)
    found = respond_to_corruption(asked, asked.answers(), RESAMPLING)
    hidden = next(curve for curve in found.curves if curve.kind is Corruption.NODATA)
    assert hidden.rises
    assert hidden.spearman == pytest.approx(1)
    clean = asked.answers()
    assert hidden.levels[0].embedding_variance.value == pytest.approx(clean.embedding.mean(), rel=1e-5)
    assert hidden.levels[0].accuracy.value == pytest.approx(clean.correct.mean())


def test_v2_does_not_hold_for_a_variance_that_is_always_the_same() -> None:
    asked = replace(exam(4), predictor=indifferent)
    found = respond_to_corruption(asked, asked.answers(), RESAMPLING)
    assert not found.holds
    assert {curve.spearman for curve in found.curves} == {None}


def test_v3_holds_for_a_model_that_knows_what_it_lost() -> None:
    # Noisier Sentinel-2, so that losing Sentinel-1 costs something too.
    samples = [landscape(index, noise=0.02) for index in range(8)]
    asked = replace(exam(1), samples=samples)
    found = respond_to_masking(asked, asked.answers(), RESAMPLING)
    assert tuple(loss.left for loss in found.losses) == tuple(Modality)
    assert found.holds
    for loss in found.losses:
        rise = loss.embedding_variance.value - found.embedding_variance.value
        assert loss.embedding_rise.value == pytest.approx(rise)
        assert loss.accuracy_fall.value == pytest.approx(found.accuracy.value - loss.accuracy.value)


def test_v3_does_not_hold_for_a_variance_that_is_always_the_same() -> None:
    asked = replace(exam(4), predictor=indifferent)
    assert not respond_to_masking(asked, asked.answers(), RESAMPLING).holds


def test_v3_of_samples_with_one_sensor_is_none() -> None:
    asked = replace(exam(1), samples=[landscape(modalities=[Modality.S2])])
    assert respond_to_masking(asked, asked.answers(), Resampling(places=1)) is None


def test_v4_ranks_entropy_and_embedding_variance_together() -> None:
    given = random_answers(1500)
    found = fuse_ranks(given, Resampling(places=5, draws=50))
    ranks = rankdata(given.uncertainty(Uncertainty.ENTROPY)) + rankdata(given.embedding)
    expected = Ranking.by(ranks.astype(np.float32), ~given.correct, np.zeros(1500, int), 1).aurc(np.ones(1))
    assert found.fused.value == pytest.approx(expected)
    assert found.difference.value == pytest.approx(found.fused.value - found.entropy.value)
    assert not found.holds  # the embedding variance of these answers is noise


def test_v4_holds_where_embedding_variance_knows_the_errors() -> None:
    given = random_answers(1500)
    found = fuse_ranks(replace(given, embedding=(~given.correct).astype(np.float32)), Resampling(places=5, draws=50))
    assert found.holds


def test_v5_holds_where_boundaries_are_doubtful() -> None:
    given = _boundaries(2)
    found = respond_to_boundaries(given, Resampling(places=5, draws=100))
    assert found.holds
    assert found.boundary_share == pytest.approx(0.2)
    here, elsewhere = given.total[given.at_boundary], given.total[~given.at_boundary]
    assert found.contrasts[1].ratio.value == pytest.approx(here.mean() / elsewhere.mean(), rel=1e-5)
    expected = roc_auc_score(given.at_boundary, given.total)
    assert found.contrasts[1].auroc.value == pytest.approx(expected, abs=1e-4)


def test_v5_does_not_hold_where_boundaries_are_as_any_pixel() -> None:
    assert not respond_to_boundaries(_boundaries(1), Resampling(places=5, draws=100)).holds


def test_v5_without_boundaries_is_undefined() -> None:
    found = respond_to_boundaries(random_answers(100), Resampling(places=5, draws=20))
    assert [entry.ratio.value for entry in found.contrasts] == [None, None]
    assert not found.holds


def test_nothing_that_needs_an_interval_holds_for_one_place() -> None:
    asked = exam(1)
    found = run_variance_tests(asked, asked.answers(), Resampling(places=1))
    assert not any(test.holds for test in (found.clouds, found.speckle, found.masking, found.boundaries))
    assert VarianceTests.model_validate_json(found.model_dump_json()) == found


def test_cloud_and_speckle_are_looked_for_by_the_sensor_that_has_them() -> None:
    asked = exam(8)
    found = run_variance_tests(asked, asked.answers(), RESAMPLING)
    assert found.clouds.holds
    assert found.speckle.holds
    assert found.speckle.share == 0.5
