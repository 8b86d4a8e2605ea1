from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from rasterio import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from contract.bands import Modality
from contract.errors import ArchiveInvalid, SampleUnreadable
from tests.training.data.layouts import (
    COLS,
    ROWS,
    UTM,
    TinyScene,
    numbers,
    s1_scene,
    s2_scene,
    stored,
    write_catalogue,
    write_item_collection,
)
from training.data.rasters import read_grid
from training.data.sample import BandChoice, Sample
from training.data.splits import spatial_block
from training.data.stac import StacArchive

ONLY_BLUE = BandChoice(s2=("B02",))


def first_sample(folder: Path, *scenes: TinyScene, bands: BandChoice | None = None) -> Sample:
    archive = StacArchive(write_catalogue(folder, scenes), bands, most_days_apart=12)
    return archive.read(archive.entries[0])


# --- the table of contents -------------------------------------------------------------------------------------------


def test_an_optical_scene_is_an_entry_of_its_day_and_tile(tmp_path: Path) -> None:
    archive = StacArchive(write_catalogue(tmp_path, [s2_scene(), s1_scene()]), most_days_apart=12)
    (entry,) = archive.entries
    assert (entry.name, entry.place) == ("S2A_MSIL2A_20200816_R001_T33TVL", "T33TVL")
    assert entry.acquired == date(2020, 8, 16)
    assert [file.name for file in entry.files] == ["B02.tif", "B03.tif", "B04.tif", "B08.tif", "vv.tif", "vh.tif"]
    assert all(file.is_file() for file in entry.files)
    assert (archive.name, archive.licence) == ("tiny", "CC0-1.0")


@pytest.mark.parametrize(
    ("properties", "place"), [({"s2:mgrs_tile": "06VVN"}, "T06VVN"), ({"grid:code": "MGRS-1WCP"}, "T01WCP")]
)
def test_a_place_is_the_tile_that_the_item_tells(tmp_path: Path, properties: dict[str, object], place: str) -> None:
    scene = s2_scene("scene", properties=properties)
    assert StacArchive(write_catalogue(tmp_path, [scene]), most_days_apart=12).entries[0].place == place


def test_the_parts_of_a_scene_without_a_tile_are_all_of_the_scenes_block(tmp_path: Path) -> None:
    scene = s2_scene("scene", transform=Affine(10, 0, 470_000, 0, -10, 5_000_000))
    wide = replace(scene, assets={"B02": numbers("wide", 1, (12, 6000))[0]})  # 60 km
    entries = StacArchive(write_catalogue(tmp_path, [wide]), ONLY_BLUE, most_days_apart=12).entries
    assert len(entries) == 12
    assert {entry.place for entry in entries} == {spatial_block(read_grid(entries[0].files[0]).footprint, 50)}


def test_an_item_collection_is_read_like_a_catalogue(tmp_path: Path) -> None:
    path = write_item_collection(tmp_path / "found.json", [s2_scene(), s1_scene()])
    archive = StacArchive(path, most_days_apart=12)
    assert {*archive.read(archive.entries[0]).observations} == {Modality.S1, Modality.S2}


def test_a_collection_of_optical_scenes_alone_is_read(tmp_path: Path) -> None:
    folder = write_catalogue(tmp_path, [s2_scene(), s1_scene()])
    archive = StacArchive(folder / "sentinel-2-l2a" / "collection.json", most_days_apart=12)
    assert [{*archive.read(entry).observations} for entry in archive.entries] == [{Modality.S2}]


def test_a_large_scene_is_cut_into_even_parts_that_cover_it_once(tmp_path: Path) -> None:
    scene = replace(s2_scene(), assets={"B02": numbers("large", 1, (520, 1100))[0]})
    archive = StacArchive(write_catalogue(tmp_path, [scene]), ONLY_BLUE, most_days_apart=12)
    parts = [archive.read(entry).observations[Modality.S2].values[0] for entry in archive.entries]
    assert [part.shape for part in parts] == [(260, 367), (260, 367), (260, 366)] * 2
    whole = np.vstack([np.hstack(parts[:3]), np.hstack(parts[3:])])
    np.testing.assert_allclose(whole, scene.assets["B02"] / 10_000, rtol=1e-6)


