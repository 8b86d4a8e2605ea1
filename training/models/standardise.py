"""Fixed statistics of each band, part of the model: statistics of a chip itself would make seams between chips."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from contract.bands import Modality

REFLECTANCE_GAIN: Final = 10.0
"""log1p(10 r) spreads water and forest (r < 0.05) as widely as soil and cloud."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandStatistics:
    """Mean and standard deviation of each band after `compress`."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def compress(values: Tensor, modality: Modality) -> Tensor:
    """Reflectance on a logarithmic scale; decibels are on one already."""
    return torch.log1p(REFLECTANCE_GAIN * values.clamp_min(0)) if modality is Modality.S2 else values


def measure(values: NDArray[np.float32], modality: Modality) -> BandStatistics:
    """Statistics of observed pixels (bands, pixels), in physical units."""
    compressed = compress(torch.from_numpy(values).double(), modality)
    return BandStatistics(
        mean=tuple(compressed.mean(dim=1).tolist()), deviation=tuple(compressed.std(dim=1).clamp_min(1e-6).tolist())
    )


class Standardise(nn.Module):
    """Physical units -> mean 0 and deviation 1 over the training data; 0 where not observed."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, modality: Modality, statistics: BandStatistics) -> None:
        super().__init__()
        self.modality = modality
        self.register_buffer("mean", torch.tensor(statistics.mean).reshape(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(statistics.deviation).reshape(1, -1, 1, 1))

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """(N, bands, H, W), (N, 1, H, W) -> (N, bands, H, W)."""
        return (compress(values, self.modality) - self.mean) / self.deviation * valid
