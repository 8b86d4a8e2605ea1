"""The one block of GDAL settings, and the one way to open a raster that someone else named."""

from typing import Final

import rasterio
from rasterio.io import DatasetReader

DRIVERS: Final = ("GTiff", "JP2OpenJPEG")
"""Formats of imagery that are opened. None of them follows a reference to another file or URL, as VRT or GTI do:
hrefs come from catalogues that anyone may have written."""
STALL_S: Final = 20.0
"""Default time without progress after which a request is given up."""

_MEBIBYTE: Final = 1 << 20
_TRICKLE_BYTES_PER_S: Final = 1024
_LONGEST_TRANSFER: Final = 6
"""Times the stall limit that a request may take as a whole."""


def gdal_environment(*, stall_s: float = STALL_S, fresh: bool = False) -> rasterio.Env:
    """GDAL settings for reading, to enter in the thread that reads: options of an `Env` are kept by thread.

    Args:
        stall_s: A request without progress for so long fails; one that takes six times as long fails in any case.
        fresh: Neither believe nor keep what earlier requests of this process said. GDAL remembers a failure for the
            life of the process, so a retry without this asks nobody (measured: no request reaches the server).
    """
    return rasterio.Env(
        # --- what is asked of a server ---
        # A directory listing or probes for .aux.xml, .ovr and .msk beside every asset cost a request each.
        GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
        # No .aux.xml: statistics in there are of no use, and nothing is ever written beside the input.
        GDAL_PAM_ENABLED="NO",
        # The whole header of a COG comes with the first request (a Sentinel-2 tile needs 10 to 20 KB).
        GDAL_INGESTED_BYTES_AT_OPEN=32768,
        # Neighbouring tiles come in one request.
        GDAL_HTTP_MERGE_CONSECUTIVE_RANGES="YES",
        # --- how long to wait for it ---
        GDAL_HTTP_CONNECTTIMEOUT=stall_s,
        GDAL_HTTP_LOW_SPEED_TIME=max(1, round(stall_s)),
        GDAL_HTTP_LOW_SPEED_LIMIT=_TRICKLE_BYTES_PER_S,
        GDAL_HTTP_TIMEOUT=_LONGEST_TRANSFER * stall_s,
        # Retries are counted and spaced by the reader, which also signs again; GDAL's own would multiply with them.
        GDAL_HTTP_MAX_RETRY=0,
        # --- what is remembered ---
        # Headers, and tiles at the edge of two parts, stay for the next read; the default of 16 MiB is soon full.
        CPL_VSIL_CURL_CACHE_SIZE=128 * _MEBIBYTE,
        CPL_VSIL_CURL_NON_CACHED="/vsicurl/" if fresh else "",
        # Decoded tiles are used once, since files are opened for each read; the default is 5 % of the machine.
        GDAL_CACHEMAX=128 * _MEBIBYTE,
        # --- who does the work ---
        # Parallel over assets, in our threads; threads inside GDAL would multiply with them.
        GDAL_NUM_THREADS=1,
    )


def writing_environment() -> rasterio.Env:
    """GDAL settings for putting rasters together: local files only, one after the other."""
    return rasterio.Env(
        # Tiles wait here between the mosaic, its overviews and the file; the default is 5 % of the machine.
        GDAL_CACHEMAX=256 * _MEBIBYTE,
        # Block rasters are looked at by their own names only; a big job's folder takes long to list.
        GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
    )


def open_raster(path: str) -> DatasetReader:
    """The raster at a path or URL, to use and close inside `gdal_environment`, by one thread.

    Opened for each read: a dataset is not thread-safe, a local file opens in 1 ms, and the header of a remote one is
    remembered from the first time.

    Raises:
        rasterio.errors.RasterioIOError: It is not there, or in no format that is read.
    """
    return DatasetReader(path, driver=list(DRIVERS))
