"""Negative log-likelihood of what a sensor says of clear ground, under its expert of a spoiled view."""

from torch import Tensor

from training.models.expert import Expert


def restoration_loss(spoiled: Expert, clear: Tensor, seen: Tensor) -> Tensor:
    """How far a spoiled view leaves the embedding of the clear one open, in nats per dimension without the constant.

    Under it, sigma^2 is the mean squared distance to expect from the clear embedding: it rises with cloud, speckle and gaps.

    Args:
        spoiled: The expert of the view, (N, d, h, w).
        clear: Mean of the expert of the same chips as they are, (N, d, h, w).
        seen: (N, 1, h, w), 1 where the chip shows the location, 0 where there is nothing to restore.
    """
    log_variance = spoiled.log_variance.float()
    distance = (clear.float() - spoiled.mean.float()).square()
    nats = 0.5 * (distance * (-log_variance).exp() + log_variance).mean(dim=1, keepdim=True)
    return (nats * seen).sum() / seen.sum().clamp_min(1)
