"""From a request to scenes, whatever the source is."""

from pathlib import Path

import pytest
import shapely
from shapely import MultiPolygon, box
from shapely.geometry.base import BaseGeometry

from contract.bands import Modality, Unit
from contract.errors import NoScenes, SourceUnusable
from contract.request import MapOptions
from contract.scene import Area
from tests.workers.sources.examples import BANDS, BOX, request, s1_item, s2_item, write_items
from workers.aoi import geometry_of
from workers.sources import Found, find_scenes


def names(found: Found) -> list[str]:
    return [scene.id for scene in found.scenes]


def reasons(found: Found) -> dict[str, str]:
    return {scene.id: scene.reason for scene in found.skipped}


def test_scenes_come_in_order_of_time_then_id(tmp_path: Path) -> None:
    twins = [
        s2_item(name, when="2023-06-20T10:00:00Z", platform=platform)
        for name, platform in (("b", "sentinel-2a"), ("a", "sentinel-2b"))
    ]
    path = write_items(tmp_path, *twins, s1_item(), s2_item("first", when="2023-06-02T10:00:00Z"))
    assert names(find_scenes(request(path), bands=BANDS)) == ["first", "radar", "a", "b"]


def test_a_scene_says_what_its_item_says(tmp_path: Path) -> None:
    item = s2_item(eo__cloud_cover=12.5, s2__mgrs_tile="32UPB", sat__orbit_state="descending", sat__relative_orbit=65)
    item["assets"]["B02"]["file:size"] = 1234
    item["links"] = [{"rel": "self", "href": "https://example.org/items/optical"}]
    (scene,) = find_scenes(request(write_items(tmp_path, item)), bands=BANDS).scenes
    assert (scene.modality, scene.collection, scene.platform) == (Modality.S2, "sentinel-2-l2a", "sentinel-2a")
    assert scene.acquired.isoformat() == "2023-06-10T10:00:00+00:00"
    assert (scene.baseline, scene.mgrs_tile, scene.cloud_cover_percent) == ("05.09", "32UPB", 12.5)
    assert (scene.orbit_direction, scene.relative_orbit, scene.signing) == ("descending", 65, None)
    assert scene.item_href == "https://example.org/items/optical"
    assert [asset.band for asset in scene.assets] == ["B02", "B08", "SCL"]
    assert (scene.assets[0].href, scene.assets[0].size_bytes) == ("https://example.org/optical/B02.tif", 1234)
    assert geometry_of(scene.footprint).equals(BOX)


@pytest.mark.parametrize(
    "when", ["2023-06-01T00:00:00Z", "2023-06-30T23:59:59.999Z", "2023-07-01T01:30:00+02:00", "2023-06-15T00:00:00"]
)
def test_the_span_starts_with_its_first_instant(tmp_path: Path, when: str) -> None:
    assert names(find_scenes(request(write_items(tmp_path, s2_item(when=when))), bands=BANDS)) == ["optical"]


@pytest.mark.parametrize("when", ["2023-05-31T23:59:59.999Z", "2023-07-01T00:00:00Z", "2023-06-01T01:30:00+02:00"])
def test_the_span_ends_before_its_last_instant(tmp_path: Path, when: str) -> None:
    with pytest.raises(NoScenes):
        find_scenes(request(write_items(tmp_path, s2_item(when=when))), bands=BANDS)


def test_a_scene_beside_the_area_is_not_found(tmp_path: Path) -> None:
    beside, touching = box(12, 50, 13, 51), box(11, 50, 12, 51)
    path = write_items(tmp_path, s2_item("beside", footprint=beside), s2_item("touching", footprint=touching))
    with pytest.raises(NoScenes, match=r"Sentinel-2 \(sentinel-2-l2a\) or Sentinel-1 .* from 2023-06-01"):
        find_scenes(request(path), bands=BANDS)


def test_cloud_cover_is_limited_for_optical_scenes_only(tmp_path: Path) -> None:
    items = [
        s2_item("clear", eo__cloud_cover=20),
        s2_item("cloudy", eo__cloud_cover=20.1, when="2023-06-11T10:00:00Z"),
        s2_item("unknown", when="2023-06-12T10:00:00Z"),
        s1_item(),
    ]
    limited = request(write_items(tmp_path, *items), options=MapOptions(max_cloud_cover_percent=20))
    found = find_scenes(limited, bands=BANDS)
    assert names(found) == ["clear", "radar"]
    assert reasons(found) == {"unknown": "its cloud cover is unknown, and the request limits it"}


def test_orbit_direction_is_chosen_for_radar_only(tmp_path: Path) -> None:
    items = [
        s2_item(sat__orbit_state="descending"),
        s1_item("up", sat__orbit_state="ascending"),
        s1_item("down", when="2023-06-13T05:00:00Z", sat__orbit_state="DESCENDING"),
    ]
    ascending = request(write_items(tmp_path, *items), options=MapOptions(orbit_direction="ascending"))
    assert names(find_scenes(ascending, bands=BANDS)) == ["optical", "up"]


