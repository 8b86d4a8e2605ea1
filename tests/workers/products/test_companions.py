"""Tables, styles and the preview, read by GDAL and QGIS themselves."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from shapely import MultiPolygon, box

from contract.errors import OutputNotWritable
from contract.grid import Grid
from tests.qgis import answer_of
from tests.workers.products.conftest import GRID, LEGEND, MANIFEST, Published, publish
from workers.products.preview import write_preview
from workers.products.product import Product
from workers.products.rat import write_rat
from workers.products.styles import write_styles

ASK_QGIS = """
import glob, json, os, sys
from qgis.core import QgsApplication, QgsProject, QgsRaster, QgsRasterLayer, QgsPointXY

application = QgsApplication([], False)
application.initQgis()
folder = sys.argv[1]

def drawn(layer):
    renderer = layer.renderer()
    if renderer.type() == "paletted":
        stops = [(c.value, c.label, c.color.name(), c.color.alpha()) for c in renderer.classes()]
        return {"type": "paletted", "band": renderer.band(), "stops": stops}
    items = renderer.shader().rasterShaderFunction().colorRampItemList()
    stops = [(i.value, i.label, i.color.name(), i.color.alpha()) for i in items]
    return {"type": renderer.type(), "band": renderer.band(), "stops": stops}

answer = {"styles": {}, "project": []}
for path in glob.glob(f"{folder}/*.qml"):
    style = os.path.basename(path)[:-len(".qml")]
    layer = QgsRasterLayer(f"{folder}/{style.split('-')[0]}.tif", style)
    message, loaded = layer.loadNamedStyle(path)
    answer["styles"][style] = {"loaded": loaded and layer.isValid(), **drawn(layer)}
project = QgsProject.instance()
answer["read"] = project.read(f"{folder}/map.qgs")
answer["crs"] = project.crs().authid()
for node in project.layerTreeRoot().findLayers():
    layer = node.layer()
    entry = (layer.id(), node.isVisible(), layer.isValid(), layer.crs().authid(), layer.source(), drawn(layer)["type"])
    answer["project"].append(entry)
variance = project.mapLayer("landsigma-variance")
pixel = QgsPointXY(500000 + 10 * 300.5, 5000000 - 10 * 100.5)
answer["value"] = variance.dataProvider().identify(pixel, QgsRaster.IdentifyFormatValue).results()[1]
print(json.dumps(answer))
sys.stdout.flush()
os._exit(0)  # taking QGIS down in order crashes it now and then
"""


@pytest.fixture(scope="module")
def qgis(published: Published, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What QGIS sees in a copy of the published folder: relative paths must hold anywhere."""
    return answer_of(ASK_QGIS, shutil.copytree(published.folder, tmp_path_factory.mktemp("moved") / "elsewhere"))


def test_qgis_loads_every_style(qgis: dict) -> None:
    assert {name: (style["loaded"], style["type"], style["band"]) for name, style in qgis["styles"].items()} == {
        "landcover": (True, "paletted", 1),
        "variance": (True, "singlebandpseudocolor", 1),
        "variance-veil": (True, "singlebandpseudocolor", 1),
        "quality": (True, "paletted", 3),
        "probabilities": (True, "singlebandpseudocolor", 1),
    }


def test_every_raster_has_a_style_beside_it(published: Published) -> None:
    assert {path.stem for path in published.folder.glob("*.tif")} <= {
        path.stem for path in published.folder.glob("*.qml")
    }


def test_qgis_draws_probabilities_from_zero_to_one(qgis: dict) -> None:
    stops = qgis["styles"]["probabilities"]["stops"]
    assert (stops[0][0], stops[-1][0]) == (0, 1)


def test_qgis_shows_class_names_and_colours(qgis: dict) -> None:
    expected = [[entry.value, entry.name, entry.color, 255] for entry in LEGEND.classes]
    assert qgis["styles"]["landcover"]["stops"] == expected


def test_qgis_draws_variance_from_light_to_dark_up_to_all_classes_alike(qgis: dict) -> None:
    stops = qgis["styles"]["variance"]["stops"]
    assert (stops[0][0], stops[-1][0]) == (0, pytest.approx(1 - 1 / 5))
    brightness = [sum(int(color[i : i + 2], 16) for i in (1, 3, 5)) for _, _, color, _ in stops]
    assert brightness == sorted(brightness, reverse=True)


