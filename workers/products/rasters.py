"""Block rasters, and the Cloud-Optimized GeoTIFFs that they become."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError  # what rasterio.shutil.copy lets through; it has no public name
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rio_cogeo.cogeo import cog_validate

from contract.errors import OutputNotWritable
from contract.grid import Grid, Window
from workers.products.files import unfinished, write_file
from workers.products.spec import RasterSpec, StoredArray
from workers.products.virtual import TILE_PX, Source, transform_of, virtual_raster

# Differences of neighbours compress measurements better and classes worse: 783 instead of 830 MB for a noisy variance
# of 10980 x 10980 px, 29 instead of 25 MB for a land cover.
_PREDICTORS: Final = {"uint8": 1, "uint16": 2, "float32": 3}
_COG_PREDICTORS: Final = {"uint8": "NO", "uint16": "STANDARD", "float32": "FLOATING_POINT"}
"""The same in the words of the COG driver, which warns of a 1."""


def write_block_raster(path: Path, spec: RasterSpec, array: StoredArray, grid: Grid, window: Window) -> None:
    """Write the stored numbers of one block, (bands, rows, cols), as a GeoTIFF of its own.

    Raises:
        OutputNotWritable: The disk is full or read-only.
    """
    # Through memory: GDAL may keep a full disk to itself until after the file is closed, the operating system does not.
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=window.height,
            width=window.width,
            count=len(spec.bands),
            dtype=spec.dtype,
            nodata=spec.nodata,
            crs=CRS.from_user_input(grid.crs),
            transform=transform_of(grid, window),
            interleave="band",  # the mosaic is read band by band: a quarter less work than all bands in one tile
            tiled=True,
            blockxsize=TILE_PX,
            blockysize=TILE_PX,
            compress="zstd",
            zstd_level=1,  # read back once, by this same GDAL: speed before size
            predictor=_PREDICTORS[spec.dtype],
        ) as dataset:
            dataset.write(array)
        write_file(path, memory.read())


def mosaic_to_cog(
    spec: RasterSpec, blocks: Sequence[tuple[Window, Path]], grid: Grid, target: Path, *, attribution: str
) -> None:
    """Put block rasters side by side into one COG; pixels of the grid without a block become nodata.

    Streams: memory depends on GDAL's block cache, not on the size of the grid. Equal blocks give equal bytes.

    Args:
        spec: What the raster is.
        blocks: Each block's window of the grid, and its raster.
        grid: The whole raster's grid.
        target: The COG. Complete or absent.
        attribution: Whose data it contains, for the file's copyright tag.

    Raises:
        OutputNotWritable: The disk is full or read-only, or a block cannot be read back.
    """
    with unfinished(target) as temporary:
        mosaic = temporary.with_suffix(".vrt")
        try:
            sources = (Source(window=window, path=str(path.absolute())) for window, path in blocks)
            mosaic.write_bytes(ET.tostring(virtual_raster(spec, sources, grid, attribution)))
            rasterio.shutil.copy(mosaic, temporary, driver="COG", **_creation_options(spec))
            flaws = _flaws(temporary, mosaic)
        except (CPLE_BaseError, OSError, SystemError) as error:  # SystemError: GDAL failed and does not say how
            raise OutputNotWritable(str(target), f"GDAL gave up ({error}); the disk may be full") from error
        if flaws:
            raise OutputNotWritable(str(target), f"what was written is broken ({flaws}); the disk may be full")


def _flaws(cog: Path, mosaic: Path) -> str:
    """What is wrong with a COG; empty where nothing is.

    GDAL does not tell of every write that failed, above all not of those at the end of a file, where the full
    resolution is. So it is read back and compared with the mosaic it was made from.
    """
    _, errors, warnings = cog_validate(cog, strict=True, quiet=True)
    if errors or warnings:
        return "; ".join([*errors, *warnings])
    with rasterio.open(cog) as written, rasterio.open(mosaic) as meant:
        for _, window in written.block_windows(1):
            if written.read(window=window).tobytes() != meant.read(window=window).tobytes():
                return f"pixels differ at {window}"
    return ""


def _creation_options(spec: RasterSpec) -> dict[str, str | int]:
    return {
        # Everything that reads TIFF reads DEFLATE, browsers too. ZSTD saves 3 % of size and of time.
        "COMPRESS": "DEFLATE",
        # Noise hardly compresses: for measurements, level 6 takes 2.5 times as long and saves 9 % of the size.
        "LEVEL": 6 if spec.dtype == "uint8" else 1,
        "PREDICTOR": _COG_PREDICTORS[spec.dtype],
        "OVERVIEW_PREDICTOR": _COG_PREDICTORS[spec.dtype],
        "BLOCKSIZE": TILE_PX,
        # Blocks may bring none; whatever a reader finds in them must not decide how a map looks from afar.
        "OVERVIEWS": "IGNORE_EXISTING",
        "OVERVIEW_RESAMPLING": spec.overviews,
        # Compression is most of the work; the bytes do not depend on the number of threads.
        "NUM_THREADS": "ALL_CPUS",
        # The size after compression is not known beforehand: 4 GiB must not be hit half-way.
        "BIGTIFF": "IF_SAFER",
    }