@pytest.mark.parametrize("spelling", ["sentinel-2b", "Sentinel-2B", "SENTINEL-2B", "S2B", "sentinel_2b"])
def test_platforms_are_the_same_in_every_spelling(tmp_path: Path, spelling: str) -> None:
    items = [s2_item("a"), s2_item("b", platform=spelling, when="2023-06-15T10:00:00Z")]
    only_b = request(write_items(tmp_path, *items), options=MapOptions(platforms=("Sentinel-2B",)))
    (scene,) = find_scenes(only_b, bands=BANDS).scenes
    assert (scene.id, scene.platform) == ("b", "sentinel-2b")


def test_a_platform_without_its_letter_is_any_of_its_kind(tmp_path: Path) -> None:
    wanted = request(write_items(tmp_path, s2_item(), s1_item()), options=MapOptions(platforms=("sentinel-2",)))
    assert names(find_scenes(wanted, bands=BANDS)) == ["optical"]


def test_what_cannot_be_used_is_skipped_with_its_reason(tmp_path: Path) -> None:
    items = [
        s2_item("good"),
        s2_item("no band", assets=("B02", "SCL")),
        s2_item("no place") | {"geometry": None},
        s1_item("wide", sar__instrument_mode="EW"),
        s1_item("single", sar__polarizations=["VV"]),
        s1_item("slant", proj__epsg=None),
        s2_item("broken") | {"assets": {"B02": {}}},
    ]
    found = find_scenes(request(write_items(tmp_path, *items)), bands=BANDS)
    assert names(found) == ["good"]
    assert reasons(found) == {
        "no band": "it has no asset 'B08' for band B08",
        "no place": "it has no geometry",
        "wide": "its mode is EW; only IW is used",
        "single": "it has no polarisation VH",
        "slant": "it is GRD, which is not terrain-corrected",
        "broken": "it is no valid STAC item: assets.B02.href: Field required",
    }


def test_one_polarisation_is_enough_where_one_is_asked_for(tmp_path: Path) -> None:
    path = write_items(tmp_path, s1_item(sar__polarizations=["VV"]))
    (scene,) = find_scenes(request(path), bands={Modality.S1: ("VV",)}).scenes
    assert [(asset.band, asset.radiometry.unit) for asset in scene.assets] == [("VV", Unit.LINEAR_POWER)]


def test_a_sensor_without_scenes_is_noticed(tmp_path: Path) -> None:
    found = find_scenes(request(write_items(tmp_path, s2_item())), bands=BANDS)
    assert found.notices == ("no Sentinel-1 scene was found; the map is made without it",)


def test_scenes_without_cloud_mask_are_noticed(tmp_path: Path) -> None:
    path = write_items(tmp_path, s2_item(), s2_item("bare", when="2023-06-20T10:00:00Z", assets=("B02", "B08")))
    (notice,) = find_scenes(request(path), bands={Modality.S2: ("B02",)}).notices
    assert notice == "1 of 2 Sentinel-2 scenes have no scene classification: clouds stay in them"


def test_sensors_that_were_not_asked_for_are_not_searched(tmp_path: Path) -> None:
    path = write_items(tmp_path, s2_item(), s1_item())
    only_radar = request(path, options=MapOptions(modalities=(Modality.S1,)))
    assert names(find_scenes(only_radar, bands=BANDS)) == ["radar"]
    assert names(find_scenes(request(path), bands={Modality.S2: ("B02",)})) == ["optical"]


def test_when_everything_is_skipped_the_error_says_why(tmp_path: Path) -> None:
    path = write_items(tmp_path, s2_item(assets=("B02",)))
    with pytest.raises(NoScenes, match="1 left out, as optical: it has no asset 'B08'"):
        find_scenes(request(path), bands=BANDS)


def test_earth_search_has_no_terrain_corrected_radar() -> None:
    with pytest.raises(SourceUnusable, match=r"GRD, which is not terrain-corrected\. Ask for s2 alone"):
        find_scenes(request("earth-search"), bands=BANDS)


ACROSS = MultiPolygon([box(179, 66, 180, 67), box(-180, 66, -179, 67)])


@pytest.mark.parametrize(
    "footprint",
    [
        ACROSS,
        shapely.Polygon([(179, 66), (-179, 66), (-179, 67), (179, 67)]),
        shapely.Polygon([(179, 66), (181, 66), (181, 67), (179, 67)]),
    ],
    ids=["cut", "wrapped", "beyond 180"],
)
def test_footprints_at_the_antimeridian_are_cut_there(tmp_path: Path, footprint: BaseGeometry) -> None:
    path = write_items(tmp_path, s2_item(footprint=footprint))
    area = Area(coordinates=tuple((tuple(part.exterior.coords),) for part in ACROSS.geoms))
    (scene,) = find_scenes(request(path, area=area), bands=BANDS).scenes
    assert geometry_of(scene.footprint).equals(ACROSS)
    with pytest.raises(NoScenes):
        find_scenes(request(path, area=box(10, 66, 11, 67)), bands=BANDS)
