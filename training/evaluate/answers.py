"""Answers: what a model says of labelled pixels, beside what is true of them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import entr

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Uncertainty(StrEnum):
    """A measure of doubt about a pixel; each rises with the doubt."""

    TOTAL = "total variance"
    ALEATORIC = "aleatoric variance"
    EMBEDDING = "embedding variance"
    LATENT = "latent variance"
    ENTROPY = "entropy"
    MARGIN = "margin"
    """1 - (highest - second highest probability)."""
    CONFIDENCE = "1 - highest probability"
    SHORTNESS = "shortness of the embedding"
    """Minus the length that it would have in a model without variances: what such a model would offer."""
    DOUBT = "model doubt"
    DISTANCE = "out-of-distribution distance"


STORED: Final = {
    Uncertainty.TOTAL: "total",
    Uncertainty.ALEATORIC: "aleatoric",
    Uncertainty.EMBEDDING: "embedding",
    Uncertainty.LATENT: "latent_variance",
    Uncertainty.DOUBT: "doubt",
    Uncertainty.DISTANCE: "ood_distance",
}
"""Those that are fields of answers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """Labelled pixels (n) that were observed in a view, from any number of samples. Arrays have one entry per pixel."""

    places: tuple[str, ...]
    """Every place that was asked about, also without any pixel here."""
    outside_legend: int
    """Observed pixels whose label is no class of the model. They are counted here and nowhere scored."""
    probabilities: Floats
    """(n, K), in legend order."""
    label: Indices
    """Index of the true class in the legend."""
    total: Floats
    """Variance of the one-hot label."""
    aleatoric: Floats
    embedding: Floats
    latent_variance: Floats
    embedding_norm: Floats
    place: Indices
    """Index in `places`."""
    sample: Indices
    """Index among the samples that were asked about."""
    position: Indices
    """(n, 2): row and column in the sample, px."""
    at_boundary: Flags
    """True where a pixel of another class is among the eight neighbours."""
    spoiled: Flags
    """True where the view put something in the way."""
    doubt: Floats | None = None
    """None where the model has no heads for it."""
    ood_distance: Floats | None = None
    """None where the model does not know where its training data lie."""

    def __len__(self) -> int:
        return len(self.label)

    @property
    def predicted(self) -> Indices:
        """Index of the most probable class."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def correct(self) -> Flags:
        """True where the most probable class is the true one."""
        return np.asarray(self.predicted == self.label)

    @property
    def uncertainties(self) -> tuple[Uncertainty, ...]:
        """Those that the model has."""
        return tuple(kind for kind in Uncertainty if kind not in STORED or STORED[kind] in self.columns)

    def uncertainty(self, kind: Uncertainty) -> Floats:
        """A measure of doubt (n,), one of `uncertainties`."""
        match kind:
            case Uncertainty.ENTROPY:
                doubt = entr(self.probabilities).sum(axis=1)
            case Uncertainty.MARGIN:
                second, first = np.partition(self.probabilities, -2, axis=1)[:, -2:].T
                doubt = 1 - (first - second)
            case Uncertainty.CONFIDENCE:
                doubt = 1 - self.probabilities.max(axis=1)
            case Uncertainty.SHORTNESS:
                doubt = -self.embedding_norm
            case _:
                doubt = self.columns[STORED[kind]]
        return np.asarray(doubt, np.float32)

    def at(self, chosen: Flags | Indices) -> "Answers":
        """The answers of some of the pixels."""
        columns: dict[str, Any] = {name: column[chosen] for name, column in self.columns.items()}
        return replace(self, **columns)

    @property
    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """Every array that the answers have, by field."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: column for name, column in every.items() if isinstance(column, np.ndarray)}


def join(parts: Sequence[Answers]) -> Answers:
    """The pixels of all parts, which must be of the same places."""
    first = parts[0]
    if any(part.places != first.places for part in parts):
        raise ValueError("answers of different places cannot be joined; their place indices would not agree")
    columns: dict[str, Any] = {name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns}
    return replace(first, outside_legend=sum(part.outside_legend for part in parts), **columns)


def in_common(answers: Sequence[Answers]) -> list[Answers]:
    """The same pixels of the same samples in each, in the same order: those that all have."""
    keys = [_key(entry) for entry in answers]
    shared = keys[0]
    for key in keys[1:]:
        shared = np.intersect1d(shared, key, assume_unique=True)
    return [entry.at(np.isin(key, shared)) for entry, key in zip(answers, keys, strict=True)]


def _key(answers: Answers) -> Indices:
    """One number per pixel, rising through the answers of an exam: rows and columns stay below a million."""
    row, column = answers.position.T
    return np.asarray((answers.sample * (1 << 20) + row) * (1 << 20) + column, np.int64)
