import dataclasses
import hashlib
import json
import re
from pathlib import Path

import pystac
import pytest
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.render import RenderExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from shapely import MultiPolygon, box
from shapely.geometry import shape

from tests.workers.products.conftest import LEGEND, Published, area_of
from workers.products.product import Product
from workers.products.stac import write_item


@pytest.fixture(scope="module")
def item(published: Published) -> pystac.Item:
    return pystac.Item.from_file(str(published.folder / "item.json"))


def written(folder: Path, product: Product) -> dict:
    return json.loads(write_item(folder, product, [])[1].read_text())


@pytest.mark.parametrize(
    ("name", "kind"), [("item.json", pystac.STACObjectType.ITEM), ("collection.json", pystac.STACObjectType.COLLECTION)]
)
def test_the_core_schema_is_met(published: Published, name: str, kind: pystac.STACObjectType) -> None:
    entry = json.loads((published.folder / name).read_text())
    assert entry["stac_version"] == "1.1.0"
    JsonSchemaSTACValidator().validate_core(entry, kind, "1.1.0")


def test_item_and_collection_find_each_other(published: Published) -> None:
    collection = pystac.Collection.from_file(str(published.folder / "collection.json"))
    (found,) = collection.get_items()
    assert found.id == "3f2a"
    assert found.get_collection().id == collection.id


def test_nothing_points_out_of_the_folder_but_to_sources_and_terms(published: Published) -> None:
    for name in ("item.json", "collection.json"):
        entry = json.loads((published.folder / name).read_text())
        links = [link["href"] for link in entry["links"] if link["rel"] not in {"derived_from", "license"}]
        hrefs = links + [asset["href"] for asset in entry.get("assets", {}).values()]
        assert all(re.fullmatch(r"\./[^/]+", href) for href in hrefs)
        assert all((published.folder / href).is_file() for href in hrefs)


def test_every_asset_has_the_checksum_and_size_of_its_file(published: Published, item: pystac.Item) -> None:
    assert len(item.assets) == 12
    for asset in item.assets.values():
        content = (published.folder / Path(asset.href).name).read_bytes()
        told = FileExtension.ext(asset)
        assert (told.checksum, told.size) == ("1220" + hashlib.sha256(content).hexdigest(), len(content))


def test_geometry_and_time_are_those_asked_for(item: pystac.Item) -> None:
    assert shape(item.geometry).equals(box(15.0, 45.08, 15.14, 45.15))
    assert item.bbox == [15.0, 45.08, 15.14, 45.15]
    assert item.datetime is None
    assert item.properties["start_datetime"] == "2024-06-01T00:00:00Z"
    assert item.properties["end_datetime"] == "2024-06-30T23:59:59Z"


def test_the_projection_is_that_of_the_rasters(item: pystac.Item) -> None:
    projection = ProjectionExtension.ext(item)
    assert projection.code == "EPSG:32633"
    assert projection.shape == [700, 1100]
    assert projection.transform == [10, 0, 500_000, 0, -10, 5_000_000]
    assert projection.bbox == [500_000, 4_993_000, 511_000, 5_000_000]


def test_a_crs_without_code_is_given_as_wkt(published: Published, tmp_path: Path) -> None:
    wkt = 'PROJCRS["local", ...]'
    grid = published.product.grid.model_copy(update={"crs": wkt})
    properties = written(tmp_path, dataclasses.replace(published.product, grid=grid))["properties"]
    assert (properties["proj:code"], properties["proj:wkt2"]) == (None, wkt)


def test_classes_have_names_colours_and_counts(published: Published, item: pystac.Item) -> None:
    classes = ClassificationExtension.ext(item.assets["landcover"]).classes
    counts = {entry.value: int((published.arrays["landcover"] == entry.value).sum()) for entry in LEGEND.classes}
    told = [(entry.value, entry.title, entry.color_hint, entry.count) for entry in classes if not entry.nodata]
    assert told == [(e.value, e.name, e.color[1:].upper(), counts[e.value]) for e in LEGEND.classes]
    assert [entry.value for entry in classes if entry.nodata] == [0]
    assert all(re.fullmatch(r"[0-9A-Za-z_-]+", entry.name) for entry in classes)


def test_variance_tells_how_to_read_its_numbers(item: pystac.Item) -> None:
    fields = item.assets["variance"].to_dict()
    assert [band["name"] for band in fields["bands"]] == ["total", "aleatoric", "embedding"]
    assert (fields["data_type"], fields["nodata"]) == ("uint16", 65535)
    assert (fields["raster:scale"], fields["raster:offset"]) == (1e-4, 0)


def test_tile_servers_are_told_the_physical_range_in_stored_numbers(item: pystac.Item) -> None:
    renders = RenderExtension.ext(item).renders
    assert renders["variance"].rescale == [[0, pytest.approx(8000)]]
    assert renders["landcover"].colormap["10"] == "#006400"


def test_every_scene_is_a_source(item: pystac.Item) -> None:
    hrefs = [link.href for link in item.get_links("derived_from")]
    assert hrefs == ["https://example.com/items/S2A_1.json", "https://example.com/items/S1A_2.json"]


def test_the_model_and_its_lack_of_a_claim_are_named(item: pystac.Item) -> None:
    assert item.properties["landsigma:model"] == "sigma-test"
    assert item.properties["processing:lineage"] == (
        "Composite of 1 Sentinel-2 and 1 Sentinel-1 scenes, "
        "mapped by sigma-test 0.3 (rules: makes no claim of accuracy)."
    )


def test_a_box_over_the_antimeridian_has_its_west_in_the_east(published: Published, tmp_path: Path) -> None:
    area = area_of(MultiPolygon([box(179.5, -17, 180, -16), box(-180, -17.5, -179, -16)]))
    entry = written(tmp_path, dataclasses.replace(published.product, area=area))
    assert entry["bbox"] == [179.5, -17.5, -179, -16]
    collection = json.loads((tmp_path / "collection.json").read_text())
    assert collection["extent"]["spatial"]["bbox"] == [[179.5, -17.5, -179, -16]]


def test_a_box_round_a_pole_spans_all_longitudes(published: Published, tmp_path: Path) -> None:
    area = area_of(MultiPolygon([box(-180, 85, 180, 90)]))
    assert written(tmp_path, dataclasses.replace(published.product, area=area))["bbox"] == [-180, 85, 180, 90]


def test_years_of_the_attribution_are_those_of_the_scenes(published: Published) -> None:
    first, second = published.product.scenes
    later = second.model_copy(update={"acquired": second.acquired.replace(year=2025)})
    product = dataclasses.replace(published.product, scenes=(first, later))
    assert product.attribution == "Contains modified Copernicus Sentinel data 2024-2025"
