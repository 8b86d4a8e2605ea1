from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyarrow import parquet
from pyproj import Transformer
from rasterio.enums import Resampling

from contract.bands import Modality
from contract.errors import ArchiveInvalid, SampleInvalid, SampleUnreadable
from tests.training.data.layouts_reben import (
    COLS,
    FLAT_S2_BANDS,
    PATCHES,
    ROWS,
    TinyPatch,
    write_bands,
    write_contents,
    write_flat,
    write_published,
)
from training.data.legends import BIGEARTHNET19, CORINE_TO_BIGEARTHNET19
from training.data.rasters import read_grid
from training.data.reben import ReBEN
from training.data.sample import BandChoice

Write = Callable[[Path], Path]
LAYOUTS = pytest.mark.parametrize("write", [write_flat, write_published])


# --- the table of contents -------------------------------------------------------------------------------------------


@LAYOUTS
def test_entries_are_the_patches_of_the_table(tmp_path: Path, write: Write) -> None:
    entries = ReBEN(write(tmp_path)).entries
    assert [entry.name for entry in entries] == [patch.name for patch in PATCHES]
    assert [entry.place for entry in entries] == ["T34VER", "T35VNH"]
    assert [entry.acquired for entry in entries] == [date(2017, 6, 13), date(2017, 9, 24)]
    assert [entry.split for entry in entries] == ["train", "val"]


@LAYOUTS
def test_entries_are_known_without_a_look_at_pixels(tmp_path: Path, write: Write) -> None:
    with_pixels = ReBEN(write(tmp_path)).entries
    for path in tmp_path.rglob("*.tif"):
        path.unlink()
    assert ReBEN(tmp_path).entries == with_pixels


@LAYOUTS
def test_a_file_of_an_entry_that_is_missing_is_named(tmp_path: Path, write: Write) -> None:
    archive = ReBEN(write(tmp_path))
    for path in archive.entries[0].files:
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(SampleUnreadable, match=path.name):
            archive.read(archive.entries[0])
        path.write_bytes(content)


def test_only_the_bands_asked_for_are_files_of_an_entry(tmp_path: Path) -> None:
    archive = ReBEN(write_published(tmp_path), BandChoice(s2=("B04", "B11"), s1=("VH",)))
    assert [path.stem[-3:] for path in archive.entries[0].files] == ["B04", "B11", "_VH", "map"]


# Corners as the files of these patches have them in their headers.
@pytest.mark.parametrize(
    ("name", "epsg", "corner"),
    [
        ("S2A_MSIL2A_20170613T101031_N9999_R022_T34VER_41_60", 32634, (549180, 7028040)),
        ("S2B_MSIL2A_20170924T093019_N9999_R136_T35VNH_26_63", 32635, (531180, 6724440)),
        ("S2A_MSIL2A_20171002T112111_N9999_R037_T29SNB_66_63", 32629, (579180, 4124400)),
        ("S2A_MSIL2A_20170818T103021_N9999_R108_T32TMT_35_50", 32632, (441960, 5240040)),
        ("S2A_MSIL2A_20180225T114351_N9999_R123_T29UPU_41_30", 32629, (649200, 5864040)),
    ],
)
def test_the_name_of_a_patch_says_where_it_lies(
    tmp_path: Path, name: str, epsg: int, corner: tuple[float, float]
) -> None:
    (tmp_path / "patches.csv").write_text(f"patch_id,split,s1_name,labels19\n{name},train,S1A,Pastures\n")
    box = ReBEN(tmp_path).entries[0].footprint
    project = Transformer.from_crs(epsg, 4326, always_xy=True).transform
    assert box is not None
    assert box.west_deg == pytest.approx(project(corner[0], corner[1] - 600)[0], abs=1e-9)
    assert box.east_deg == pytest.approx(project(corner[0] + 1200, corner[1] - 600)[0], abs=1e-9)
    assert box.south_deg == pytest.approx(project(corner[0] + 600, corner[1] - 1200)[1], abs=1e-9)
    assert box.north_deg == pytest.approx(project(corner[0] + 600, corner[1])[1], abs=1e-9)


