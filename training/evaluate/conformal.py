"""Conformal sets: the classes that cannot be ruled out, with a guarantee that holds for new places.

What is done: every labelled pixel of the calibration places gets the score of its true class. A block (a place, or a part
of one) weighs the same however many pixels it has: each of its pixels counts 1 / (pixels of the block). With n blocks, the
threshold is the lowest score that leaves (1 - alpha)(n + 1) / n of the mean weight at or below it.

What it guarantees: if a new block and the n calibration blocks are exchangeable (any order of them is equally likely; the
pixels of one may depend on each other in any way), the set of a random labelled pixel of the new block holds its true class
with probability at least 1 - alpha. This is hierarchical conformal prediction (Lee, Barber, Willett, arXiv:2306.06342). With
one pixel to a block it is split conformal prediction, whose level is ceil((n + 1)(1 - alpha)) / n. It is a mean over blocks
and over calibrations: it promises nothing for each place, class or pixel, and nothing for places unlike those of the
calibration.

Here blocks are the samples of calibration: those of one place are alike, and their scores are of the folds' models, not of
the one that is shipped. So the guarantee is what to aim at; the coverage on unseen places is what counts.

With fewer than 1 / alpha - 1 blocks the level passes 1. It is cut there: the threshold is then the highest score that was
seen, and what is guaranteed is n / (n + 1) only, as `guaranteed_coverage` says.
"""

from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from contract.bundle import ConformalThreshold
from contract.record import Record
from training.evaluate.answers import Answers, Flags, Indices
from training.evaluate.bootstrap import Figure, quotient

Method = Literal["raps", "lac"]

ALPHAS: Final = (0.05, 0.1, 0.2)
METHODS: Final[tuple[Method, ...]] = ("lac", "raps")
RAPS_FREE_CLASSES: Final = 2
"""Classes that a set may have before RAPS penalises it (k_reg): two neighbours in a mixed pixel are no fault."""
RAPS_PENALTY: Final = 0.05
"""Added to the score for each class beyond (lambda); of the size that its authors find to work, arXiv:2009.14193."""
ROUNDING: Final = 1e-9
"""Sums of weights this close below a level have reached it."""


class ConformalCheck(Record):
    """What the sets of a threshold are like on places that it was not fitted on."""

    threshold: ConformalThreshold
    guaranteed: float
    """See `guaranteed_coverage`."""
    coverage: Figure
    """Share of the pixels whose set holds the true class."""
    block_coverage: Figure
    """Mean over places of each one's coverage: what the guarantee is about."""
    worst_coverage: Figure
    """Of the place where it is lowest."""
    worst_place: str | None
    mean_size: Figure
    """Classes in a set."""
    class_coverage: tuple[Figure, ...]
    """By true class, in legend order."""
    class_size: tuple[Figure, ...]


def fit_thresholds(answers: Answers, block: Indices) -> tuple[ConformalThreshold, ...]:
    """Thresholds of both methods for each of `ALPHAS`.

    Args:
        answers: Of places that neither weights nor temperature were fitted on.
        block: (n,) any number that pixels of a spatial block have in common, such as `answers.place`.
    """
    thresholds = []
    for method in METHODS:
        scores = class_scores(answers.probabilities, method)[np.arange(len(answers)), answers.label]
        thresholds += [_threshold(scores, block, method, alpha) for alpha in ALPHAS]
    return tuple(thresholds)


def guaranteed_coverage(threshold: ConformalThreshold) -> float:
    """Probability that the set of a random pixel of a new, exchangeable block holds its true class, at least."""
    blocks = threshold.calibration_blocks
    return min(1 - threshold.alpha, blocks / (blocks + 1))


def prediction_sets(probabilities: npt.NDArray[np.floating], threshold: ConformalThreshold) -> Flags:
    """(n, K), True for the classes in each pixel's set.

    The most probable class is in every set: an empty set would say nothing to the reader of a map, and coverage can only
    rise.
    """
    sets = class_scores(probabilities, threshold.method) <= threshold.threshold
    sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return sets


def check_threshold(answers: Answers, threshold: ConformalThreshold) -> ConformalCheck:
    """Coverage and size of the sets on held-out places."""
    sets = prediction_sets(answers.probabilities, threshold)
    covered = sets[np.arange(len(sets)), answers.label]
    by_place = _means(covered, answers.place, len(answers.places))
    seen = [(coverage, place) for coverage, place in zip(by_place, answers.places, strict=True) if coverage is not None]
    worst_coverage, worst_place = min(seen, default=(None, None))
    classes = answers.probabilities.shape[1]
    return ConformalCheck(
        threshold=threshold,
        guaranteed=guaranteed_coverage(threshold),
        coverage=quotient(covered.sum(), len(covered)),
        block_coverage=quotient(sum(coverage for coverage, _ in seen), len(seen)),
        worst_coverage=worst_coverage,
        worst_place=worst_place,
        mean_size=quotient(sets.sum(), len(sets)),
        class_coverage=_means(covered, answers.label, classes),
        class_size=_means(sets.sum(axis=1), answers.label, classes),
    )


def class_scores(probabilities: npt.NDArray[np.floating], method: Method) -> npt.NDArray[np.float64]:
    """(n, K): how strange each class would be; a set holds the classes up to a threshold.

    lac: 1 - p_c (Sadinle, Lei, Wasserman, arXiv:1609.00451): smallest sets on average.
    raps: the probability of c and of all classes above it, and a penalty for each rank beyond the free ones
    (Angelopoulos et al., arXiv:2009.14193). Without its random term, so that a map does not depend on a seed; sets are a
    little larger for it.
    """
    if method == "lac":
        return np.asarray(1 - probabilities.astype(np.float64))
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranks = np.arange(1, probabilities.shape[1] + 1)
    sums = np.cumsum(np.take_along_axis(probabilities, order, axis=1), axis=1, dtype=np.float64)
    scores = np.empty(sums.shape)
    np.put_along_axis(scores, order, sums + RAPS_PENALTY * np.maximum(ranks - RAPS_FREE_CLASSES, 0), axis=1)
    return scores


def _threshold(scores: npt.NDArray[np.float64], block: Indices, method: Method, alpha: float) -> ConformalThreshold:
    _, member, sizes = np.unique(block, return_inverse=True, return_counts=True)
    blocks = len(sizes)
    level = min(1.0, (1 - alpha) * (blocks + 1) / blocks)
    order = np.argsort(scores)
    reached = np.cumsum(1 / sizes[member[order]]) / blocks
    first = min(int(np.searchsorted(reached, level - ROUNDING)), len(scores) - 1)
    return ConformalThreshold(
        alpha=alpha, method=method, threshold=float(scores[order[first]]), calibration_blocks=blocks
    )


def _means(values: npt.NDArray[np.generic], group: Indices, groups: int) -> tuple[float | None, ...]:
    """The mean of each group's values, None for a group without any."""
    sums = np.bincount(group, values.astype(np.float64), minlength=groups)
    counts = np.bincount(group, minlength=groups)
    return tuple(quotient(total, count) for total, count in zip(sums, counts, strict=True))
