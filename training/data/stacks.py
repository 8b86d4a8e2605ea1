"""StackArchive: samples that have one GeoTIFF with all bands for each sensor."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from contract.bands import SENTINEL2_BANDS, SENTINEL2_SCALE, Modality, Unit
from contract.errors import SampleUnreadable
from contract.record import Record
from training.data.legends import LabelTable
from training.data.rasters import decibel, read_bands, read_grid, reflectance, require_same_grid
from training.data.sample import BandChoice, Entry, Footprint, Sample
from training.data.splits import spatial_block

LEVEL_2A_BANDS: Final = tuple(band.name for band in SENTINEL2_BANDS)
"""Of a file of surface reflectance in the mission's order."""
LEVEL_1C_BANDS: Final = (*LEVEL_2A_BANDS[:10], "B10", *LEVEL_2A_BANDS[10:])
"""Of a file of top-of-atmosphere reflectance in the mission's order: with cirrus."""
BLOCK_KM: Final = 50.0
"""Size of the blocks that are places where an archive names none."""
UNKNOWN_GROUND: Final = "unknown ground"
"""The one place of all samples of which nobody can tell whether they share ground."""


class StackLayout(Record):
    """What the files hold, where they do not say it themselves."""

    s2_bands: tuple[str, ...] = LEVEL_2A_BANDS
    """All bands of a Sentinel-2 file without band descriptions, in order."""
    s1_bands: tuple[str, ...] = ("VV", "VH")
    """The same of a Sentinel-1 file."""
    label_bands: tuple[str, ...] = ("label",)
    """The same of a label file; its first band is read."""
    s2_scale: float = SENTINEL2_SCALE
    """Reflectance per stored number."""
    s2_offset: float = 0.0
    """Reflectance of the stored number 0."""
    s1_unit: Literal[Unit.DECIBEL, Unit.LINEAR_POWER] = Unit.DECIBEL
    """What a Sentinel-1 file stores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The files of one sample."""

    s2: Path
    s1: Path | None = None
    labels: Path | None = None
    image_labels: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that there are, in the order in which they are read."""
        return tuple(file for file in (self.s2, self.s1, self.labels) if file)


class StackArchive:
    """An archive of such samples. What differs from archive to archive is how their files are found."""

    name: str
    licence: str

    def __init__(
        self, stacks: Mapping[Entry, Stack], layout: StackLayout, bands: BandChoice, label_table: LabelTable | None
    ) -> None:
        """Keep the table of contents."""
        self.entries: Sequence[Entry] = tuple(stacks)
        self._stacks = {entry.name: stack for entry, stack in stacks.items()}
        self._layout, self._bands, self._label_table = layout, bands, label_table

    def read(self, entry: Entry) -> Sample:
        """The pixels of an entry, as `Archive.read` has it."""
        stack, layout = self._stacks[entry.name], self._layout
        s2 = read_bands(stack.s2, self._bands.s2, order=layout.s2_bands)
        rasters = [s2]
        observations = {Modality.S2: reflectance(s2, scale=layout.s2_scale, offset=layout.s2_offset)}
        if stack.s1:
            s1 = read_bands(stack.s1, self._bands.s1, order=layout.s1_bands)
            rasters.append(s1)
            observations[Modality.S1] = decibel(s1, unit=layout.s1_unit)
        labels = None
        if stack.labels and self._label_table:
            codes = read_bands(stack.labels, layout.label_bands[:1], order=layout.label_bands)
            rasters.append(codes)
            labels = self._label_table.labels(codes)
        require_same_grid(rasters)
        return Sample(entry=entry, observations=observations, labels=labels, image_labels=stack.image_labels)


def footprint_of(stack: Stack) -> Footprint | None:
    """Where the first file lies that is georeferenced. Broken ones are passed over here: reading them complains."""
    for file in stack.files:
        with suppress(SampleUnreadable):
            if footprint := read_grid(file).footprint:
                return footprint
    return None


def place_of(footprint: Footprint | None) -> str:
    """The spatial block of a footprint; samples without one are all of one place, so that no split parts them."""
    return spatial_block(footprint, BLOCK_KM) if footprint else UNKNOWN_GROUND
