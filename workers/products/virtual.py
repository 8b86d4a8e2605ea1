"""Virtual rasters: others put side by side without a copy of a pixel. https://gdal.org/drivers/raster/vrt.html."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePath
from typing import Final
from xml.etree import ElementTree as ET

from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin

from contract.grid import Grid, Window
from workers.products.spec import RasterSpec

TILE_PX: Final = 512
"""Of every raster that is written here."""
_GDAL_TYPES: Final = {"uint8": "Byte", "uint16": "UInt16", "float32": "Float32"}
_SMALLEST_PX: Final = 256
"""Overviews are offered until the longer side is about this."""
_MOST_LEVELS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A raster of the same CRS and lattice, and where it goes."""

    window: Window
    """Of the virtual raster's grid; what the source covers."""
    path: str
    """Absolute, or relative to the folder of the virtual raster."""
    see_through: float | None = None
    """Stored number that lets sources before it show; None: it covers them."""


def transform_of(grid: Grid, window: Window) -> Affine:
    """From (column, row) of a window to metres of the grid's CRS."""
    left, _, _, top = grid.bounds_m(window)
    return from_origin(left, top, grid.resolution_m, grid.resolution_m)


def virtual_raster(spec: RasterSpec, sources: Iterable[Source], grid: Grid, attribution: str) -> ET.Element:
    """A raster of these sources; pixels of the grid without one are nodata.

    Args:
        spec: What the raster is.
        sources: Later ones lie over earlier ones.
        grid: The whole raster's grid.
        attribution: Whose data it contains, for the file's copyright tag.
    """
    placed = tuple(sources)
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
        _place(band, placed, spec)
    return root


def offer_overviews(root: ET.Element) -> None:
    """Offer levels that GDAL fills from those of the sources; without, all of it is read to show it on one screen."""
    longest = max(int(root.attrib["rasterXSize"]), int(root.attrib["rasterYSize"]))
    levels = takewhile(lambda level: longest >> level >= _SMALLEST_PX // 2, range(1, _MOST_LEVELS))
    text = " ".join(str(2**level) for level in levels)
    if text:
        _add(root, "OverviewList", text)


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


def _place(band: ET.Element, sources: Sequence[Source], spec: RasterSpec) -> None:
    for source in sources:
        window, covers = source.window, source.see_through is None
        element = ET.SubElement(band, "SimpleSource" if covers else "ComplexSource")
        is_relative = "0" if PurePath(source.path).is_absolute() else "1"
        _add(element, "SourceFilename", source.path, relativeToVRT=is_relative)
        _add(element, "SourceBand", band.get("band", ""))
        size = {"xSize": str(window.width), "ySize": str(window.height)}
        # With these, a source is opened only when its pixels are needed.
        properties = {"RasterXSize": str(window.width), "RasterYSize": str(window.height)}
        tile = {"BlockXSize": str(TILE_PX), "BlockYSize": str(TILE_PX)}
        ET.SubElement(element, "SourceProperties", {**properties, "DataType": _GDAL_TYPES[spec.dtype], **tile})
        ET.SubElement(element, "SrcRect", {"xOff": "0", "yOff": "0", **size})
        ET.SubElement(element, "DstRect", {"xOff": str(window.col), "yOff": str(window.row), **size})
        if not covers:
            _add(element, "NODATA", repr(source.see_through))


def _add(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, name, attributes).text = text
