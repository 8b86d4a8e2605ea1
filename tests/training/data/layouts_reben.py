"""Tiny archives in the two layouts of reBEN: 12 x 18 px patches with random pixels."""

import csv
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import rasterio
from numpy.typing import NDArray
from pyarrow import parquet
from rasterio import Affine
from rasterio.errors import NotGeoreferencedWarning

from contract.bands import BANDS, SENTINEL1_BANDS, SENTINEL2_BANDS

ROWS, COLS = 12, 18
S2_BANDS = tuple(band.name for band in SENTINEL2_BANDS)
S1_BANDS = tuple(band.name for band in SENTINEL1_BANDS)
FLAT_S2_BANDS = ("B02", "B03", "B04", "B08")
GRID = Affine(10, 0, 549180, 0, -10, 7028040)
"""Of 10 m pixels, in UTM zone 34 north."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyPatch:
    """A patch and where it lies."""

    name: str = "S2A_MSIL2A_20170613T101031_N9999_R022_T34VER_41_60"
    s1: str = "S1B_IW_GRDH_1SDV_20170612T162029_34VER_41_60"
    split: str = "train"
    labels: tuple[str, ...] = ("Arable land", "Transitional woodland, shrub")
    corner: tuple[float, float] = (549180.0, 7028040.0)
    crs: str = "EPSG:32634"

    def band(self, name: str) -> NDArray[np.generic]:
        """(rows, cols) at the band's own resolution: digital numbers or dB, the same each time."""
        rng = np.random.default_rng([*self.name.encode(), *name.encode()])
        coarser = BANDS[name].resolution_m // 10
        shape = (ROWS // coarser, COLS // coarser)
        if name in S1_BANDS:
            return rng.normal(-12, 3, shape).astype(np.float32)
        return rng.integers(200, 3000, shape).astype(np.uint16)

    def codes(self) -> NDArray[np.uint16]:
        """(rows, cols) CORINE codes; 999 has no class, in any legend."""
        rng = np.random.default_rng([*self.name.encode()])
        return rng.choice(np.array([211, 324, 999], np.uint16), (ROWS, COLS))


PATCHES = (
    TinyPatch(),
    TinyPatch(
        name="S2B_MSIL2A_20170924T093019_N9999_R136_T35VNH_26_63",
        s1="S1A_IW_GRDH_1SDV_20170925T160342_35VNH_26_63",
        split="validation",
        labels=("Sea and ocean",),
        corner=(531180.0, 6724440.0),
        crs="EPSG:32635",
    ),
)


def write_bands(
    path: Path,
    values: NDArray[np.generic],
    *,
    transform: Affine | None = GRID,
    crs: str | None = "EPSG:32634",
    nodata: float | None = None,
    descriptions: Sequence[str] = (),
) -> Path:
    """The path of a GeoTIFF of these (bands, rows, cols)."""
    count, height, width = values.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    where = {} if transform is None else {"crs": crs, "transform": transform}
    shape = {"height": height, "width": width, "count": count, "dtype": values.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", nodata=nodata, **shape, **where) as raster:
            raster.write(values)
            for band, description in enumerate(descriptions, start=1):
                raster.set_band_description(band, description)
    return path


def write_flat(folder: Path, patches: Iterable[TinyPatch] = PATCHES) -> Path:
    """The folder: patches.csv, and s2.tif, s1.tif and clc.tif for each patch."""
    folder.mkdir(parents=True, exist_ok=True)
    patches = tuple(patches)
    for patch in patches:
        place = {"crs": patch.crs, "transform": Affine(10, 0, patch.corner[0], 0, -10, patch.corner[1])}
        s2 = np.stack([patch.band(band) for band in FLAT_S2_BANDS])
        s1 = np.stack([patch.band(band) for band in S1_BANDS])
        write_bands(folder / patch.name / "s2.tif", s2, nodata=0, descriptions=FLAT_S2_BANDS, **place)
        write_bands(folder / patch.name / "s1.tif", s1, nodata=np.nan, descriptions=S1_BANDS, **place)
        codes = patch.codes()[None]
        write_bands(folder / patch.name / "clc.tif", codes, nodata=0, descriptions=["CLC2018 code"], **place)
    with (folder / "patches.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("patch_id", "split", "s1_name", "labels19"))
        table.writerows((patch.name, patch.split, patch.s1, "|".join(patch.labels)) for patch in patches)
    return folder


def write_published(folder: Path, patches: Iterable[TinyPatch] = PATCHES) -> Path:
    """The folder: metadata.parquet, and a GeoTIFF for each band of each patch in a folder of its product."""
    patches = tuple(patches)
    for patch in patches:
        product, s1_product = patch.name.rsplit("_", 2)[0], patch.s1.rsplit("_", 3)[0]
        s2 = folder / "BigEarthNet-S2" / product / patch.name
        s1 = folder / "BigEarthNet-S1" / s1_product / patch.s1
        for band in S2_BANDS:
            _write_band(s2 / f"{patch.name}_{band}.tif", patch, band, nodata=0)
        for band in S1_BANDS:
            _write_band(s1 / f"{patch.s1}_{band}.tif", patch, band)
        codes = folder / "Reference_Maps" / product / patch.name / f"{patch.name}_reference_map.tif"
        place = Affine(10, 0, patch.corner[0], 0, -10, patch.corner[1])
        write_bands(codes, patch.codes()[None], crs=patch.crs, transform=place, nodata=0)
    write_contents(folder, patches)
    return folder


def write_contents(folder: Path, patches: Iterable[TinyPatch]) -> None:
    """metadata.parquet of these patches, with every column that the published one has."""
    rows = [
        {
            "patch_id": patch.name,
            "labels": list(patch.labels),
            "split": patch.split,
            "country": "Finland",
            "s1_name": patch.s1,
            "s2v1_name": patch.name.replace("_N9999_R022_T34VER", ""),
            "contains_seasonal_snow": False,
            "contains_cloud_or_shadow": False,
        }
        for patch in patches
    ]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "metadata.parquet")


def _write_band(path: Path, patch: TinyPatch, band: str, nodata: float | None = None) -> None:
    resolution = BANDS[band].resolution_m
    place = Affine(resolution, 0, patch.corner[0], 0, -resolution, patch.corner[1])
    write_bands(path, patch.band(band)[None], crs=patch.crs, transform=place, nodata=nodata)
