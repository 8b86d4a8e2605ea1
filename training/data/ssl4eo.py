"""SSL4EO-S12: four seasons of Sentinel-1 and Sentinel-2 at a quarter of a million places, without labels."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final, Literal

from contract.bands import BANDS, Modality
from contract.errors import ArchiveInvalid
from training.data.rasters import Raster, decibel, read_bands, reflectance, require_same_grid, stacked, upsampled
from training.data.sample import BandChoice, Entry, Sample

Level = Literal["s2a", "s2c"]
"""Surface reflectance, or top of atmosphere, by the folder's name."""

_KIND: Final = "SSL4EO-S12 v1"
_S1_FOLDER: Final = "s1"
_S2_IMAGE: Final = re.compile(r"(\d{8})T\d{6}_\d{8}T\d{6}_(T\d{2}[A-Z]{3})")
_S1_IMAGE: Final = re.compile(r"S1[A-D]_IW_GRDH_\w{4}_(\d{8})T\d{6}_\w+")
_FINEST_M: Final = 10


class SSL4EO:
    """Patches of 2.64 km, 2020 and 2021 (Wang et al. 2023, arXiv:2211.07044).

    The layout is s2a/0000200/20200604T054639_20200604T054831_T43RCP/B2.tif, with s2c for Level-1C and s1 (VV.tif and
    VH.tif, in dB) beside s2a. Each Sentinel-2 image is a sample, with the Sentinel-1 image of its location that is
    nearest in time; the sensors were sampled by season, so some images have no partner near.

    Pixels are matched by their position in the image, not by the files' coordinates, which are known to be off by some
    pixels, other for each sensor and resolution (https://github.com/zhu-xlab/SSL4EO-S12/issues/24): at location 0000200
    edges agree best with a shift of 1 to 2 px by position, and of 3 to 4 px by coordinates. Bands of 20 and 60 m come
    bilinear at 10 m. The years are before processing baseline 04.00, so there is no offset.

    A place is the MGRS tile of the location's first image. Footprints are left out, being wrong.
    """

    licence = "CC-BY-4.0"

    def __init__(
        self, folder: Path, bands: BandChoice | None = None, *, level: Level = "s2a", most_days_apart: int
    ) -> None:
        """Read the names of all folders.

        Args:
            folder: The folder above s1, s2a and s2c.
            bands: What to read of each image.
            level: Which of the two Sentinel-2 folders.
            most_days_apart: A Sentinel-1 image further off in time than this is no partner.

        Raises:
            ArchiveInvalid: There is no Sentinel-2 image of this level, or a folder is not called as above.
        """
        self.name = f"{_KIND}, Sentinel-2 Level-{'2A' if level == 's2a' else '1C'}"
        self._bands = bands or BandChoice()
        locations = sorted(path.name for path in (folder / level).glob("*") if path.is_dir())
        pairs = [pair for location in locations for pair in _pairs(folder, level, location, most_days_apart)]
        if not pairs:
            raise ArchiveInvalid(str(folder), _KIND, f"there is no folder such as {_example(level)} in it")
        self._pairs = {pair.name: pair for pair in pairs}
        self.entries: Sequence[Entry] = tuple(pair.entry(self._bands) for pair in pairs)

    def read(self, entry: Entry) -> Sample:
        """The pixels of an entry, as `Archive.read` has it."""
        pair = self._pairs[entry.name]
        rasters = [_by_position(pair.s2, self._bands.s2)]
        observations = {Modality.S2: reflectance(rasters[0])}
        if pair.s1:
            rasters.append(_by_position(pair.s1, self._bands.s1))
            observations[Modality.S1] = decibel(rasters[1])
        require_same_grid(rasters)
        return Sample(entry=entry, observations=observations)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A Sentinel-2 image and its partner."""

    place: str
    acquired: date
    s2: Path
    """A folder with a file for each band, as the next."""
    s1: Path | None

    @property
    def name(self) -> str:
        return f"{self.s2.parent.name}_{self.s2.name}"

    def entry(self, bands: BandChoice) -> Entry:
        files = [_file(self.s2, band) for band in bands.s2]
        files += [_file(self.s1, band) for band in bands.s1] if self.s1 else []
        paired = self.s1 is not None
        return Entry(name=self.name, place=self.place, acquired=self.acquired, files=tuple(files), paired=paired)


def _pairs(folder: Path, level: Level, location: str, most_days_apart: int) -> Iterator[_Pair]:
    """A pair for each Sentinel-2 image of a location."""
    radar = {path: _day(folder, path, _S1_IMAGE) for path in _images(folder / _S1_FOLDER / location)}
    images = _images(folder / level / location)
    for image in images:
        acquired = _day(folder, image, _S2_IMAGE)
        apart = {path: abs((day - acquired).days) for path, day in radar.items()}
        near = [path for path, days in apart.items() if days <= most_days_apart]
        s1 = min(near, key=apart.__getitem__, default=None)
        yield _Pair(place=images[0].name.rsplit("_", 1)[-1], acquired=acquired, s2=image, s1=s1)


def _images(location: Path) -> list[Path]:
    return sorted(path for path in location.glob("*") if path.is_dir())


def _day(folder: Path, image: Path, called: re.Pattern[str]) -> date:
    match = called.fullmatch(image.name)
    if match is None:
        raise ArchiveInvalid(str(folder), _KIND, f"{image} is not called as {_example('s2a')} is")
    return date.fromisoformat(match[1])


def _by_position(image: Path, bands: Sequence[str]) -> Raster:
    """The bands at 10 m, all with the first pixel in the same corner, without the coordinates that deny it."""
    rasters = [read_bands(_file(image, band), (band,), order=(band,)) for band in bands]
    return stacked(
        [
            upsampled(replace(raster, grid=replace(raster.grid, crs=None)), BANDS[band].resolution_m // _FINEST_M)
            for raster, band in zip(rasters, bands, strict=True)
        ]
    )


def _file(image: Path, band: str) -> Path:
    """B02 is in B2.tif."""
    return image / f"{re.sub('^B0', 'B', band)}.tif"


def _example(level: Level) -> str:
    return f"{level}/0000200/20200604T054639_20200604T054831_T43RCP"
