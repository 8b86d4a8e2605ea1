"""QGIS styles of the rasters, and a QGIS project that shows them together.

A project made of the same renderers, with relative paths: opened in QGIS 3.22 or later, it shows the land cover under a
white veil that thickens with the variance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.colors import to_hex
from rasterio.crs import CRS

from contract.grid import Grid
from workers.products.files import write_file
from workers.products.product import Product
from workers.products.spec import LANDCOVER, QUALITY, SENSORS, VARIANCE, RasterSpec

PROJECT_NAME: Final = "map.qgs"
VARIANCE_COLORS: Final = "magma_r"
"""Matplotlib's name of a perceptually uniform ramp; light is certain."""
_PLAIN_COLORS: Final = "viridis"
"""Perceptually uniform too, and not to be taken for a variance."""
VEIL: Final = "variance-veil"
_QGIS_VERSION: Final = "3.22.0"
_STOPS: Final = 16
_VEIL_ALPHA: Final = 235
"""Opacity of the veil where the variance is highest, 0..255: the class still shines through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A value and how it is drawn."""

    value: float
    label: str
    color: str
    """#rrggbb."""
    alpha: int = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of the project."""

    name: str
    """Of the style file, without extension."""
    raster: str
    """File name of the raster, without extension."""
    title: str
    shown: bool
    renderer: ET.Element

    @property
    def id(self) -> str:
        """Identifier in the project. QGIS replaces those of ten characters or less."""
        return f"landsigma-{self.name}"


def write_styles(folder: Path, product: Product) -> tuple[Path, ...]:
    """A .qml file for each layer, and a project with all of them.

    Raises:
        OutputNotWritable: The disk is full or read-only.
    """
    layers = _layers(product)
    paths = [folder / f"{layer.name}.qml" for layer in layers]
    for layer, path in zip(layers, paths, strict=True):
        root = ET.Element("qgis", version=_QGIS_VERSION, styleCategories="AllStyleCategories")
        _draw(root, layer)
        _write(path, root)
    project = folder / PROJECT_NAME
    _write(project, _project(product, layers))
    return *paths, project


def _layers(product: Product) -> tuple[Layer, ...]:
    """The layers from top to bottom."""
    classes = [Stop(value=c.value, label=c.name, color=c.color) for c in product.manifest.legend.classes]
    sensors = [Stop(value=entry.value, label=entry.name, color=entry.color) for entry in SENSORS]
    landcover = Layer(name=LANDCOVER, raster=LANDCOVER, title="Land cover", shown=True, renderer=_paletted(1, classes))
    quality = Layer(name=QUALITY, raster=QUALITY, title="Sensors observed", shown=False, renderer=_paletted(3, sensors))
    others = tuple(_plain(spec) for spec in product.specs if spec.name not in {LANDCOVER, VARIANCE, QUALITY})
    if product.spec(VARIANCE) is None:
        return landcover, quality, *others
    highest = product.highest_variance
    veil = Layer(
        name=VEIL,
        raster=VARIANCE,
        title="Veil: whiter is less certain",
        shown=True,
        renderer=_ramp(
            [_stop(0.0, "#ffffff", alpha=0), _stop(highest, "#ffffff", alpha=_VEIL_ALPHA)],
        ),
    )
    variance = Layer(
        name=VARIANCE,
        raster=VARIANCE,
        title="Total variance",
        shown=False,
        renderer=_ramp(_stops(VARIANCE_COLORS, 0.0, highest)),
    )
    return veil, landcover, variance, quality, *others


def _plain(spec: RasterSpec) -> Layer:
    """The first band of a raster that has no look of its own."""
    title = f"{spec.name.replace('_', ' ').capitalize()}: {spec.bands[0]}"
    renderer = _ramp(_stops(_PLAIN_COLORS, *spec.shown_range))
    return Layer(name=spec.name, raster=spec.name, title=title, shown=False, renderer=renderer)


def _stops(colormap: str, lowest: float, highest: float) -> list[Stop]:
    """Evenly spaced stops of one of Matplotlib's ramps."""
    colors = mpl.colormaps[colormap]
    parts = [index / (_STOPS - 1) for index in range(_STOPS)]
    return [_stop(lowest + part * (highest - lowest), to_hex(colors(part))) for part in parts]


def _stop(value: float, color: str, *, alpha: int = 255) -> Stop:
    return Stop(value=value, label=f"{value:.2f}", color=color, alpha=alpha)


