from pathlib import Path

import numpy as np
import pytest

from contract.bands import Modality
from contract.errors import ArchiveInvalid, SampleInvalid, SampleUnreadable
from tests.training.data.layouts import CRS, UTM, decibels, stored, write_codes, write_s1, write_s2, write_sen12ms
from tests.training.data.layouts_reben import write_bands
from training.data.legends import IGBP_TO_DFC2020
from training.data.sample import BandChoice
from training.data.sen12ms import SEN12MS

PATCH = "ROIs1158_spring_1_p30"


def file_of(folder: Path, kind: str) -> Path:
    return folder / "ROIs1158_spring" / f"{kind}_1" / f"ROIs1158_spring_{kind}_1_p30.tif"


def test_every_patch_is_an_entry_of_its_scene(tmp_path: Path) -> None:
    patches = [PATCH, "ROIs1158_spring_1_p31", "ROIs1158_spring_12_p30", "ROIs2017_winter_1_p30"]
    entries = SEN12MS(write_sen12ms(tmp_path, patches)).entries
    assert [entry.name for entry in entries] == patches
    assert [entry.place for entry in entries] == [
        "ROIs1158_spring_1",
        "ROIs1158_spring_1",
        "ROIs1158_spring_12",
        "ROIs2017_winter_1",
    ]


@pytest.mark.parametrize(
    ("bands", "numbers"),
    [(("B02", "B03", "B04", "B08"), (2, 3, 4, 8)), (("B8A", "B11", "B12"), (9, 12, 13))],
)
def test_reflectance_is_that_of_the_bands_by_the_satellites_numbering(
    tmp_path: Path, bands: tuple[str, ...], numbers: tuple[int, ...]
) -> None:
    archive = SEN12MS(write_sen12ms(tmp_path, [PATCH]), BandChoice(s2=bands))
    observed = archive.read(archive.entries[0]).observations[Modality.S2]
    expected = stored(file_of(tmp_path, "s2"))[np.array(numbers) - 1] / 10_000
    np.testing.assert_allclose(observed.values, expected, rtol=1e-6)


def test_radar_is_what_is_stored(tmp_path: Path) -> None:
    archive = SEN12MS(write_sen12ms(tmp_path, [PATCH]))
    observed = archive.read(archive.entries[0]).observations[Modality.S1]
    np.testing.assert_array_equal(observed.values, stored(file_of(tmp_path, "s1")))


def test_labels_are_the_igbp_codes_of_the_first_band_as_worldcover(tmp_path: Path) -> None:
    archive = SEN12MS(write_sen12ms(tmp_path, [PATCH]))
    labels = archive.read(archive.entries[0]).labels
    assert labels is not None
    assert labels.ravel()[:3].tolist() == [10, 40, 80]


def test_labels_can_be_those_of_the_contest(tmp_path: Path) -> None:
    archive = SEN12MS(write_sen12ms(tmp_path, [PATCH]), label_table=IGBP_TO_DFC2020)
    labels = archive.read(archive.entries[0]).labels
    assert labels is not None
    assert labels.ravel()[:3].tolist() == [1, 6, 10]


def test_an_unknown_label_code_is_refused(tmp_path: Path) -> None:
    archive = SEN12MS(write_sen12ms(tmp_path, [PATCH]))
    write_codes(file_of(tmp_path, "lc"), (1, 42), count=4)
    with pytest.raises(SampleInvalid, match=r"lc_1_p30\.tif: found label codes \[42\]"):
        archive.read(archive.entries[0])


def test_the_other_editions_folders_are_read_alike(tmp_path: Path) -> None:
    write_s2(tmp_path / "ROIs1158_spring_s2" / "s2_1" / "ROIs1158_spring_s2_1_p30.tif")
    write_s1(tmp_path / "ROIs1158_spring_s1" / "s1_1" / "ROIs1158_spring_s1_1_p30.tif")
    archive = SEN12MS(tmp_path)
    assert {*archive.read(archive.entries[0]).observations} == {Modality.S1, Modality.S2}


def test_a_cloudy_image_is_a_second_sample_of_the_place(tmp_path: Path) -> None:
    archive = SEN12MS(write_sen12ms(tmp_path, [PATCH], kinds=("s1", "s2", "s2_cloudy")))
    clear, cloudy = archive.entries
    assert (clear.name, cloudy.name) == (PATCH, f"{PATCH}_cloudy")
    assert clear.place == cloudy.place
    expected = stored(file_of(tmp_path, "s2_cloudy"))[[1, 2, 3, 7]] / 10_000
    np.testing.assert_allclose(archive.read(cloudy).observations[Modality.S2].values, expected, rtol=1e-6)


