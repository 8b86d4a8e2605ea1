"""PairFolder: a folder of Sentinel-1 and Sentinel-2 images in a layout that the user describes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import model_validator

from contract.errors import ArchiveInvalid
from contract.legend import WORLDCOVER
from training.data.legends import (
    CORINE_TO_WORLDCOVER,
    DFC2020_TO_WORLDCOVER,
    ESRI_TO_WORLDCOVER,
    IGBP_TO_WORLDCOVER,
    LabelTable,
)
from training.data.sample import NO_LABEL, BandChoice, Entry
from training.data.stacks import Stack, StackArchive, StackLayout, footprint_of, place_of

TableName = Literal["worldcover", "corine", "igbp", "dfc2020", "esri"]
TABLES: Final[Mapping[TableName, LabelTable]] = {
    "worldcover": LabelTable(
        source="ESA WorldCover",
        legend=WORLDCOVER,
        values={0: NO_LABEL, **{entry.value: entry.value for entry in WORLDCOVER.classes}},
    ),
    "corine": CORINE_TO_WORLDCOVER,
    "igbp": IGBP_TO_WORLDCOVER,
    "dfc2020": DFC2020_TO_WORLDCOVER,
    "esri": ESRI_TO_WORLDCOVER,
}
"""Nomenclatures of label files, as values of WorldCover."""

_KIND: Final = "pairs"
_NAME: Final = "{name}"
_DATE: Final = "{date}"
_MEANING: Final = {_NAME: r"(?P<name>[^/]+)", _DATE: r"(?P<date>\d{8}|\d{4}-\d\d-\d\d)", "*": "[^/]*"}
_PARTS: Final = re.compile(r"(\{name\}|\{date\}|\*)")


class PairLayout(StackLayout):
    """Where the files of a sample are, and what they hold.

    In the patterns, relative to the folder, {name} stands for what names the sample, a file's name or part of it or
    that of its folder; {date} for a day, as 20200816 or 2020-08-16; * for anything within one name.
    """

    s2: str
    """Such as "{name}/S2L2A.tif"."""
    s1: str | None = None
    """Such as "{name}/S1RTC.tif"."""
    labels: str | None = None
    label_table: TableName = "worldcover"
    """The nomenclature of the label files."""
    licence: str = "not stated"

    @model_validator(mode="after")
    def _patterns_name_samples(self) -> Self:
        for pattern in filter(None, (self.s2, self.s1, self.labels)):
            if pattern.count(_NAME) != 1 or pattern.count(_DATE) > 1:
                raise ValueError(f"pattern {pattern!r}: need {_NAME} once and {_DATE} at most once")
        return self


class PairFolder(StackArchive):
    """The samples of such a folder. Each needs a file for each pattern.

    A place is a spatial block. Pixels are taken as they lie in the files: near enough to 10 m is for the user to know.
    """

    def __init__(self, folder: Path, layout: PairLayout, bands: BandChoice | None = None) -> None:
        """Read the names of all files, and the headers of the Sentinel-2 ones.

        Args:
            folder: Where the patterns start.
            layout: The patterns, and what the files hold.
            bands: What to read of each sample.

        Raises:
            ArchiveInvalid: No file matches a pattern, or a sample has two files of one kind.
        """
        self.name, self.licence = folder.name, layout.licence
        s2 = _matches(folder, layout.s2)
        s1 = _matches(folder, layout.s1) if layout.s1 else None
        labels = _matches(folder, layout.labels) if layout.labels else None
        names = sorted({name for matches in (s2, s1, labels) if matches for name in matches.files})
        stacks = {
            name: Stack(
                s2=s2.file(name), s1=s1.file(name) if s1 else None, labels=labels.file(name) if labels else None
            )
            for name in names
        }
        entries = {_entry(name, stack, s2.days.get(name)): stack for name, stack in stacks.items()}
        super().__init__(entries, layout, bands or BandChoice(), TABLES[layout.label_table])


def _entry(name: str, stack: Stack, acquired: date | None) -> Entry:
    footprint = footprint_of(stack)
    return Entry(
        name=name,
        place=place_of(footprint),
        footprint=footprint,
        acquired=acquired,
        files=stack.files,
        paired=stack.s1 is not None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matches:
    """The files of one pattern, and the days in their names, by sample."""

    folder: Path
    pattern: str
    files: Mapping[str, Path]
    days: Mapping[str, date]

    def file(self, name: str) -> Path:
        """The file of a sample. Where there is none, its reader is to say where it was looked for."""
        return self.files.get(name) or self.folder / self.pattern.replace(_NAME, name)


def _matches(folder: Path, pattern: str) -> _Matches:
    expression = re.compile("".join(_MEANING.get(part) or re.escape(part) for part in _PARTS.split(pattern)))
    files: dict[str, Path] = {}
    days: dict[str, date] = {}
    for path in sorted(folder.glob(_PARTS.sub("*", pattern))):
        match = expression.fullmatch(path.relative_to(folder).as_posix())
        if match is None:
            continue
        name = match["name"]
        if name in files:
            reason = f"{files[name]} and {path} both match {pattern!r} as {name!r}; need one file for each sample"
            raise ArchiveInvalid(str(folder), _KIND, reason)
        files[name] = path
        if _DATE in pattern:
            days[name] = _day(folder, path, match["date"])
    if not files:
        raise ArchiveInvalid(str(folder), _KIND, f"no file matches {pattern!r}")
    return _Matches(folder=folder, pattern=pattern, files=files, days=days)


def _day(folder: Path, path: Path, spelled: str) -> date:
    try:
        return date.fromisoformat(spelled)
    except ValueError as error:
        raise ArchiveInvalid(str(folder), _KIND, f"{path} has no day at {_DATE}: {error}") from error
