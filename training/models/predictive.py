"""The distribution over classes that follows from Gaussian logits, in closed form."""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

PROBIT: Final = math.pi / 8
"""sigmoid(x) is close to the normal distribution function of x sqrt(pi/8) (MacKay 1992)."""
SMALL: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Logits:
    """Gaussian logits, without the part that all classes share: softmax does not see it."""

    mean: Tensor
    """(N, K, H, W)."""
    variance: Tensor
    """(N, K, H, W)."""

    @property
    def mean_field(self) -> Tensor:
        """Logits whose softmax is the mean-field expectation of the probabilities, (N, K, H, W)."""
        # Lu, Ie, Sha 2020, arXiv:2006.07584, with one scale for each class.
        return self.mean / torch.sqrt(1 + PROBIT * self.variance)


def variances(probabilities: Tensor, logit_variance: Tensor) -> tuple[Tensor, Tensor]:
    """Total variance of the one-hot label and the part that the embedding causes, both (N, H, W).

    Second moment of a sigmoid of a Gaussian (Mucsanyi et al. 2025, arXiv:2502.03366), for the logit of each class
    against the mixture of the others.
    """
    spread = probabilities * (1 - probabilities)  # (N, K, H, W)
    # D_c = sum over k != c of p_k (s_c + s_k) / (1 - p_c)
    others = (1 - probabilities).clamp_min(SMALL)
    weighted = (probabilities * logit_variance).sum(dim=1, keepdim=True) - probabilities * logit_variance
    difference = logit_variance + weighted / others
    share = 1 - torch.rsqrt(1 + PROBIT * difference)
    return spread.sum(dim=1), (spread * share).sum(dim=1)
