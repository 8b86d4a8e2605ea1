"""Expert: a Gaussian over the embedding at each location; the product of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import torch
from torch import Tensor

LOG_VARIANCE_LIMIT: Final = 8.0
"""log sigma2 lies in [-8, 8]: e^8 = 2981 keeps precisions inside fp16."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expert:
    """A diagonal Gaussian at each location: maps (N, d, h, w), or rows (n, d)."""

    mean: Tensor
    log_variance: Tensor
    """`-LOG_VARIANCE_LIMIT` everywhere in a model without sigma."""

    @property
    def variance(self) -> Tensor:
        """Of each dimension."""
        return self.log_variance.exp()

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws, (S, *shape of the mean). Differentiable in both moments."""
        noise = torch.randn((count, *self.mean.shape), generator=generator, device=self.mean.device)
        return self.mean + (0.5 * self.log_variance).exp() * noise


def fuse(experts: Sequence[Expert], trust: Sequence[Tensor]) -> Expert:
    """The product of the experts and of the prior N(0, I), which is what remains where nothing was seen.

    Args:
        experts: One of each sensor.
        trust: For each, (N, 1, h, w): its weight times the share of observed pixels at the location.
    """
    # Generalised product of experts, arXiv:1410.7827.
    precisions = [weight / expert.variance for expert, weight in zip(experts, trust, strict=True)]
    precision = 1 + reduce(torch.add, precisions)
    weighted = reduce(torch.add, [share * expert.mean for share, expert in zip(precisions, experts, strict=True)])
    return Expert(mean=weighted / precision, log_variance=-precision.log())
