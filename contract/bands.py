"""Sentinel-1 and Sentinel-2 bands: names, native resolution, stored units, scale, offset and nodata."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final


class Modality(StrEnum):
    """A kind of sensor; a model has at most one branch for each."""

    S2 = "s2"
    """Sentinel-2 MSI, surface reflectance (L2A)."""
    S1 = "s1"
    """Sentinel-1 C-SAR, terrain-corrected backscatter (RTC)."""

    @property
    def label(self) -> str:
        """The mission's name."""
        return f"Sentinel-{self.value[1]}"


class Unit(StrEnum):
    """The physical unit of a band, in a file or at a model's input."""

    REFLECTANCE = "reflectance"
    """Surface reflectance; nominally 0..1, small negatives and values above 1 do occur."""
    LINEAR_POWER = "linear power"
    """Backscatter as a power ratio (gamma0 or sigma0); averages are taken in this unit."""
    DECIBEL = "dB"
    """10 log10 of linear power."""
    SCENE_CLASS = "scene class"
    """Sentinel-2 L2A scene classification (SCL)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One band as its mission defines it."""

    name: str
    modality: Modality
    resolution_m: int
    wavelength_nm: float | None
    """Centre wavelength (Sentinel-2A); None for radar."""


def _s2(name: str, resolution_m: int, wavelength_nm: float) -> Band:
    return Band(name=name, modality=Modality.S2, resolution_m=resolution_m, wavelength_nm=wavelength_nm)


def _s1(name: str) -> Band:
    return Band(name=name, modality=Modality.S1, resolution_m=10, wavelength_nm=None)


# Sentinel-2 MSI, Copernicus SentiWiki, "S2 Mission", spatial and spectral resolution (S2A centre wavelengths).
SENTINEL2_BANDS: Final = (
    _s2("B01", 60, 442.7),
    _s2("B02", 10, 492.7),
    _s2("B03", 10, 559.8),
    _s2("B04", 10, 664.6),
    _s2("B05", 20, 704.1),
    _s2("B06", 20, 740.5),
    _s2("B07", 20, 782.8),
    _s2("B08", 10, 832.8),
    _s2("B8A", 20, 864.7),
    _s2("B09", 60, 945.1),
    _s2("B11", 20, 1613.7),
    _s2("B12", 20, 2202.4),
)
SENTINEL1_BANDS: Final = (_s1("VV"), _s1("VH"))
BANDS: Final = {band.name: band for band in (*SENTINEL2_BANDS, *SENTINEL1_BANDS)}

SCL: Final = "SCL"
"""The scene classification, read as a mask beside the reflectance bands."""

SENTINEL2_SCALE: Final = 1e-4
"""Reflectance per digital number of an L2A product (BOA quantification value 10000)."""
SENTINEL2_OFFSET_BASELINE: Final = (4, 0)
"""First processing baseline whose digital numbers carry BOA_ADD_OFFSET."""
SENTINEL2_OFFSET: Final = -0.1
"""BOA_ADD_OFFSET of -1000 digital numbers, as reflectance."""
SENTINEL2_NODATA: Final = 0
"""Digital number of 'no observation' in every L2A band and in SCL."""


class SceneClass(IntEnum):
    """Values of SCL, Sentinel-2 L2A scene classification."""

    NO_DATA = 0
    SATURATED_OR_DEFECTIVE = 1
    DARK_AREA = 2
    CLOUD_SHADOW = 3
    VEGETATION = 4
    NOT_VEGETATED = 5
    WATER = 6
    UNCLASSIFIED = 7
    CLOUD_MEDIUM_PROBABILITY = 8
    CLOUD_HIGH_PROBABILITY = 9
    THIN_CIRRUS = 10
    SNOW_OR_ICE = 11


DEFAULT_MASKED_SCENE_CLASSES: Final = (
    SceneClass.CLOUD_SHADOW,
    SceneClass.CLOUD_MEDIUM_PROBABILITY,
    SceneClass.CLOUD_HIGH_PROBABILITY,
    SceneClass.THIN_CIRRUS,
    SceneClass.SNOW_OR_ICE,
)
"""Left out of a composite unless the request says otherwise; `NO_DATA` is always left out."""
