"""What noise leaves open of the logits of raw bands."""

import numpy as np
import torch

from training.models.raw_noise import RawNoise


@torch.no_grad()
def test_each_set_of_sensors_has_a_scale_that_is_an_exponential_of_the_surroundings() -> None:
    noise, around = RawNoise(6, 4), np.random.default_rng(0).normal(size=(2, 6, 3, 5))
    slopes, levels = noise.log_scale.weight[:, :, 0, 0].numpy(), noise.log_scale.bias.numpy()
    expected = np.exp(np.einsum("sc,nchw->nshw", slopes, around) + levels[:, None, None])
    assert expected.shape == (2, 3, 3, 5)
    np.testing.assert_allclose(noise.scale(torch.from_numpy(around).float()), expected, rtol=1e-4)


@torch.no_grad()
def test_wild_surroundings_are_not_without_bound() -> None:
    noise = RawNoise(6, 4)
    noise.log_scale.weight.fill_(1.0)
    wild = torch.tensor([-1e6, 1e6])[:, None, None, None].expand(-1, 6, 3, 5)
    for of_set in noise.scale(wild)[:, :, 2, 4].T:
        np.testing.assert_allclose(of_set, np.exp([-8, 8]), rtol=1e-5)


@torch.no_grad()
def test_before_it_is_fitted_there_is_none() -> None:
    noise = RawNoise(6, 4)
    assert noise.covariance.shape == (3, 4, 4)
    assert not noise.covariance.any()
    assert noise.scale(torch.randn(2, 6, 3, 5)).isfinite().all()
