"""Sample: what every archive gives, whatever its layout. Archive: how it is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from contract.bands import Modality

NO_LABEL: Final = 0
"""Value of a label map where there is no label; never the value of a class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandChoice:
    """The bands that a model reads, in channel order."""

    s2: tuple[str, ...] = ("B02", "B03", "B04", "B08")
    s1: tuple[str, ...] = ("VV", "VH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Where a sample lies, degrees of WGS 84. West is above east across the antimeridian."""

    west_deg: float
    south_deg: float
    east_deg: float
    north_deg: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of an archive's table of contents: everything that is known without reading pixels."""

    name: str
    """Unique in its archive."""
    place: str
    """MGRS tile, scene or spatial block. All samples of a place stay on one side of a split."""
    footprint: Footprint | None = None
    acquired: date | None = None
    """Day of the optical image."""
    split: str | None = None
    """The archive's own split, where it has one: train, val or test."""
    files: tuple[Path, ...]
    """Every file that `Archive.read` will open."""
    paired: bool = True
    """Whether both sensors are among them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation:
    """What one sensor saw."""

    values: npt.NDArray[np.float32]
    """(bands, rows, columns); S2 surface reflectance, S1 dB; 0 where not valid."""
    valid: npt.NDArray[np.bool_]
    """(rows, columns); True where every band was observed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One place on one day, on one 10 m grid."""

    entry: Entry
    observations: dict[Modality, Observation]
    """A modality is absent where the archive has none for this sample."""
    labels: npt.NDArray[np.uint8] | None = None
    """(rows, columns) legend values, `NO_LABEL` where there is none."""
    lattice_origin: tuple[int, int] = (0, 0)
    """Row and column of the first pixel on the lattice that all grids of its CRS share; (0, 0) where that is not known."""
    image_labels: tuple[str, ...] = ()
    """Names of the classes of the whole image, as the archive gives them."""


class Archive(Protocol):
    """A data set on disk. Opening one reads its table of contents and no pixels."""

    name: str
    """With its version, as a model card quotes it."""
    licence: str
    entries: Sequence[Entry]

    def read(self, entry: Entry) -> Sample:
        """The pixels of an entry, in physical units.

        Raises:
            SampleUnreadable: A file is missing, truncated or no raster.
            SampleInvalid: Bands, units, grid or label codes are not what the archive's layout says.
        """
        ...
