from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from contract.bands import Modality
from contract.errors import ArchiveInvalid, SampleUnreadable
from tests.training.data.layouts import COLS, ROWS, stored, write_ssl4eo
from training.data.sample import BandChoice
from training.data.ssl4eo import SSL4EO

S2_DAYS = ("20200604", "20200813")
S1_DAYS = ("20200527", "20200607", "20200903")
IMAGE = "20200604T054639_20200604T054831_T43RCP"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_ssl4eo(tmp_path, "0000200", S2_DAYS, S1_DAYS)


def s1_file(folder: Path, day: str, band: str) -> Path:
    return next((folder / "s1" / "0000200").glob(f"*_{day}T*")) / f"{band}.tif"


def test_every_optical_image_is_a_sample_of_its_day_and_tile(folder: Path) -> None:
    entries = SSL4EO(folder, most_days_apart=12).entries
    assert [entry.acquired for entry in entries] == [date(2020, 6, 4), date(2020, 8, 13)]
    assert {entry.place for entry in entries} == {"T43RCP"}


def test_the_partner_is_the_radar_image_nearest_in_time(folder: Path) -> None:
    archive = SSL4EO(folder, most_days_apart=12)
    observed = archive.read(archive.entries[0]).observations[Modality.S1]
    expected = [stored(s1_file(folder, "20200607", band))[0] for band in ("VV", "VH")]
    np.testing.assert_array_equal(observed.values, expected)


@pytest.mark.parametrize(("most_days_apart", "paired"), [(2, [False, False]), (20, [True, False]), (21, [True, True])])
def test_an_image_too_far_off_in_time_is_no_partner(folder: Path, most_days_apart: int, paired: list[bool]) -> None:
    archive = SSL4EO(folder, most_days_apart=most_days_apart)
    assert [Modality.S1 in archive.read(entry).observations for entry in archive.entries] == paired


@pytest.mark.parametrize("level", ["s2a", "s2c"])
def test_reflectance_is_that_of_the_level_asked_for(folder: Path, level: str) -> None:
    archive = SSL4EO(folder, level=level, most_days_apart=12)
    observed = archive.read(archive.entries[0]).observations[Modality.S2]
    files = [folder / level / "0000200" / IMAGE / f"{band}.tif" for band in ("B2", "B3", "B4", "B8")]
    np.testing.assert_allclose(observed.values, [stored(file)[0] / 10_000 for file in files], rtol=1e-6)


@pytest.mark.parametrize("band", ["B8A", "B01"])
def test_coarser_bands_come_bilinear_from_the_same_corner(folder: Path, band: str) -> None:
    archive = SSL4EO(folder, BandChoice(s2=("B02", band)), most_days_apart=12)
    observed = archive.read(archive.entries[0]).observations[Modality.S2]
    coarse = stored(folder / "s2a" / "0000200" / IMAGE / f"{band.replace('B0', 'B')}.tif").astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(coarse)[None], (ROWS, COLS), mode="bilinear")
    np.testing.assert_allclose(observed.values[1], expected[0, 0] / 10_000, rtol=1e-5)


def test_a_missing_band_is_named(folder: Path) -> None:
    missing = folder / "s2a" / "0000200" / IMAGE / "B3.tif"
    missing.unlink()
    archive = SSL4EO(folder, most_days_apart=12)
    with pytest.raises(SampleUnreadable) as caught:
        archive.read(archive.entries[0])
    assert caught.value.path == str(missing)


def test_entries_list_every_file_that_is_read(folder: Path) -> None:
    entry = SSL4EO(folder, most_days_apart=12).entries[0]
    assert [file.name for file in entry.files] == ["B2.tif", "B3.tif", "B4.tif", "B8.tif", "VV.tif", "VH.tif"]
    assert all(file.is_file() for file in entry.files)


def test_a_folder_without_this_level_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s1" / "0000200").mkdir(parents=True)
    with pytest.raises(ArchiveInvalid, match=r"not laid out as SSL4EO-S12 v1: .* s2a/0000200/"):
        SSL4EO(tmp_path, most_days_apart=12)


def test_an_image_folder_of_another_name_is_refused(folder: Path) -> None:
    (folder / "s2a" / "0000200" / "june").mkdir()
    with pytest.raises(ArchiveInvalid, match="june is not called as"):
        SSL4EO(folder, most_days_apart=12)


def test_real_radar_lies_on_the_optical_image_by_position(shared: Path) -> None:
    archive = SSL4EO(shared / "data" / "ssl4eo", most_days_apart=30)
    sample = archive.read(archive.entries[0])
    blue, green, red, infrared = sample.observations[Modality.S2].values
    vegetation, radar = _edges((infrared - red) / (infrared + red)), _edges(sample.observations[Modality.S1].values[1])
    agreement = {
        (row, col): float(np.mean(vegetation[8:-8, 8:-8] * np.roll(radar, (row, col), (0, 1))[8:-8, 8:-8]))
        for row in range(-6, 7)
        for col in range(-6, 7)
    }
    best = max(agreement, key=agreement.__getitem__)
    assert max(abs(best[0]), abs(best[1])) <= 2
    assert sample.observations[Modality.S1].values.max() < 10
    assert blue.shape == green.shape == (264, 264)


def _edges(image: np.ndarray) -> np.ndarray:
    """Steepness of a smoothed image, without mean, at unit spread."""
    kernel = np.ones((5, 5), np.float32) / 25
    smooth = torch.nn.functional.conv2d(
        torch.from_numpy(image)[None, None], torch.from_numpy(kernel)[None, None], padding=2
    )
    steep = np.hypot(*np.gradient(smooth[0, 0].numpy()))
    return (steep - steep.mean()) / steep.std()
