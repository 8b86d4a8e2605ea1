"""The passes of both satellites over the landscape, as the numbers that their products store."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from contract.bands import SENTINEL2_NODATA, SENTINEL2_OFFSET, SENTINEL2_OFFSET_BASELINE, SENTINEL2_SCALE, SceneClass
from workers.arrays import BoolArray, FloatArray
from workers.demo.clouds import Sky, Sun, Weather, classify, make_sky, seen_through
from workers.demo.landscape import Landscape
from workers.demo.noise import Shape, stream
from workers.demo.spectra import Surface, spectra_of

S2_BANDS: Final = ("B02", "B03", "B04", "B08")
S1_BANDS: Final = ("vv", "vh")
BLUR_PX: Final = 0.6
"""Deviation of the sensors' point spread: a pixel sees some of its neighbours."""
LOOKS: Final = 4.9
"""Equivalent number of looks of Sentinel-1 IW GRD at high resolution (ESA, S-1 product definition, table 5-2, rounded)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swath:
    """The part of the scene that a pass covers: left of a line from the top edge to the bottom edge."""

    top: float = 1.0
    """Where the line starts, as a share of the columns."""
    bottom: float = 1.0

    def missing(self, shape: Shape) -> BoolArray:
        """True where the pass has no observation."""
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        edge = self.top + (self.bottom - self.top) * (rows + 0.5) / shape[0]
        return np.asarray((columns + 0.5) / shape[1] > edge)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpticalPass:
    """One date of Sentinel-2."""

    acquired: datetime
    platform: str
    baseline: str
    sun: Sun
    weather: Weather
    swath: Swath = Swath()

    @property
    def has_offset(self) -> bool:
        """Whether digital numbers of this processing baseline carry the offset."""
        return tuple(int(part) for part in self.baseline.split(".")) >= SENTINEL2_OFFSET_BASELINE


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarPass:
    """One date of Sentinel-1."""

    acquired: datetime
    platform: str
    wet_db: float
    """What soil and leaves gain from rain."""
    wind_db: float
    """What open water gains from waves."""
    swath: Swath = Swath()


OPTICAL_PASSES: Final = (
    OpticalPass(
        acquired=datetime(2021, 4, 24, 10, 20, 31, tzinfo=UTC),
        platform="sentinel-2a",
        baseline="03.00",
        sun=Sun(zenith_deg=38, azimuth_deg=157),
        weather=Weather(cumulus=0.10, cirrus=0.12),
    ),
    OpticalPass(
        acquired=datetime(2021, 6, 8, 10, 20, 29, tzinfo=UTC),
        platform="sentinel-2b",
        baseline="03.00",
        sun=Sun(zenith_deg=28, azimuth_deg=150),
        weather=Weather(cumulus=0.32, cirrus=0.0),
    ),
    OpticalPass(
        acquired=datetime(2021, 7, 13, 10, 20, 33, tzinfo=UTC),
        platform="sentinel-2a",
        baseline="04.00",
        sun=Sun(zenith_deg=30, azimuth_deg=149),
        weather=Weather(cumulus=0.03, cirrus=0.0),
        swath=Swath(top=0.90, bottom=0.74),
    ),
    OpticalPass(
        acquired=datetime(2021, 8, 12, 10, 20, 32, tzinfo=UTC),
        platform="sentinel-2a",
        baseline="03.01",
        sun=Sun(zenith_deg=36, azimuth_deg=153),
        weather=Weather(cumulus=0.52, cirrus=0.05),
    ),
    OpticalPass(
        acquired=datetime(2021, 9, 11, 10, 20, 34, tzinfo=UTC),
        platform="sentinel-2b",
        baseline="04.00",
        sun=Sun(zenith_deg=46, azimuth_deg=160),
        weather=Weather(cumulus=0.16, cirrus=0.10),
    ),
)
RADAR_PASSES: Final = (
    RadarPass(acquired=datetime(2021, 4, 26, 17, 8, 4, tzinfo=UTC), platform="sentinel-1a", wet_db=0.8, wind_db=1.5),
    RadarPass(
        acquired=datetime(2021, 6, 13, 17, 8, 6, tzinfo=UTC),
        platform="sentinel-1a",
        wet_db=-0.5,
        wind_db=-1.5,
        swath=Swath(top=0.96, bottom=0.86),
    ),
    RadarPass(acquired=datetime(2021, 7, 19, 17, 8, 8, tzinfo=UTC), platform="sentinel-1b", wet_db=0.0, wind_db=0.0),
    RadarPass(acquired=datetime(2021, 8, 24, 17, 8, 10, tzinfo=UTC), platform="sentinel-1a", wet_db=0.4, wind_db=4.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpticalScene:
    """The stored numbers of one date of Sentinel-2."""

    bands: npt.NDArray[np.uint16]
    """(4, rows, columns) digital numbers of `S2_BANDS`, 0 where not observed."""
    scl: npt.NDArray[np.uint8]
    """At 20 m."""
    sky: Sky
    """What really was between ground and sensor."""

    @property
    def cloud_cover_percent(self) -> float:
        """Cloud of the classification, of the observed pixels."""
        clouds = np.isin(
            self.scl, (SceneClass.CLOUD_MEDIUM_PROBABILITY, SceneClass.CLOUD_HIGH_PROBABILITY, SceneClass.THIN_CIRRUS)
        )
        return 100 * float(clouds.sum()) / max(1, int((self.scl != SceneClass.NO_DATA).sum()))


def see_optical(landscape: Landscape, passing: OpticalPass, seed: int) -> OpticalScene:
    """What Sentinel-2 sees on a pass."""
    shape = landscape.surface.shape
    random = stream(seed, f"s2-{passing.acquired:%Y%m%d}")
    sky = make_sky(shape, random, passing.weather, passing.sun)
    looks = spectra_of(passing.acquired.timetuple().tm_yday)
    light = landscape.brightness * _illumination(landscape.elevation_m, passing.sun)
    reflectance = np.empty((len(S2_BANDS), *shape), np.float32)
    for band in range(len(S2_BANDS)):
        ground = ndimage.gaussian_filter(looks[landscape.surface, landscape.shift, band] * light, BLUR_PX)
        seen = seen_through(sky, ground, band)
        noise = random.standard_normal(shape, dtype=np.float32) * (0.0008 + 0.01 * seen)
        reflectance[band] = seen + noise
    missing = passing.swath.missing(shape)
    scl = classify(sky, reflectance, random)
    scl[missing[::2, ::2] | missing[1::2, 1::2]] = SceneClass.NO_DATA
    return OpticalScene(bands=_stored(reflectance, missing, passing), scl=scl, sky=sky)


def see_radar(landscape: Landscape, passing: RadarPass, seed: int) -> FloatArray:
    """(2, rows, columns) backscatter of VV and VH as linear power with speckle, NaN where not observed."""
    shape = landscape.surface.shape
    random = stream(seed, f"s1-{passing.acquired:%Y%m%d}")
    water = np.isin(np.arange(len(Surface)), (Surface.LAKE, Surface.RIVER))
    looks_db = spectra_of(passing.acquired.timetuple().tm_yday)[..., 4:]
    looks_db += np.where(water, passing.wind_db, passing.wet_db)[:, np.newaxis, np.newaxis]
    looks = 10 ** (looks_db / 10)
    power = np.empty((len(S1_BANDS), *shape), np.float32)
    for band in range(len(S1_BANDS)):
        ground = looks[landscape.surface, landscape.shift, band] * landscape.brightness**2.5
        speckle = random.standard_gamma(LOOKS, shape, dtype=np.float32) / np.float32(LOOKS)
        power[band] = ndimage.gaussian_filter(ground, BLUR_PX) * speckle
    power[:, passing.swath.missing(shape)] = np.nan
    # Twelve bits of mantissa are 0.002 dB, far below the speckle, and half the bytes.
    return (power.view(np.uint32) & np.uint32(0xFFFFF800)).view(np.float32)


def _illumination(elevation_m: FloatArray, sun: Sun) -> FloatArray:
    """Cosine of the sun's angle to the slope over that to the plain, softened as light from the sky does."""
    down, right = np.gradient(elevation_m, 10.0)
    zenith, azimuth = np.radians(sun.zenith_deg), np.radians(sun.azimuth_deg)
    facing = np.cos(zenith) + np.sin(zenith) * (np.cos(azimuth) * down - np.sin(azimuth) * right)
    cosine = facing / np.sqrt(1 + down**2 + right**2)
    return np.asarray(np.clip(0.25 + 0.75 * cosine / np.cos(zenith), 0.3, 1.6), np.float32)


def _stored(reflectance: FloatArray, missing: BoolArray, passing: OpticalPass) -> npt.NDArray[np.uint16]:
    offset = SENTINEL2_OFFSET if passing.has_offset else 0.0
    numbers = np.clip(np.rint((reflectance - offset) / SENTINEL2_SCALE), SENTINEL2_NODATA + 1, 65535)
    numbers[:, missing] = SENTINEL2_NODATA
    return np.asarray(numbers, np.uint16)
