"""DFC2020: the labelled patches of the IEEE GRSS Data Fusion Contest of 2020."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contract.errors import ArchiveInvalid
from training.data.legends import DFC2020 as LEGEND
from training.data.legends import DFC2020_TO_WORLDCOVER, LabelTable
from training.data.sample import NO_LABEL, BandChoice, Entry
from training.data.sen12ms import LAYOUT, Patch, find_patches
from training.data.stacks import Stack, StackArchive

SIDES: Final[Mapping[str, str]] = {"ROIs0000_validation": "train", "ROIs0000_test": "test"}
"""The contest's two sets, and what they are used for."""
LABELS_AS_GIVEN: Final = LabelTable(
    source="DFC2020",
    legend=LEGEND,
    values={0: NO_LABEL, 255: NO_LABEL, **{entry.value: entry.value for entry in LEGEND.classes}},
)

_KIND: Final = "DFC2020"


class DFC2020(StackArchive):
    """6114 patches of 2.56 km with labels of 10 m (doi:10.21227/rha7-m332).

    Files may lie in any folders, such as ROIs0000_validation/s2_validation or ROIs0000_test/s2_0, as long as their
    names are ROIs0000_validation_s2_0_p7.tif, with s1 and dfc beside s2. The coarse labels, lc, are left alone.

    The names of the sets are the contest's and mislead: "validation", of 986 patches, is what models are trained on,
    and "test", of 5128, is what they are tested on. `Entry.split` says train and test for them.

    Sentinel-2 is top-of-atmosphere (Level-1C), from before processing baseline 04.00. The files are not georeferenced
    and scenes are not numbered, so a place can only be a whole set: the archive cannot be split in any other way.
    """

    name = "DFC2020, Sentinel-2 Level-1C"
    licence = "CC-BY-4.0"

    def __init__(
        self, folder: Path, bands: BandChoice | None = None, label_table: LabelTable = DFC2020_TO_WORLDCOVER
    ) -> None:
        """Read the names of all files.

        Args:
            folder: The folder above those of the two sets.
            bands: What to read of each patch.
            label_table: What the contest's classes become: values of WorldCover, or themselves by `LABELS_AS_GIVEN`.

        Raises:
            ArchiveInvalid: There is no patch with Sentinel-2, or one is there twice.
        """
        patches = find_patches(folder, tuple(SIDES))
        stacks = dict(_entry(patch, files) for patch, files in patches.items() if "s2" in files)
        if not stacks:
            raise ArchiveInvalid(
                str(folder), _KIND, "there is no file such as ROIs0000_validation_s2_0_p7.tif below it"
            )
        super().__init__(
            stacks, LAYOUT.model_copy(update={"label_bands": ("dfc",)}), bands or BandChoice(), label_table
        )


def _entry(patch: Patch, files: dict[str, Path]) -> tuple[Entry, Stack]:
    stack = Stack(s2=files["s2"], s1=files.get("s1"), labels=files.get("dfc"))
    split, paired = SIDES[patch.season], stack.s1 is not None
    return Entry(name=str(patch), place=patch.season, split=split, files=stack.files, paired=paired), stack
