"""Latents: where the embeddings of the training data lie, and how far from there another one is."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

SHRINKAGE: Final = 1e-3
"""Share of the covariance that is its mean variance in every direction: nothing is divided by a dimension that collapsed. With
more, other ground stands out less: few directions hold nearly all of the variance."""
SMALLEST: Final = 1e-12
"""Variance of an embedding that is the same everywhere."""


class Latents(nn.Module):
    """Mean and whitening of the fused expert's mean over training ground, as it is without gaps and clouds.

    The distance rises on ground and radiometry that training has not shown, and where a sensor is missing.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, latent, 1, 1))
        self.register_buffer("whitening", torch.eye(latent)[:, :, None, None])

    def fit(self, mean: Tensor, covariance: Tensor, shrinkage: float = SHRINKAGE) -> None:
        """Take over the mean (d,) and the covariance (d, d) of training ground, in double precision."""
        latent = len(mean)
        varied = covariance.diagonal() > 0
        floor = shrinkage * (covariance.trace() / varied.sum().clamp_min(1)).clamp_min(SMALLEST)
        lower = torch.linalg.cholesky((1 - shrinkage) * covariance + floor * torch.eye(latent, dtype=torch.float64))
        whitening = torch.linalg.inv(lower) * varied  # what never varied has no say
        mean_square = (whitening @ covariance @ whitening.T).trace().clamp_min(SMALLEST)
        self.mean.copy_(mean.reshape(1, -1, 1, 1))
        self.whitening.copy_((whitening / mean_square.sqrt())[:, :, None, None])

    def distance(self, mean: Tensor) -> Tensor:
        """Mahalanobis distance, as a multiple of its root mean square on training ground, (N, d, h, w) -> (N, 1, h, w)."""
        return functional.conv2d(mean - self.mean, self.whitening).square().sum(dim=1, keepdim=True).sqrt()
