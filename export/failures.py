"""Known failures of a model, read from its evaluation: nothing is left out because it does not look good."""

from collections.abc import Iterator
from typing import Final

from training.evaluate.conformal import ConformalCheck
from training.evaluate.metrics import ClassScore, Scores
from training.evaluate.report import Evaluation

WEAK_SHARE: Final = 0.5
"""A class of which less than this is found, or less than this is right, is a failure."""
COVERAGE_TOLERANCE: Final = 0.02
"""Sets that miss their nominal coverage by more are one."""
CALIBRATION_TOLERANCE: Final = 0.05
"""So is a calibration error above this."""

CHANCE: Final = 0.5
"""AUROC of an order that knows nothing."""


def known_failures(evaluation: Evaluation) -> tuple[str, ...]:
    """One sentence each, of the model with all sensors."""
    scores = evaluation.scores[0]
    return (
        *_classes(scores),
        *_confidence(scores),
        *_ranking(scores),
        *(_coverage(check) for check in evaluation.conformal if _misses(check)),
        *_single_sensors(evaluation),
        *_variance(evaluation),
    )


def untested(evaluation: Evaluation) -> tuple[str, ...]:
    """Names of the model's classes of which the evaluation has no pixel."""
    return tuple(entry.name for entry in evaluation.scores[0].classes if not entry.labelled)


def _classes(scores: Scores) -> Iterator[str]:
    for index, entry in enumerate(scores.classes):
        if not entry.labelled:
            if entry.predicted:
                yield f"{entry.name} was said of {entry.predicted:,} pixels, and none of the labels is of it."
            continue
        if entry.recall is not None and entry.recall < WEAK_SHARE:
            yield f"Of {entry.name}, {entry.recall:.0%} is found{_taken_for(scores, index)}."
        if entry.precision is not None and entry.precision < WEAK_SHARE:
            yield f"Where it says {entry.name}, it is right in {entry.precision:.0%} of the pixels."


def _taken_for(scores: Scores, index: int) -> str:
    """What a class is mostly confused with."""
    answers = scores.confusion[index]
    count, other = max((count, other) for other, count in enumerate(answers) if other != index)
    rival: ClassScore = scores.classes[other]
    return f"; {count / sum(answers):.0%} of it is taken for {rival.name}" if count else ""


def _confidence(scores: Scores) -> Iterator[str]:
    if scores.ece.value is None or scores.ece.value <= CALIBRATION_TOLERANCE:
        return
    bins = [entry for entry in scores.reliability if entry.confidence is not None and entry.accuracy is not None]
    surplus = sum(entry.pixels * ((entry.confidence or 0) - (entry.accuracy or 0)) for entry in bins)
    manner = "more" if surplus > 0 else "less"
    yield (
        f"Its probabilities are off by {scores.ece} on the average; on the whole it is {manner} sure of itself than it may be."
    )


def _ranking(scores: Scores) -> Iterator[str]:
    for entry in scores.detection:
        if entry.auroc.value is not None and entry.auroc.value < CHANCE:
            yield (
                f"Its {entry.uncertainty.value} finds errors worse than chance (AUROC {entry.auroc}): do not look for them with it."
            )


def _misses(check: ConformalCheck) -> bool:
    nominal = 1 - check.threshold.alpha
    return check.coverage is not None and abs(check.coverage - nominal) > COVERAGE_TOLERANCE


def _coverage(check: ConformalCheck) -> str:
    return (
        f"{check.threshold.method.upper()} sets that are to hold the true class in {1 - check.threshold.alpha:.0%} of the "
        f"pixels hold it in {check.coverage:.1%}; at the worst place, {check.worst_place}, in {check.worst_coverage:.1%}."
    )


def _single_sensors(evaluation: Evaluation) -> Iterator[str]:
    every, *alone = evaluation.scores
    for scores in alone:
        yield (
            f"With {scores.view}, overall accuracy is {scores.overall_accuracy} in place of {every.overall_accuracy}."
        )


def _variance(evaluation: Evaluation) -> Iterator[str]:
    tests = evaluation.variance
    named = {
        "pasted clouds": tests.clouds,
        "added speckle": tests.speckle,
        "rising corruption": tests.corruption,
        "a masked sensor": tests.masking,
        "finding errors": tests.fusion,
        "class boundaries": tests.boundaries,
    }
    for what, test in named.items():
        if test is not None and not test.holds:
            yield f"The variance did not stand the test of {what}. What would have done: {test.criterion}."
