"""The closed forms, against their formulas in numpy and against samples."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import spearmanr

from training.models.predictive import Logits, contrasts, variances

PIXELS, CLASSES, SAMPLES = 200, 6, 20_000
Arrays = NDArray[np.float64]


@pytest.fixture(scope="module")
def logits() -> Logits:
    """Of pixels from certain to open, with variances of embeddings as they come out of the prior and of two experts."""
    random = np.random.default_rng(0)
    mean = random.normal(0, 2, (PIXELS, CLASSES)) * random.uniform(0.2, 1.5, (PIXELS, 1))
    variance = random.gamma(2, 0.5, (PIXELS, CLASSES)) * random.uniform(0.02, 2, (PIXELS, 1))
    return Logits(mean=_maps(mean - mean.mean(axis=1, keepdims=True)), variance=_maps(variance))


@pytest.fixture(scope="module")
def sampled(logits: Logits) -> tuple[Arrays, Arrays]:
    """Mean and variance of the probabilities, (pixels, classes)."""
    random = np.random.default_rng(1)
    mean, deviation = _rows(logits.mean), np.sqrt(_rows(logits.variance))
    draws = (
        softmax(mean[pixel] + deviation[pixel] * random.normal(size=(SAMPLES, CLASSES)), axis=1)
        for pixel in range(PIXELS)
    )
    moments = [(each.mean(axis=0), each.var(axis=0)) for each in draws]
    means, spreads = zip(*moments, strict=True)
    return np.array(means), np.array(spreads)


def _maps(rows: Arrays) -> torch.Tensor:
    """(pixels, classes) -> (2, classes, 10, 10)."""
    return torch.from_numpy(rows.reshape(2, 10, 10, CLASSES)).permute(0, 3, 1, 2).float()


def _rows(maps: torch.Tensor) -> Arrays:
    return maps.permute(0, 2, 3, 1).reshape(PIXELS, -1).double().numpy()


def _columns(rows: Arrays) -> torch.Tensor:
    """(pixels, classes) -> (pixels, classes, 1, 1)."""
    return torch.from_numpy(rows)[:, :, None, None]


def _independent(probabilities: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """Contrasts of logits that read one dimension of the embedding each."""
    return contrasts(probabilities, variance, probabilities * variance)


def _answer(logits: Logits) -> tuple[Arrays, Arrays, Arrays]:
    """Probabilities (pixels, classes), total and embedding variance (pixels)."""
    probabilities = logits.mean_field.softmax(dim=1)
    total, embedding = variances(probabilities, _independent(probabilities, logits.variance))
    return _rows(probabilities), _rows(total[:, None])[:, 0], _rows(embedding[:, None])[:, 0]


def test_probabilities_follow_the_mean_field_formula(logits: Logits) -> None:
    scaled = _rows(logits.mean) / np.sqrt(1 + np.pi / 8 * _rows(logits.variance))
    np.testing.assert_allclose(_answer(logits)[0], softmax(scaled, axis=1), rtol=1e-4, atol=1e-6)


def test_variances_follow_their_formula(logits: Logits) -> None:
    p, total, embedding = _answer(logits)
    less = np.eye(CLASSES) - p[:, None]  # (pixels, CLASSES, CLASSES)
    contrast = np.einsum("pck,pk->pc", less**2, _rows(logits.variance))
    expected = p * (1 - p) * (1 - 1 / np.sqrt(1 + 2 * p / (1 - p) * contrast))
    np.testing.assert_allclose(total, (p * (1 - p)).sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(embedding, expected.sum(axis=1), rtol=1e-3, atol=1e-6)


def test_contrasts_are_variances_of_what_reads_the_same_embedding() -> None:
    random = np.random.default_rng(3)
    p, weight = softmax(random.normal(size=(2, 5, 3, 4)), axis=1), random.normal(size=(5, 7))
    variance = random.gamma(1, 1, (2, 7, 3, 4))
    covariance = np.einsum("kd,ld,ndhw->nhwkl", weight, weight, variance)
    less = np.eye(5) - np.moveaxis(p, 1, -1)[..., None, :]
    expected = np.einsum("nhwck,nhwkl,nhwcl->nchw", less, covariance, less)
    own = np.einsum("nhwkk->nkhw", covariance)
    shared = np.einsum("nhwkl,nlhw->nkhw", covariance, p)
    found = contrasts(torch.from_numpy(p), torch.from_numpy(own), torch.from_numpy(shared))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_rounding_takes_no_contrast_below_0() -> None:
    """Of a logit that is all but the weighted mean."""
    p = torch.tensor([0.9999999, 1e-7]).reshape(1, 2, 1, 1)
    own = torch.tensor([3.0, 1.0]).reshape(1, 2, 1, 1)
    assert contrasts(p, own, own * torch.tensor([1.0000001, 0.5]).reshape(1, 2, 1, 1)).min() >= 0


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_of_logits_that_vary_together_embedding_variance_is_that_of_samples_to_a_fifth(scale: float) -> None:
    random = np.random.default_rng(4)
    mean, shared = random.normal(0, 2, (60, CLASSES)), random.normal(size=(1, 12))
    weight = shared + 0.5 * random.normal(size=(CLASSES, 12))  # read-outs that are much alike
    variance = scale * random.gamma(1, 0.1, (60, 12))
    embeddings = np.sqrt(variance) * random.normal(size=(SAMPLES // 4, 60, 12))
    draws = softmax(mean + embeddings @ weight.T, axis=2)
    centred = weight - weight.mean(axis=0)
    made = Logits(mean=_columns(mean), variance=_columns(variance @ centred.T**2))
    p = made.mean_field.softmax(dim=1)
    with_mean = np.einsum("nd,kd,ld,nl->nk", variance, centred, centred, p[:, :, 0, 0].numpy())
    embedding = variances(p, contrasts(p, made.variance, _columns(with_mean)))[1].flatten()
    theirs = draws.var(axis=0).sum(axis=1)
    assert embedding.mean().item() == pytest.approx(theirs.mean(), rel=0.2)
    assert spearmanr(embedding, theirs).statistic > 0.95


def test_probabilities_are_close_to_the_mean_of_samples(logits: Logits, sampled: tuple[Arrays, Arrays]) -> None:
    error = np.abs(_answer(logits)[0] - sampled[0])
    assert error.mean() < 0.02
    assert error.max() < 0.3  # where one class has far more variance than the others


def test_embedding_variance_ranks_pixels_as_samples_do(logits: Logits, sampled: tuple[Arrays, Arrays]) -> None:
    embedding = _answer(logits)[2]
    assert spearmanr(embedding, sampled[1].sum(axis=1)).statistic > 0.95


def test_and_is_as_large_as_theirs_to_a_fifth(logits: Logits, sampled: tuple[Arrays, Arrays]) -> None:
    ratio = _answer(logits)[2].mean() / sampled[1].sum(axis=1).mean()
    assert ratio == pytest.approx(1, abs=0.2)


def test_with_two_classes_it_is_within_a_tenth_of_theirs() -> None:
    random = np.random.default_rng(2)
    mean, variance = random.normal(0, 1.5, (50, 2)), random.gamma(2, 0.5, (50, 2))
    draws = softmax(mean + np.sqrt(variance) * random.normal(size=(SAMPLES, 50, 2)), axis=2)
    made = Logits(mean=_columns(mean), variance=_columns(variance))
    p = made.mean_field.softmax(dim=1)
    embedding = variances(p, _independent(p, made.variance))[1].flatten()
    assert embedding.mean().item() == pytest.approx(draws.var(axis=0).sum(axis=1).mean(), rel=0.1)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("variance", [0.0, 1.0, 3e3])
def test_variances_stay_in_their_bounds(scale: float, variance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    mean = scale * torch.randn(2, 5, 4, 3, generator=generator)
    made = Logits(mean=mean, variance=variance * torch.rand(2, 5, 4, 3, generator=generator))
    p = made.mean_field.softmax(dim=1)
    total, embedding = variances(p, _independent(p, made.variance))
    assert embedding.min() >= 0
    assert (total - embedding).min() >= 0
    assert total.max() <= 1 - 1 / 5 + 1e-6


def test_without_variance_of_logits_nothing_is_due_to_the_embedding() -> None:
    probabilities = torch.rand(1, 4, 2, 3).softmax(dim=1)
    assert not variances(probabilities, torch.zeros(1, 4, 2, 3))[1].any()


def test_embedding_variance_rises_with_the_variance_of_logits(logits: Logits) -> None:
    probabilities = logits.mean_field.softmax(dim=1)
    contrast = _independent(probabilities, logits.variance)
    less, more = (variances(probabilities, scale * contrast)[1] for scale in (1, 2))
    assert (more > less).all()
