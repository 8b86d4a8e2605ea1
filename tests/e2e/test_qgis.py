"""What a job leaves opens in QGIS and GDAL with nothing set, and its STAC files are valid and name every other file."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from contract.legend import WORLDCOVER
from tests.qgis import answer_of

OPEN_ALL = """
import json, os, pathlib, sys
from osgeo import gdal
from qgis.core import QgsApplication, QgsProject, QgsRasterLayer

application = QgsApplication([], False)
application.initQgis()
folder = pathlib.Path(sys.argv[1])
layers = {path.stem: QgsRasterLayer(str(path), path.stem) for path in folder.glob("*.tif")}
classes = layers["landcover"].renderer().classes()
project = QgsProject.instance()
dataset = gdal.Open(str(folder / "landcover.tif"))
table = dataset.GetRasterBand(1).GetDefaultRAT()
column = {table.GetNameOfCol(index): index for index in range(table.GetColumnCount())}
rows = range(table.GetRowCount())
print(json.dumps({
    "valid": {name: layer.isValid() for name, layer in layers.items()},
    "renderers": {name: layer.renderer().type() for name, layer in layers.items()},
    "classes": [(entry.value, entry.label, entry.color.name()) for entry in classes],
    "project": project.read(str(folder / "map.qgs")),
    "layers": {layer.name(): layer.isValid() for layer in project.mapLayers().values()},
    "table": [
        (table.GetValueAsInt(row, column["Value"]), table.GetValueAsString(row, column["Class_Name"]),
         table.GetValueAsInt(row, column["Count"]))
        for row in rows
    ],
}))
sys.stdout.flush()
os._exit(0)  # taking QGIS down in order crashes it now and then
"""


@pytest.fixture(scope="module")
def opened(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What QGIS and GDAL see in a copy of the job's folder; they write statistics beside what they open."""
    return dict(answer_of(OPEN_ALL, shutil.copytree(finished, tmp_path_factory.mktemp("copy") / "job")))


def test_qgis_opens_every_raster_in_its_style(opened: dict[str, Any], finished: Path) -> None:
    assert opened["valid"] == {path.stem: True for path in finished.glob("*.tif")}
    assert opened["renderers"] == {
        "landcover": "paletted",
        "variance": "singlebandpseudocolor",
        "quality": "paletted",
    }


def test_qgis_opens_the_project_with_all_its_layers(opened: dict[str, Any]) -> None:
    assert opened["project"]
    assert len(opened["layers"]) == 4
    assert all(opened["layers"].values())


def test_names_colours_and_counts_are_those_of_the_map(opened: dict[str, Any], finished: Path) -> None:
    with rasterio.open(finished / "landcover.tif") as raster:
        values, counts = np.unique(raster.read(1), return_counts=True)
    pixels = dict(zip(values.tolist(), counts.tolist(), strict=True))
    legend = [entry for entry in WORLDCOVER.classes if entry.value in {value for value, *_ in opened["classes"]}]
    assert {entry.value for entry in legend} >= pixels.keys() - {0}
    assert opened["classes"] == [[entry.value, entry.name, entry.color] for entry in legend]
    assert opened["table"] == [[entry.value, entry.name, pixels.get(entry.value, 0)] for entry in legend]


@pytest.mark.parametrize(
    ("name", "kind"), [("item.json", pystac.STACObjectType.ITEM), ("collection.json", pystac.STACObjectType.COLLECTION)]
)
def test_the_stac_files_meet_the_core_schema(finished: Path, name: str, kind: pystac.STACObjectType) -> None:
    JsonSchemaSTACValidator().validate_core(json.loads((finished / name).read_text()), kind, "1.1.0")


def test_the_item_has_the_checksum_of_every_file(finished: Path) -> None:
    item = json.loads((finished / "item.json").read_text())
    told = {asset["href"]: asset["file:checksum"] for asset in item["assets"].values()}
    sha256_multihash = "1220"
    assert told == {
        f"./{path.name}": sha256_multihash + hashlib.sha256(path.read_bytes()).hexdigest()
        for path in finished.iterdir()
        if path.name not in {"item.json", "collection.json"}
    }
