"""Experts and their product, against the formula in numpy."""

import numpy as np
import pytest
import torch

from training.models.expert import Expert, fuse

SHAPE = (2, 3, 4, 5)


def expert(seed: int) -> Expert:
    generator = torch.Generator().manual_seed(seed)
    return Expert(
        mean=torch.randn(SHAPE, generator=generator), log_variance=2 * torch.randn(SHAPE, generator=generator) - 1
    )


def trust(value: float) -> torch.Tensor:
    return torch.full((2, 1, 4, 5), value)


@pytest.mark.parametrize(("s2", "s1"), [(1.0, 1.0), (0.25, 1.7), (1.0, 0.0), (0.0, 0.5)])
def test_the_product_weighs_experts_by_precision_and_trust_beside_the_prior(s2: float, s1: float) -> None:
    experts = expert(0), expert(1)
    precisions = [weight / each.variance.numpy() for weight, each in zip((s2, s1), experts, strict=True)]
    precision = 1 + precisions[0] + precisions[1]
    mean = (precisions[0] * experts[0].mean.numpy() + precisions[1] * experts[1].mean.numpy()) / precision
    fused = fuse(experts, [trust(s2), trust(s1)])
    np.testing.assert_allclose(fused.mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fused.variance, 1 / precision, rtol=1e-5)


def test_without_any_observation_the_prior_remains() -> None:
    fused = fuse([expert(0), expert(1)], [trust(0), trust(0)])
    assert (fused.mean == 0).all()
    assert (fused.variance == 1).all()


def test_each_location_is_fused_by_its_own_trust() -> None:
    experts, seen = [expert(0), expert(1)], trust(1.0)
    seen[1, 0, 2, 3] = 0
    fused, whole, rest = (fuse(experts, [share, trust(1.0)]) for share in (seen, trust(1.0), trust(0.0)))
    torch.testing.assert_close(fused.mean[1, :, 2, 3], rest.mean[1, :, 2, 3])
    torch.testing.assert_close(fused.mean[0], whole.mean[0])


def test_without_sigma_the_product_is_about_the_mean_of_the_experts() -> None:
    first, second = (Expert(mean=expert(seed).mean, log_variance=torch.full(SHAPE, -8.0)) for seed in (0, 1))
    fused = fuse([first, second], [trust(1), trust(1)])
    torch.testing.assert_close(fused.mean, (first.mean + second.mean) / 2, rtol=1e-3, atol=1e-3)


def test_one_sensor_is_never_more_certain_than_two() -> None:
    experts = [expert(0), expert(1)]
    both = fuse(experts, [trust(1), trust(1)])
    alone = fuse(experts, [trust(0), trust(1)])
    assert (alone.variance >= both.variance).all()
    assert (alone.variance <= 1).all()


def test_draws_have_the_moments_of_the_expert() -> None:
    one = expert(0)
    draws = one.sample(20_000, torch.Generator().manual_seed(1))
    assert draws.shape == (20_000, *SHAPE)
    error = one.variance.sqrt() / np.sqrt(20_000)
    assert ((draws.mean(dim=0) - one.mean).abs() < 5 * error).all()
    np.testing.assert_allclose(draws.var(dim=0), one.variance, rtol=0.06)


def test_draws_of_the_same_generator_are_the_same() -> None:
    first, second = (expert(0).sample(3, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)


def test_draws_pass_gradients_to_both_moments() -> None:
    mean, log_variance = torch.zeros(4, 2, requires_grad=True), torch.zeros(4, 2, requires_grad=True)
    draws = Expert(mean=mean, log_variance=log_variance).sample(3, torch.Generator().manual_seed(0))
    draws.square().sum().backward()
    assert mean.grad is not None
    assert log_variance.grad is not None
    torch.testing.assert_close(mean.grad, (2 * draws).sum(dim=0))
    torch.testing.assert_close(log_variance.grad, draws.square().sum(dim=0))
