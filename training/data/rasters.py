"""Raster: bands of one GeoTIFF as they are stored, and the physical values that they stand for."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.warp import transform
from rasterio.windows import Window as RasterioWindow
from scipy import ndimage

from contract.bands import BANDS, SENTINEL2_NODATA, SENTINEL2_SCALE, Unit
from contract.errors import SampleInvalid, SampleUnreadable
from contract.grid import Window
from training.data.sample import Footprint, Observation

_OFFSET_TOLERANCE_PX: Final = 0.01
"""Grids that differ by less are one grid: origins are rounded differently from file to file."""
_REFLECTANCE_MEDIANS: Final = (-0.01, 2.0)
"""What the median of an image may be. Clouds stay below it; an offset taken off twice shows over dark ground only."""
_LARGEST_AS_REFLECTANCE: Final = 1.5
"""An image whose digital numbers nowhere exceed this holds reflectance."""
_WHOLE: Final = 0.999
"""A share of valid neighbours that is 1 but for rounding; one missing neighbour takes 1/12 and more at factors up to 6."""
_DECIBEL_MEDIANS: Final = (-45.0, 10.0)
"""What the median of a band may be: calm water without its noise, and a city seen at a steep angle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterGrid:
    """Where the pixels of a file lie."""

    crs: CRS | None
    """None where the file is not georeferenced."""
    transform: Affine
    """Pixel (column, row) -> CRS."""
    shape: tuple[int, int]
    """Rows, columns."""

    @property
    def footprint(self) -> Footprint | None:
        """The box through the middles of the four sides, so that neighbours on one grid touch and do not overlap.

        A box around the corners would be larger than the ground by up to a tenth, since grids are not north-up in degrees.
        """
        if self.crs is None:
            return None
        rows, cols = self.shape
        middles = [(0.0, rows / 2), (cols, rows / 2), (cols / 2, rows), (cols / 2, 0.0)]
        return footprints(self.crs, np.array([[self.transform @ middle for middle in middles]]))[0]

    @property
    def lattice_origin(self) -> tuple[int, int]:
        """Row and column of the first pixel, counted in pixels from where y and x are 0; (0, 0) without a CRS."""
        if self.crs is None:
            return 0, 0
        return round(self.transform.f / self.transform.e), round(self.transform.c / self.transform.a)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Raster:
    """Some bands of one file."""

    path: Path
    names: tuple[str, ...]
    values: npt.NDArray[Any]
    """(bands, rows, columns), as stored."""
    valid: npt.NDArray[np.bool_]
    """(rows, columns); True where no band is NaN, infinite or the file's nodata value."""
    grid: RasterGrid


def read_grid(path: Path) -> RasterGrid:
    """The grid of a GeoTIFF, without its pixels.

    Raises:
        SampleUnreadable: The file is missing or no GeoTIFF.
    """
    with _opened(path) as dataset:
        return _grid(dataset)


def read_bands(
    path: Path, wanted: Sequence[str], *, order: Sequence[str] | None = None, window: Window | None = None
) -> Raster:
    """The wanted bands of a GeoTIFF.

    Bands are found by the file's own descriptions, where B2 is B02 and vv is VV; where it has none, by `order`.

    Args:
        path: The file.
        wanted: Names of bands, in the order in which they are to come.
        order: Names of all bands of the file, for files without descriptions.
        window: Pixels to read, inside the file; all of them by default.

    Raises:
        SampleUnreadable: The file is missing, truncated or no GeoTIFF.
        SampleInvalid: It has other bands, or complex numbers.
    """
    with _opened(path) as dataset:
        names = _band_names(dataset, path, order)
        missing = [name for name in wanted if name not in names]
        if missing:
            raise SampleInvalid(str(path), f"bands {', '.join(names)}", f"also {', '.join(missing)}")
        area = RasterioWindow(window.col, window.row, window.width, window.height) if window else None
        values = dataset.read([names.index(name) + 1 for name in wanted], window=area)
        if values.dtype.kind not in "iuf":
            raise SampleInvalid(str(path), f"pixels of type {values.dtype}", "integers or floats")
        valid = np.isfinite(values).all(axis=0)
        if dataset.nodata is not None:
            valid &= (values != dataset.nodata).all(axis=0)
        return Raster(path=path, names=tuple(wanted), values=values, valid=valid, grid=_grid(dataset, window))


