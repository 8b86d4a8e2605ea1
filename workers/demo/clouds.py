"""Skies: clouds of a weather, their shadows on the ground, and what a scene classification makes of them."""

# ruff: noqa: PLR2004 - the thresholds of the classification stand next to their classes

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from contract.bands import SceneClass
from workers.arrays import FloatArray
from workers.demo.noise import Shape, fractal

CLOUD_BASE_M: Final = 1200.0
CLOUD_REFLECTANCE: Final = (0.66, 0.64, 0.64, 0.68)
"""B02, B03, B04, B08 of thick cloud: bright and nearly white (Meygret et al. 2009, doi:10.1117/12.828436)."""
DIFFUSE_LIGHT: Final = (0.40, 0.36, 0.32, 0.26)
"""Share of the light that still reaches the ground under thick cloud: more in the blue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How cloudy it is."""

    cumulus: float
    """Share of the sky."""
    cirrus: float
    """Optical depth of thin streaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sun:
    """Where the sun stands."""

    zenith_deg: float
    azimuth_deg: float
    """Clockwise from north."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """What is between the ground and the sensor."""

    cumulus_depth: FloatArray
    """Optical depth."""
    cirrus_depth: FloatArray
    shadow: FloatArray
    """Share of direct light taken from the ground, 0..1."""


def make_sky(shape: Shape, random: np.random.Generator, weather: Weather, sun: Sun) -> Sky:
    """A sky with soft-edged clouds in groups, and their shadows on the side away from the sun."""
    groups = fractal(shape, random, exponent=3.0, longest_px=1400, shortest_px=150)
    puffs = fractal(shape, random, exponent=3.3, longest_px=200, shortest_px=9)
    field = puffs + 1.1 * groups
    excess = np.maximum(field - np.quantile(field[::4, ::4], 1 - weather.cumulus), 0)
    streaks = fractal(shape, random, exponent=2.8, longest_px=700, shortest_px=6, stretch=2.5)
    # A power above 1 thins the rim.
    cumulus = 2.4 * excess**1.5
    length_px = CLOUD_BASE_M * np.tan(np.radians(sun.zenith_deg)) / 10
    azimuth = np.radians(sun.azimuth_deg)
    offset = round(length_px * np.cos(azimuth)), round(-length_px * np.sin(azimuth))
    return Sky(
        cumulus_depth=cumulus.astype(np.float32),
        cirrus_depth=(weather.cirrus * np.maximum(streaks - 0.6, 0)).astype(np.float32),
        shadow=-np.expm1(-np.roll(cumulus, offset, axis=(0, 1))).astype(np.float32),
    )


def seen_through(sky: Sky, reflectance: FloatArray, band: int) -> FloatArray:
    """What the sensor sees of a band: the ground, shadowed, with the cloud in front of it."""
    lit = reflectance * (1 - (1 - DIFFUSE_LIGHT[band]) * sky.shadow)
    depth = sky.cumulus_depth + sky.cirrus_depth
    passing = np.exp(-depth)
    # Thick parts are brighter: light that enters them comes out again.
    cloud = CLOUD_REFLECTANCE[band] * (0.75 + 0.35 * -np.expm1(-depth / 3))
    return np.asarray(lit * passing + cloud * (1 - passing), np.float32)


def classify(sky: Sky, bands: FloatArray, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """SCL at 20 m from (4, rows, columns) at 10 m: nearly right, but blind to the thin rim of clouds."""
    cumulus, cirrus, shadow = (_halved(layer) for layer in (sky.cumulus_depth, sky.cirrus_depth, sky.shadow))
    _, green, red, nir = (_halved(band) for band in bands)
    ndvi = (nir - red) / np.maximum(nir + red, 0.01)
    scl = np.where(ndvi > 0.4, SceneClass.VEGETATION, SceneClass.NOT_VEGETATED)
    scl = np.where((green > nir) & (nir < 0.08), SceneClass.WATER, scl)
    scl = np.where(nir + red < 0.03, SceneClass.WATER, scl)
    doubt = 1 + 0.25 * fractal(cumulus.shape, random, exponent=1.5, longest_px=40)
    scl = np.where(shadow * doubt > 0.40, SceneClass.CLOUD_SHADOW, scl)
    scl = np.where(cirrus * doubt > 0.10, SceneClass.THIN_CIRRUS, scl)
    scl = np.where(cumulus * doubt > 0.18, SceneClass.CLOUD_MEDIUM_PROBABILITY, scl)
    scl = np.where(cumulus * doubt > 0.70, SceneClass.CLOUD_HIGH_PROBABILITY, scl)
    return scl.astype(np.uint8)


def _halved(layer: FloatArray) -> FloatArray:
    rows, columns = layer.shape
    return np.asarray(layer.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3)), np.float32)
