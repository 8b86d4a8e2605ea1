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
from rasterio.transform import Affine, from_origin
from rio_cogeo.cogeo import cog_validate

from contract.errors import OutputNotWritable
from contract.grid import Grid, Window
from workers.products.files import unfinished, write_file
from workers.products.spec import RasterSpec, StoredArray

_TILE_PX: Final = 512
_GDAL_TYPES: Final = {"uint8": "Byte", "uint16": "UInt16", "float32": "Float32"}
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
            blockxsize=_TILE_PX,
            blockysize=_TILE_PX,
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
            mosaic.write_bytes(_mosaic(spec, blocks, grid, attribution))
            rasterio.shutil.copy(mosaic, temporary, driver="COG", **_creation_options(spec))
            flaws = _flaws(temporary, mosaic)
        except (CPLE_BaseError, OSError, SystemError) as error:  # SystemError: GDAL failed and does not say how
            raise OutputNotWritable(str(target), f"GDAL gave up ({error}); the disk may be full") from error
        if flaws:
            raise OutputNotWritable(str(target), f"what was written is broken ({flaws}); the disk may be full")


def transform_of(grid: Grid, window: Window) -> Affine:
    """From (column, row) of a window to metres of the grid's CRS."""
    left, _, _, top = grid.bounds_m(window)
    return from_origin(left, top, grid.resolution_m, grid.resolution_m)


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
        "BLOCKSIZE": _TILE_PX,
        # Blocks may bring none; whatever a reader finds in them must not decide how a map looks from afar.
        "OVERVIEWS": "IGNORE_EXISTING",
        "OVERVIEW_RESAMPLING": spec.overviews,
        # Compression is most of the work; the bytes do not depend on the number of threads.
        "NUM_THREADS": "ALL_CPUS",
        # The size after compression is not known beforehand: 4 GiB must not be hit half-way.
        "BIGTIFF": "IF_SAFER",
    }


def _mosaic(spec: RasterSpec, blocks: Sequence[tuple[Window, Path]], grid: Grid, attribution: str) -> bytes:
    """A GDAL virtual raster: https://gdal.org/drivers/raster/vrt.html."""
    root = ET.Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
    _add(root, "SRS", CRS.from_user_input(grid.crs).to_wkt())
    _add(root, "GeoTransform", ", ".join(map(repr, transform_of(grid, grid.window).to_gdal())))
    tags = {
        "AREA_OR_POINT": "Area",
        "TIFFTAG_IMAGEDESCRIPTION": spec.description,
        "TIFFTAG_SOFTWARE": "landsigma",
        "TIFFTAG_COPYRIGHT": attribution,
    }
    metadata = ET.SubElement(root, "Metadata")
    for key, text in tags.items():
        _add(metadata, "MDI", text, key=key)
    for position, name in enumerate(spec.bands, start=1):
        band = ET.SubElement(root, "VRTRasterBand", dataType=_GDAL_TYPES[spec.dtype], band=str(position))
        _describe(band, name, spec)
        for window, path in blocks:
            _place(band, position, spec, window, path)
    text = ET.tostring(root, encoding="unicode")
    return text.encode()


def _describe(band: ET.Element, name: str, spec: RasterSpec) -> None:
    _add(band, "Description", name)
    _add(band, "UnitType", spec.unit)
    _add(band, "NoDataValue", repr(spec.nodata))
    if (spec.scale, spec.offset) != (1.0, 0.0):
        _add(band, "Offset", repr(spec.offset))
        _add(band, "Scale", repr(spec.scale))
    if spec.legend is not None:
        _add(band, "ColorInterp", "Palette")
        colors = {entry.value: (*entry.rgb, 255) for entry in spec.legend.classes}
        table = ET.SubElement(band, "ColorTable")
        for value in range(max(colors) + 1):
            rgba = colors.get(value, (0, 0, 0, 0))
            ET.SubElement(table, "Entry", {f"c{index}": str(part) for index, part in enumerate(rgba, start=1)})
    else:
        _add(band, "ColorInterp", "Gray" if band.get("band") == "1" else "Undefined")


def _place(band: ET.Element, position: int, spec: RasterSpec, window: Window, path: Path) -> None:
    source = ET.SubElement(band, "SimpleSource")
    _add(source, "SourceFilename", str(path.absolute()), relativeToVRT="0")
    _add(source, "SourceBand", str(position))
    size = {"xSize": str(window.width), "ySize": str(window.height)}
    # With these, a block is opened only when its pixels are needed.
    properties = {"RasterXSize": str(window.width), "RasterYSize": str(window.height)}
    tile = {"BlockXSize": str(_TILE_PX), "BlockYSize": str(_TILE_PX)}
    ET.SubElement(source, "SourceProperties", {**properties, "DataType": _GDAL_TYPES[spec.dtype], **tile})
    ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **size})
    ET.SubElement(source, "DstRect", {"xOff": str(window.col), "yOff": str(window.row), **size})


def _add(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, name, attributes).text = text
