"""RawNoise: how far noise and blur change what the probe reads beside the embedding, judged by what surrounds a pixel."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.expert import LOG_VARIANCE_LIMIT


class RawNoise(nn.Module):
    """A Gaussian on the logits of raw bands and surroundings: one covariance, scaled by what the surroundings show.

    Raw bands carry no variance of their own, as the embedding does. Without this, a noisy image would be as certain as a
    clear one, or more so, wherever they decide.
    """

    covariance: Tensor

    def __init__(self, around: int, classes: int) -> None:
        super().__init__()
        self.log_scale = nn.Conv2d(around, 1, 1)
        self.register_buffer("covariance", torch.zeros(classes, classes))  # nothing until it is fitted

    def scale(self, surroundings: Tensor) -> Tensor:
        """Multiple of the covariance, (N, C, h, w) -> (N, 1, h, w)."""
        logarithm: Tensor = self.log_scale(surroundings)
        return logarithm.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT).exp()

    @property
    def variance(self) -> Tensor:
        """Of each class's logit, less what all classes share, at a scale of 1, (K, 1, 1)."""
        return self.covariance.diagonal()[:, None, None]

    def contrast(self, probabilities: Tensor) -> Tensor:
        """Variance of each class's logit less the mean of all, weighted by their probabilities, at a scale of 1.

        (N, K, h, w) -> (N, K, h, w); see `training.models.predictive.contrasts`.
        """
        shared = functional.conv2d(probabilities, self.covariance[:, :, None, None])
        return torch.relu(self.variance - 2 * shared + (probabilities * shared).sum(dim=1, keepdim=True))