def test_a_folder_without_a_table_of_contents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveInvalid, match=r"there is neither metadata\.parquet nor patches\.csv"):
        ReBEN(tmp_path)


def test_a_published_archive_without_radar_is_refused(tmp_path: Path) -> None:
    write_contents(tmp_path, PATCHES)
    (tmp_path / "BigEarthNet-S2").mkdir()
    with pytest.raises(ArchiveInvalid, match="there is no folder BigEarthNet-S1, Reference_Maps"):
        ReBEN(tmp_path)


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    write_published(tmp_path)
    path = tmp_path / "metadata.parquet"
    parquet.write_table(parquet.read_table(path).drop_columns("s1_name"), path)
    with pytest.raises(ArchiveInvalid, match="s1_name"):
        ReBEN(tmp_path)
    (tmp_path / "patches.csv").write_text("patch_id,split,labels19\na,train,b\n")
    with pytest.raises(ArchiveInvalid, match="s1_name"):
        ReBEN(tmp_path)


def test_a_table_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = write_published(tmp_path) / "metadata.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArchiveInvalid, match=r"metadata\.parquet"):
        ReBEN(tmp_path)


@pytest.mark.parametrize(
    "patch",
    [
        TinyPatch(name="S2A_MSIL2A_20170613T101031_41_60"),
        TinyPatch(name="S2A_MSIL2A_20171313T101031_N9999_R022_T34VER_41_60"),
        TinyPatch(split="holdout"),
    ],
    ids=["name of version 1", "no date", "no split"],
)
def test_a_line_that_cannot_be_is_named(tmp_path: Path, patch: TinyPatch) -> None:
    write_published(tmp_path, PATCHES)
    write_contents(tmp_path, [patch])
    with pytest.raises(ArchiveInvalid, match=f"it lists a patch '{patch.name}' of split '{patch.split}'"):
        ReBEN(tmp_path)


# --- pixels ----------------------------------------------------------------------------------------------------------


@LAYOUTS
def test_pixels_come_in_physical_units(tmp_path: Path, write: Write) -> None:
    archive = ReBEN(write(tmp_path), BandChoice(s2=("B08", "B02"), s1=("VH", "VV")))
    for entry, patch in zip(archive.entries, PATCHES, strict=True):
        seen = archive.read(entry).observations
        digital_numbers = np.stack([patch.band("B08"), patch.band("B02")])
        np.testing.assert_allclose(seen[Modality.S2].values, digital_numbers / 10000, atol=1e-6)
        np.testing.assert_array_equal(seen[Modality.S1].values, np.stack([patch.band("VH"), patch.band("VV")]))
        assert all(observation.valid.all() for observation in seen.values())


@LAYOUTS
def test_labels_are_of_worldcover_unless_another_table_is_given(tmp_path: Path, write: Write) -> None:
    archive = ReBEN(write(tmp_path))
    expected = np.select([PATCHES[0].codes() == 211, PATCHES[0].codes() == 324], [40, 20], default=0)
    sample = archive.read(archive.entries[0])
    np.testing.assert_array_equal(sample.labels, expected)
    assert sample.image_labels == ("Arable land", "Transitional woodland, shrub")


@LAYOUTS
def test_labels_can_be_of_bigearthnet(tmp_path: Path, write: Write) -> None:
    archive = ReBEN(write(tmp_path), label_table=CORINE_TO_BIGEARTHNET19)
    expected = np.select([PATCHES[0].codes() == 211, PATCHES[0].codes() == 324], [3, 14], default=0)
    np.testing.assert_array_equal(archive.read(archive.entries[0]).labels, expected)


def test_coarse_bands_come_bilinear_at_10_m(tmp_path: Path) -> None:
    archive = ReBEN(write_published(tmp_path), BandChoice(s2=("B03", "B05", "B09")))
    values = archive.read(archive.entries[0]).observations[Modality.S2].values
    for index, path in enumerate(archive.entries[0].files[:3]):
        with rasterio.open(path) as file:
            expected = file.read(1, out_shape=(ROWS, COLS), out_dtype="float32", resampling=Resampling.bilinear)
        # GDAL rounds to whole digital numbers.
        np.testing.assert_allclose(values[index], expected / 10000, atol=0.51e-4)


