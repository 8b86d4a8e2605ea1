"""ArchiveSpec: one archive as a configuration names it. open_archive: the archive."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from contract.errors import ArchiveInvalid
from contract.record import Record
from training.data.dfc2020 import DFC2020
from training.data.eurosat import EuroSAT
from training.data.pairs import PairFolder, PairLayout
from training.data.reben import ReBEN
from training.data.sample import Archive, BandChoice, Entry
from training.data.sen12ms import SEN12MS
from training.data.ssl4eo import SSL4EO, Level
from training.data.stac import StacArchive

MOST_DAYS_APART: Final = 12
"""One repeat cycle of a Sentinel-1 satellite."""


class _Spec(Record):
    """What every archive's table has."""

    folder: Path
    splits: tuple[Literal["train", "val", "test"], ...] | None = None
    """Only samples on these sides of the archive's own split; None for all, and for archives that have none."""
    places: tuple[str, ...] | None = None
    """Only samples of these places; None for all."""


class ReBENSpec(_Spec):
    """BigEarthNet v2."""

    kind: Literal["reben"]


class SEN12MSSpec(_Spec):
    """SEN12MS or SEN12MS-CR."""

    kind: Literal["sen12ms"]


class DFC2020Spec(_Spec):
    """The data fusion contest of 2020."""

    kind: Literal["dfc2020"]


class SSL4EOSpec(_Spec):
    """SSL4EO-S12 v1."""

    kind: Literal["ssl4eo"]
    level: Level = "s2a"
    """Surface reflectance, or s2c for top of atmosphere."""
    most_days_apart: int = Field(default=MOST_DAYS_APART, ge=0)
    """Between the two images of a pair."""


class EuroSATSpec(_Spec):
    """EuroSAT-MS."""

    kind: Literal["eurosat"]


class PairsSpec(_Spec):
    """A folder of GeoTIFFs."""

    kind: Literal["pairs"]
    layout: PairLayout


class StacSpec(_Spec):
    """A static STAC catalogue."""

    kind: Literal["stac"]
    folder: Path
    """Of a catalog.json; or the JSON file of a catalogue, collection or item collection."""
    most_days_apart: float = Field(default=MOST_DAYS_APART, ge=0)
    """Between the two scenes of a pair."""


ArchiveSpec = Annotated[
    ReBENSpec | SEN12MSSpec | DFC2020Spec | SSL4EOSpec | EuroSATSpec | PairsSpec | StacSpec,
    Field(discriminator="kind"),
]


def open_archive(spec: ArchiveSpec, bands: BandChoice) -> Archive:
    """The archive with the samples that the spec asks for.

    Raises:
        ArchiveInvalid: The folder is not laid out as its kind, or no sample is what was asked for.
    """
    if not spec.folder.exists():
        raise ArchiveInvalid(str(spec.folder), spec.kind, "it does not exist")
    archive = _opened(spec, bands)
    archive.entries = _chosen(spec, archive.entries)
    return archive


def _chosen(spec: ArchiveSpec, entries: Sequence[Entry]) -> list[Entry]:
    """The entries of these splits and places. One without any is a slip of the pen."""
    known = {entry.split for entry in entries} | {entry.place for entry in entries}
    unknown = [name for name in (*(spec.splits or ()), *(spec.places or ())) if name not in known]
    chosen = [
        entry
        for entry in entries
        if (spec.splits is None or entry.split in spec.splits) and (spec.places is None or entry.place in spec.places)
    ]
    if unknown or not chosen:
        lacking = ", ".join(unknown) or "both these splits and these places"
        raise ArchiveInvalid(str(spec.folder), spec.kind, f"none of its {len(entries)} samples is of {lacking}")
    return chosen


def _opened(spec: ArchiveSpec, bands: BandChoice) -> Archive:  # noqa: PLR0911  one line for each kind
    match spec:
        case ReBENSpec():
            return ReBEN(spec.folder, bands)
        case SEN12MSSpec():
            return SEN12MS(spec.folder, bands)
        case DFC2020Spec():
            return DFC2020(spec.folder, bands)
        case SSL4EOSpec():
            return SSL4EO(spec.folder, bands, level=spec.level, most_days_apart=spec.most_days_apart)
        case EuroSATSpec():
            return EuroSAT(spec.folder, bands)
        case PairsSpec():
            return PairFolder(spec.folder, spec.layout, bands)
        case StacSpec():
            return StacArchive(spec.folder, bands, most_days_apart=spec.most_days_apart)
