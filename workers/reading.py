"""One band of one scene on a window of the grid, with retries, or an error that says why not.

Windowed reads of our own instead of a STAC-to-array library: every asset is retried, skipped and accounted for by
itself, memory is bounded by the window, and a window's pixels are the same to the bit however the area is cut.
"""

import re
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyproj.exceptions import ProjError
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from contract.bands import Unit
from contract.errors import AssetUnreadable, SourceUnusable
from contract.grid import Grid, Window
from contract.scene import Radiometry, Scene, SceneAsset
from workers.arrays import BoolArray
from workers.gdal import STALL_S, gdal_environment, open_raster
from workers.radar_border import MARGIN_PX, without_border
from workers.resampling import BandPixels, Resampling, place, resample
from workers.sources.signing import Signer

RADAR_UNITS: Final = (Unit.LINEAR_POWER, Unit.DECIBEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When a read is tried again, and when it is given up."""

    attempts: int = 4
    """Reads of a remote asset before it counts as unreadable; a local file gets one."""
    backoff_s: float = 0.5
    """Pause before the second attempt; it doubles from one to the next."""
    stall_s: float = STALL_S
    """Time without progress after which a request fails."""


PATIENT: Final = Patience()


class SceneReader:
    """Reads bands of scenes onto grids. Threads may share one."""

    def __init__(self, signer: Signer | None = None, patience: Patience = PATIENT) -> None:
        self._signer = signer or Signer()
        self._patience = patience

    def read(
        self, scene: Scene, band: str, *, grid: Grid, window: Window, resampling: Resampling = Resampling.BILINEAR
    ) -> BandPixels:
        """The band in physical units: stored * scale + offset, each step rounded to float32.

        Radar comes as linear power, also where decibels are stored, since averages and interpolation are made of power;
        the noisy edge of its swath is missing. NaN, infinities and the nodata value are missing; so is power of 0 or less.

        Args:
            scene: The acquisition.
            band: Name of one of its assets.
            grid: The lattice to read on, in any CRS.
            window: Pixels of the grid; may stick out of the grid and of the scene.
            resampling: How to read where the lattices differ.

        Raises:
            AssetUnreadable: It cannot be read, also after retries.
            SourceUnreachable: Who gives the tokens does not answer, which says nothing about the asset.
        """
        asset = scene.asset(band)
        if asset is None:
            raise AssetUnreadable(scene.id, band, "the scene has no such asset")
        reason = ""
        for attempt in range(self._attempts(asset)):
            if attempt:
                time.sleep(self._patience.backoff_s * 2 ** (attempt - 1))
            try:
                path = self._signer.readable(asset.href, scene.signing)
                with gdal_environment(stall_s=self._patience.stall_s, fresh=attempt > 0), open_raster(path) as raster:
                    return _read(raster, asset.radiometry, grid, window, resampling)
            except (RasterioError, CRSError, ProjError, SourceUnusable) as error:
                reason = _reason(error)
                # GDAL does not always tell a 403 from a broken file, so any failure may be an expired token.
                self._signer.forget(asset.href, scene.signing)
        raise AssetUnreadable(scene.id, band, f"{reason} (attempts: {self._attempts(asset)}, {_public(asset.href)})")

    def _attempts(self, asset: SceneAsset) -> int:
        return self._patience.attempts if "://" in asset.href else 1


def _read(
    raster: DatasetReader, radiometry: Radiometry, grid: Grid, window: Window, resampling: Resampling
) -> BandPixels:
    if raster.crs is None:
        raise CRSError("the file does not say where it lies")
    placement = place(grid, window, raster.crs, raster.transform, raster.shape)
    return resample(partial(_physical, raster, radiometry), placement, resampling)


def _physical(raster: DatasetReader, radiometry: Radiometry, window: Window) -> BandPixels:
    """Pixels of a window inside of the raster, without resampling."""
    if radiometry.unit not in RADAR_UNITS:
        values, missing = _scaled(raster, radiometry, window)
        return BandPixels(values=values, missing=missing)
    whole = Window(row=0, col=0, height=raster.height, width=raster.width)
    wide = window.grown(MARGIN_PX).intersection(whole) or window
    values, missing = _scaled(raster, radiometry, wide)
    if radiometry.unit is Unit.DECIBEL:
        values = np.power(np.float32(10), values / np.float32(10))
    missing |= values <= 0
    missing = without_border(values, missing)
    values[missing] = 0
    inner = window.slices_in(wide)
    return BandPixels(values=values[inner], missing=missing[inner])


def _scaled(raster: DatasetReader, radiometry: Radiometry, window: Window) -> tuple[NDArray[np.float32], BoolArray]:
    area = RasterioWindow(window.col, window.row, window.width, window.height)
    values = raster.read(1, window=area).astype(np.float32, copy=False)
    missing = ~np.isfinite(values)
    nodata = raster.nodata if radiometry.nodata is None else radiometry.nodata
    if nodata is not None:
        missing |= values == np.float32(nodata)
    values *= np.float32(radiometry.scale)
    values += np.float32(radiometry.offset)
    values[missing] = 0
    return values, missing


def _reason(error: BaseException) -> str:
    """What went wrong, in GDAL's words: those of the first cause, which name the byte or the status."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _public(str(getattr(error, "errmsg", error)))


def _public(message: str) -> str:
    """Without the queries of URLs, where signatures are."""
    return re.sub(r"\?[^\s'\"]*", "", message)
