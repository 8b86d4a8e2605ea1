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


def variances(probabilities: Tensor, contrast: Tensor) -> tuple[Tensor, Tensor]:
    """Total variance of the one-hot label and the part that the embedding causes, both (N, H, W).

    Args:
        probabilities: (N, K, H, W).
        contrast: Variance of each class's logit less the mean of all logits, weighted by their probabilities,
            (N, K, H, W); see `contrasts`.
    """
    # Var[p_c] is p_c^2 C_c for small variances C_c of the contrast (delta method: dp_c = p_c (l_c - sum of p_k l_k)), and
    # never above p_c (1 - p_c). In between, the form of the second moment of a sigmoid (Mucsanyi et al. 2025,
    # arXiv:2502.03366), with the slope that the delta method asks for: its own, pi / 8, fits p_c of a half alone.
    spread = probabilities * (1 - probabilities)  # (N, K, H, W)
    # Sums over the others are sums, not the whole less one: near certainty nothing would be left of the difference.
    others = (
        1 - torch.eye(probabilities.shape[1], device=probabilities.device, dtype=probabilities.dtype)[:, :, None, None]
    )
    odds = probabilities / functional.conv2d(probabilities, others).clamp_min(SMALL)
    share = 1 - torch.rsqrt(1 + 2 * odds * contrast)
    return spread.sum(dim=1), (spread * share).sum(dim=1)


def contrasts(probabilities: Tensor, own: Tensor, shared: Tensor) -> Tensor:
    """Variance of each class's logit less the mean of all, weighted by their probabilities, (N, K, h, w).

    Logits that read the same dimensions of the embedding vary together, and what they share moves no probability: of
    logits taken as independent, variances of probabilities come out two to three times as large as those of samples.

    Args:
        probabilities: (N, K, h, w).
        own: Variance of each logit, (N, K, h, w).
        shared: Covariance of each logit with the weighted mean of all, (N, K, h, w).
    """
    return torch.relu(own - 2 * shared + (probabilities * shared).sum(dim=1, keepdim=True))  # not below 0 by rounding