def test_parts_outside_of_the_outline_are_no_samples(tmp_path: Path) -> None:
    scene = replace(s2_scene(), assets={"B02": numbers("large", 1, (12, 1000))[0]})
    west, south, east, north = scene.item(tmp_path).bbox
    left_half = shapely.box(west, south, (west + east) / 2, north)
    folder = write_catalogue(tmp_path, [replace(scene, outline=left_half)])
    entries = StacArchive(folder, ONLY_BLUE, most_days_apart=12).entries
    assert [entry.name.rsplit("_", 2)[1:] for entry in entries] == [["r0", "c0"]]


def test_a_scene_across_the_antimeridian_is_read(tmp_path: Path) -> None:
    east_of_zone_60 = Affine(10, 0, 833_970, 0, -10, 10)  # 180 degrees east is at about 833978 m
    outline = shapely.MultiPolygon([shapely.box(179.9, -0.1, 180, 0.1), shapely.box(-180, -0.1, -179.9, 0.1)])
    scene = s2_scene(crs="EPSG:32660", transform=east_of_zone_60, outline=outline)
    footprint = StacArchive(write_catalogue(tmp_path, [scene]), most_days_apart=12).entries[0].footprint
    assert footprint is not None
    assert 179.9 < footprint.west_deg < 180
    assert -180 < footprint.east_deg < -179.9


# --- partners --------------------------------------------------------------------------------------------------------


def test_the_partner_is_nearest_in_time(tmp_path: Path) -> None:
    near = s1_scene("near", taken="2020-08-18T16:00:00Z")
    far = s1_scene("far", taken="2020-08-13T16:00:00Z")
    observed = first_sample(tmp_path, s2_scene(), far, near).observations[Modality.S1]
    np.testing.assert_allclose(observed.values[0], 10 * np.log10(near.assets["vv"]), atol=1e-4)


def test_the_partner_covers_the_same_ground(tmp_path: Path) -> None:
    elsewhere = s1_scene("elsewhere", transform=UTM.translation(5000, 0) @ UTM)
    covering = s1_scene("covering", taken="2020-08-19T16:00:00Z")
    observed = first_sample(tmp_path, s2_scene(), elsewhere, covering).observations[Modality.S1]
    np.testing.assert_allclose(observed.values[0], 10 * np.log10(covering.assets["vv"]), atol=1e-4)


def test_a_scene_too_far_off_in_time_is_no_partner(tmp_path: Path) -> None:
    sample = first_sample(tmp_path, s2_scene(), s1_scene(taken="2020-08-28T08:00:01Z"))
    assert {*sample.observations} == {Modality.S2}


