"""The raster attribute table of the land cover, as GDAL, QGIS and ArcGIS read it from a sidecar file."""

from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from contract.legend import LandCoverClass
from workers.products.files import write_file
from workers.products.product import Product
from workers.products.spec import LANDCOVER

# Name, GDALRATFieldType (0 integer, 1 real, 2 string) and GDALRATFieldUsage (0 generic, 1 pixel count, 2 name,
# 5 value, 6..8 red, green, blue) of each column. Count is real: integers of a table have 32 bits.
_COLUMNS: Final = (
    ("Value", 0, 5),
    ("Count", 1, 1),
    ("Class_Name", 2, 2),
    ("Red", 0, 6),
    ("Green", 0, 7),
    ("Blue", 0, 8),
    ("Area_km2", 1, 0),
)


def write_rat(folder: Path, product: Product) -> Path:
    """The sidecar of `landcover.tif`, with its attribute table and category names.

    Raises:
        OutputNotWritable: The disk is full or read-only.
    """
    classes = product.manifest.legend.classes
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    names = {entry.value: entry.name for entry in classes}
    categories = ET.SubElement(band, "CategoryNames")
    for value in range(max(names) + 1):
        ET.SubElement(categories, "Category").text = names.get(value, "")
    table = ET.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, field_type, usage) in enumerate(_COLUMNS):
        column = ET.SubElement(table, "FieldDefn", index=str(index))
        ET.SubElement(column, "Name").text = name
        ET.SubElement(column, "Type").text = str(field_type)
        ET.SubElement(column, "Usage").text = str(usage)
    for index, entry in enumerate(classes):
        row = ET.SubElement(table, "Row", index=str(index))
        for cell in _cells(product, entry):
            ET.SubElement(row, "F").text = str(cell)
    ET.indent(root)
    path = folder / f"{LANDCOVER}.tif.aux.xml"
    write_file(path, ET.tostring(root, encoding="unicode").encode())
    return path


def _cells(product: Product, entry: LandCoverClass) -> tuple[int | float | str, ...]:
    pixels = product.class_px.get(entry.value, 0)
    return (entry.value, pixels, entry.name, *entry.rgb, product.grid.area_km2(pixels))
