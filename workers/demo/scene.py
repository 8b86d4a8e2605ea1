"""make_demo_scene: everything that a first map needs, generated."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pystac

from contract.bands import SCL
from workers.demo import catalogue
from workers.demo.landscape import Landscape, make_landscape
from workers.demo.noise import Shape, stream
from workers.demo.scenes import (
    OPTICAL_PASSES,
    RADAR_PASSES,
    S1_BANDS,
    S2_BANDS,
    OpticalPass,
    RadarPass,
    see_optical,
    see_radar,
)

DEFAULT_SEED: Final = 7
DEFAULT_SHAPE: Final = (2304, 2560)
SMALLEST_PX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoScene:
    """Where the parts of a generated scene are."""

    catalogue: Path
    """catalog.json of a static STAC catalogue."""
    aoi: Path
    """GeoJSON polygon inside the scene."""
    truth: Path
    """The class that each pixel really has, in ESA WorldCover's values."""
    start: datetime
    """Before the first pass."""
    end: datetime
    """After the last."""


def make_demo_scene(folder: Path, *, seed: int = DEFAULT_SEED, shape: Shape = DEFAULT_SHAPE) -> DemoScene:
    """A landscape seen by Sentinel-2 on five dates and by Sentinel-1 on four, written to `folder`.

    Args:
        folder: Made if it is not there; files of the same names are overwritten.
        seed: The same seed and shape give the same pixels.
        shape: Rows and columns at 10 m.

    Raises:
        ValueError: The shape is odd, so that 20 m pixels do not fit, or too small for a landscape.
    """
    if min(shape) < SMALLEST_PX or shape[0] % 2 or shape[1] % 2:
        raise ValueError(f"a demo of {shape} px cannot be made; need even numbers of at least {SMALLEST_PX}")
    folder = folder.resolve()
    landscape = make_landscape(shape, seed)
    truth, aoi = folder / "truth.tif", folder / "aoi.geojson"
    catalogue.write_cog(truth, landscape.truth, nodata=0, categories=True)
    aoi.write_text(json.dumps(_aoi(shape, seed), indent=2) + "\n", encoding="utf-8")
    optical = [_write_optical(folder, landscape, passing, seed) for passing in OPTICAL_PASSES]
    radar = [_write_radar(folder, landscape, passing, seed) for passing in RADAR_PASSES]
    return DemoScene(
        catalogue=catalogue.write_catalogue(folder, optical, radar),
        aoi=aoi,
        truth=truth,
        start=datetime(2021, 4, 1, tzinfo=UTC),
        end=datetime(2021, 10, 1, tzinfo=UTC),
    )


def _write_optical(folder: Path, landscape: Landscape, passing: OpticalPass, seed: int) -> pystac.Item:
    scene, shape = see_optical(landscape, passing, seed), landscape.surface.shape
    item = catalogue.make_item(
        f"{passing.platform.replace('sentinel-', 'S').upper()}_MSIL2A_{passing.acquired:%Y%m%d}_demo",
        passing.acquired,
        catalogue.footprint(shape, passing.swath),
        {
            "platform": passing.platform,
            "eo:cloud_cover": round(scene.cloud_cover_percent, 2),
            "s2:processing_baseline": passing.baseline,
            "sat:orbit_state": "descending",
        },
    )
    for band, pixels in zip(S2_BANDS, scene.bands, strict=True):
        path = folder / "assets" / item.id / f"{band}.tif"
        catalogue.write_cog(path, pixels, nodata=0)
        catalogue.add_asset(item, band, path, shape)
    path = folder / "assets" / item.id / f"{SCL}.tif"
    catalogue.write_cog(path, scene.scl, nodata=0, resolution_m=20, categories=True)
    catalogue.add_asset(item, SCL, path, scene.scl.shape, 20)
    return item


def _write_radar(folder: Path, landscape: Landscape, passing: RadarPass, seed: int) -> pystac.Item:
    power, shape = see_radar(landscape, passing, seed), landscape.surface.shape
    item = catalogue.make_item(
        f"{passing.platform.replace('sentinel-', 'S').upper()}_IW_{passing.acquired:%Y%m%d}_demo",
        passing.acquired,
        catalogue.footprint(shape, passing.swath),
        {
            "platform": passing.platform,
            "sar:polarizations": ["VV", "VH"],
            "sar:instrument_mode": "IW",
            "sat:orbit_state": "ascending",
        },
    )
    for band, pixels in zip(S1_BANDS, power, strict=True):
        path = folder / "assets" / item.id / f"{band}.tif"
        catalogue.write_cog(path, pixels, nodata=float("nan"))
        catalogue.add_asset(item, band, path, shape)
    return item


def _aoi(shape: Shape, seed: int) -> dict[str, object]:
    """A GeoJSON feature: an outline that no rectangle holds, some of the scene left out on every side."""
    random = stream(seed, "aoi")
    turns = np.linspace(0, 2 * np.pi, 41)[:-1]
    radius = 0.40 + sum(
        random.uniform(-0.045, 0.045) * np.cos(k * turns + random.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
    )
    # Counterclockwise on the map: rows run south.
    points = np.stack([0.5 - radius * np.sin(turns), 0.5 + radius * np.cos(turns)], axis=1) * shape
    ring = catalogue.position_of(np.vstack([points, points[:1]]))
    return {
        "type": "Feature",
        "properties": {"name": "landsigma demo", "description": catalogue.DESCRIPTION},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
