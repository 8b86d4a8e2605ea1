"""RawNoise: how far noise and blur change what the probe reads beside the embedding, judged by what surrounds a pixel."""

import torch
from torch import Tensor, nn

from training.models.expert import LOG_VARIANCE_LIMIT
from training.models.sensor_sets import SETS


class RawNoise(nn.Module):
    """A Gaussian on the logits of raw bands and surroundings: one covariance, scaled by what the surroundings show.

    Raw bands carry no variance of their own, as the embedding does. Without this, a noisy image would be as certain as a
    clear one, or more so, wherever they decide. Each set of sensors has its own.
    """

    covariance: Tensor

    def __init__(self, around: int, classes: int) -> None:
        super().__init__()
        self.log_scale = nn.Conv2d(around, SETS, 1)
        self.register_buffer("covariance", torch.zeros(SETS, classes, classes))  # nothing until it is fitted

    def scale(self, surroundings: Tensor) -> Tensor:
        """Multiple of each set's covariance, (N, C, h, w) -> (N, S, h, w)."""
        logarithm: Tensor = self.log_scale(surroundings)
        return logarithm.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT).exp()
