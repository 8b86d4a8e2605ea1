import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    jaccard_score,
    log_loss,
    precision_score,
)
from torchmetrics.functional.classification import multiclass_calibration_error

from tests.training.evaluate.examples import LEGEND, answers, random_answers
from training.evaluate.answers import Uncertainty
from training.evaluate.bootstrap import Resampling
from training.evaluate.calibration import BINS, Reliability, class_wise_error, equal_masses, equal_widths
from training.evaluate.metrics import confusion_by_place, score

ANSWERS = random_answers(3000)
RESAMPLING = Resampling(places=5, draws=200)
SCORES = score("all sensors", ANSWERS, LEGEND, RESAMPLING)
ALL = np.ones(5)


def test_accuracies_are_those_of_scikit_learn() -> None:
    truth, said = ANSWERS.label, ANSWERS.predicted
    assert SCORES.overall_accuracy.value == pytest.approx(accuracy_score(truth, said))
    assert SCORES.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(truth, said))
    assert SCORES.mean_iou.value == pytest.approx(jaccard_score(truth, said, average="macro"))
    assert SCORES.macro_f1.value == pytest.approx(f1_score(truth, said, average="macro"))
    np.testing.assert_array_equal(SCORES.confusion, confusion_matrix(truth, said))


def test_figures_of_classes_are_those_of_scikit_learn() -> None:
    truth, said = ANSWERS.label, ANSWERS.predicted
    columns = {
        "precision": precision_score(truth, said, average=None),
        "f1": f1_score(truth, said, average=None),
        "iou": jaccard_score(truth, said, average=None),
    }
    for name, expected in columns.items():
        assert [getattr(entry, name) for entry in SCORES.classes] == pytest.approx(list(expected))
    assert [entry.labelled for entry in SCORES.classes] == np.bincount(truth).tolist()
    means = [ANSWERS.total[truth == index].mean() for index in range(4)]
    assert [entry.total_variance for entry in SCORES.classes] == pytest.approx(means, rel=1e-5)


def test_confusion_of_places_adds_up_pixel_by_pixel() -> None:
    confusion = confusion_by_place(ANSWERS)
    for place in range(5):
        here = ANSWERS.at(ANSWERS.place == place)
        expected = confusion_matrix(here.label, here.predicted, labels=range(4))
        np.testing.assert_array_equal(confusion[place], expected)


def test_a_class_that_is_never_labelled_is_left_out_of_means() -> None:
    # Class 3 is said once and never true; class 2 is neither.
    given = answers(np.eye(4)[[0, 0, 1, 3]], [0, 0, 1, 1])
    scores = score("all sensors", given, LEGEND, Resampling(places=1))
    assert scores.balanced_accuracy.value == pytest.approx((1 + 1 / 2) / 2)
    assert scores.mean_iou.value == pytest.approx((1 + 1 / 2) / 2)
    assert scores.macro_f1.value == pytest.approx((1 + 2 / 3) / 2)
    absent = scores.classes[2]
    assert (absent.recall, absent.precision, absent.f1, absent.iou, absent.total_variance) == (None,) * 5
    assert (scores.classes[3].precision, scores.classes[3].iou) == (0, None)


def test_likelihood_and_brier_score_follow_their_definitions() -> None:
    assert SCORES.nll.value == pytest.approx(log_loss(ANSWERS.label, ANSWERS.probabilities), rel=1e-5)
    errors = ((ANSWERS.probabilities - np.eye(4)[ANSWERS.label]) ** 2).sum(axis=1)
    assert SCORES.brier.value == pytest.approx(errors.mean(), rel=1e-5)


def test_a_label_of_probability_0_costs_16_nats() -> None:
    scores = score("all sensors", answers([[1, 0, 0, 0]], [2]), LEGEND, Resampling(places=1))
    assert scores.nll.value == pytest.approx(23 * np.log(2))


