"""Where training embeddings lie, and how far others are from there."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.covariance import shrunk_covariance

from training.models.latents import SHRINKAGE, Latents

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(500, 4)) @ RANDOM.normal(size=(4, 4)) + 3
"""Correlated, and not around 0."""


def fitted(rows: np.ndarray) -> Latents:
    latents = Latents(rows.shape[1])
    latents.fit(torch.from_numpy(rows.mean(axis=0)), torch.from_numpy(np.cov(rows.T, bias=True)))
    return latents


def distances(latents: Latents, rows: np.ndarray) -> np.ndarray:
    maps = torch.from_numpy(rows).float().T.reshape(1, rows.shape[1], 1, -1)
    return latents.distance(maps).numpy()[0, 0, 0]


def test_distances_are_those_of_mahalanobis_as_multiples_of_what_is_usual() -> None:
    asked = RANDOM.normal(size=(30, 4)) * 5
    precision = np.linalg.inv(shrunk_covariance(np.cov(ROWS.T, bias=True), SHRINKAGE))
    of_rows, of_asked = (cdist(rows, ROWS.mean(axis=0)[None], "mahalanobis", VI=precision) for rows in (ROWS, asked))
    usual = np.sqrt(np.square(of_rows).mean())
    np.testing.assert_allclose(distances(fitted(ROWS), asked), of_asked[:, 0] / usual, rtol=1e-3)


def test_on_training_ground_the_distance_is_1_in_root_mean_square() -> None:
    rows = np.concatenate([ROWS, np.full((500, 1), 7.0)], axis=1)
    assert np.isclose(np.square(distances(fitted(rows), rows)).mean(), 1, rtol=1e-3)


def test_a_map_has_a_distance_at_every_location() -> None:
    maps = torch.from_numpy(ROWS[:70]).float().reshape(2, 5, 7, 4).permute(0, 3, 1, 2)
    made = fitted(ROWS).distance(maps)
    assert made.shape == (2, 1, 5, 7)
    np.testing.assert_allclose(made.flatten(), distances(fitted(ROWS), ROWS[:70]), rtol=1e-4)


def test_a_dimension_that_collapsed_divides_nothing_by_0() -> None:
    """What leaves it stands out."""
    rows = np.concatenate([ROWS, RANDOM.normal(7, 1e-6, (500, 1))], axis=1)
    aside = np.append(ROWS.mean(axis=0), 8.0)[None]
    assert 2 < distances(fitted(rows), aside)[0] < 100


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_dimension_that_never_varied_has_no_say(place: int) -> None:
    """Distances are those of the others alone, whatever it holds."""
    asked = RANDOM.normal(size=(30, 4)) * 5
    expected = distances(fitted(ROWS), asked)
    seen, wild = np.insert(ROWS, place, 7.0, axis=1), np.insert(asked, place, 1e3 * RANDOM.normal(size=30), axis=1)
    np.testing.assert_allclose(distances(fitted(seen), wild), expected, rtol=1e-4)


def test_an_embedding_that_is_the_same_everywhere_is_no_error() -> None:
    rows = np.full((9, 3), 2.0)
    np.testing.assert_array_equal(distances(fitted(rows), rows), 0)
