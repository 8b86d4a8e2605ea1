"""The item meets STAC's core schema, and what MLM 1.5 asks beyond it."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pystac
import pytest
from pystac.extensions.file import FileExtension
from pystac.extensions.mlm import MLMExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from shapely.geometry import shape

from contract.legend import WORLDCOVER
from export.ground import Ground
from export.stac import bundle_item
from tests.bundles import write_layered_bundle
from training.data.sample import Footprint
from workers.bundle import sha256_of

GROUND = Ground(
    samples=3,
    places=("T34VER",),
    bounds=Footprint(west_deg=20, south_deg=60, east_deg=21, north_deg=62),
    days=(date(2017, 6, 13), date(2018, 5, 1)),
    class_px=tuple((entry, 7) for entry in WORLDCOVER.subset(10, 30, 50, 80).classes),
)


@pytest.fixture
def item(tmp_path: Path) -> pystac.Item:
    return bundle_item(write_layered_bundle(tmp_path), GROUND, architecture="VDual-SimCLR", parameters=1234)


def test_the_core_schema_is_met(item: pystac.Item) -> None:
    JsonSchemaSTACValidator().validate_core(json.loads(json.dumps(item.to_dict())), pystac.STACObjectType.ITEM, "1.1.0")


def test_it_is_of_mlm_1_5_and_says_what_the_schema_requires(item: pystac.Item) -> None:
    content = json.loads(json.dumps(item.to_dict()))
    assert "https://stac-extensions.github.io/mlm/v1.5.0/schema.json" in content["stac_extensions"]
    properties = content["properties"]
    assert {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"} <= properties.keys()
    assert properties["mlm:total_parameters"] == 1234
    described = {band["name"] for band in properties["bands"]}
    for entry in properties["mlm:input"]:
        assert set(entry["bands"]) <= described
        assert bool(entry["bands"]) == ("bands" in entry["input"]["dim_order"])
    models = [asset for asset in content["assets"].values() if "mlm:model" in asset["roles"]]
    assert {asset["href"] for asset in models} == {"./model.onnx", "./model-full.onnx"}
    assert all(asset["mlm:artifact_type"] == "onnx" for asset in models)


def test_a_reader_of_another_library_finds_inputs_and_outputs(item: pystac.Item) -> None:
    item.stac_extensions = [uri.replace("mlm/v1.5.0", "mlm/v1.4.0") for uri in item.stac_extensions]
    model = MLMExtension.ext(item)
    assert [(entry.name, entry.input.shape) for entry in model.input] == [
        ("s2", [1, 4, 32, 32]),
        ("s2_valid", [1, 1, 32, 32]),
        ("s1", [1, 2, 32, 32]),
        ("s1_valid", [1, 1, 32, 32]),
    ]
    assert [entry.name for entry in model.output] == ["probabilities", "variance", "margin"]
    assert [entry.value for entry in model.output[0].classes] == [10, 30, 50, 80]


def test_every_file_of_the_bundle_is_an_asset_with_its_checksum(item: pystac.Item, tmp_path: Path) -> None:
    for name in ("model.onnx", "model-full.onnx"):
        file = FileExtension.ext(item.assets[name])
        assert file.checksum == "1220" + sha256_of(tmp_path / name)
        assert file.size == (tmp_path / name).stat().st_size


def test_it_lies_where_and_when_its_labels_are_from(item: pystac.Item) -> None:
    assert item.bbox == [20, 60, 21, 62]
    assert shape(item.geometry).bounds == (20, 60, 21, 62)
    assert item.properties["start_datetime"] == "2017-06-13T00:00:00Z"
    assert item.properties["end_datetime"] == "2018-05-01T23:59:59Z"


def test_ground_across_the_antimeridian_is_cut_there(tmp_path: Path) -> None:
    across = replace(GROUND, bounds=Footprint(west_deg=178, south_deg=-18, east_deg=-179, north_deg=-16))
    item = bundle_item(write_layered_bundle(tmp_path), across, architecture="VDual-SimCLR", parameters=1)
    assert item.geometry["type"] == "MultiPolygon"
    assert shape(item.geometry).area == pytest.approx(3 * 2)


def test_ground_that_nobody_knows_has_no_geometry(tmp_path: Path) -> None:
    item = bundle_item(
        write_layered_bundle(tmp_path), replace(GROUND, bounds=None), architecture="VDual-SimCLR", parameters=1
    )
    assert item.geometry is None
    assert item.bbox is None