def test_calibration_error_is_that_of_torchmetrics() -> None:
    probabilities, label = torch.from_numpy(ANSWERS.probabilities), torch.from_numpy(ANSWERS.label)
    expected = multiclass_calibration_error(probabilities, label, num_classes=4, n_bins=BINS, norm="l1")
    assert SCORES.ece.value == pytest.approx(float(expected), abs=1e-6)


def test_equal_mass_bins_hold_equally_many_pixels() -> None:
    reliability = Reliability.of_top_class(ANSWERS, equal_masses(ANSWERS.probabilities.max(axis=1)))
    np.testing.assert_allclose(reliability.count.sum(axis=0), 3000 / BINS, atol=2)
    confidence, order = ANSWERS.probabilities.max(axis=1), ANSWERS.probabilities.max(axis=1).argsort()
    gaps = (confidence - ANSWERS.correct)[order].reshape(BINS, -1).mean(axis=1)
    assert SCORES.ece_equal_mass.value == pytest.approx(np.abs(gaps).mean(), abs=2e-3)


def test_class_wise_error_is_the_mean_over_classes() -> None:
    each = []
    for index in range(4):
        probability, hit = ANSWERS.probabilities[:, index], ANSWERS.label == index
        member = np.minimum((probability.astype(np.float64) * BINS).astype(int), BINS - 1)
        each.append(sum(abs((probability - hit)[member == one].sum()) for one in range(BINS)) / 3000)
    assert class_wise_error(ANSWERS)(ALL) == pytest.approx(np.mean(each), abs=1e-5)


def test_reliability_bins_hold_every_pixel_once_and_empty_ones_say_nothing() -> None:
    bins = Reliability.of_top_class(ANSWERS, equal_widths()).bins()
    assert sum(entry.pixels for entry in bins) == 3000
    hits = sum(entry.pixels * entry.accuracy for entry in bins if entry.pixels)
    assert hits == pytest.approx(ANSWERS.correct.sum())
    assert all(entry.low <= entry.confidence <= entry.high + 1e-6 for entry in bins if entry.pixels)
    assert bins[0].pixels == 0  # the most probable of four classes has at least 1/4
    assert bins[0].accuracy is None


def test_a_certain_model_lies_in_the_last_bin() -> None:
    bins = Reliability.of_top_class(answers(np.eye(4), [0, 1, 2, 0]), equal_widths()).bins()
    assert (bins[-1].pixels, bins[-1].confidence, bins[-1].accuracy) == (4, 1, 0.75)


def test_intervals_hold_the_value() -> None:
    for estimate in (SCORES.overall_accuracy, SCORES.mean_iou, SCORES.nll, SCORES.detection[0].aurc):
        assert estimate.low < estimate.value < estimate.high


def test_every_uncertainty_is_tried_at_finding_errors() -> None:
    assert tuple(entry.uncertainty for entry in SCORES.detection) == tuple(Uncertainty)
    confidence = SCORES.detection[list(Uncertainty).index(Uncertainty.CONFIDENCE)]
    kept = ANSWERS.uncertainty(Uncertainty.CONFIDENCE).argsort()[:2400]
    assert confidence.kept_accuracy.value == pytest.approx(ANSWERS.correct[kept].mean(), abs=1e-3)
    assert confidence.risks[-1] == pytest.approx(1 - SCORES.overall_accuracy.value)


def test_a_model_without_errors_leaves_detection_undefined() -> None:
    scores = score("all sensors", answers(np.eye(4), range(4)), LEGEND, Resampling(places=1))
    assert scores.overall_accuracy.value == 1
    assert {entry.auroc.value for entry in scores.detection} == {None}
    assert {entry.aurc.value for entry in scores.detection} == {0}


def test_records_of_undefined_figures_hold_no_nan() -> None:
    scores = score("all sensors", answers(np.eye(4)[:1], [0]), LEGEND, Resampling(places=1))
    assert "NaN" not in scores.model_dump_json()
    assert type(scores).model_validate_json(scores.model_dump_json()) == scores
