"""Percentile intervals by resampling places: pixels of a place are no independent witnesses, places are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from contract.record import Record

Weights = npt.NDArray[np.float64]
"""(places,): how often each place was drawn; ones for the sample as it is."""
Statistic = Callable[[Weights], float | None]
"""A figure of any number of places, None where it is undefined (such as a recall without any pixel of the class)."""
Figure = Annotated[float, Field(allow_inf_nan=False)] | None
"""None where a figure is undefined."""

FEWEST_DEFINED: Final = 0.9
"""Share of the draws in which a figure must be defined for it to have an interval."""


class Estimate(Record):
    """A figure with its percentile interval over places."""

    value: Figure = None
    low: Figure = None
    """None where there are fewer than two places, or where too many draws leave the figure undefined."""
    high: Figure = None

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval is; False without an interval."""
        return self.low is not None and self.low > 0

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        interval = "" if self.low is None else f" [{self.low:#.3g}, {self.high:#.3g}]"
        return f"{self.value:#.3g}{interval}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """How places are drawn. All estimates of one resampling see the same draws, so that differences are paired.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. With few places (below about 20) percentile
    intervals are too narrow: read them as a lower bound of what is open.
    """

    places: int
    draws: int = 1000
    seed: int = 0
    level: float = 0.95

    def estimate(self, statistic: Statistic) -> Estimate:
        """The figure of all places, with its interval."""
        value = statistic(np.ones(self.places))
        if value is None or self.places < 2:  # noqa: PLR2004  one place has nothing to be compared with
            return Estimate(value=value)
        drawn = [figure for figure in map(statistic, self._weights()) if figure is not None]
        if len(drawn) < FEWEST_DEFINED * self.draws:
            return Estimate(value=value)
        low, high = np.quantile(drawn, [(1 - self.level) / 2, (1 + self.level) / 2])
        return Estimate(value=value, low=float(low), high=float(high))

    def _weights(self) -> Iterator[Weights]:
        random = np.random.default_rng(self.seed)
        for _ in range(self.draws):
            yield random.multinomial(self.places, np.full(self.places, 1 / self.places)).astype(np.float64)


def mean_of(values: npt.NDArray[np.generic], place: npt.NDArray[np.int64], places: int) -> Statistic:
    """The mean of the pixels' values, each pixel weighing as often as its place was drawn."""
    sums = np.bincount(place, values.astype(np.float64), minlength=places)
    counts = np.bincount(place, minlength=places)
    return lambda weights: quotient(weights.dot(sums), weights.dot(counts))


def minus(first: Statistic, second: Statistic) -> Statistic:
    """The difference of two figures of the same places."""
    return _combined(first, second, lambda one, other: one - other)


def over(first: Statistic, second: Statistic) -> Statistic:
    """The ratio of two figures of the same places."""
    return _combined(first, second, quotient)


def quotient(numerator: float, denominator: float) -> float | None:
    """None for a denominator of 0."""
    return float(numerator / denominator) if denominator else None


def _combined(first: Statistic, second: Statistic, how: Callable[[float, float], float | None]) -> Statistic:
    def statistic(weights: Weights) -> float | None:
        one, other = first(weights), second(weights)
        return None if one is None or other is None else how(one, other)

    return statistic
