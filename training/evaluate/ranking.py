"""Ranking: how well a score puts marked pixels first, in figures that can be resampled by place."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, xlogy
from scipy.stats import rankdata

from training.evaluate.answers import Flags, Floats, Indices
from training.evaluate.bootstrap import Weights, quotient

GROUPS: Final = 2048
"""Most groups of equal score: above it, neighbours in rank are tied. Changes an AUROC in the fourth digit, and makes the
cost of a draw independent of the number of pixels."""
COVERAGES: Final = tuple(round(step / 50, 2) for step in range(1, 51))
"""Shares of the pixels at which the risk-coverage curve is given."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """Pixels in groups of equal score, from the highest score to the lowest."""

    marked: npt.NDArray[np.float64]
    """(places, groups): number of pixels that the score should put first, such as errors."""
    others: npt.NDArray[np.float64]
    """(places, groups)."""

    @classmethod
    def by(cls, score: Floats, marked: Flags, place: Indices, places: int) -> "Ranking":
        """The ranking of pixels by a score (n,)."""
        groups = _groups(score)
        count = int(groups.max(initial=0)) + 1
        cells = place * count + groups

        def counted(chosen: Flags) -> npt.NDArray[np.float64]:
            flat = np.bincount(cells[chosen], minlength=places * count)
            return flat.reshape(places, count).astype(np.float64)

        return cls(marked=counted(marked), others=counted(~marked))

    def auroc(self, weights: Weights) -> float | None:
        """The probability that a marked pixel has a higher score than another one; ties count half."""
        marked, others = weights @ self.marked, weights @ self.others
        higher = np.cumsum(marked) - marked / 2
        return quotient(higher.dot(others), marked.sum() * others.sum())

    def average_precision(self, weights: Weights) -> float | None:
        """The mean precision over the recall steps of a falling threshold, without interpolation."""
        marked, others = weights @ self.marked, weights @ self.others
        found, taken = np.cumsum(marked), np.cumsum(marked + others)
        precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
        return quotient(precision.dot(marked), marked.sum())

    def aurc(self, weights: Weights) -> float | None:
        """The mean risk (share of marked pixels) of the pixels with the lowest scores, over all coverages.

        Geifman and El-Yaniv, arXiv:1805.08206; within ties, the expectation over their orders: with E marked of N pixels
        before a group of n pixels with risk r, the group adds sum_i (E + i r) / (N + i), i = 1..n.
        """
        marked, sizes = self._rising(weights)
        errors, ends = np.cumsum(marked), np.cumsum(sizes)
        risk = np.divide(marked, sizes, out=np.zeros_like(marked), where=sizes > 0)
        starts = ends - sizes
        offset = (errors - marked) - starts * risk
        sums = marked + offset * (digamma(ends + 1) - digamma(starts + 1))
        return quotient(sums.sum(), ends[-1])

    def excess_aurc(self, weights: Weights) -> float | None:
        """`aurc` above that of a score that puts every marked pixel first (arXiv:1805.08206)."""
        area = self.aurc(weights)
        if area is None:
            return None
        marked, others = (weights @ self.marked).sum(), (weights @ self.others).sum()
        risk, share = marked / (marked + others), others / (marked + others)
        return float(area - (risk + xlogy(share, share)))

    def risk_at(self, coverage: float, weights: Weights) -> float | None:
        """The share of marked pixels among the `coverage` of all pixels with the lowest scores."""
        marked, sizes = self._rising(weights)
        errors, ends = np.cumsum(marked), np.cumsum(sizes)
        kept = coverage * ends[-1]
        return quotient(float(np.interp(kept, np.append(0, ends), np.append(0, errors))), kept)

    def _rising(self, weights: Weights) -> tuple[Weights, Weights]:
        """Marked pixels and all pixels of each group, from the lowest score on."""
        marked = (weights @ self.marked)[::-1]
        return marked, marked + (weights @ self.others)[::-1]


def _groups(score: Floats) -> Indices:
    """Group of each pixel, 0 for the highest scores."""
    dense = rankdata(-score, method="dense")
    if dense.max(initial=0) <= GROUPS:
        return np.asarray(dense - 1, np.int64)
    return np.asarray((rankdata(-score) - 0.5) * GROUPS / len(score), np.int64)
