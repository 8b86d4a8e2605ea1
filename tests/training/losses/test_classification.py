"""The classification loss, against its formula in numpy."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from training.losses.classification import IGNORED, classification_loss

WEIGHTS = np.array([0.5, 1.0, 2.5, 0.0])


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(size=(2, 4, 3, 5)).astype(np.float32))
    target = torch.from_numpy(random.integers(0, 3, (2, 3, 5)))
    target[0, 0] = IGNORED
    return logits, target


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_weighted_mean_over_labelled_pixels(smoothing: float) -> None:
    logits, target = batch()
    rows = np.moveaxis(logits.numpy(), 1, -1)[target.numpy() != IGNORED]
    classes = target.numpy()[target.numpy() != IGNORED]
    surprise = -log_softmax(rows.astype(np.float64), axis=1)
    own = WEIGHTS[classes] * surprise[np.arange(len(classes)), classes]
    every = (WEIGHTS * surprise).mean(axis=1)
    expected = ((1 - smoothing) * own + smoothing * every).sum() / WEIGHTS[classes].sum()
    weights = torch.from_numpy(WEIGHTS).float()
    loss = classification_loss(logits, target, class_weights=weights, smoothing=smoothing)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_pixels_without_a_label_have_no_gradient() -> None:
    logits, target = batch()
    logits.requires_grad_()
    classification_loss(logits, target, class_weights=torch.ones(4), smoothing=0.1).backward()
    assert logits.grad is not None
    touched = logits.grad.abs().sum(dim=1) > 0
    assert torch.equal(touched, target != IGNORED)


def test_a_batch_without_labels_costs_nothing_and_changes_nothing() -> None:
    logits, target = batch()
    logits.requires_grad_()
    loss = classification_loss(logits, torch.full_like(target, IGNORED), class_weights=torch.ones(4), smoothing=0.1)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()
