"""Tiny archives in the layouts of SEN12MS, DFC2020, EuroSAT, SSL4EO-S12 and STAC: 12 x 18 px with random pixels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.warp import transform_bounds

from tests.training.data.layouts_reben import write_bands

ROWS, COLS = 12, 18
LEVEL_1C = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""In the order of the satellite's numbering, as SEN12MS and DFC2020 have them."""
EUROSAT = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
COARSER = {"B01": 6, "B09": 6, "B10": 6, **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 2)}
"""Pixels of 10 m per pixel of the band; 1 for those not listed."""
UTM = Affine(10, 0, 500_000, 0, -10, 5_000_000)
CRS = "EPSG:32633"


def stored(path: Path) -> NDArray[np.generic]:
    """(bands, rows, cols) of a file, by rasterio alone."""
    with rasterio.open(path) as raster:
        return raster.read()


def numbers(seed: str, count: int, shape: tuple[int, int] = (ROWS, COLS)) -> NDArray[np.uint16]:
    """(count, rows, cols) digital numbers of reflectance, other for each seed."""
    rng = np.random.default_rng([*seed.encode()])
    return rng.integers(200, 4000, (count, *shape)).astype(np.uint16)


def decibels(seed: str, shape: tuple[int, int] = (ROWS, COLS)) -> NDArray[np.float32]:
    """(2, rows, cols) VV, and VH about 7 dB below."""
    rng = np.random.default_rng([*seed.encode()])
    return rng.normal([[[-10]], [[-17]]], 2, (2, *shape)).astype(np.float32)


def write_s2(path: Path, *, transform: Affine | None = UTM, crs: str = CRS) -> Path:
    """A Sentinel-2 file of 13 bands that does not name them."""
    return write_bands(path, numbers(path.name, 13), transform=transform, crs=crs)


def write_s1(path: Path, *, transform: Affine | None = UTM) -> Path:
    """A Sentinel-1 file in dB that does not name its bands."""
    return write_bands(path, decibels(path.name), transform=transform, crs=CRS)


def write_codes(path: Path, codes: Sequence[int], *, count: int = 1, transform: Affine = UTM, crs: str = CRS) -> Path:
    """A label file with these codes in its first band, over and over, and 99 in any other."""
    values = np.full((count, ROWS, COLS), 99, np.uint8)
    values[0] = np.resize(np.array(codes, np.uint8), (ROWS, COLS))
    return write_bands(path, values, transform=transform, crs=crs)


def write_sen12ms(folder: Path, patches: Sequence[str], kinds: Sequence[str] = ("s1", "s2", "lc")) -> Path:
    """The folder of such patches as "ROIs1158_spring_1_p30", unpacked to ROIs1158_spring/s2_1."""
    for patch in patches:
        season, scene, number = patch.rsplit("_", 2)
        for kind in kinds:
            path = folder / season / f"{kind}_{scene}" / f"{season}_{kind}_{scene}_{number}.tif"
            if kind == "lc":
                write_codes(path, (1, 12, 17), count=4)
            else:
                (write_s1 if kind == "s1" else write_s2)(path)
    return folder


def write_dfc2020(folder: Path, validation: int, test: int, kinds: Sequence[str] = ("s1", "s2", "dfc")) -> Path:
    """The folder of so many patches of each set, not georeferenced but for a CRS, as they come."""
    pixels = Affine.identity()
    for side, part, count in (("validation", "validation", validation), ("test", "0", test)):
        for number in range(count):
            for kind in kinds:
                path = folder / f"ROIs0000_{side}" / f"{kind}_{part}" / f"ROIs0000_{side}_{kind}_0_p{number}.tif"
                if kind == "s1":
                    values = decibels(path.name).astype(np.float64)
                    write_bands(path, values, transform=pixels, crs="EPSG:4326")
                elif kind == "s2":
                    write_s2(path, transform=pixels, crs="EPSG:4326")
                else:
                    write_codes(path, (1, 6, 10), transform=pixels, crs="EPSG:4326")
    return folder


def write_eurosat(folder: Path, images: Sequence[str] = ("Forest_1", "Forest_2", "River_1")) -> Path:
    """The folder of such images, each 5 km east of the one before."""
    for index, image in enumerate(images):
        write_s2(folder / image.split("_")[0] / f"{image}.tif", transform=UTM @ Affine.translation(500 * index, 0))
    return folder


