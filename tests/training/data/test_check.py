from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from contract.bands import Modality, Unit
from contract.errors import SampleInvalid
from tests.training.data.layouts import (
    CRS,
    LEVEL_1C,
    UTM,
    decibels,
    numbers,
    stored,
    write_codes,
    write_eurosat,
    write_sen12ms,
)
from tests.training.data.layouts_reben import write_bands
from training.data import check
from training.data.check import ArchiveSummary, check_archive
from training.data.eurosat import EuroSAT
from training.data.pairs import PairFolder, PairLayout
from training.data.sample import BandChoice, Entry, Observation, Sample
from training.data.sen12ms import SEN12MS

BANDS = BandChoice()
PATCHES = [f"ROIs1158_spring_1_p{number}" for number in range(1, 6)]


def file_of(folder: Path, kind: str, number: int) -> Path:
    return folder / "ROIs1158_spring" / f"{kind}_1" / f"ROIs1158_spring_{kind}_1_p{number}.tif"


def summary_of(folder: Path) -> ArchiveSummary:
    return check_archive(SEN12MS(folder), BANDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_sen12ms(tmp_path, PATCHES)


# --- what a sound archive holds --------------------------------------------------------------------------------------


def test_percentiles_are_those_of_all_valid_pixels(folder: Path) -> None:
    bands = {band.name: (band.p01, band.p50, band.p99) for band in summary_of(folder).bands}
    assert [*bands] == ["B02", "B03", "B04", "B08", "VV", "VH"]
    green = np.stack([stored(file_of(folder, "s2", number))[2] for number in range(1, 6)]) / 10_000
    np.testing.assert_allclose(bands["B03"], np.percentile(green, (1, 50, 99)), rtol=1e-5)
    vh = np.stack([stored(file_of(folder, "s1", number))[1] for number in range(1, 6)])
    np.testing.assert_allclose(bands["VH"], np.percentile(vh, (1, 50, 99)), rtol=1e-5)


def test_samples_pairs_and_labels_are_counted(folder: Path) -> None:
    summary = summary_of(folder)
    assert (summary.samples, summary.samples_read, summary.pairs) == (5, 5, 5)
    assert summary.labels == {10: 5 * 72, 40: 5 * 72, 80: 5 * 72}


def test_the_share_of_valid_pixels_is_by_sensor(folder: Path) -> None:
    values = decibels("with a gap")
    values[:, :6] = np.nan
    write_bands(file_of(folder, "s1", 3), values, transform=UTM, crs=CRS)
    assert summary_of(folder).valid_share == pytest.approx({Modality.S2: 1, Modality.S1: 0.9})


def test_image_labels_are_counted(tmp_path: Path) -> None:
    summary = check_archive(EuroSAT(write_eurosat(tmp_path)), BANDS)
    assert summary.image_labels == {"Forest": 2, "River": 1}
    assert (summary.pairs, summary.labels) == (0, {})


def test_the_log_tells_what_there_is(folder: Path) -> None:
    lines = str(summary_of(folder)).splitlines()
    assert lines[0].endswith("5 samples, 5 read, 5 pairs")
    assert lines[1] == "  Sentinel-2 100.0% valid, Sentinel-1 100.0% valid"
    assert lines[2].startswith("  B02: 1 % 0.0")
    assert lines[-1] == "  labelled px: 10 360, 40 360, 80 360"


def test_progress_is_told_of_every_sample(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    check_archive(SEN12MS(folder), BANDS, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


# --- what is found ---------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def scramble(path: Path) -> None:
    path.write_bytes(b"no raster")


def store_reflectance(path: Path) -> None:
    write_bands(path, (stored(path) / 10_000).astype(np.float32), transform=UTM, crs=CRS)


def leave_bands_out(path: Path) -> None:
    write_bands(path, stored(path)[:10], transform=UTM, crs=CRS)


def store_power(path: Path) -> None:
    write_bands(path, 10 ** (stored(path) / 10), transform=UTM, crs=CRS)


def exchange(path: Path) -> None:
    write_bands(path, stored(path)[::-1].copy(), transform=UTM, crs=CRS)


def shift(path: Path) -> None:
    write_bands(path, stored(path), transform=UTM @ UTM.translation(1, 0), crs=CRS)


def label_strangely(path: Path) -> None:
    write_codes(path, (1, 99), count=4)


@pytest.mark.parametrize(
    ("kind", "spoil", "said"),
    [
        ("s1", Path.unlink, "No such file"),
        ("s2", truncate, "cannot read"),
        ("s1", scramble, "not recognized"),
        ("s2", store_reflectance, "which look like reflectance; need digital numbers"),
        ("s2", leave_bands_out, "10 bands without descriptions; need the 13 bands B01"),
        ("s1", store_power, "which look like linear power; need dB"),
        ("s1", shift, "10 x 10 from (500010"),
        ("lc", label_strangely, "label codes [99]"),
    ],
)
def test_a_bad_file_is_named_with_what_was_found(
    folder: Path, kind: str, spoil: Callable[[Path], None], said: str
) -> None:
    bad = file_of(folder, kind, 2)
    spoil(bad)
    with pytest.raises(SampleInvalid) as caught:
        summary_of(folder)
    first, line = str(caught.value).splitlines()
    assert "found 1 of 5 samples that cannot be used" in first
    assert str(bad) in line
    assert said in line


def test_digital_numbers_where_a_layout_promises_reflectance_are_found(tmp_path: Path) -> None:
    write_bands(tmp_path / "lake.tif", numbers("lake", 13))
    archive = PairFolder(tmp_path, PairLayout(s2="{name}.tif", s2_bands=LEVEL_1C, s2_scale=1))
    with pytest.raises(SampleInvalid, match=r"lake\.tif: found reflectance \d+\.\.3\d+"):
        check_archive(archive, BANDS)


def test_decibels_where_a_layout_promises_power_are_found(tmp_path: Path) -> None:
    write_bands(tmp_path / "s2" / "lake.tif", numbers("lake", 13))
    write_bands(tmp_path / "s1" / "lake.tif", decibels("lake"))
    layout = PairLayout(s2="s2/{name}.tif", s1="s1/{name}.tif", s2_bands=LEVEL_1C, s1_unit=Unit.LINEAR_POWER)
    with pytest.raises(SampleInvalid, match="which look like dB; need linear power"):
        check_archive(PairFolder(tmp_path, layout), BANDS)


def test_bands_that_files_name_in_another_order_are_no_fault(tmp_path: Path) -> None:
    names = sorted(LEVEL_1C, reverse=True)
    path = write_bands(tmp_path / "lake.tif", numbers("lake", 13), descriptions=names)
    summary = check_archive(PairFolder(tmp_path, PairLayout(s2="{name}.tif")), BANDS)
    assert summary.bands[0].p50 == pytest.approx(np.median(stored(path)[names.index("B02")]) / 10_000)


def test_exchanged_polarisations_are_found(folder: Path) -> None:
    exchange(file_of(folder, "s1", 2))
    with pytest.raises(SampleInvalid, match=r"sample ROIs1158_spring_1_p2: found VV -1\d\.\d dB below VH -\d"):
        summary_of(folder)


def test_a_sample_without_any_valid_pixel_is_found(tmp_path: Path) -> None:
    folder = write_sen12ms(tmp_path, PATCHES, kinds=("s2",))
    write_bands(file_of(folder, "s2", 4), np.zeros((13, 12, 18), np.uint16))
    with pytest.raises(SampleInvalid, match="sample ROIs1158_spring_1_p4: found no valid pixel"):
        summary_of(folder)


def test_nan_among_valid_values_is_found() -> None:
    values = np.full((4, 3, 5), 0.1, np.float32)
    values[2, 1, 1:3] = np.nan
    with pytest.raises(SampleInvalid, match="sample one: found 2 valid values of Sentinel-2 NaN or infinite"):
        check_archive(GivenArchive(entries=(entry("one"),), values=values), BANDS)


def test_one_error_tells_of_all_samples_and_shows_the_first(folder: Path) -> None:
    write_sen12ms(folder, [f"ROIs1970_fall_1_p{number}" for number in range(40)], kinds=("s1", "s2"))
    for path in (folder / "ROIs1970_fall" / "s1_1").iterdir():
        path.unlink()
    (folder / "ROIs1970_fall" / "s1_1" / "ROIs1970_fall_s1_1_p99.tif").write_bytes(b"")
    with pytest.raises(SampleInvalid) as caught:
        summary_of(folder)
    lines = str(caught.value).splitlines()
    assert "found 41 of 46 samples that cannot be used" in lines[0]
    assert len(lines) == 20
    assert lines[-1] == "  and 23 more"


def test_a_file_that_spoils_two_samples_is_named_once(tmp_path: Path) -> None:
    folder = write_sen12ms(tmp_path, ["ROIs1158_spring_1_p2"], kinds=("s1", "s2", "s2_cloudy"))
    truncate(file_of(folder, "s1", 2))
    with pytest.raises(SampleInvalid, match="found 2 of 2 samples") as caught:
        summary_of(folder)
    assert len(str(caught.value).splitlines()) == 2


# --- large archives --------------------------------------------------------------------------------------------------


def test_of_a_large_archive_so_many_samples_are_read_and_the_same_each_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "READ_AT_MOST", 2)
    summary = summary_of(folder)
    assert (summary.samples, summary.samples_read) == (5, 2)
    assert summary_of(folder) == summary


def test_of_the_other_samples_every_header_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "READ_AT_MOST", 0)
    file_of(folder, "lc", 1).unlink()
    scramble(file_of(folder, "s1", 5))
    with pytest.raises(SampleInvalid, match="2 of 5 samples") as caught:
        summary_of(folder)
    assert "lc_1_p1.tif" in str(caught.value)
    assert "s1_1_p5.tif" in str(caught.value)


def entry(name: str) -> Entry:
    return Entry(name=name, place="somewhere", files=(Path("memory"),))


@dataclass(kw_only=True)
class GivenArchive:
    """An archive in memory of one optical image."""

    entries: Sequence[Entry]
    values: np.ndarray
    name: str = "given"
    licence: str = "none"

    def read(self, entry: Entry) -> Sample:
        observed = Observation(values=self.values, valid=np.ones(self.values.shape[1:], bool))
        return Sample(entry=entry, observations={Modality.S2: observed})
