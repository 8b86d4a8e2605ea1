"""Reliability: how often a model is right when it says how sure it is."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from contract.record import Record
from training.evaluate.answers import Answers, Flags, Floats
from training.evaluate.bootstrap import Figure, Statistic, Weights, quotient

BINS: Final = 15

Edges = npt.NDArray[np.float64]
"""Rising, from 0 to 1; a bin holds its lower edge and not its upper one, but for the last."""


class ReliabilityBin(Record):
    """The pixels whose probability lies between two edges."""

    low: float
    high: float
    pixels: int = Field(ge=0)
    confidence: Figure
    """Mean probability; None without pixels."""
    accuracy: Figure
    """Share that came true; None without pixels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability:
    """Probabilities in bins beside what came true."""

    edges: Edges
    count: npt.NDArray[np.float64]
    """(places, bins)."""
    confidence: npt.NDArray[np.float64]
    """(places, bins): sum of the probabilities."""
    hits: npt.NDArray[np.float64]
    """(places, bins): how many came true."""

    @classmethod
    def of_top_class(cls, answers: Answers, edges: Edges) -> "Reliability":
        """That of the most probable class."""
        return cls._of(answers.probabilities.max(axis=1), answers.correct, answers, edges)

    @classmethod
    def of_class(cls, answers: Answers, index: int, edges: Edges) -> "Reliability":
        """That of the probability of one class, whether or not it is the most probable one."""
        return cls._of(answers.probabilities[:, index], answers.label == index, answers, edges)

    @classmethod
    def _of(cls, confidence: Floats, hit: Flags, answers: Answers, edges: Edges) -> "Reliability":
        places, bins = len(answers.places), len(edges) - 1
        cells = answers.place * bins + np.digitize(confidence, edges[1:-1])

        def summed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            return np.asarray(np.bincount(cells, values, places * bins).reshape(places, bins), np.float64)

        counts = summed(np.ones(len(answers)))
        return cls(
            edges=edges,
            count=counts,
            confidence=summed(confidence.astype(np.float64)),
            hits=summed(hit.astype(np.float64)),
        )

    def error(self, weights: Weights) -> float | None:
        """Expected calibration error: mean distance of confidence and accuracy, bins weighed by their pixels."""
        gaps = np.abs(weights @ self.confidence - weights @ self.hits)
        return quotient(gaps.sum(), (weights @ self.count).sum())

    def bins(self) -> tuple[ReliabilityBin, ...]:
        """All places together, for a diagram."""
        sums = zip(self.count.sum(0), self.confidence.sum(0), self.hits.sum(0), strict=True)
        return tuple(
            ReliabilityBin(
                low=float(low),
                high=float(high),
                pixels=int(count),
                confidence=quotient(confidence, count),
                accuracy=quotient(hits, count),
            )
            for low, high, (count, confidence, hits) in zip(self.edges[:-1], self.edges[1:], sums, strict=True)
        )


def equal_widths() -> Edges:
    """Edges of bins of equal width, as in Guo et al., arXiv:1706.04599."""
    return np.linspace(0, 1, BINS + 1)


def equal_masses(confidence: Floats) -> Edges:
    """Edges of bins with equally many pixels; fewer bins where values are tied (Nixon et al., arXiv:1904.01685)."""
    if not len(confidence):
        return equal_widths()
    inner = np.quantile(confidence, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.unique(np.concatenate([[0], inner, [1]]).astype(np.float64))


def class_wise_error(answers: Answers) -> Statistic:
    """Mean over the model's classes of the calibration error of each one's probability (Kull et al., arXiv:1910.12656)."""
    each = [Reliability.of_class(answers, index, equal_widths()) for index in range(answers.probabilities.shape[1])]

    def statistic(weights: Weights) -> float | None:
        errors = [error for one in each if (error := one.error(weights)) is not None]
        return quotient(sum(errors), len(errors))

    return statistic