def footprints(crs: CRS | str, middles: npt.NDArray[np.float64]) -> list[Footprint]:
    """The footprints of many samples of one CRS, much faster than one by one.

    Args:
        crs: The CRS of the samples.
        middles: (samples, 4, 2): x and y of the middles of the west, east, south and north sides.
    """
    lon, lat = transform(crs, "EPSG:4326", *middles.reshape(-1, 2).T)[:2]
    sides = zip(np.reshape(lon, (-1, 4)).tolist(), np.reshape(lat, (-1, 4)).tolist(), strict=True)
    return [Footprint(west_deg=lons[0], east_deg=lons[1], south_deg=lats[2], north_deg=lats[3]) for lons, lats in sides]


def require_same_grid(rasters: Sequence[Raster]) -> None:
    """Nothing, if the pixels of all rasters lie on one another.

    Raises:
        SampleInvalid: Shapes differ; or CRS or transform do, of two rasters that are both georeferenced.
    """
    first = next((raster for raster in rasters if raster.grid.crs is not None), rasters[0])
    for raster in rasters:
        if not _same(raster.grid, first.grid):
            raise SampleInvalid(
                str(raster.path), _worded(raster.grid), f"{_worded(first.grid)}, as {first.path.name} has"
            )


def stacked(rasters: Sequence[Raster]) -> Raster:
    """The bands of several files as one raster, named after the folder of the first; valid where all are.

    Raises:
        SampleInvalid: The files do not lie on one grid.
    """
    require_same_grid(rasters)
    return Raster(
        path=rasters[0].path.parent,
        names=tuple(name for raster in rasters for name in raster.names),
        values=np.concatenate([raster.values for raster in rasters]),
        valid=np.logical_and.reduce([raster.valid for raster in rasters]),
        grid=rasters[0].grid,
    )


def upsampled(raster: Raster, factor: int) -> Raster:
    """The raster with `factor` times as many rows and columns, bilinear between the middles of its pixels.

    Values are float32. A pixel is valid where all that it was made of were.
    """
    if factor == 1:
        return raster
    rows, cols = raster.grid.shape
    grid = replace(
        raster.grid, transform=raster.grid.transform @ Affine.scale(1 / factor), shape=(rows * factor, cols * factor)
    )
    known = np.where(raster.valid, raster.values, 0).astype(np.float32)
    values = np.stack([_zoomed(band, factor) for band in known])
    share_valid = _zoomed(raster.valid.astype(np.float32), factor)
    return replace(raster, values=values, valid=share_valid > _WHOLE, grid=grid)


def reflectance(raster: Raster, *, scale: float = SENTINEL2_SCALE, offset: float = 0.0) -> Observation:
    """Surface reflectance: stored * scale + offset. Pixels with 0 in any band were not observed.

    Args:
        raster: Sentinel-2 bands.
        scale: Reflectance per digital number; 1 where reflectance is stored.
        offset: Reflectance of digital number 0: -0.1 from processing baseline 04.00 on, unless it is taken off already.

    Raises:
        SampleInvalid: The values cannot be digital numbers of this scale and offset.
    """
    valid = raster.valid & (raster.values != SENTINEL2_NODATA).all(axis=0)
    stored = raster.values[:, valid]
    if scale < 1 and stored.size and stored.max() < _LARGEST_AS_REFLECTANCE:
        found = f"values {_spread(stored)}, which look like reflectance"
        raise SampleInvalid(str(raster.path), found, f"digital numbers, {scale:g} reflectance each")
    values = np.where(valid, raster.values.astype(np.float32) * np.float32(scale) + np.float32(offset), np.float32(0))
    lowest, highest = _REFLECTANCE_MEDIANS
    if stored.size and not lowest <= np.median(values[:, valid]) <= highest:
        found = f"reflectance {_spread(values[:, valid])} from stored {_spread(stored)} * {scale:g} + {offset:g}"
        raise SampleInvalid(
            str(raster.path), found, f"a median between {lowest:g} and {highest:g}: other scale or offset"
        )
    return Observation(values=values, valid=valid)


