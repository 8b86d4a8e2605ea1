"""Writes the demo as a static STAC catalogue in the naming of Microsoft's Planetary Computer."""

from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pystac
import rasterio
from affine import Affine
from pyproj import Transformer

from workers.demo.noise import Shape
from workers.demo.scenes import Swath

CRS: Final = "EPSG:32632"
LEFT_M: Final = 600_000.0
TOP_M: Final = 5_400_000.0
RESOLUTION_M: Final = 10
S2_COLLECTION: Final = "sentinel-2-l2a"
S1_COLLECTION: Final = "sentinel-1-rtc"
DESCRIPTION: Final = (
    "Generated, not a real place: an invented landscape as Sentinel-1 and Sentinel-2 might see it. Its coordinates are "
    "borrowed and nothing here was observed there."
)
_PROJECTION: Final = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
_EO: Final = "https://stac-extensions.github.io/eo/v1.1.0/schema.json"
_SAT: Final = "https://stac-extensions.github.io/sat/v1.1.0/schema.json"


def transform_of(resolution_m: float) -> Affine:
    """The transform of a raster of the demo."""
    return Affine(resolution_m, 0, LEFT_M, 0, -resolution_m, TOP_M)


def write_cog(
    path: Path,
    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32],
    *,
    nodata: float,
    resolution_m: int = RESOLUTION_M,
    categories: bool = False,
) -> None:
    """Write one band as a Cloud-Optimized GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="COG",
        height=pixels.shape[0],
        width=pixels.shape[1],
        count=1,
        dtype=pixels.dtype,
        crs=CRS,
        transform=transform_of(resolution_m),
        nodata=nodata,
        compress="DEFLATE",
        level=2,  # noise hardly compresses, and the demo is to be there soon
        predictor="YES",
        blocksize=256,
        overview_resampling="NEAREST" if categories else "AVERAGE",
        num_threads="ALL_CPUS",
    ) as raster:
        raster.write(pixels, 1)


def position_of(points: npt.NDArray[np.float64]) -> list[list[float]]:
    """Longitude and latitude of (row, column) points in pixels."""
    to_degrees = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    easting, northing = LEFT_M + RESOLUTION_M * points[:, 1], TOP_M - RESOLUTION_M * points[:, 0]
    longitude, latitude = to_degrees.transform(easting, northing)
    return [[round(float(x), 7), round(float(y), 7)] for x, y in zip(longitude, latitude, strict=True)]


def footprint(shape: Shape, swath: Swath) -> dict[str, object]:
    """The part of the scene that a pass covers, as a GeoJSON polygon wound as RFC 7946 asks."""
    rows, columns = shape
    corners = [(0, 0), (rows, 0), (rows, swath.bottom * columns), (0, swath.top * columns), (0, 0)]
    return {"type": "Polygon", "coordinates": [position_of(np.array(corners, np.float64))]}


def make_item(name: str, acquired: datetime, geometry: dict[str, object], properties: dict[str, object]) -> pystac.Item:
    """An item without assets."""
    ring = np.array(geometry["coordinates"])[0]
    return pystac.Item(
        id=name,
        geometry=geometry,
        bbox=[*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()],
        datetime=acquired,
        properties={"proj:code": CRS, **properties},
        stac_extensions=[_PROJECTION, _EO, _SAT],
    )


def add_asset(item: pystac.Item, name: str, path: Path, shape: Shape, resolution_m: int = RESOLUTION_M) -> None:
    """Add a raster of the demo to an item."""
    item.add_asset(
        name,
        pystac.Asset(
            href=str(path),
            media_type=pystac.MediaType.COG,
            roles=["data"],
            extra_fields={
                "gsd": resolution_m,
                "proj:shape": list(shape),
                "proj:transform": list(transform_of(resolution_m))[:6],
            },
        ),
    )


def write_catalogue(folder: Path, optical: list[pystac.Item], radar: list[pystac.Item]) -> Path:
    """The path of catalog.json, written with its collections and items."""
    catalogue = pystac.Catalog(id="landsigma-demo", description=DESCRIPTION)
    for name, items in ((S2_COLLECTION, optical), (S1_COLLECTION, radar)):
        collection = pystac.Collection(
            id=name,
            description=DESCRIPTION,
            extent=pystac.Extent.from_items(items),
            license="CC0-1.0",
        )
        collection.add_items(items)
        catalogue.add_child(collection)
    catalogue.normalize_hrefs(str(folder))
    catalogue.make_all_asset_hrefs_relative()
    catalogue.save(pystac.CatalogType.SELF_CONTAINED)
    return folder / "catalog.json"
