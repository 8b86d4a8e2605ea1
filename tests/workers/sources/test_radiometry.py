"""Scale, offset and nodata, as each provider means them."""

import json
import math
from pathlib import Path

import pytest

from contract.bands import Modality, Unit
from contract.scene import Radiometry, Scene
from tests.workers.sources.examples import BANDS, JSON, request, s1_item, s2_item, write_items
from workers.sources import find_scenes
from workers.sources.catalogue import FoundItem
from workers.sources.items import Item
from workers.sources.profile import RadarProfile, SensorProfile, profile_of
from workers.sources.scenes import Reading, Unfit, footprint

EARTH_SEARCH = profile_of("earth-search").s2.assets
PLANETARY_COMPUTER = profile_of("planetary-computer").s2.assets
EARTH_SEARCH_C1 = "earth-search_sentinel-2-c1-l2a_T20HNJ_20240311"
EARTH_SEARCH_V1 = "earth-search_sentinel-2-l2a_33TWL_20230815"
EARTH_SEARCH_V0 = "earth-search-v0_sentinel-s2-l2a-cogs_28QCH_20200714"
PLANETARY = "planetary-computer_sentinel-2-l2a_T06VVN_20190629"
STACTOOLS_0400 = "stactools_sentinel2_N0400_T33XWJ_20220413"
STACTOOLS_WRANGEL = "stactools_sentinel2_N0509_antimeridian_T01WCP_20230625"
STACTOOLS_ROSS = "stactools_sentinel2_antimeridian_T60CWS_20240109"
RADAR_RTC = "stactools_sentinel1-rtc-aws_17RMJ_20200103"
RADAR_GRD = "stactools_sentinel-1-grd_20210809"


def provided(shared: Path, name: str, modality: Modality, sensor: SensorProfile, bands: tuple[str, ...]) -> Scene:
    path = shared / "stac" / "provider-items" / f"{name}.json"
    content = json.loads(path.read_text())
    item = Item.model_validate(content)
    reading = Reading(modality=modality, sensor=sensor, bands=bands, signing=None)
    assert reading.is_of(item)
    return reading.scene(item, FoundItem(content=content, base=str(path), href=None), footprint(item))


def optical(shared: Path, name: str, assets: dict[str, str]) -> Scene:
    collections = ("sentinel-2-l2a", "sentinel-2-c1-l2a", "sentinel-s2-l2a-cogs")
    sensor = SensorProfile(collections=collections, assets=assets)
    return provided(shared, name, Modality.S2, sensor, ("B02", "B04", "B8A"))


@pytest.mark.parametrize(
    ("name", "assets", "offset", "because"),
    [
        (PLANETARY, PLANETARY_COMPUTER, 0.0, "processing baseline 02.12"),
        (EARTH_SEARCH_C1, EARTH_SEARCH, -0.1, "scale and offset of the asset's metadata"),
        (EARTH_SEARCH_V1, EARTH_SEARCH, 0.0, "boa_offset_applied is true"),
        (EARTH_SEARCH_V0, PLANETARY_COMPUTER, 0.0, "processing baseline 02.14"),
        (STACTOOLS_0400, EARTH_SEARCH, -0.1, "scale and offset of the asset's metadata"),
        (STACTOOLS_WRANGEL, EARTH_SEARCH, -0.1, "scale and offset of the asset's metadata"),
        (STACTOOLS_ROSS, EARTH_SEARCH, -0.1, "scale and offset of the asset's metadata"),
    ],
)
def test_reflectance_of_real_items(
    shared: Path, name: str, assets: dict[str, str], offset: float, because: str
) -> None:
    scene = optical(shared, name, assets)
    for band in ("B02", "B04", "B8A"):
        radiometry = scene.asset(band).radiometry
        assert (radiometry.unit, radiometry.scale, radiometry.nodata) == (Unit.REFLECTANCE, 1e-4, 0)
        assert radiometry.offset == offset
        assert radiometry.reason.startswith(because)
    assert scene.asset("SCL").radiometry.unit is Unit.SCENE_CLASS


