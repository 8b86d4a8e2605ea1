"""What a view leaves open of clear ground, against torch.distributions."""

import pytest
import torch
from torch.distributions import Normal

from training.losses.restoration import restoration_loss
from training.models.expert import Expert


def planes(*shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for _ in range(3)]


def test_the_loss_is_a_normal_likelihood_without_its_constant() -> None:
    mean, log_variance, clear = planes(2, 5, 3, 4)
    expected = -Normal(mean, (0.5 * log_variance).exp()).log_prob(clear).mean() - 0.5 * torch.log(
        torch.tensor(2 * torch.pi)
    )
    found = restoration_loss(Expert(mean=mean, log_variance=log_variance), clear, torch.ones(2, 1, 3, 4))
    torch.testing.assert_close(found, expected)


def test_ground_that_was_not_seen_is_not_restored() -> None:
    mean, log_variance, clear = planes(1, 5, 2, 4)
    seen = torch.ones(1, 1, 2, 4)
    seen[..., 2:] = 0
    expert = Expert(mean=mean, log_variance=log_variance)
    half = Expert(mean=mean[..., :2], log_variance=log_variance[..., :2])
    torch.testing.assert_close(
        restoration_loss(expert, clear, seen), restoration_loss(half, clear[..., :2], seen[..., :2])
    )
    assert restoration_loss(expert, clear, torch.zeros_like(seen)) == 0


def test_the_best_variance_is_the_mean_squared_distance() -> None:
    mean, _, clear = planes(64, 1, 16, 16)
    log_variance = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([log_variance], line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        expert = Expert(mean=mean, log_variance=log_variance.expand_as(mean))
        value = restoration_loss(expert, clear, torch.ones_like(mean))
        value.backward()
        return value

    optimiser.step(loss)
    assert log_variance.exp().item() == pytest.approx((mean - clear).square().mean().item(), rel=1e-3)
