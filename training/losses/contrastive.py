"""MCInfoNCE between two sensors: the positive is the same ground seen by the other one."""

import math
from typing import Literal

import torch
from torch import Tensor


def contrastive_loss(
    first: Tensor, second: Tensor, image: Tensor, *, temperature: float, combine: Literal["log-mean-exp", "mean"]
) -> Tensor:
    """How poorly each embedding finds its other half among those of other images, in nats.

    With one draw of each this is Dual-SimCLR's loss; with several, MCInfoNCE (Kirchhof et al. 2023, arXiv:2302.02865):
        -1/(2n) sum_i log 1/S sum_s exp(z_i.z_i'/tau) / (exp(z_i.z_i'/tau) + sum_{j in other images} exp(z_i.z_j/tau))

    Args:
        first: Draws on the unit sphere of one sensor, (S, n, d).
        second: The same ground seen by the other, (S, n, d).
        image: (n,): which image each row is of. Rows of one image are no negatives of each other.
        temperature: tau.
        combine: Mean of likelihoods before the logarithm (log-mean-exp), or of logarithms (mean).
    """
    draws = torch.cat([first, second], dim=1).float()  # (S, 2n, d)
    with torch.autocast(draws.device.type, enabled=False):  # would round similarities to three digits, to divide by tau
        similarity = draws @ draws.transpose(1, 2) / temperature  # (S, 2n, 2n)
    rows = torch.arange(draws.shape[1], device=draws.device)
    positive = rows.roll(first.shape[1])  # row i's other half
    both = image.repeat(2)
    excluded = both[:, None] == both[None, :]
    excluded[rows, positive] = False
    log_likelihood = similarity[:, rows, positive] - similarity.masked_fill(excluded, -math.inf).logsumexp(dim=2)
    if combine == "mean":
        return -log_likelihood.mean()
    return -(log_likelihood.logsumexp(dim=0) - math.log(len(draws))).mean()
