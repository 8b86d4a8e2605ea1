"""Fixed statistics of bands."""

import numpy as np
import torch

from contract.bands import Modality
from training.models.standardise import BandStatistics, Standardise, measure


def pixels(modality: Modality) -> np.ndarray:
    random = np.random.default_rng(0)
    if modality is Modality.S2:
        return random.normal(0.1, 0.08, (3, 500)).astype(np.float32)  # some are negative, as in real scenes
    return random.normal(-12, 4, (2, 500)).astype(np.float32)


def test_statistics_are_those_of_the_logarithm_of_reflectance() -> None:
    values = pixels(Modality.S2)
    compressed = np.log1p(10 * np.maximum(values.astype(np.float64), 0))
    measured = measure(values, Modality.S2)
    np.testing.assert_allclose(measured.mean, compressed.mean(axis=1))
    np.testing.assert_allclose(measured.deviation, compressed.std(axis=1, ddof=1))


def test_and_of_decibels_as_they_are() -> None:
    values = pixels(Modality.S1)
    measured = measure(values, Modality.S1)
    np.testing.assert_allclose(measured.mean, values.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(measured.deviation, values.std(axis=1, ddof=1), rtol=1e-5)


def test_the_pixels_behind_the_statistics_get_mean_0_and_deviation_1() -> None:
    for modality in Modality:
        values = pixels(modality)
        standardise = Standardise(modality, measure(values, modality))
        chip = torch.from_numpy(values.reshape(1, -1, 20, 25))
        made = standardise(chip, torch.ones(1, 1, 20, 25))
        np.testing.assert_allclose(made.mean(dim=(0, 2, 3)), 0, atol=1e-5)
        np.testing.assert_allclose(made.std(dim=(0, 2, 3)), 1, atol=1e-4)


def test_what_was_not_observed_becomes_0() -> None:
    standardise = Standardise(Modality.S1, BandStatistics(mean=(-12.0,), deviation=(4.0,)))
    valid = torch.ones(1, 1, 2, 3)
    valid[..., 1, 2] = 0
    made = standardise(torch.zeros(1, 1, 2, 3), valid)
    assert made[0, 0].tolist() == [[3, 3, 3], [3, 3, 0]]


def test_a_band_without_any_contrast_does_not_divide_by_zero() -> None:
    statistics = measure(np.full((1, 10), -12, np.float32), Modality.S1)
    made = Standardise(Modality.S1, statistics)(torch.full((1, 1, 2, 2), -12.0), torch.ones(1, 1, 2, 2))
    assert made.isfinite().all()


def test_statistics_are_stored_with_the_weights() -> None:
    standardise = Standardise(Modality.S1, BandStatistics(mean=(-12.0,), deviation=(4.0,)))
    assert set(standardise.state_dict()) == {"mean", "deviation"}
