"""Scores: how often a model is right, how sure it is, and how well its uncertainties find its errors."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from contract.legend import Legend
from contract.record import Record
from training.evaluate.answers import Answers, Uncertainty
from training.evaluate.bootstrap import Estimate, Figure, Resampling, mean_of, quotient
from training.evaluate.calibration import (
    Reliability,
    ReliabilityBin,
    class_wise_error,
    equal_masses,
    equal_widths,
)
from training.evaluate.ranking import COVERAGES, Ranking

KEPT: Final = 0.8
"""Coverage at which the accuracy of the most certain pixels is given."""
LOWEST_PROBABILITY: Final = 2.0**-23
"""Floor under the probability of the true class in the log-likelihood, the float32 step at 1: 16 nats at most."""

Matrix = npt.NDArray[np.float64]
"""(K, K) number of pixels; rows are the true class, columns the answer."""


class ClassScore(Record):
    """One class of the legend. Figures of a class without pixels in the labels are None."""

    value: int
    name: str
    labelled: int
    """Pixels that are of the class."""
    predicted: int
    """Pixels that are said to be."""
    recall: Figure
    """Producer's accuracy."""
    precision: Figure
    """User's accuracy; None where the class is never said."""
    f1: Figure
    iou: Figure
    total_variance: Figure
    """Mean over the labelled pixels."""
    embedding_variance: Figure


class ErrorDetection(Record):
    """How well an uncertainty finds wrong pixels. All None but the curve and the accuracies where there is no error."""

    uncertainty: Uncertainty
    auroc: Estimate
    aurc: Estimate
    excess_aurc: Estimate
    kept_accuracy: Estimate
    """Accuracy of the 80 % of the pixels with the lowest uncertainty."""
    risks: tuple[Figure, ...]
    """Share of errors at each of `COVERAGES`."""


class Scores(Record):
    """A model on the labelled pixels of a view."""

    view: str
    pixels: int
    places: int
    """With at least one pixel."""
    outside_legend: int
    """Observed pixels that are labelled with a class unknown to the model; scored nowhere."""
    overall_accuracy: Estimate
    balanced_accuracy: Estimate
    """Mean recall. This, mean IoU and macro F1 are over the classes that occur in the labels."""
    mean_iou: Estimate
    macro_f1: Estimate
    nll: Estimate
    """Mean negative log-likelihood, nats."""
    brier: Estimate
    """Sum over classes of the squared error of the probability, 0..2."""
    ece: Estimate
    """Calibration error of the most probable class, 15 bins of equal width."""
    ece_equal_mass: Estimate
    """The same, bins with equally many pixels."""
    ece_class_wise: Estimate
    """Mean over classes, each one's probability in 15 bins of equal width."""
    reliability: tuple[ReliabilityBin, ...]
    detection: tuple[ErrorDetection, ...]
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Rows are the true class, columns the answer, in legend order."""


def score(view: str, answers: Answers, legend: Legend, resampling: Resampling) -> Scores:
    """The scores of a model in a view; there must be pixels."""
    confusion = confusion_by_place(answers)
    places = len(answers.places)

    def of_matrix(figure: Callable[[Matrix], float | None]) -> Estimate:
        return resampling.estimate(lambda weights: figure(np.tensordot(weights, confusion, 1)))

    def of_pixels(values: npt.NDArray[np.generic]) -> Estimate:
        return resampling.estimate(mean_of(values, answers.place, places))

    reliability = Reliability.of_top_class(answers, equal_widths())
    equal_mass = Reliability.of_top_class(answers, equal_masses(answers.probabilities.max(axis=1)))
    matrix = confusion.sum(axis=0)
    return Scores(
        view=view,
        pixels=len(answers),
        places=len(np.unique(answers.place)),
        outside_legend=answers.outside_legend,
        overall_accuracy=of_matrix(overall_accuracy),
        balanced_accuracy=of_matrix(balanced_accuracy),
        mean_iou=of_matrix(mean_iou),
        macro_f1=of_matrix(macro_f1),
        nll=of_pixels(log_losses(answers)),
        brier=of_pixels(squared_errors(answers)),
        ece=resampling.estimate(reliability.error),
        ece_equal_mass=resampling.estimate(equal_mass.error),
        ece_class_wise=resampling.estimate(class_wise_error(answers)),
        reliability=reliability.bins(),
        detection=tuple(detect_errors(answers, kind, resampling) for kind in answers.uncertainties),
        classes=class_scores(matrix, answers, legend),
        confusion=tuple(tuple(int(count) for count in row) for row in matrix),
    )


def confusion_by_place(answers: Answers) -> npt.NDArray[np.float64]:
    """(places, K, K) number of pixels; rows are the true class, columns the answer."""
    places, classes = len(answers.places), answers.probabilities.shape[1]
    cells = (answers.place * classes + answers.label) * classes + answers.predicted
    counts = np.bincount(cells, minlength=places * classes**2)
    return counts.reshape(places, classes, classes).astype(np.float64)


def overall_accuracy(matrix: Matrix) -> float | None:
    """Share of right pixels."""
    return quotient(np.trace(matrix), matrix.sum())


def balanced_accuracy(matrix: Matrix) -> float | None:
    """Mean recall of the classes that occur in the labels."""
    return _mean_of_present(matrix, matrix.sum(axis=1))


def mean_iou(matrix: Matrix) -> float | None:
    """Mean intersection over union of the classes that occur in the labels."""
    return _mean_of_present(matrix, matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix))


def macro_f1(matrix: Matrix) -> float | None:
    """Mean F1 of the classes that occur in the labels."""
    return _mean_of_present(matrix, (matrix.sum(axis=0) + matrix.sum(axis=1)) / 2)


def log_losses(answers: Answers) -> npt.NDArray[np.float64]:
    """Negative log-likelihood of each pixel's label, nats."""
    return -np.log(np.maximum(_of_label(answers), LOWEST_PROBABILITY))


