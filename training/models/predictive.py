"""The distribution over classes that follows from Gaussian logits, in closed form."""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

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
    # The others' logit is taken as their mean, weighted by q_k = p_k / (1 - p_c), and logits as independent:
    # D_c = s_c + sum over k != c of q_k^2 s_k. With weights q_k in place of q_k^2, and eight classes, variances come out
    # half as large again as those of samples.
    # Sums over the others are sums, not the whole less one: near certainty nothing would be left of the difference.
    others = (
        1 - torch.eye(probabilities.shape[1], device=probabilities.device, dtype=probabilities.dtype)[:, :, None, None]
    )
    weighted = functional.conv2d(probabilities.square() * logit_variance, others)
    difference = logit_variance + weighted / functional.conv2d(probabilities, others).clamp_min(SMALL).square()
    share = 1 - torch.rsqrt(1 + PROBIT * difference)
    return spread.sum(dim=1), (spread * share).sum(dim=1)