def test_the_veil_is_white_and_thickens(qgis: dict) -> None:
    (_, _, *clear), (_, _, *thick) = qgis["styles"]["variance-veil"]["stops"]
    assert clear == ["#ffffff", 0]
    assert thick[0] == "#ffffff"
    assert thick[1] > 200


def test_the_project_shows_the_land_cover_under_its_veil(qgis: dict) -> None:
    assert qgis["read"]
    assert qgis["crs"] == "EPSG:32633"
    assert [(name, shown, valid, crs, renderer) for name, shown, valid, crs, _, renderer in qgis["project"]] == [
        ("landsigma-variance-veil", True, True, "EPSG:32633", "singlebandpseudocolor"),
        ("landsigma-landcover", True, True, "EPSG:32633", "paletted"),
        ("landsigma-variance", False, True, "EPSG:32633", "singlebandpseudocolor"),
        ("landsigma-quality", False, True, "EPSG:32633", "paletted"),
        ("landsigma-probabilities", False, True, "EPSG:32633", "singlebandpseudocolor"),
    ]


def test_the_project_finds_its_rasters_where_it_was_moved(qgis: dict) -> None:
    assert all("/elsewhere/" in source for *_, source, _ in qgis["project"])


def test_qgis_reads_variance_in_its_unit(qgis: dict, published: Published) -> None:
    assert qgis["value"] == pytest.approx(published.arrays["variance"][0, 100, 300] * 1e-4)


def test_gdal_reads_the_attribute_table_and_the_class_names(published: Published) -> None:
    if shutil.which("gdalinfo") is None:
        pytest.skip("gdalinfo is not installed")
    told = subprocess.run(
        ["gdalinfo", "-json", published.folder / "landcover.tif"], capture_output=True, text=True, check=True
    )
    info = json.loads(told.stdout)
    columns = [(column["name"], column["usage"]) for column in info["rat"]["fieldDefn"]]
    assert columns == [
        ("Value", 5),
        ("Count", 1),
        ("Class_Name", 2),
        ("Red", 6),
        ("Green", 7),
        ("Blue", 8),
        ("Area_km2", 0),
    ]
    counts = {entry.value: int((published.arrays["landcover"] == entry.value).sum()) for entry in LEGEND.classes}
    rows = [row["f"] for row in info["rat"]["row"]]
    assert [row[:3] for row in rows] == [[entry.value, counts[entry.value], entry.name] for entry in LEGEND.classes]
    assert rows[0][3:6] == [0, 100, 0]
    assert rows[0][6] == pytest.approx(counts[10] * 100 / 1e6)
    assert info["bands"][0]["categories"][10] == "Tree cover"


@pytest.mark.parametrize(("height", "width"), [(700, 1100), (1500, 40), (40, 1500), (3, 2)])
def test_the_preview_shows_classes_whatever_the_shape(tmp_path: Path, height: int, width: int) -> None:
    grid = Grid(crs="EPSG:32633", left_m=500_000, top_m=5_000_000, resolution_m=10, height=height, width=width)
    shown = publish(tmp_path, grid, MultiPolygon([box(15.0, 45.08, 15.14, 45.15)]))
    picture = imread(shown.folder / "preview.png")
    assert max(picture.shape) < 2000
    visible = {tuple(color) for color in np.round(picture[..., :3].reshape(-1, 3) * 255).astype(int)}
    common = [entry for entry in LEGEND.classes if shown.product.share(entry.value) > 0.05]
    assert all(entry.rgb in visible for entry in common)


def test_equal_maps_give_equal_previews(published: Published, tmp_path: Path) -> None:
    copy = shutil.copytree(published.folder, tmp_path / "copy")
    assert write_preview(copy, published.product).read_bytes() == (published.folder / "preview.png").read_bytes()


def test_a_bundle_without_variance_is_published_without_its_pictures(tmp_path: Path) -> None:
    probabilities = MANIFEST.output("probabilities")
    manifest = MANIFEST.model_copy(update={"outputs": (probabilities,)})
    shown = publish(tmp_path, GRID, MultiPolygon([box(15.0, 45.08, 15.14, 45.15)]), manifest)
    assert not [path.name for path in shown.folder.iterdir() if "variance" in path.name]
    assert (shown.folder / "preview.png").exists()


@pytest.mark.parametrize("write", [write_rat, write_styles])
def test_a_missing_folder_is_refused(
    published: Published, tmp_path: Path, write: Callable[[Path, Product], object]
) -> None:
    with pytest.raises(OutputNotWritable, match="No such file or directory"):
        write(tmp_path / "absent", published.product)