def squared_errors(answers: Answers) -> npt.NDArray[np.float64]:
    """Brier score of each pixel: sum over classes of (p_c - [c is true])^2."""
    squares = np.square(answers.probabilities.astype(np.float64)).sum(axis=1)
    return np.asarray(squares - 2 * _of_label(answers) + 1, np.float64)


def detect_errors(answers: Answers, kind: Uncertainty, resampling: Resampling) -> ErrorDetection:
    """How well an uncertainty finds the wrong pixels."""
    ranking = Ranking.by(answers.uncertainty(kind), ~answers.correct, answers.place, len(answers.places))

    def kept_accuracy(weights: npt.NDArray[np.float64]) -> float | None:
        risk = ranking.risk_at(KEPT, weights)
        return None if risk is None else 1 - risk

    everywhere = np.ones(len(answers.places))
    return ErrorDetection(
        uncertainty=kind,
        auroc=resampling.estimate(ranking.auroc),
        aurc=resampling.estimate(ranking.aurc),
        excess_aurc=resampling.estimate(ranking.excess_aurc),
        kept_accuracy=resampling.estimate(kept_accuracy),
        risks=tuple(ranking.risk_at(coverage, everywhere) for coverage in COVERAGES),
    )


def class_scores(matrix: Matrix, answers: Answers, legend: Legend) -> tuple[ClassScore, ...]:
    """One line for each class of the legend."""
    labelled, predicted, right = matrix.sum(axis=1), matrix.sum(axis=0), np.diag(matrix)
    total, embedding = _sums_by_class(answers, answers.total), _sums_by_class(answers, answers.embedding)
    return tuple(
        ClassScore(
            value=entry.value,
            name=entry.name,
            labelled=int(labelled[index]),
            predicted=int(predicted[index]),
            recall=quotient(right[index], labelled[index]),
            precision=quotient(right[index], predicted[index]),
            f1=quotient(2 * right[index], labelled[index] + predicted[index]) if labelled[index] else None,
            iou=quotient(right[index], (labelled + predicted - right)[index]) if labelled[index] else None,
            total_variance=quotient(total[index], labelled[index]),
            embedding_variance=quotient(embedding[index], labelled[index]),
        )
        for index, entry in enumerate(legend.classes)
    )


def _mean_of_present(matrix: Matrix, whole: npt.NDArray[np.float64]) -> float | None:
    """The mean of right pixels over `whole` (K,), over the classes that occur in the labels."""
    present = matrix.sum(axis=1) > 0
    shares = np.diag(matrix)[present] / whole[present]
    return quotient(shares.sum(), len(shares))


def _of_label(answers: Answers) -> npt.NDArray[np.float64]:
    """Probability of the true class."""
    return answers.probabilities[np.arange(len(answers)), answers.label].astype(np.float64)


def _sums_by_class(answers: Answers, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    sums = np.bincount(answers.label, values.astype(np.float64), minlength=answers.probabilities.shape[1])
    return np.asarray(sums, np.float64)