@pytest.mark.parametrize(
    ("name", "assets", "expected"),
    [
        (PLANETARY, PLANETARY_COMPUTER, ("sentinel-2b", "06VVN", "02.12", 43, "descending")),
        (EARTH_SEARCH_C1, EARTH_SEARCH, ("sentinel-2a", "20HNJ", "05.10", 67, None)),
        (EARTH_SEARCH_V1, EARTH_SEARCH, ("sentinel-2a", "33TWL", "05.09", 79, None)),
        (EARTH_SEARCH_V0, PLANETARY_COMPUTER, ("sentinel-2a", "28QCH", "02.14", 123, None)),
        (STACTOOLS_0400, EARTH_SEARCH, ("sentinel-2b", "33XWJ", "04.00", 25, "ascending")),
        (STACTOOLS_WRANGEL, EARTH_SEARCH, ("sentinel-2a", "01WCP", "05.09", 73, "descending")),
        (STACTOOLS_ROSS, EARTH_SEARCH, ("sentinel-2a", "60CWS", "05.10", None, None)),
    ],
)
def test_what_real_items_say_of_themselves(
    shared: Path, name: str, assets: dict[str, str], expected: tuple[str, str, str, int | None, str | None]
) -> None:
    scene = optical(shared, name, assets)
    assert (scene.platform, scene.mgrs_tile, scene.baseline, scene.relative_orbit, scene.orbit_direction) == expected


@pytest.mark.parametrize(
    ("name", "west", "east"), [(STACTOOLS_WRANGEL, 178.4, -178.9), (STACTOOLS_ROSS, 176.9, -178.1)]
)
def test_real_footprints_at_the_antimeridian_do_not_span_the_globe(
    shared: Path, name: str, west: float, east: float
) -> None:
    scene = optical(shared, name, EARTH_SEARCH)
    lons = [lon for rings in scene.footprint.coordinates for ring in rings for lon, _ in ring]
    assert all(lon >= west or lon <= east for lon in lons)
    assert (max(lons), min(lons)) == (180, -180)


def test_hrefs_of_real_items_become_absolute(shared: Path) -> None:
    v1 = optical(shared, EARTH_SEARCH_V1, EARTH_SEARCH)
    assert v1.asset("B02").href == str(shared / "stac" / "provider-items" / "B02.tif")
    assert v1.asset("B8A").href.startswith("https://sentinel-cogs.s3.us-west-2.amazonaws.com/")
    c1 = optical(shared, EARTH_SEARCH_C1, EARTH_SEARCH)
    assert c1.asset("B02").size_bytes == 145995722


def test_real_radar_that_is_terrain_corrected_is_linear_power(shared: Path) -> None:
    sensor = RadarProfile(collections=("sentinel1-rtc-aws",), assets={"VV": "gamma0_vv", "VH": "gamma0_vh"})
    scene = provided(shared, RADAR_RTC, Modality.S1, sensor, ("VV", "VH"))
    radiometry = scene.asset("VH").radiometry
    assert (radiometry.unit, radiometry.scale, radiometry.offset) == (Unit.LINEAR_POWER, 1, 0)
    assert radiometry.nodata == 0
    assert (scene.platform, scene.orbit_direction, scene.relative_orbit) == ("sentinel-1a", "ascending", 121)
    assert (scene.mgrs_tile, scene.baseline) == ("17RMJ", None)


def test_real_radar_in_slant_geometry_is_refused(shared: Path) -> None:
    sensor = RadarProfile(collections=("sentinel1-grd",), assets={"VV": "vv", "VH": "vh"})
    with pytest.raises(Unfit, match="it is GRD, which is not terrain-corrected"):
        provided(shared, RADAR_GRD, Modality.S1, sensor, ("VV", "VH"))


def first_band(tmp_path: Path, item: JSON) -> Radiometry:
    (scene,) = find_scenes(request(write_items(tmp_path, item)), bands=BANDS).scenes
    return scene.assets[0].radiometry


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [("02.14", 0.0), ("03.01", 0.0), ("04.00", -0.1), ("05.00", -0.1), ("05.11", -0.1)],
)
def test_without_other_metadata_the_baseline_decides(tmp_path: Path, baseline: str | None, offset: float) -> None:
    assert first_band(tmp_path, s2_item(s2__processing_baseline=baseline)).offset == offset


