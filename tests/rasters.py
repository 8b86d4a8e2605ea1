"""Small rasters and the scenes made of them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.warp import transform_bounds

from contract.bands import Modality, Unit
from contract.grid import Grid
from contract.scene import Area, Radiometry, Scene, SceneAsset

LEFT_M, TOP_M = 500_000.0, 5_000_000.0
GRID = Grid(crs="EPSG:32633", left_m=LEFT_M, top_m=TOP_M, resolution_m=10, height=60, width=100)
PHYSICAL = Radiometry(unit=Unit.REFLECTANCE, reason="written in physical units")
POWER = Radiometry(unit=Unit.LINEAR_POWER, reason="written in physical units")
CLASSES = Radiometry(unit=Unit.SCENE_CLASS, nodata=0, reason="classes")


def write_raster(  # noqa: PLR0913  each test names the one that it is about
    path: Path,
    values: NDArray[np.generic],
    *,
    crs: str | None = "EPSG:32633",
    left_m: float = LEFT_M,
    top_m: float = TOP_M,
    resolution_m: float = 10,
    nodata: float | None = None,
) -> Path:
    """The path of a tiled, compressed GeoTIFF that holds these (rows, cols)."""
    profile = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    transform = Affine(resolution_m, 0, left_m, 0, -resolution_m, top_m)
    height, width = values.shape
    shape = {"height": height, "width": width, "count": 1, "dtype": values.dtype}
    with rasterio.open(path, "w", crs=crs, transform=transform, nodata=nodata, **shape, **profile) as raster:
        raster.write(values, 1)
    return path


def footprint_of(path: Path) -> Area:
    """The outline of a raster in longitude and latitude."""
    with rasterio.open(path) as raster:
        outline = shapely.box(*transform_bounds(raster.crs, "EPSG:4326", *raster.bounds))
    return Area(coordinates=((tuple(outline.exterior.coords),),))


def scene_of(
    assets: Mapping[str, Path | str],
    *,
    radiometry: Radiometry = PHYSICAL,
    footprint: Area | None = None,
    name: str = "scene",
    acquired: datetime = datetime(2021, 6, 1, 10, tzinfo=UTC),
    baseline: str | None = None,
) -> Scene:
    """A scene of these files or URLs, one per band; SCL holds classes. Its footprint is that of its first file."""
    return Scene(
        id=name,
        modality=Modality.S1 if {"VV", "VH"} & assets.keys() else Modality.S2,
        collection="test",
        acquired=acquired,
        platform="sentinel-2a",
        baseline=baseline,
        footprint=footprint or footprint_of(Path(next(iter(assets.values())))),
        assets=tuple(
            SceneAsset(band=band, href=str(href), radiometry=CLASSES if band == "SCL" else radiometry)
            for band, href in assets.items()
        ),
    )
