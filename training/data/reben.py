"""ReBEN: BigEarthNet v2 as published, or some of its patches in a flat folder."""

import csv
import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from contract.bands import BANDS, Modality
from contract.errors import ArchiveInvalid
from training.data.legends import CORINE_TO_WORLDCOVER, LabelTable
from training.data.rasters import (
    Raster,
    decibel,
    footprints,
    read_bands,
    reflectance,
    require_same_grid,
    stacked,
    upsampled,
)
from training.data.sample import BandChoice, Entry, Footprint, Sample

_KIND: Final = "reBEN (BigEarthNet v2)"
_FLAT_CONTENTS: Final = "patches.csv"
_PUBLISHED_CONTENTS: Final = "metadata.parquet"
_S2_FOLDER: Final = "BigEarthNet-S2"
_S1_FOLDER: Final = "BigEarthNet-S1"
_MAP_FOLDER: Final = "Reference_Maps"
_SIDES: Final = {"train": "train", "validation": "val", "val": "val", "test": "test"}
_CODES: Final = "CLC2018 code"
_PATCH_NAME: Final = re.compile(
    r"S2[AB]_MSIL2A_(\d{8})T\d{6}_N\d{4}_R\d{3}_T(\d{2}[NP-X][A-HJ-NP-Z][A-HJ-NP-V])_(\d{1,2})_(\d{1,2})"
)
_FINEST_M: Final = 10
_PATCH_M: Final = 1200
_SIDE_MIDDLES_M: Final = ((0, -600), (1200, -600), (600, -1200), (600, 0))
"""x and y of the middles of a patch's west, east, south and north sides, from its north-western corner."""


