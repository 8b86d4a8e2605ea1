"""BundleEvaluation: what a bundle's model is worth on ground that it has not seen, by split and by modality."""

from typing import Literal

from pydantic import Field

from contract.record import Record


class Interval(Record):
    """A figure with its interval over places."""

    value: float | None = Field(default=None, allow_inf_nan=False)
    """None where it is undefined."""
    low: float | None = Field(default=None, allow_inf_nan=False)
    """None where there are too few places."""
    high: float | None = Field(default=None, allow_inf_nan=False)

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        return f"{self.value:.3f}" if self.low is None else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class ViewFigures(Record):
    """The figures with all sensors, or with one alone."""

    view: str
    """As "all sensors", "Sentinel-1 alone"."""
    pixels: int = Field(ge=0)
    """Labelled and observed."""
    figures: dict[str, Interval]
    """By name, as "overall accuracy"."""


class SplitEvaluation(Record):
    """The figures on the samples of one split."""

    split: str
    archives: tuple[str, ...]
    """Data sets with their versions, licences and numbers of samples."""
    samples: int = Field(ge=1)
    places: tuple[str, ...]
    """None of them was seen in training."""
    level: float = Field(gt=0, lt=1)
    """Of the intervals."""
    views: tuple[ViewFigures, ...] = Field(min_length=1)
    """All sensors first."""
    details: str
    """Path of everything that was measured; one of the bundle's files."""
    pictures: tuple[str, ...] = ()
    """Paths of charts and maps; files of the bundle."""


class BundleEvaluation(Record):
    """What a bundle's model is worth. Stored as `evaluation.json` in the bundle folder."""

    schema_version: Literal[1] = 1
    splits: tuple[SplitEvaluation, ...] = Field(min_length=1)
