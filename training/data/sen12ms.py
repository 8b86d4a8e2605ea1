"""SEN12MS and SEN12MS-CR: patches of Sentinel-1, Sentinel-2 and MODIS land cover from 252 scenes of the Earth."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contract.errors import ArchiveInvalid
from training.data.legends import IGBP_TO_WORLDCOVER, LabelTable
from training.data.sample import BandChoice, Entry
from training.data.stacks import LEVEL_1C_BANDS, Stack, StackArchive, StackLayout

SEASONS: Final = ("ROIs1158_spring", "ROIs1868_summer", "ROIs1970_fall", "ROIs2017_winter")
LAYOUT: Final = StackLayout(
    s2_bands=LEVEL_1C_BANDS, label_bands=("IGBP", "LCCS land cover", "LCCS land use", "LCCS surface hydrology")
)

_KIND: Final = "SEN12MS"
_HOLD_OUT: Final = "SEN12MS_holdOutScenes.txt"
_KINDS: Final = "s1|s2_cloudy|s2|lc|dfc"
_FILE: Final = re.compile(rf"(ROIs\d{{4}}_[a-z]+)_({_KINDS})_(\d+)_p(\d+)\.tif")


class SEN12MS(StackArchive):
    """Patches of 2.56 km (Schmitt et al. 2019, doi:10.5194/isprs-annals-IV-2-W7-153-2019).

    Files may lie in any folders, since the archives unpack to ROIs1158_spring/s2_1 or ROIs1158_spring_s2/s2_1 by
    edition, as long as their names are ROIs1158_spring_s2_1_p30.tif, with s1 and lc beside s2. Where s2_cloudy lies
    there too (SEN12MS-CR, doi:10.1109/TGRS.2020.3024744), a patch is two samples, one of each Sentinel-2 image.

    Sentinel-2 is top-of-atmosphere (Level-1C), from before processing baseline 04.00. Labels are MODIS's, of 500 m.
    A place is a scene: season and number. Footprints are unknown, since the headers of half a million files take
    minutes to read. A scene is test where the publishers' list of hold-out scenes, SEN12MS_holdOutScenes.txt, lies in
    the folder and has it, and train otherwise.
    """

    name = "SEN12MS, Sentinel-2 Level-1C"
    licence = "CC-BY-4.0"

    def __init__(
        self, folder: Path, bands: BandChoice | None = None, label_table: LabelTable = IGBP_TO_WORLDCOVER
    ) -> None:
        """Read the names of all files.

        Args:
            folder: The folder above those of the seasons.
            bands: What to read of each patch.
            label_table: What the IGBP codes become.

        Raises:
            ArchiveInvalid: There is no patch with Sentinel-2, or one is there twice.
        """
        patches = find_patches(folder, SEASONS)
        held_out = _held_out(folder)
        stacks = dict(entry for patch, files in patches.items() for entry in _entries(patch, files, held_out))
        if not stacks:
            raise ArchiveInvalid(str(folder), _KIND, "there is no file such as ROIs1158_spring_s2_1_p30.tif below it")
        super().__init__(stacks, LAYOUT, bands or BandChoice(), label_table)


@dataclass(frozen=True, slots=True, order=True)
class Patch:
    """What the files of one patch share in their names."""

    season: str
    scene: int
    number: int

    @property
    def place(self) -> str:
        """Its scene."""
        return f"{self.season}_{self.scene}"

    def __str__(self) -> str:
        return f"{self.place}_p{self.number}"


def find_patches(folder: Path, seasons: Sequence[str]) -> dict[Patch, dict[str, Path]]:
    """The files of each patch by kind: s1, s2, s2_cloudy, lc or dfc, in the order of the patches.

    A kind that one patch of a season has is expected of all: a path of a missing file says where it would be.

    Raises:
        ArchiveInvalid: There are two files of one kind for a patch.
    """
    found = defaultdict[Patch, dict[str, Path]](dict)
    kinds_of = defaultdict[str, set[str]](set)
    for path in folder.rglob("ROIs*.tif"):
        if (match := _FILE.fullmatch(path.name)) and match[1] in seasons:
            season, kind, scene, number = match.groups()
            files = found[Patch(season, int(scene), int(number))]
            if kind in files:
                raise ArchiveInvalid(str(folder), _KIND, f"{files[kind]} and {path} are one patch; need one copy")
            files[kind] = path
            kinds_of[season].add(kind)
    return {
        patch: {kind: files.get(kind) or _expected(folder, files, kind) for kind in kinds_of[patch.season]}
        for patch, files in sorted(found.items())
    }


def _expected(folder: Path, files: dict[str, Path], kind: str) -> Path:
    """Where the file of a kind would be, to judge by the patch's other files."""
    relative = next(iter(files.values())).relative_to(folder).as_posix()
    return folder / re.sub(rf"(?<![^/_])({_KINDS})(?=[/_])", kind, relative)


def _entries(patch: Patch, files: dict[str, Path], held_out: frozenset[str] | None) -> Iterator[tuple[Entry, Stack]]:
    """A sample for each Sentinel-2 image of a patch."""
    split = None if held_out is None else "test" if patch.place in held_out else "train"
    for kind, suffix in (("s2", ""), ("s2_cloudy", "_cloudy")):
        if kind in files:
            stack = Stack(s2=files[kind], s1=files.get("s1"), labels=files.get("lc"))
            paired = stack.s1 is not None
            name = f"{patch}{suffix}"
            yield Entry(name=name, place=patch.place, split=split, files=stack.files, paired=paired), stack


def _held_out(folder: Path) -> frozenset[str] | None:
    """Places of the publishers' test split, which lists scenes as ROIs1158_spring/s1_1; None without the list."""
    path = folder / _HOLD_OUT
    if not path.is_file():
        return None
    return frozenset(line.strip().replace("/s1_", "_") for line in path.read_text(encoding="utf-8").splitlines())