class ReBEN:
    """Sentinel-1 and Sentinel-2 patches of 1.2 km in Europe, 2017 and 2018, with the CORINE map of 2018.

    Two layouts are read: the published one (metadata.parquet, BigEarthNet-S2, BigEarthNet-S1, Reference_Maps), with one
    file for each band, and a flat one (patches.csv, and s2.tif, s1.tif and clc.tif in a folder for each patch). Bands of
    20 and 60 m come bilinear at 10 m. Reflectance is from before processing baseline 04.00, so it has no offset.

    A place is an MGRS tile. The published split cuts each tile into parts for training, validation and test: it keeps
    patches apart, but not places.
    """

    name = _KIND
    licence = "CDLA-Permissive-1.0"

    def __init__(
        self, folder: Path, bands: BandChoice | None = None, label_table: LabelTable = CORINE_TO_WORLDCOVER
    ) -> None:
        """Read the table of contents.

        Args:
            folder: Where the table of contents lies.
            bands: What to read of each patch.
            label_table: What the codes of the CORINE map become: values of WorldCover, or of BigEarthNet-19.

        Raises:
            ArchiveInvalid: The folder has neither layout, or its table of contents is broken.
        """
        self._folder = folder
        self._bands = bands or BandChoice()
        self._label_table = label_table
        self._files_of, lines = _contents(folder)
        self._lines = {line.patch: line for line in lines}
        where = _footprints([line.name for line in lines])
        self.entries: Sequence[Entry] = tuple(
            self._entry(line, footprint) for line, footprint in zip(lines, where, strict=True)
        )

    def read(self, entry: Entry) -> Sample:
        """The pixels of a patch, as `Archive.read` has it."""
        line = self._lines[entry.name]
        files = self._files_of(self._folder, line, self._bands)
        s2, s1 = _read(files.s2, self._bands.s2), _read(files.s1, self._bands.s1)
        codes = read_bands(files.codes, (_CODES,), order=(_CODES,))
        require_same_grid([s2, s1, codes])
        return Sample(
            entry=entry,
            observations={Modality.S2: reflectance(s2), Modality.S1: decibel(s1)},
            labels=self._label_table.labels(codes),
            lattice_origin=s2.grid.lattice_origin,
            image_labels=line.labels,
        )

    def _entry(self, line: "_Line", footprint: Footprint) -> Entry:
        files = self._files_of(self._folder, line, self._bands)
        return Entry(
            name=line.patch,
            place=f"T{line.name.tile}",
            footprint=footprint,
            acquired=line.name.acquired,
            split=line.split,
            files=(*files.s2, *files.s1, files.codes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _PatchName:
    """What the name of a patch says, such as S2A_MSIL2A_20170613T101031_N9999_R022_T34VER_41_60."""

    acquired: date
    tile: str
    """MGRS tile, such as 34VER."""
    col: int
    """Patches east of the tile's western edge."""
    row: int
    """Patches south of the tile's northern edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A patch in the table of contents."""

    patch: str
    name: _PatchName
    """The same, taken apart."""
    s1: str
    split: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """Where the pixels of a patch are: one file for all bands of a sensor, or one for each."""

    s2: tuple[Path, ...]
    s1: tuple[Path, ...]
    codes: Path


_FilesOf = Callable[[Path, _Line, BandChoice], _Files]


def _contents(folder: Path) -> tuple[_FilesOf, list[_Line]]:
    if (folder / _FLAT_CONTENTS).is_file():
        return _flat_files, _flat_lines(folder)
    if (folder / _PUBLISHED_CONTENTS).is_file():
        return _published_files, _published_lines(folder)
    raise ArchiveInvalid(str(folder), _KIND, f"there is neither {_PUBLISHED_CONTENTS} nor {_FLAT_CONTENTS}")


def _flat_lines(folder: Path) -> list[_Line]:
    with (folder / _FLAT_CONTENTS).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        return [
            _line(folder, row["patch_id"], s1=row["s1_name"], split=row["split"], labels=row["labels19"].split("|"))
            for row in rows
        ]
    except KeyError as error:
        raise ArchiveInvalid(str(folder), _KIND, f"{_FLAT_CONTENTS} has no column {error}") from error


def _published_lines(folder: Path) -> list[_Line]:
    missing = [name for name in (_S2_FOLDER, _S1_FOLDER, _MAP_FOLDER) if not (folder / name).is_dir()]
    if missing:
        raise ArchiveInvalid(str(folder), _KIND, f"there is no folder {', '.join(missing)}")
    try:
        table = parquet.read_table(folder / _PUBLISHED_CONTENTS, columns=["patch_id", "s1_name", "split", "labels"])
        columns = (table[name].to_pylist() for name in ("patch_id", "s1_name", "split", "labels"))
    except (pa.ArrowException, KeyError, OSError) as error:
        raise ArchiveInvalid(str(folder), _KIND, f"{_PUBLISHED_CONTENTS}: {error}") from error
    return [
        _line(folder, patch, s1=s1, split=split, labels=labels)
        for patch, s1, split, labels in zip(*columns, strict=True)
    ]


def _line(folder: Path, patch: str, *, s1: str, split: str, labels: Sequence[str]) -> _Line:
    try:
        return _Line(patch=patch, name=_taken_apart(patch), s1=s1, split=_SIDES[split], labels=tuple(labels))
    except (ValueError, KeyError) as error:
        raise ArchiveInvalid(str(folder), _KIND, f"it lists a patch {patch!r} of split {split!r}") from error


def _taken_apart(patch: str) -> _PatchName:
    parts = _PATCH_NAME.fullmatch(patch)
    if parts is None:
        raise ValueError(f"{patch!r} is no name of a patch")
    acquired, tile, col, row = parts.groups()
    return _PatchName(acquired=date.fromisoformat(acquired), tile=tile, col=int(col), row=int(row))


def _flat_files(folder: Path, line: _Line, _bands: BandChoice) -> _Files:
    patch = folder / line.patch
    return _Files(s2=(patch / "s2.tif",), s1=(patch / "s1.tif",), codes=patch / "clc.tif")


def _published_files(folder: Path, line: _Line, bands: BandChoice) -> _Files:
    """Patches lie in a folder of their product: the name without column and row, for S1 also without tile."""
    product, patch = line.patch.rsplit("_", 2)[0], line.patch
    s2 = folder / _S2_FOLDER / product / patch
    s1 = folder / _S1_FOLDER / line.s1.rsplit("_", 3)[0] / line.s1
    return _Files(
        s2=tuple(s2 / f"{patch}_{band}.tif" for band in bands.s2),
        s1=tuple(s1 / f"{line.s1}_{band}.tif" for band in bands.s1),
        codes=folder / _MAP_FOLDER / product / patch / f"{patch}_reference_map.tif",
    )


def _read(files: Sequence[Path], bands: Sequence[str]) -> Raster:
    if len(files) == 1 and len(bands) > 1:
        return read_bands(files[0], bands)
    return stacked(
        [
            upsampled(read_bands(file, (band,), order=(band,)), BANDS[band].resolution_m // _FINEST_M)
            for file, band in zip(files, bands, strict=True)
        ]
    )


def _footprints(names: Sequence[_PatchName]) -> list[Footprint]:
    """In the order of the names, without a look at files: half a million headers take hours."""
    of_tile = defaultdict(list)
    for index, name in enumerate(names):
        of_tile[name.tile].append(index)
    where: dict[int, Footprint] = {}
    for tile, indices in of_tile.items():
        crs, left_m, top_m = _tile_corner(tile)
        steps = np.array([(names[index].col, -names[index].row) for index in indices]) * _PATCH_M
        middles = (left_m, top_m) + steps[:, None] + np.array(_SIDE_MIDDLES_M)
        where.update(zip(indices, footprints(crs, middles), strict=True))
    return [where[index] for index in range(len(names))]


def _tile_corner(tile: str) -> tuple[str, float, float]:
    """CRS, and x and y of the north-western corner, of a Sentinel-2 tile north of the equator.

    The lettering of 100 km squares is that of MGRS (NGA.STND.0037). A tile starts at the next multiple of
    60 m outside of its square and is 109.8 km wide.
    """
    zone, band, column, row = int(tile[:2]), tile[2], tile[3], tile[4]
    east_m = 100_000 * ("ABCDEFGHJKLMNPQRSTUVWXYZ".index(column) % 8 + 1)
    first_row = "ABCDEFGHJKLMNPQRSTUV".index("A" if zone % 2 else "F")
    north_m = 100_000 * ("ABCDEFGHJKLMNPQRSTUV".index(row) - first_row)
    # Row letters repeat every 2000 km; bands are 8 degrees high, of about 111 km each.
    band_middle_m = 111_000 * (8 * "NPQRSTUVWX".index(band) + 4)
    north_m += 2_000_000 * round((band_middle_m - north_m) / 2_000_000)
    return f"EPSG:326{zone:02}", math.floor(east_m / 60) * 60, math.ceil((north_m + 100_000) / 60) * 60
