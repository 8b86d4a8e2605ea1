"""Heads that disagree: mutual information."""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from training.models.doubt import HEADS, DoubtHeads

CLASSES = 3


def doubt_of(logits: np.ndarray) -> np.ndarray:
    """Of (N, M, K, h, w)."""
    heads = DoubtHeads(latent=5, raw=2, around=7, classes=CLASSES)
    return heads.mutual_information(torch.from_numpy(logits).float().flatten(1, 2)).numpy()


def test_doubt_is_the_entropy_of_the_mean_less_the_mean_of_the_entropies() -> None:
    logits = 3 * np.random.default_rng(0).normal(size=(2, HEADS, CLASSES, 5, 7))
    probabilities = softmax(logits, axis=2)
    expected = entropy(probabilities.mean(axis=1), axis=1) - entropy(probabilities, axis=2).mean(axis=1)
    np.testing.assert_allclose(doubt_of(logits)[:, 0], expected, atol=1e-6)


def test_heads_that_agree_leave_no_doubt_however_unsure_they_are() -> None:
    logits = np.repeat(np.random.default_rng(1).normal(size=(1, 1, CLASSES, 4, 6)), HEADS, axis=1)
    np.testing.assert_allclose(doubt_of(logits), 0, atol=1e-6)


@pytest.mark.parametrize("strength", [40.0, 1e4])
def test_heads_that_are_certain_of_different_classes_leave_the_entropy_of_their_votes(strength: float) -> None:
    votes = strength * np.eye(CLASSES)[[0, 2] * (HEADS // 2)]  # (M, K)
    np.testing.assert_allclose(doubt_of(votes[None, :, :, None, None]), math.log(2), rtol=1e-5)


def test_doubt_is_never_negative() -> None:
    logits = 1e-4 * np.random.default_rng(2).normal(size=(1, HEADS, CLASSES, 40, 50))
    assert doubt_of(logits).min() >= 0


@torch.no_grad()
def test_each_head_reads_all_that_the_probe_reads_with_weights_of_its_own() -> None:
    heads = DoubtHeads(latent=5, raw=2, around=7, classes=CLASSES)
    mean, raw = torch.randn(2, 5, 8, 12), torch.randn(2, 2, 8, 12)
    around = torch.randn(2, 7, 1, 1)  # the same everywhere, however it is interpolated
    read = ((heads.on_embedding, mean), (heads.on_raw, raw), (heads.on_surroundings, around.expand(-1, -1, 8, 12)))
    expected = heads.on_embedding.bias.reshape(HEADS, CLASSES, 1, 1).numpy()
    for plane, values in read:
        weight = plane.weight.reshape(HEADS, CLASSES, -1).numpy()
        expected = expected + np.einsum("mkd,ndhw->nmkhw", weight, values.numpy())
    votes = heads(mean, raw, around.expand(-1, -1, 2, 3))
    np.testing.assert_allclose(heads.apart(votes), expected, atol=1e-5)
