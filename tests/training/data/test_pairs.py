from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from contract.bands import Modality, Unit
from contract.errors import ArchiveInvalid, SampleInvalid, SampleUnreadable
from tests.training.data.layouts import CRS, LEVEL_1C, UTM, decibels, numbers, stored, write_codes
from tests.training.data.layouts_reben import write_bands
from training.data.pairs import PairFolder, PairLayout

LEVEL_2A = tuple(band for band in LEVEL_1C if band != "B10")
BY_FOLDER = PairLayout(s2="{name}/S2L2A.tif", s1="{name}/S1RTC.tif")


def write_pair(folder: Path, name: str, *, east_px: int = 0) -> None:
    transform = UTM.translation(10 * east_px, 0) @ UTM
    write_bands(folder / name / "S2L2A.tif", numbers(name, 12), transform=transform, crs=CRS)
    write_bands(folder / name / "S1RTC.tif", decibels(name), transform=transform, crs=CRS)


def test_files_that_share_a_name_are_a_sample(tmp_path: Path) -> None:
    write_pair(tmp_path, "north")
    write_pair(tmp_path, "south")
    archive = PairFolder(tmp_path, BY_FOLDER)
    assert [entry.name for entry in archive.entries] == ["north", "south"]
    observations = archive.read(archive.entries[1]).observations
    s2, s1 = stored(tmp_path / "south" / "S2L2A.tif"), stored(tmp_path / "south" / "S1RTC.tif")
    np.testing.assert_allclose(observations[Modality.S2].values, s2[[1, 2, 3, 7]] / 10_000, rtol=1e-6)
    np.testing.assert_array_equal(observations[Modality.S1].values, s1)


def test_the_name_may_be_part_of_a_files_name_and_a_day_another(tmp_path: Path) -> None:
    write_bands(tmp_path / "s2" / "S2_lake_x_20200816_v3.tif", numbers("a", 12))
    write_bands(tmp_path / "s1" / "lake_x-2020-08-17.tif", decibels("a"))
    layout = PairLayout(s2="s2/S2_{name}_{date}_*.tif", s1="s1/{name}-{date}.tif")
    archive = PairFolder(tmp_path, layout)
    entry = archive.entries[0]
    assert (entry.name, entry.acquired) == ("lake_x", date(2020, 8, 16))
    assert {*archive.read(entry).observations} == {Modality.S1, Modality.S2}


def test_eight_digits_that_are_no_day_are_refused(tmp_path: Path) -> None:
    write_bands(tmp_path / "lake_20209901.tif", numbers("a", 12))
    with pytest.raises(ArchiveInvalid, match=r"lake_20209901\.tif has no day"):
        PairFolder(tmp_path, PairLayout(s2="{name}_{date}.tif"))


def test_scale_and_offset_of_the_layout_are_applied(tmp_path: Path) -> None:
    write_bands(tmp_path / "a.tif", numbers("a", 12) + 1000)
    archive = PairFolder(tmp_path, PairLayout(s2="{name}.tif", s2_scale=0.0002, s2_offset=-0.2))
    expected = numbers("a", 12)[[1, 2, 3, 7]] * 0.0002
    np.testing.assert_allclose(archive.read(archive.entries[0]).observations[Modality.S2].values, expected, atol=1e-6)


def test_linear_power_becomes_decibels(tmp_path: Path) -> None:
    write_bands(tmp_path / "s2" / "a.tif", numbers("a", 12))
    write_bands(tmp_path / "s1" / "a.tif", 10 ** (decibels("a") / 10))
    layout = PairLayout(s2="s2/{name}.tif", s1="s1/{name}.tif", s1_unit=Unit.LINEAR_POWER)
    archive = PairFolder(tmp_path, layout)
    observed = archive.read(archive.entries[0]).observations[Modality.S1]
    np.testing.assert_allclose(observed.values, decibels("a"), atol=1e-4)


@pytest.mark.parametrize(
    ("table", "codes", "values"), [("esri", (1, 2, 9), [80, 10, 0]), ("worldcover", (95, 0), [95, 0])]
)
def test_label_codes_are_read_by_their_nomenclature(
    tmp_path: Path, table: str, codes: tuple[int, ...], values: list[int]
) -> None:
    write_bands(tmp_path / "a_s2.tif", numbers("a", 12), transform=UTM, crs=CRS)
    write_codes(tmp_path / "a_lc.tif", codes)
    archive = PairFolder(tmp_path, PairLayout(s2="{name}_s2.tif", labels="{name}_lc.tif", label_table=table))
    labels = archive.read(archive.entries[0]).labels
    assert labels is not None
    assert labels.ravel()[: len(values)].tolist() == values


