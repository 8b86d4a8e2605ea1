"""The probe of whole images: pooled embeddings, and what a probe reads from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from contract.bands import Modality
from training.data.sample import BandChoice, Entry, Observation, Sample
from training.evaluate.exam import inputs_of
from training.image_probe import ImageProbeConfig, LabelledImages, embed, fit_image_probe, score_images
from training.models.config import BranchConfig, ModelConfig
from training.models.encoder import Encoder
from training.models.standardise import BandStatistics

NAMES = ("forest", "lake", "town")
ONES = torch.ones(2)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    branch = BranchConfig(widths=(8, 8, 8), blocks=(0, 0, 0))
    statistics = {
        Modality.S2: BandStatistics(mean=(0.0,) * 4, deviation=(1.0,) * 4),
        Modality.S1: BandStatistics(mean=(-15.0,) * 2, deviation=(5.0,) * 2),
    }
    return Encoder(BandChoice(), ModelConfig(s2=branch, s1=branch, latent=8), statistics).eval()


def sample(seed: int, *labels: str) -> Sample:
    random = np.random.default_rng(seed)
    valid = np.ones((16, 24), np.bool_)
    return Sample(
        entry=Entry(name=str(seed), place="T34VER", files=(Path("s2.tif"),)),
        observations={
            Modality.S2: Observation(values=random.random((4, 16, 24), np.float32), valid=valid),
            Modality.S1: Observation(values=random.random((2, 16, 24), np.float32) - 15, valid=valid),
        },
        image_labels=labels,
    )


def images(count: int, seed: int, *, several: bool = False) -> LabelledImages:
    """Embeddings whose first dimensions tell the classes."""
    random = np.random.default_rng(seed)
    classes = np.eye(3, dtype=np.float32)[random.integers(3, size=count)]
    if several:
        classes = np.maximum(classes, np.eye(3, dtype=np.float32)[random.integers(3, size=count)])
    noise = random.normal(scale=0.3, size=(count, 5)).astype(np.float32)
    embeddings = np.concatenate([classes, np.zeros((count, 2), np.float32)], axis=1) + noise
    return LabelledImages(embeddings=torch.from_numpy(embeddings), classes=torch.from_numpy(classes), names=NAMES)


def test_labels_of_an_image_become_a_row_of_ones_and_zeros(encoder: Encoder) -> None:
    made = embed(encoder, [sample(1, "town", "forest"), sample(2), sample(3, "glacier")], NAMES, ONES)
    assert made.classes.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert made.embeddings.shape == (3, 8)


def test_the_pooled_embedding_is_the_mean_over_what_was_seen(encoder: Encoder) -> None:
    whole = sample(1)
    seen = np.ones((16, 24), np.bool_)
    seen[:, 12:] = False
    half = {
        modality: Observation(values=np.where(seen, before.values, 0), valid=seen)
        for modality, before in whole.observations.items()
    }
    masked = replace(whole, observations=half)
    inputs = inputs_of(masked, BandChoice())
    with torch.no_grad():
        mean = encoder(inputs, ONES).mean[0, :, :, :6].mean(dim=(1, 2))
    torch.testing.assert_close(embed(encoder, [masked], NAMES, ONES).embeddings[0], mean)


@pytest.mark.parametrize("hidden", [0, 128])
@pytest.mark.parametrize("several", [False, True])
def test_a_probe_finds_classes_in_images_that_it_was_not_fitted_on(hidden: int, *, several: bool) -> None:
    probe = fit_image_probe(images(150, 0, several=several), ImageProbeConfig(hidden=hidden, steps=200), seed=0)
    assert score_images(probe, images(100, 1, several=several)).macro_precision > 0.9


def test_scores_are_those_of_scikit_learn() -> None:
    held_out = images(60, 2, several=True)
    probe = fit_image_probe(images(40, 3, several=True), ImageProbeConfig(steps=20), seed=0)
    with torch.no_grad():
        logits = probe(held_out.embeddings).numpy()
    scores = score_images(probe, held_out)
    assert scores.micro_precision == pytest.approx(
        average_precision_score(held_out.classes.numpy(), logits, average="micro"), abs=1e-5
    )
    assert scores.macro_precision == pytest.approx(
        average_precision_score(held_out.classes.numpy(), logits, average="macro"), abs=1e-5
    )
    assert scores.accuracy is None


def test_images_of_one_class_each_are_scored_by_accuracy() -> None:
    held_out = images(60, 4)
    probe = fit_image_probe(images(90, 5), ImageProbeConfig(steps=100), seed=0)
    with torch.no_grad():
        right = probe(held_out.embeddings).argmax(dim=1) == held_out.classes.argmax(dim=1)
    assert score_images(probe, held_out).accuracy == pytest.approx(right.float().mean().item())
