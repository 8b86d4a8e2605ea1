"""The divergence from the prior, against torch.distributions."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from training.losses.divergence import divergence_loss, divergence_per_dimension


def moments() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(11, 5, generator=generator), 3 * torch.randn(11, 5, generator=generator) - 1


def test_the_divergence_is_that_of_two_normal_distributions() -> None:
    mean, log_variance = moments()
    prior = Normal(torch.zeros(()), torch.ones(()))
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), prior).mean(dim=0)
    torch.testing.assert_close(divergence_per_dimension(mean, log_variance), expected)


def test_the_prior_itself_is_at_no_distance() -> None:
    assert divergence_per_dimension(torch.zeros(3, 4), torch.zeros(3, 4)).tolist() == [0, 0, 0, 0]


def test_the_loss_is_the_mean_over_dimensions_of_what_is_not_free() -> None:
    loss = divergence_loss(torch.tensor([0.01, 0.5, 0.09, 2.0]), free_nats=0.1)
    assert loss.item() == pytest.approx((0.1 + 0.5 + 0.1 + 2.0) / 4)


def test_dimensions_below_the_free_nats_are_not_pushed() -> None:
    per_dimension = torch.tensor([0.01, 0.5, 0.09, 2.0], requires_grad=True)
    divergence_loss(per_dimension, free_nats=0.1).backward()
    assert per_dimension.grad is not None
    assert per_dimension.grad.tolist() == [0, 0.25, 0, 0.25]


def test_mixed_precision_stops_short_of_the_divergence() -> None:
    mean, log_variance = (plane.bfloat16() for plane in moments())
    made = divergence_per_dimension(mean, log_variance)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, divergence_per_dimension(mean.float(), log_variance.float()))