def _paletted(band: int, stops: Sequence[Stop]) -> ET.Element:
    renderer = _renderer("paletted", band)
    palette = ET.SubElement(renderer, "colorPalette")
    for stop in stops:
        attributes = {"label": stop.label, "color": stop.color, "alpha": str(stop.alpha)}
        ET.SubElement(palette, "paletteEntry", {"value": f"{stop.value:g}", **attributes})
    return renderer


def _ramp(stops: Sequence[Stop]) -> ET.Element:
    """Colours of the first band; QGIS applies scale and offset before it looks a value up."""
    lowest, highest = repr(stops[0].value), repr(stops[-1].value)
    renderer = _renderer("singlebandpseudocolor", 1)
    renderer.attrib.update(classificationMin=lowest, classificationMax=highest)
    # The range is the measure's own, not this map's, so that maps can be compared.
    ET.SubElement(ET.SubElement(renderer, "minMaxOrigin"), "limits").text = "None"
    shader = ET.SubElement(
        ET.SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        clip="0",
        minimumValue=lowest,
        maximumValue=highest,
    )
    for stop in stops:
        attributes = {"label": stop.label, "color": stop.color, "alpha": str(stop.alpha)}
        ET.SubElement(shader, "item", {"value": repr(stop.value), **attributes})
    return renderer


def _renderer(kind: str, band: int) -> ET.Element:
    renderer = ET.Element("rasterrenderer", type=kind, band=str(band), opacity="1", alphaBand="-1", nodataColor="")
    ET.SubElement(renderer, "rasterTransparency")
    return renderer


def _draw(parent: ET.Element, layer: Layer) -> None:
    pipe = ET.SubElement(parent, "pipe")
    pipe.append(layer.renderer)
    ET.SubElement(parent, "blendMode").text = "0"


def _project(product: Product, layers: Sequence[Layer]) -> ET.Element:
    """A QGIS project: the tree that the user sees, and the layers in it."""
    title = f"Land cover, {product.start:%Y-%m-%d} to {product.last_instant:%Y-%m-%d}, {product.manifest.title}"
    root = ET.Element("qgis", projectname=title, version=_QGIS_VERSION)
    ET.SubElement(root, "title").text = title
    root.append(_crs("projectCrs", product.grid))
    # Without this property QGIS leaves the project's CRS aside.
    reference = ET.SubElement(ET.SubElement(root, "properties"), "SpatialRefSys")
    ET.SubElement(reference, "ProjectionsEnabled", type="int").text = "1"
    tree = ET.SubElement(root, "layer-tree-group")
    group = ET.SubElement(tree, "layer-tree-group", name=title, checked="Qt::Checked", expanded="1")
    canvas = ET.SubElement(root, "mapcanvas", name="theMapCanvas")
    ET.SubElement(canvas, "units").text = "meters"
    extent = ET.SubElement(canvas, "extent")
    for name, bound in zip(("xmin", "ymin", "xmax", "ymax"), product.grid.bounds_m(product.grid.window), strict=True):
        ET.SubElement(extent, name).text = repr(bound)
    listed = ET.SubElement(root, "projectlayers")
    for layer in layers:
        checked = "Qt::Checked" if layer.shown else "Qt::Unchecked"
        ET.SubElement(group, "layer-tree-layer", id=layer.id, name=layer.title, checked=checked, expanded="1")
        listed.append(_map_layer(product.grid, layer))
    return root


def _map_layer(grid: Grid, layer: Layer) -> ET.Element:
    element = ET.Element("maplayer", type="raster")
    ET.SubElement(element, "id").text = layer.id
    ET.SubElement(element, "datasource").text = f"./{layer.raster}.tif"
    ET.SubElement(element, "layername").text = layer.title
    element.append(_crs("srs", grid))
    ET.SubElement(element, "provider").text = "gdal"
    _draw(element, layer)
    return element


def _crs(name: str, grid: Grid) -> ET.Element:
    element = ET.Element(name)
    reference = ET.SubElement(element, "spatialrefsys")
    crs = CRS.from_user_input(grid.crs)
    ET.SubElement(reference, "wkt").text = crs.to_wkt(version="WKT2_2019")
    if (authority := crs.to_authority()) is not None:
        ET.SubElement(reference, "authid").text = ":".join(authority)
    return element


def _write(path: Path, root: ET.Element) -> None:
    ET.indent(root)
    doctype = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    write_file(path, (doctype + ET.tostring(root, encoding="unicode")).encode())
