"""The rules of the spectral-rules bundle: which feature speaks for which class, from which number on, and says who."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from contract.legend import WORLDCOVER

TREE: Final = 10
GRASS: Final = 30
CROP: Final = 40
BUILT: Final = 50
BARE: Final = 60
WATER: Final = 80
LEGEND: Final = WORLDCOVER.subset(TREE, GRASS, CROP, BUILT, BARE, WATER)


class Optical(Enum):
    """Features of Sentinel-2, in channel order."""

    NDVI = 0
    """(B08 - B04) / (B08 + B04)."""
    NDWI = 1
    """(B03 - B08) / (B03 + B08), McFeeters (1996)."""
    BRIGHTNESS = 2
    """Mean of B02, B03 and B04."""
    NIR = 3
    """B08."""


class Radar(Enum):
    """Features of Sentinel-1 in dB, in channel order."""

    VV = 0
    VH = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Above the threshold speaks for classes, below it as much against them."""

    feature: Optical | Radar
    threshold: float
    width: float
    """The membership goes from -0.46 to 0.46 within one width of the threshold."""
    evidence: Mapping[int, float]
    """Logits that a full membership adds, by class value."""
    source: str

    @property
    def channel(self) -> int:
        """The feature's place among those of its sensor."""
        return int(self.feature.value)


_MEDIANS = "midway between medians over BigEarthNet v2 patches by CORINE class: "
OPTICAL_RULES: Final = (
    Rule(
        feature=Optical.NDWI,
        threshold=0.0,
        width=0.05,
        evidence={WATER: 1.5},
        source="McFeeters (1996), doi:10.1080/01431169608948714",
    ),
    Rule(
        feature=Optical.NIR,
        threshold=0.08,
        width=0.015,
        evidence={WATER: -2.0},
        source=_MEDIANS + "water 0.01, coniferous forest 0.19, biased to water for shaded slopes",
    ),
    Rule(
        feature=Optical.NDVI,
        threshold=0.2,
        width=0.04,
        evidence={TREE: 1.0, GRASS: 1.0, CROP: 0.75, BARE: -1.0, WATER: -0.5},
        source="bare soil below: Sobrino et al. (2004), doi:10.1016/j.rse.2004.02.003",
    ),
    Rule(
        feature=Optical.NDVI,
        threshold=0.5,
        width=0.05,
        evidence={TREE: 1.0, GRASS: 1.0, BUILT: -0.5, BARE: -1.0},
        source="full cover above: Sobrino et al. (2004)",
    ),
    Rule(
        feature=Optical.NDVI,
        threshold=0.68,
        width=0.05,
        evidence={TREE: 0.5, GRASS: 0.5, CROP: -0.5, BUILT: -0.5},
        source=_MEDIANS + "arable 0.61, pasture 0.76",
    ),
    Rule(
        feature=Optical.BRIGHTNESS,
        threshold=0.036,
        width=0.005,
        evidence={TREE: -2.0, GRASS: 0.5, CROP: 0.5, BUILT: 0.25},
        source=_MEDIANS + "forest 0.025, pasture 0.046, arable 0.056",
    ),
    Rule(
        feature=Optical.BRIGHTNESS,
        threshold=0.09,
        width=0.015,
        evidence={GRASS: -0.5, BUILT: 0.25, BARE: 1.0},
        source=_MEDIANS + "discontinuous urban 0.064, arable of spring (bare soil) 0.12",
    ),
)
RADAR_RULES: Final = (
    Rule(
        feature=Radar.VV,
        threshold=-17.0,
        width=1.0,
        evidence={WATER: -2.5},
        source=_MEDIANS + "water -21.2, pasture -12.1",
    ),
    Rule(
        feature=Radar.VV,
        threshold=-8.5,
        width=0.75,
        evidence={BUILT: 2.5},
        source=_MEDIANS + "urban -7.5 and -9.4, mixed forest -9.7",
    ),
    Rule(
        feature=Radar.VH,
        threshold=-17.2,
        width=0.75,
        evidence={TREE: 1.0, GRASS: -0.5, CROP: -0.25, BUILT: 0.5, BARE: -0.5},
        source=_MEDIANS + "forest -15.5, pasture -18.9, arable -18.3",
    ),
    Rule(
        feature=Radar.VH,
        threshold=-21.0,
        width=1.0,
        evidence={GRASS: 0.5, CROP: 0.5, BARE: -0.75, WATER: -0.75},
        source="smooth bare soil below, as arable of spring in the same medians: -20.0 to -22.4",
    ),
)
