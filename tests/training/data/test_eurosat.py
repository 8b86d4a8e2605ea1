from pathlib import Path

import numpy as np
import pytest

from contract.bands import Modality
from contract.errors import ArchiveInvalid
from tests.training.data.layouts import EUROSAT, numbers, stored, write_eurosat, write_s2
from tests.training.data.layouts_reben import write_bands
from training.data.eurosat import EuroSAT
from training.data.sample import BandChoice


def test_an_image_has_the_class_of_its_folder_and_no_radar(tmp_path: Path) -> None:
    archive = EuroSAT(write_eurosat(tmp_path, ["Forest_1", "River_1"]))
    samples = [archive.read(entry) for entry in archive.entries]
    assert [sample.image_labels for sample in samples] == [("Forest",), ("River",)]
    assert [{*sample.observations} for sample in samples] == [{Modality.S2}] * 2
    assert all(sample.labels is None for sample in samples)


def test_b8a_is_the_last_band_and_the_ninth_is_water_vapour(tmp_path: Path) -> None:
    archive = EuroSAT(write_eurosat(tmp_path, ["Forest_1"]), BandChoice(s2=("B08", "B8A", "B09")))
    observed = archive.read(archive.entries[0]).observations[Modality.S2]
    expected = stored(tmp_path / "Forest" / "Forest_1.tif")[[7, 12, 8]] / 10_000
    np.testing.assert_allclose(observed.values, expected, rtol=1e-6)


def test_an_edition_that_names_its_bands_is_believed(tmp_path: Path) -> None:
    names = sorted(EUROSAT)
    path = write_bands(tmp_path / "Forest" / "Forest_1.tif", numbers("named", 13), descriptions=names)
    archive = EuroSAT(tmp_path, BandChoice(s2=("B8A",)))
    observed = archive.read(archive.entries[0]).observations[Modality.S2]
    np.testing.assert_allclose(observed.values[0], stored(path)[names.index("B8A")] / 10_000, rtol=1e-6)


def test_neighbours_are_of_one_place_and_far_images_of_another(tmp_path: Path) -> None:
    folder = write_eurosat(tmp_path, ["Forest_1", "Forest_2", *(f"River_{number}" for number in range(20))])
    places = [entry.place for entry in EuroSAT(folder).entries]
    assert places[0] == places[1]
    assert len({*places}) == 3  # 105 km in blocks of 50 km


def test_images_without_georeference_are_all_of_one_place(tmp_path: Path) -> None:
    for image in ("Forest_1", "Forest_2"):
        write_s2(tmp_path / "Forest" / f"{image}.tif", transform=None)
    entries = EuroSAT(tmp_path).entries
    assert [entry.place for entry in entries] == ["unknown ground"] * 2
    assert [entry.footprint for entry in entries] == [None] * 2


def test_a_folder_without_classes_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    write_s2(tmp_path / "forest_1.tif")
    with pytest.raises(ArchiveInvalid, match=r"not laid out as EuroSAT-MS: .* AnnualCrop, Forest"):
        EuroSAT(tmp_path)


def test_real_images_are_as_bright_in_b8a_as_in_b08(shared: Path) -> None:
    archive = EuroSAT(shared / "data" / "eurosat", BandChoice(s2=("B08", "B8A", "B09")))
    medians = np.array(
        [np.median(archive.read(entry).observations[Modality.S2].values, (1, 2)) for entry in archive.entries]
    )
    b08, b8a, b09 = medians.T
    assert len(medians) == 200
    assert np.corrcoef(b08, b8a)[0, 1] > 0.98
    assert 0.9 < np.median(b8a / b08) < 1.3
    assert np.median(b09 / b08) < 0.5