def test_a_season_without_radar_has_samples_without_it(tmp_path: Path) -> None:
    write_sen12ms(tmp_path, [PATCH], kinds=("s2",))
    write_sen12ms(tmp_path, ["ROIs1970_fall_2_p1"])
    archive = SEN12MS(tmp_path)
    modalities = [{*archive.read(entry).observations} for entry in archive.entries]
    assert modalities == [{Modality.S2}, {Modality.S1, Modality.S2}]


@pytest.mark.parametrize("kind", ["s1", "s2", "lc"])
@pytest.mark.parametrize("edition", ["ROIs1158_spring", "ROIs1158_spring_{kind}"])
def test_a_missing_file_is_named_where_it_would_be(tmp_path: Path, kind: str, edition: str) -> None:
    write_sen12ms(tmp_path, [PATCH, "ROIs1158_spring_1_p31"])
    for other in ("s1", "s2", "lc"):
        target = tmp_path / edition.format(kind=other) / f"{other}_1"
        if not target.exists():
            target.parent.mkdir()
            (tmp_path / "ROIs1158_spring" / f"{other}_1").rename(target)
    missing = tmp_path / edition.format(kind=kind) / f"{kind}_1" / f"ROIs1158_spring_{kind}_1_p30.tif"
    missing.unlink()
    archive = SEN12MS(tmp_path)
    with pytest.raises(SampleUnreadable) as caught:
        archive.read(archive.entries[0])
    assert caught.value.path == str(missing)


def test_nan_in_radar_is_not_valid(tmp_path: Path) -> None:
    archive = SEN12MS(write_sen12ms(tmp_path, [PATCH]))
    values = decibels("with a gap")
    values[1, 3:5, 7] = np.nan
    write_bands(file_of(tmp_path, "s1"), values, transform=UTM, crs=CRS)
    observed = archive.read(archive.entries[0]).observations[Modality.S1]
    assert np.argwhere(~observed.valid).tolist() == [[3, 7], [4, 7]]
    assert not observed.values[:, ~observed.valid].any()


def test_zero_in_any_optical_band_is_not_valid(tmp_path: Path) -> None:
    archive = SEN12MS(write_sen12ms(tmp_path, [PATCH]))
    values = stored(file_of(tmp_path, "s2"))
    values[2, 0, 5] = 0
    write_bands(file_of(tmp_path, "s2"), values, transform=UTM, crs=CRS)
    assert np.argwhere(~archive.read(archive.entries[0]).observations[Modality.S2].valid).tolist() == [[0, 5]]


def test_scenes_of_the_publishers_list_are_held_out(tmp_path: Path) -> None:
    write_sen12ms(tmp_path, [PATCH, "ROIs1158_spring_12_p30"])
    (tmp_path / "SEN12MS_holdOutScenes.txt").write_text("ROIs1158_spring/s1_12\n")
    assert [entry.split for entry in SEN12MS(tmp_path).entries] == ["train", "test"]


def test_without_that_list_there_is_no_split(tmp_path: Path) -> None:
    assert SEN12MS(write_sen12ms(tmp_path, [PATCH])).entries[0].split is None


def test_two_copies_of_a_patch_are_refused(tmp_path: Path) -> None:
    write_sen12ms(tmp_path / "one", [PATCH])
    write_sen12ms(tmp_path / "two", [PATCH])
    with pytest.raises(ArchiveInvalid, match="need one copy"):
        SEN12MS(tmp_path)


def test_a_folder_without_patches_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    write_s2(tmp_path / "image.tif")
    with pytest.raises(ArchiveInvalid, match=r"not laid out as SEN12MS: .* ROIs1158_spring_s2_1_p30\.tif"):
        SEN12MS(tmp_path)


def test_real_patches_have_their_labels_without_radar(shared: Path) -> None:
    archive = SEN12MS(shared / "data" / "sen12ms" / "s2_lc")
    samples = [archive.read(entry) for entry in archive.entries]
    assert [sample.entry.name for sample in samples] == ["ROIs1970_fall_4_p30", "ROIs2017_winter_27_p36"]
    assert [{*sample.observations} for sample in samples] == [{Modality.S2}, {Modality.S2}]
    assert [np.unique(sample.labels).tolist() for sample in samples] == [[60], [20, 30, 40]]
