from pathlib import Path

import numpy as np
import pytest

from contract.bands import Modality
from contract.errors import ArchiveInvalid
from tests.training.data.layouts import stored, write_dfc2020, write_sen12ms
from training.data.dfc2020 import DFC2020, LABELS_AS_GIVEN


def test_the_set_called_validation_is_for_training_and_the_set_called_test_for_tests(tmp_path: Path) -> None:
    entries = DFC2020(write_dfc2020(tmp_path, validation=2, test=3)).entries
    assert sorted((entry.place, entry.split) for entry in entries) == [
        *[("ROIs0000_test", "test")] * 3,
        *[("ROIs0000_validation", "train")] * 2,
    ]


def test_no_footprint_is_read_from_files_without_georeference(tmp_path: Path) -> None:
    assert all(entry.footprint is None for entry in DFC2020(write_dfc2020(tmp_path, validation=1, test=1)).entries)


def test_both_sensors_are_read_in_physical_units(tmp_path: Path) -> None:
    archive = DFC2020(write_dfc2020(tmp_path, validation=1, test=0))
    observations = archive.read(archive.entries[0]).observations
    s2 = stored(tmp_path / "ROIs0000_validation" / "s2_validation" / "ROIs0000_validation_s2_0_p0.tif")
    s1 = stored(tmp_path / "ROIs0000_validation" / "s1_validation" / "ROIs0000_validation_s1_0_p0.tif")
    np.testing.assert_allclose(observations[Modality.S2].values, s2[[1, 2, 3, 7]] / 10_000, rtol=1e-6)
    np.testing.assert_array_equal(observations[Modality.S1].values, s1.astype(np.float32))


def test_labels_are_worldcovers_or_the_contests_own(tmp_path: Path) -> None:
    write_dfc2020(tmp_path, validation=0, test=1)
    for archive, expected in (
        (DFC2020(tmp_path), [10, 40, 80]),
        (DFC2020(tmp_path, label_table=LABELS_AS_GIVEN), [1, 6, 10]),
    ):
        labels = archive.read(archive.entries[0]).labels
        assert labels is not None
        assert labels.ravel()[:3].tolist() == expected


def test_a_set_that_came_without_labels_has_none(tmp_path: Path) -> None:
    write_dfc2020(tmp_path, validation=1, test=0)
    write_dfc2020(tmp_path, validation=0, test=1, kinds=("s1", "s2"))
    archive = DFC2020(tmp_path)
    labelled = {entry.split: archive.read(entry).labels is not None for entry in archive.entries}
    assert labelled == {"train": True, "test": False}


def test_another_archive_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ArchiveInvalid, match=r"not laid out as DFC2020: .* ROIs0000_validation_s2_0_p7\.tif"):
        DFC2020(write_sen12ms(tmp_path, ["ROIs1158_spring_1_p30"]))