def test_a_baseline_that_was_taken_for_a_number_is_read(tmp_path: Path) -> None:
    assert first_band(tmp_path, s2_item(s2__processing_baseline=5.1)).reason == "processing baseline 05.10"


def test_a_reprocessed_scene_of_before_2022_has_the_offset(tmp_path: Path) -> None:
    """Collection 1 (baseline 05.00) reprocessed the archive; its dates say nothing."""
    product = "S2A_MSIL2A_20230610T101031_N0500_R022_T33UUP_20240923T163541.SAFE"
    item = s2_item(s2__processing_baseline=None, s2__product_uri=product)
    assert first_band(tmp_path, item).reason == "processing baseline 05.00"


@pytest.mark.parametrize("baseline", [None, "99.99"])
def test_an_unknown_baseline_is_inferred_from_the_date_and_noticed(tmp_path: Path, baseline: str | None) -> None:
    path = write_items(tmp_path, s2_item(s2__processing_baseline=baseline))
    found = find_scenes(request(path), bands={Modality.S2: ("B02",)})
    radiometry = found.scenes[0].assets[0].radiometry
    assert radiometry.offset == -0.1
    assert radiometry.reason.startswith("inferred")
    (notice,) = found.notices
    assert notice.startswith("1 of 1 Sentinel-2 scenes do not tell their processing baseline")


def test_an_unknown_baseline_of_before_2022_has_no_offset(tmp_path: Path) -> None:
    path = write_items(tmp_path, s2_item(s2__processing_baseline=None, when="2022-01-24T10:00:00Z"))
    june = request(path)
    january = june.model_copy(update={"start": june.start.replace(2022, 1)})
    assert find_scenes(january, bands=BANDS).scenes[0].assets[0].radiometry.offset == 0


@pytest.mark.parametrize(
    "metadata",
    [
        {"raster:bands": [{"scale": 2e-4, "offset": -0.2, "nodata": 7}]},
        {"bands": [{"name": "B02", "raster:scale": 2e-4, "raster:offset": -0.2, "nodata": 7}]},
        {"raster:scale": 2e-4, "raster:offset": -0.2, "nodata": 7, "bands": [{"name": "B02"}]},
    ],
    ids=["raster 1", "STAC 1.1 band", "STAC 1.1 asset"],
)
def test_the_assets_own_metadata_outweighs_the_baseline(tmp_path: Path, metadata: JSON) -> None:
    item = s2_item(s2__processing_baseline="02.14")
    item["assets"]["B02"].update(metadata)
    radiometry = first_band(tmp_path, item)
    assert (radiometry.scale, radiometry.offset, radiometry.nodata) == (2e-4, -0.2, 7)


def test_an_offset_that_was_applied_outweighs_everything(tmp_path: Path) -> None:
    item = s2_item(earthsearch__boa_offset_applied=True)
    item["assets"]["B02"]["raster:bands"] = [{"scale": 1e-4, "offset": -0.1}]
    assert first_band(tmp_path, item).offset == 0


def test_an_offset_that_was_not_applied_is_left_to_the_metadata(tmp_path: Path) -> None:
    assert first_band(tmp_path, s2_item(earthsearch__boa_offset_applied=False)).offset == -0.1


@pytest.mark.parametrize(("given", "read"), [(-32768, -32768), ("nan", math.nan), (None, None)])
def test_radar_nodata_is_that_of_the_metadata(tmp_path: Path, given: object, read: float | None) -> None:
    item = s1_item()
    item["assets"]["vv"]["raster:bands"] = [{"nodata": given, "data_type": "float32"}]
    assert first_band(tmp_path, item).nodata == pytest.approx(read, nan_ok=True)


def test_a_profile_can_say_that_radar_is_in_decibel(tmp_path: Path) -> None:
    write_items(tmp_path, s1_item())
    profile = tmp_path / "profile.toml"
    profile.write_text(
        'catalogue = "items.json"\n[s1]\ncollections = ["sentinel-1-rtc"]\nunit = "dB"\n[s1.assets]\nVV = "vv"\n'
    )
    (scene,) = find_scenes(request(profile), bands={Modality.S1: ("VV",)}).scenes
    assert scene.assets[0].radiometry.unit is Unit.DECIBEL
