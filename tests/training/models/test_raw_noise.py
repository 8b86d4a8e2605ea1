"""What noise leaves open of the logits of raw bands."""

import numpy as np
import torch
from scipy.special import softmax

from training.models.raw_noise import RawNoise


@torch.no_grad()
def test_contrasts_are_quadratic_forms_of_the_covariance() -> None:
    random = np.random.default_rng(0)
    root = random.normal(size=(4, 4))
    p, covariance = softmax(random.normal(size=(2, 4, 3, 5)), axis=1), root @ root.T
    noise = RawNoise(6, 4)
    noise.covariance.copy_(torch.from_numpy(covariance))
    less = np.eye(4) - np.moveaxis(p, 1, -1)[..., None, :]
    expected = np.einsum("nhwck,kl,nhwcl->nchw", less, covariance, less)
    np.testing.assert_allclose(noise.contrast(torch.from_numpy(p).float()), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_wild_surroundings_are_not_without_bound() -> None:
    noise = RawNoise(6, 4)
    noise.log_scale.weight.fill_(1.0)
    wild = torch.tensor([-1e6, 1e6])[:, None, None, None].expand(-1, 6, 3, 5)
    np.testing.assert_allclose(noise.scale(wild)[:, 0, 0, 0], np.exp([-8, 8]), rtol=1e-5)


@torch.no_grad()
def test_before_it_is_fitted_there_is_none() -> None:
    noise = RawNoise(6, 4)
    assert not noise.variance.any()
    assert not noise.contrast(torch.rand(2, 4, 3, 5).softmax(dim=1)).any()
    assert noise.scale(torch.randn(2, 6, 3, 5)).isfinite().all()