def test_one_band_is_read_as_several_are(tmp_path: Path) -> None:
    archive = ReBEN(write_flat(tmp_path), BandChoice(s2=("B04",), s1=("VH",)))
    seen = archive.read(archive.entries[0]).observations
    np.testing.assert_allclose(seen[Modality.S2].values[0], PATCHES[0].band("B04") / 10000, atol=1e-6)
    np.testing.assert_array_equal(seen[Modality.S1].values[0], PATCHES[0].band("VH"))


def test_a_band_that_the_flat_layout_does_not_have_is_named(tmp_path: Path) -> None:
    archive = ReBEN(write_flat(tmp_path), BandChoice(s2=("B02", "B11")))
    with pytest.raises(SampleInvalid, match="need also B11"):
        archive.read(archive.entries[0])


def test_black_optical_pixels_and_radar_that_is_no_number_were_not_observed(tmp_path: Path) -> None:
    patch = PATCHES[0]
    folder = write_flat(tmp_path, [patch]) / patch.name
    s2 = np.stack([patch.band(band) for band in FLAT_S2_BANDS])
    s2[:, 3, 5] = 0
    write_bands(folder / "s2.tif", s2, descriptions=FLAT_S2_BANDS)
    s1 = np.stack([patch.band("VV"), patch.band("VH")])
    s1[0, 7, 11], s1[1, 2, 16] = np.inf, np.nan
    write_bands(folder / "s1.tif", s1, descriptions=("VV", "VH"))
    archive = ReBEN(tmp_path)
    seen = archive.read(archive.entries[0]).observations
    assert np.argwhere(~seen[Modality.S2].valid).tolist() == [[3, 5]]
    assert np.argwhere(~seen[Modality.S1].valid).tolist() == [[2, 16], [7, 11]]
    assert not seen[Modality.S1].values[:, [2, 7], [16, 11]].any()


@pytest.mark.parametrize("file", ["s1.tif", "clc.tif"])
def test_a_file_of_other_ground_is_refused(tmp_path: Path, file: str) -> None:
    write_flat(tmp_path)
    first, second = (tmp_path / patch.name / file for patch in PATCHES)
    first.write_bytes(second.read_bytes())
    archive = ReBEN(tmp_path)
    with pytest.raises(SampleInvalid, match=r"from \(531180, 6724440\), EPSG:32635; need .* EPSG:32634"):
        archive.read(archive.entries[0])


def test_radar_in_linear_power_is_refused(tmp_path: Path) -> None:
    path = write_flat(tmp_path) / PATCHES[0].name / "s1.tif"
    with rasterio.open(path, "r+") as file:
        file.write(10 ** (file.read() / 10))
    archive = ReBEN(tmp_path)
    with pytest.raises(SampleInvalid, match="look like linear power"):
        archive.read(archive.entries[0])


# --- real patches ----------------------------------------------------------------------------------------------------


def test_names_of_real_patches_say_where_their_files_lie(shared: Path) -> None:
    for entry in ReBEN(shared / "data/reben").entries:
        header = read_grid(entry.files[0]).footprint
        assert (entry.footprint, entry.place) == (header, entry.name.split("_")[5])


def test_real_patches_are_observed_everywhere(shared: Path) -> None:
    archive = ReBEN(shared / "data/reben")
    for entry in archive.entries:
        sample = archive.read(entry)
        assert all(observation.valid.all() for observation in sample.observations.values())
        assert sample.labels is not None
        assert sample.labels.shape == (120, 120)


def test_the_map_of_each_real_patch_has_the_classes_it_was_published_with(shared: Path) -> None:
    archive = ReBEN(shared / "data/reben", label_table=CORINE_TO_BIGEARTHNET19)
    names = {entry.value: entry.name for entry in BIGEARTHNET19.classes}
    for entry in archive.entries:
        sample = archive.read(entry)
        assert {names[value] for value in np.unique(sample.labels) if value} == set(sample.image_labels)
