"""The contrastive loss, against loops over its formula."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.losses.contrastive import contrastive_loss

TEMPERATURE = 0.2
IMAGES = [0, 0, 1, 2, 2, 2, 3]
"""Of each row: some images have several positions."""


def draws(samples: int, seed: int, rows: int = len(IMAGES), size: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(samples, rows, size, generator=generator), dim=-1)


def likelihoods(first: torch.Tensor, second: torch.Tensor, images: list[int]) -> NDArray[np.float64]:
    """(S, 2n): the likelihood of each row's other half among it and the rows of other images, draw by draw."""
    samples, rows, _ = first.shape
    z = np.concatenate([first.numpy(), second.numpy()], axis=1).astype(np.float64)
    image = images * 2
    found = np.empty((samples, 2 * rows))
    for s in range(samples):
        for i in range(2 * rows):
            other_half = (i + rows) % (2 * rows)
            positive = math.exp(z[s, i] @ z[s, other_half] / TEMPERATURE)
            negatives = sum(math.exp(z[s, i] @ z[s, j] / TEMPERATURE) for j in range(2 * rows) if image[j] != image[i])
            found[s, i] = positive / (positive + negatives)
    return found


def test_one_draw_gives_the_loss_of_dual_simclr() -> None:
    first, second = draws(1, 0), draws(1, 1)
    expected = -np.log(likelihoods(first, second, IMAGES)[0]).mean()
    for combine in ("log-mean-exp", "mean"):
        loss = contrastive_loss(first, second, torch.tensor(IMAGES), temperature=TEMPERATURE, combine=combine)
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_without_images_in_common_all_other_rows_are_negatives() -> None:
    """Dual-SimCLR, Scheibenreif et al. 2022: 2B - 2 negatives, within and across sensors."""
    first, second = draws(1, 2, rows=4), draws(1, 3, rows=4)
    z = torch.cat([first, second], dim=1)[0].double()
    similarity = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    expected = torch.nn.functional.cross_entropy(similarity, torch.arange(8).roll(4))
    loss = contrastive_loss(first, second, torch.arange(4), temperature=TEMPERATURE, combine="mean")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_likelihoods_of_several_draws_are_averaged_before_the_logarithm() -> None:
    first, second = draws(3, 4), draws(3, 5)
    expected = -np.log(likelihoods(first, second, IMAGES).mean(axis=0)).mean()
    loss = contrastive_loss(first, second, torch.tensor(IMAGES), temperature=TEMPERATURE, combine="log-mean-exp")
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_or_their_logarithms_are() -> None:
    first, second = draws(3, 4), draws(3, 5)
    expected = -np.log(likelihoods(first, second, IMAGES)).mean()
    loss = contrastive_loss(first, second, torch.tensor(IMAGES), temperature=TEMPERATURE, combine="mean")
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_order_of_the_sensors_does_not_matter() -> None:
    first, second, image = draws(2, 6), draws(2, 7), torch.tensor(IMAGES)
    loss = contrastive_loss(first, second, image, temperature=TEMPERATURE, combine="log-mean-exp")
    swapped = contrastive_loss(second, first, image, temperature=TEMPERATURE, combine="log-mean-exp")
    assert loss.item() == pytest.approx(swapped.item(), rel=1e-6)


def test_rows_of_the_same_image_do_not_repel_each_other() -> None:
    first, second = draws(2, 8).requires_grad_(), draws(2, 9).requires_grad_()
    loss = contrastive_loss(first, second, torch.zeros(len(IMAGES)), temperature=TEMPERATURE, combine="mean")
    assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.01, 1.0])
def test_gradients_are_finite_and_pull_pairs_together(temperature: float) -> None:
    first, second = draws(4, 10).requires_grad_(), draws(4, 11).requires_grad_()
    loss = contrastive_loss(first, second, torch.tensor(IMAGES), temperature=temperature, combine="log-mean-exp")
    pull, _ = torch.autograd.grad(loss, [first, second])
    assert pull.isfinite().all()
    closer = torch.nn.functional.normalize((first - 1e-3 * pull).detach(), dim=-1)
    after = contrastive_loss(
        closer, second.detach(), torch.tensor(IMAGES), temperature=temperature, combine="log-mean-exp"
    )
    assert after < loss


def test_mixed_precision_stops_short_of_the_loss() -> None:
    first, second, image = draws(2, 12), draws(2, 13), torch.tensor(IMAGES)
    expected = contrastive_loss(first, second, image, temperature=0.05, combine="log-mean-exp")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert contrastive_loss(first, second, image, temperature=0.05, combine="log-mean-exp") == expected