def decibel(raster: Raster, *, unit: Unit = Unit.DECIBEL) -> Observation:
    """Backscatter in dB.

    Args:
        raster: Sentinel-1 bands.
        unit: What is stored: decibel, or linear power, of which 0 and less was not observed.

    Raises:
        SampleInvalid: The values cannot be of this unit.
    """
    if unit is Unit.LINEAR_POWER:
        return _decibel_of_power(raster)
    stored = raster.values[:, raster.valid].astype(np.float32)
    lowest, highest = _DECIBEL_MEDIANS
    for name, band in zip(raster.names, stored, strict=True):
        if band.size and not (band.min() < 0 and lowest <= np.median(band) <= highest):
            hint = ", which look like linear power" if band.min() >= 0 and np.median(band) < 1 else ""
            needed = f"dB: negative values, a median between {lowest:g} and {highest:g}"
            raise SampleInvalid(str(raster.path), f"{name} of {_spread(band)}{hint}", needed)
    values = np.where(raster.valid, raster.values, 0).astype(np.float32)
    return Observation(values=values, valid=raster.valid)


def _decibel_of_power(raster: Raster) -> Observation:
    stored = raster.values[:, raster.valid]
    if stored.size and np.median(stored) < 0:
        raise SampleInvalid(str(raster.path), f"values {_spread(stored)}, which look like dB", "linear power, above 0")
    valid = raster.valid & (raster.values > 0).all(axis=0)
    power = np.where(valid, raster.values, 1).astype(np.float32)
    return decibel(replace(raster, values=10 * np.log10(power), valid=valid))


@contextmanager
def _opened(path: Path) -> Iterator[DatasetReader]:
    """The file, open. GDAL's complaints, also those while reading, come out as SampleUnreadable."""
    with (
        # No search for sidecar files, and none written: a sample is the file that is named.
        rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # said by `grid.crs`
        try:
            # One driver: others follow references to files elsewhere.
            with rasterio.open(path, driver="GTiff") as dataset:
                yield dataset
        except RasterioError as error:
            raise SampleUnreadable(str(path), str(error.__cause__ or error).rstrip(".")) from error


def _band_names(dataset: DatasetReader, path: Path, order: Sequence[str] | None) -> list[str]:
    if all(dataset.descriptions):
        return [_mission_name(description) for description in dataset.descriptions]
    if order is None or len(order) != dataset.count:
        needed = f"the {len(order)} bands {', '.join(order)}" if order else "a description of each band"
        raise SampleInvalid(str(path), f"{dataset.count} bands without descriptions", needed)
    return list(order)


def _mission_name(description: str) -> str:
    """The name as `contract.bands` has it, or the description itself where it is no such name."""
    name = re.sub(r"^B(\d)$", r"B0\1", description.strip().upper())
    return name if name in BANDS else description


def _grid(dataset: DatasetReader, window: Window | None = None) -> RasterGrid:
    if window is None:
        return RasterGrid(crs=dataset.crs, transform=dataset.transform, shape=dataset.shape)
    corner = dataset.transform @ Affine.translation(window.col, window.row)
    return RasterGrid(crs=dataset.crs, transform=corner, shape=window.shape)


def _same(one: RasterGrid, other: RasterGrid) -> bool:
    if one.shape != other.shape:
        return False
    if one.crs is None or other.crs is None:
        return True
    apart = ~one.transform @ other.transform  # the identity where they agree
    corners = [(0, 0), (one.shape[1], one.shape[0])]
    off_px = max(abs(a - b) for corner in corners for a, b in zip(apart @ corner, corner, strict=True))
    return bool(one.crs == other.crs and off_px <= _OFFSET_TOLERANCE_PX)


def _worded(grid: RasterGrid) -> str:
    rows, cols = grid.shape
    t = grid.transform
    return f"{rows} rows x {cols} columns of {t.a:g} x {-t.e:g} from ({t.c:.8g}, {t.f:.8g}), {grid.crs or 'no CRS'}"


def _zoomed(band: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    # grid_mode: pixels are areas, and the outer edges stay where they are.
    return np.asarray(ndimage.zoom(band, factor, order=1, mode="nearest", grid_mode=True), np.float32)


def _spread(values: npt.NDArray[Any]) -> str:
    return f"{values.min():.4g}..{values.max():.4g}, median {np.median(values):.4g}"