def write_ssl4eo(folder: Path, location: str, s2: Sequence[str], s1: Sequence[str]) -> Path:
    """The folder with images of these days at a location, as "20200604", of both levels, in files for each band.

    Every band has coordinates of its own, off by pixels, as in the published files.
    """
    for day in s2:
        for level, bands in (("s2a", [band for band in LEVEL_1C if band != "B10"]), ("s2c", LEVEL_1C)):
            image = folder / level / location / f"{day}T054639_{day}T054831_T43RCP"
            for band in bands:
                coarser = COARSER.get(band, 1)
                values = numbers(f"{level}{day}{band}", 1, (ROWS // coarser, COLS // coarser))
                _write_askew(image / f"{re.sub('B0', 'B', band)}.tif", values, coarser)
    for day in s1:
        image = folder / "s1" / location / f"S1A_IW_GRDH_1SDV_{day}T010800_{day}T010825_032904_03CFBA_D457"
        for band, values in zip(("VV", "VH"), decibels(day), strict=True):
            _write_askew(image / f"{band}.tif", values[None], 4)
    return folder


def _write_askew(path: Path, values: NDArray[np.generic], shift_px: int) -> None:
    degrees = Affine(1e-4 * shift_px, 0, 73.29 + 1e-4 * shift_px, 0, -9e-5 * shift_px, 30.47)
    write_bands(path, values, crs="EPSG:4326", transform=degrees)


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyScene:
    """One item of a STAC catalogue, with a file for each asset."""

    name: str
    assets: dict[str, NDArray[np.generic]]
    """Key: (rows, cols)."""
    taken: str = "2020-08-16T08:00:00Z"
    properties: dict[str, object] | None = None
    transform: Affine = UTM
    """Of the first asset; those of fewer rows are coarser."""
    crs: str = CRS
    outline: shapely.Geometry | None = None
    """Degrees; the box of the assets if None."""

    @property
    def collection(self) -> str:
        return "sentinel-1-rtc" if "vv" in self.assets else "sentinel-2-l2a"

    def item(self, folder: Path) -> pystac.Item:
        """The item, its files written to the folder."""
        rows, cols = next(iter(self.assets.values())).shape
        left, top = self.transform @ (0, 0)
        right, bottom = self.transform @ (cols, rows)
        outline = self.outline or shapely.box(*transform_bounds(self.crs, "EPSG:4326", left, bottom, right, top))
        taken = datetime.fromisoformat(self.taken).astimezone(UTC)
        item = pystac.Item(
            self.name, shapely.geometry.mapping(outline), list(outline.bounds), taken, dict(self.properties or {})
        )
        item.collection_id = self.collection
        for key, values in self.assets.items():
            path = folder / "assets" / self.name / f"{key}.tif"
            transform = self.transform @ Affine.scale(rows / values.shape[0])
            write_bands(path, values[None], crs=self.crs, transform=transform)
            item.add_asset(key, pystac.Asset(str(path)))
        return item


def s2_scene(name: str = "S2A_MSIL2A_20200816_R001_T33TVL", **fields: object) -> TinyScene:
    """A Sentinel-2 scene of the four 10 m bands, of baseline 02.14 unless told otherwise."""
    bands = ("B02", "B03", "B04", "B08")
    fields = {"properties": {"s2:processing_baseline": "02.14"}, **fields}
    return TinyScene(name=name, assets=dict(zip(bands, numbers(name, 4), strict=True)), **fields)


def s1_scene(name: str = "S1A_IW_20200816", **fields: object) -> TinyScene:
    """A Sentinel-1 scene in linear power."""
    power = 10 ** (decibels(name) / 10)
    return TinyScene(name=name, assets=dict(zip(("vv", "vh"), power, strict=True)), **fields)


def write_catalogue(folder: Path, scenes: Sequence[TinyScene]) -> Path:
    """The folder: catalog.json, a collection for each sensor, and items with relative links to their files."""
    catalogue = pystac.Catalog("tiny", "Scenes made for a test")
    extent = pystac.Extent(pystac.SpatialExtent([[-180, -90, 180, 90]]), pystac.TemporalExtent([[None, None]]))
    for name in sorted({scene.collection for scene in scenes}):
        collection = pystac.Collection(name, "Of one sensor", extent, license="CC0-1.0")
        collection.add_items([scene.item(folder) for scene in scenes if scene.collection == name])
        catalogue.add_child(collection)
    catalogue.normalize_hrefs(str(folder))
    catalogue.make_all_asset_hrefs_relative()
    catalogue.save(pystac.CatalogType.SELF_CONTAINED)
    return folder


def write_item_collection(path: Path, scenes: Sequence[TinyScene]) -> Path:
    """The path of an item collection, its files beside it, without links of its own."""
    items = [scene.item(path.parent) for scene in scenes]
    for item in items:
        for asset in item.assets.values():
            asset.href = Path(asset.href).relative_to(path.parent).as_posix()
    pystac.ItemCollection(items).save_object(str(path))
    return path