@pytest.mark.parametrize("missing", ["S2L2A.tif", "S1RTC.tif"])
def test_a_sample_without_one_of_its_files_is_listed_and_its_reader_says_so(tmp_path: Path, missing: str) -> None:
    write_pair(tmp_path, "north")
    write_pair(tmp_path, "south")
    (tmp_path / "north" / missing).unlink()
    archive = PairFolder(tmp_path, BY_FOLDER)
    assert [entry.name for entry in archive.entries] == ["north", "south"]
    with pytest.raises(SampleUnreadable) as caught:
        archive.read(archive.entries[0])
    assert caught.value.path == str(tmp_path / "north" / missing)


def test_files_on_other_ground_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "north")
    shifted = UTM.translation(10, 0) @ UTM
    write_bands(tmp_path / "north" / "S1RTC.tif", decibels("north"), transform=shifted, crs=CRS)
    archive = PairFolder(tmp_path, BY_FOLDER)
    with pytest.raises(SampleInvalid, match=r"S1RTC\.tif: found 12 rows x 18 columns"):
        archive.read(archive.entries[0])


def test_places_are_blocks_of_ground(tmp_path: Path) -> None:
    for name, east_px in (("a", 0), ("b", 20), ("far", 20_000)):
        write_pair(tmp_path, name, east_px=east_px)
    places = [entry.place for entry in PairFolder(tmp_path, BY_FOLDER).entries]
    assert places[0] == places[1] != places[2]


def test_two_files_of_one_sample_are_refused(tmp_path: Path) -> None:
    for day in ("20200816", "20200817"):
        write_bands(tmp_path / f"lake_{day}.tif", numbers(day, 12))
    with pytest.raises(ArchiveInvalid, match="need one file for each sample"):
        PairFolder(tmp_path, PairLayout(s2="{name}_{date}.tif"))


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path) -> None:
    write_pair(tmp_path, "north")
    with pytest.raises(ArchiveInvalid, match=r"no file matches '\{name\}/S1\.tif'"):
        PairFolder(tmp_path, PairLayout(s2="{name}/S2L2A.tif", s1="{name}/S1.tif"))


@pytest.mark.parametrize("pattern", ["s2.tif", "{name}/{name}.tif", "{name}_{date}_{date}.tif"])
def test_a_pattern_names_the_sample_once(pattern: str) -> None:
    with pytest.raises(ValidationError, match="once"):
        PairLayout(s2=pattern)


# --- real files ------------------------------------------------------------------------------------------------------


def test_real_terramind_sites_are_read(shared: Path) -> None:
    layout = BY_FOLDER.model_copy(update={"labels": "{name}/LULC.tif", "label_table": "esri"})
    archive = PairFolder(shared / "data" / "terramind", layout)
    samples = [archive.read(entry) for entry in archive.entries]
    assert len({entry.place for entry in archive.entries}) == 3
    worldcover = np.array([0, 80, 10, 90, 40, 50, 60, 70, 0, 0])
    for sample in samples:
        codes = stored(shared / "data" / "terramind" / sample.entry.name / "LULC.tif")[0]
        np.testing.assert_array_equal(sample.labels, worldcover[codes])
    medians = [np.median(sample.observations[Modality.S2].values[2]) for sample in samples]
    assert 0.02 < min(medians) < max(medians) < 0.16


def test_the_real_spanish_scene_names_its_bands(shared: Path) -> None:
    layout = PairLayout(s2="{name}_S2Hand.tif", s1="{name}_S1Hand.tif")
    archive = PairFolder(shared / "data" / "spain", layout)
    sample = archive.read(archive.entries[0])
    s2 = stored(shared / "data" / "spain" / "Spain_7370579_S2Hand.tif")
    np.testing.assert_allclose(sample.observations[Modality.S2].values, s2[[1, 2, 3, 7]] / 10_000, rtol=1e-6)
    assert sample.observations[Modality.S1].valid.all()


def test_real_cloudy_patches_are_brighter_than_clear_ones(shared: Path) -> None:
    blue = {}
    for kind in ("s2_cloudfree", "s2_cloudy"):
        layout = PairLayout(s2=f"{kind}/{{name}}.tif", s1="s1/{name}.tif", s2_bands=LEVEL_1C)
        archive = PairFolder(shared / "data" / "sen12ms" / "glfcr", layout)
        blue[kind] = [archive.read(entry).observations[Modality.S2].values[0].mean() for entry in archive.entries]
    assert [entry.name for entry in archive.entries] == ["ROIs1970_fall_139_p839", "ROIs2017_winter_112_p797"]
    assert blue["s2_cloudy"][0] > 1.3 * blue["s2_cloudfree"][0]