# --- pixels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "taken", "offset"),
    [
        ({"s2:processing_baseline": "03.01"}, "2023-08-16T08:00:00Z", 0),
        ({"s2:processing_baseline": "04.00"}, "2020-08-16T08:00:00Z", -0.1),
        ({"s2:processing_baseline": "05.10"}, "2023-08-16T08:00:00Z", -0.1),
        ({"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}, "2023-08-16T08:00:00Z", 0),
        ({"s2:processing_baseline": "99.99"}, "2020-08-16T08:00:00Z", 0),
        ({}, "2022-01-24T08:00:00Z", 0),
        ({}, "2022-01-25T08:00:00Z", -0.1),
    ],
)
def test_the_offset_of_the_processing_baseline_is_taken_off(
    tmp_path: Path, properties: dict[str, object], taken: str, offset: float
) -> None:
    scene = s2_scene(properties=properties, taken=taken)
    observed = first_sample(tmp_path, scene, bands=ONLY_BLUE).observations[Modality.S2]
    np.testing.assert_allclose(observed.values[0], scene.assets["B02"] / 10_000 + offset, atol=1e-6)


@pytest.mark.parametrize("scl", range(12))
def test_clouds_and_shadows_are_not_valid_but_snow_is(tmp_path: Path, scl: int) -> None:
    scene = s2_scene()
    classes = np.full((ROWS // 2, COLS // 2), 4, np.uint8)
    classes[1, 2] = scl
    observed = first_sample(tmp_path, replace(scene, assets={**scene.assets, "SCL": classes})).observations[Modality.S2]
    expected = np.ones((ROWS, COLS), bool)
    expected[2:4, 4:6] = scl in (2, 4, 5, 6, 7, 11)  # dark, vegetation, soil, water, unclassified, snow
    np.testing.assert_array_equal(observed.valid, expected)
    assert not observed.values[:, ~observed.valid].any()


def test_pixels_that_were_not_observed_do_not_darken_their_neighbours(tmp_path: Path) -> None:
    scene = s2_scene()
    coarse = np.full((ROWS // 2, COLS // 2), 1000, np.uint16)
    coarse[2, 3] = 0
    scene = replace(scene, assets={**scene.assets, "B11": coarse})
    observed = first_sample(tmp_path, scene, bands=BandChoice(s2=("B11",))).observations[Modality.S2]
    assert not observed.valid.all()
    np.testing.assert_allclose(observed.values[0, observed.valid], 0.1, rtol=1e-6)


def test_20_m_bands_come_bilinear_on_the_10_m_grid(tmp_path: Path) -> None:
    scene = s2_scene()
    coarse = numbers("coarse", 1, (ROWS // 2, COLS // 2))[0]
    scene = replace(scene, assets={**scene.assets, "B11": coarse})
    observed = first_sample(tmp_path, scene, bands=BandChoice(s2=("B11",))).observations[Modality.S2]
    padded = np.pad(coarse.astype(float), 1, mode="edge")
    rows, cols = (np.arange(ROWS) + 0.5) / 2 + 0.5, (np.arange(COLS) + 0.5) / 2 + 0.5
    along_rows = np.array([np.interp(cols, np.arange(padded.shape[1]), row) for row in padded])
    expected = np.array([np.interp(rows, np.arange(padded.shape[0]), col) for col in along_rows.T]).T
    np.testing.assert_allclose(observed.values[0], expected / 10_000, rtol=1e-5)


def test_radar_on_another_lattice_is_averaged_as_power(tmp_path: Path) -> None:
    half_a_pixel_off = s1_scene(transform=UTM @ Affine.translation(0.5, 0.5))
    observed = first_sample(tmp_path, s2_scene(), half_a_pixel_off).observations[Modality.S1]
    power = half_a_pixel_off.assets["vv"].astype(float)
    between = (power[:-1, :-1] + power[1:, :-1] + power[:-1, 1:] + power[1:, 1:]) / 4
    np.testing.assert_allclose(observed.values[0, 1:, 1:], 10 * np.log10(between), atol=1e-3)


def test_radar_of_another_zone_is_not_valid_where_it_ends(tmp_path: Path) -> None:
    zone_32 = rasterio.warp.transform("EPSG:32633", "EPSG:32632", [500_090.0], [5_000_000.0])
    scene = s1_scene(crs="EPSG:32632", transform=Affine(10, 0, zone_32[0][0], 0, -10, zone_32[1][0]))
    outline = s2_scene().item(tmp_path).geometry
    observed = first_sample(tmp_path, s2_scene(), replace(scene, outline=shapely.geometry.shape(outline))).observations
    assert observed[Modality.S1].valid[:, 12:].any()
    assert not observed[Modality.S1].valid[:, :6].any()


@pytest.mark.parametrize("nothing", [0.0, np.nan])
def test_pixels_without_radar_are_not_valid(tmp_path: Path, nothing: float) -> None:
    scene = s1_scene()
    scene.assets["vh"][3, 7] = nothing
    assert np.argwhere(~first_sample(tmp_path, s2_scene(), scene).observations[Modality.S1].valid).tolist() == [[3, 7]]


# --- what is refused -------------------------------------------------------------------------------------------------


def test_an_item_without_a_band_is_named(tmp_path: Path) -> None:
    folder = write_catalogue(tmp_path, [s2_scene("scene")])
    with pytest.raises(ArchiveInvalid, match="item scene has no B8A, B11"):
        StacArchive(folder, BandChoice(s2=("B02", "B8A", "B11")), most_days_apart=12)


def test_a_catalogue_without_optical_scenes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveInvalid, match="no item of collection sentinel-2-l2a"):
        StacArchive(write_catalogue(tmp_path, [s1_scene()]), most_days_apart=12)


def test_assets_on_a_server_are_refused(tmp_path: Path) -> None:
    path = write_item_collection(tmp_path / "found.json", [s2_scene("scene")])
    path.write_text(path.read_text().replace("assets/scene/B04.tif", "https://example.org/B04.tif"))
    with pytest.raises(ArchiveInvalid, match=r"asset B04 of item scene is at https://example\.org"):
        StacArchive(path, most_days_apart=12)


@pytest.mark.parametrize("text", [None, "{", "{}", '{"type": "Feature"}'])
def test_what_is_no_stac_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "catalog.json").write_text(text)
    with pytest.raises(ArchiveInvalid, match="cannot be read as STAC"):
        StacArchive(tmp_path, most_days_apart=12)


def test_a_lone_item_is_refused(tmp_path: Path) -> None:
    write_catalogue(tmp_path, [s2_scene("scene")])
    with pytest.raises(ArchiveInvalid, match="cannot be read as STAC: a lone item"):
        StacArchive(tmp_path / "sentinel-2-l2a" / "scene" / "scene.json", most_days_apart=12)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    archive = StacArchive(write_catalogue(tmp_path, [s2_scene(), s1_scene()]), most_days_apart=12)
    missing = archive.entries[0].files[-1]
    missing.unlink()
    with pytest.raises(SampleUnreadable) as caught:
        archive.read(archive.entries[0])
    assert caught.value.path == str(missing)


# --- real catalogues -------------------------------------------------------------------------------------------------


def test_the_real_savanna_is_eight_pairs_of_one_place(shared: Path) -> None:
    archive = StacArchive(shared / "stac" / "savanna", most_days_apart=12)
    assert len(archive.entries) == 8
    assert len({entry.place for entry in archive.entries}) == 1
    samples = [archive.read(entry) for entry in archive.entries]
    assert all({*sample.observations} == {*Modality} for sample in samples)
    assert all(sample.observations[Modality.S2].valid.shape == (400, 400) for sample in samples)


def test_the_real_scene_with_an_offset_agrees_with_the_one_five_days_earlier(shared: Path) -> None:
    archive = StacArchive(shared / "stac" / "savanna", most_days_apart=12)
    earlier, later = (
        next(archive.read(entry) for entry in archive.entries if entry.acquired == date(2020, 8, day))
        for day in (11, 16)
    )
    both = earlier.observations[Modality.S2].valid & later.observations[Modality.S2].valid
    medians = [np.median(sample.observations[Modality.S2].values[:, both], axis=1) for sample in (earlier, later)]
    np.testing.assert_allclose(*medians, atol=0.02)


def test_real_radar_is_the_decibels_of_the_file(shared: Path) -> None:
    archive = StacArchive(shared / "stac" / "savanna", most_days_apart=12)
    entry = next(entry for entry in archive.entries if entry.name == "S2A_MSIL2A_20200816_savanna_r400_c0")
    expected = 10 * np.log10(stored(shared / "stac/savanna/assets/s1/S1A_IW_20200816_savanna/vv.tif")[0, 400:])
    np.testing.assert_allclose(archive.read(entry).observations[Modality.S1].values[0], expected, atol=1e-4)


def test_a_real_20_m_band_is_what_gdal_warps_from_the_whole_file(shared: Path) -> None:
    archive = StacArchive(shared / "stac" / "savanna", BandChoice(s2=("B11",)), most_days_apart=12)
    entry = next(entry for entry in archive.entries if entry.name == "S2A_MSIL2A_20200811_savanna_r0_c0")
    grid = {"transform": Affine(10, 0, 500_000, 0, -10, 8_300_000), "width": 400, "height": 400}
    with (
        rasterio.open(shared / "stac/savanna/assets/s2/S2A_MSIL2A_20200811_savanna/B11.tif") as file,
        WarpedVRT(file, crs="EPSG:32736", resampling=Resampling.bilinear, dtype="float32", **grid) as warped,
    ):
        expected = warped.read(1) / 10_000
    observed = archive.read(entry).observations[Modality.S2]
    np.testing.assert_allclose(observed.values[0], np.where(observed.valid, expected, 0), atol=1e-6)


def test_the_real_reben_items_have_the_pixels_of_the_patches(shared: Path) -> None:
    archive = StacArchive(shared / "stac" / "reben", most_days_apart=12)
    assert len(archive.entries) == 73
    entry = archive.entries[10]
    patch = shared / "data" / "reben" / entry.name
    observations = archive.read(entry).observations
    np.testing.assert_allclose(observations[Modality.S2].values, stored(patch / "s2.tif") / 10_000, rtol=1e-6)
    np.testing.assert_allclose(observations[Modality.S1].values, stored(patch / "s1.tif"), atol=1e-3)
