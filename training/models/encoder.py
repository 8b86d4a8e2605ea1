"""Encoder: both sensors' chips -> their experts -> one fused expert at each location."""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from contract.bands import Modality
from training.data.sample import BandChoice
from training.models.branch import Branch
from training.models.config import ModelConfig
from training.models.expert import Expert, fuse
from training.models.layers import STRIDE
from training.models.standardise import BandStatistics, Standardise
from training.tensors import Inputs

SEEN: Final = 0.5
"""Share of observed pixels from which a location can be compared."""
LEAST_SHARE: Final = 0.125
"""Half a pixel of the four of a location: less than any observation."""


class Encoder(nn.Module):
    """Two unshared branches and the product of their experts."""

    def __init__(self, bands: BandChoice, config: ModelConfig, statistics: Mapping[Modality, BandStatistics]) -> None:
        super().__init__()
        self.bands, self.config = bands, config
        self.standardise_s2 = Standardise(Modality.S2, statistics[Modality.S2])
        self.standardise_s1 = Standardise(Modality.S1, statistics[Modality.S1])
        self.s2 = Branch(len(bands.s2), config.s2, config, Modality.S2)
        self.s1 = Branch(len(bands.s1), config.s1, config, Modality.S1)
        # Channels innermost: a training step takes a fifth less time on a CPU.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch does not type this one

    @property
    def radius_px(self) -> int:
        """How far an output pixel can see, per side: the least halo of a chip."""
        return max(self.s2.radius_px, self.s1.radius_px)

    def expert(self, values: Tensor, valid: Tensor, modality: Modality) -> Expert:
        """One sensor's expert, of (N, d, H / 2, W / 2)."""
        standardise, branch = (
            (self.standardise_s2, self.s2) if modality is Modality.S2 else (self.standardise_s1, self.s1)
        )
        answer: Expert = branch(standardise(values, valid), valid)
        return answer

    def experts(self, inputs: Inputs) -> tuple[Expert, Expert]:
        """Sentinel-2's and Sentinel-1's."""
        return (
            self.expert(inputs.s2, inputs.s2_valid, Modality.S2),
            self.expert(inputs.s1, inputs.s1_valid, Modality.S1),
        )

    def forward(self, inputs: Inputs, weights: Tensor) -> Expert:
        """The fused expert, of (N, d, H / 2, W / 2), under expert weights (2,) of S2 and S1."""
        return fused(self.experts(inputs), inputs, weights)


def fused(experts: tuple[Expert, Expert], inputs: Inputs, weights: Tensor) -> Expert:
    """Experts of Sentinel-2 and Sentinel-1 as one, each trusted by its weight and by how much of a location it has seen."""
    return fuse(experts, [share * weight for share, weight in zip(seen_shares(inputs), weights, strict=True)])


def without_sigma(experts: tuple[Expert, Expert], inputs: Inputs) -> Tensor:
    """What a model without sigma would have for an embedding, (N, d, h, w): the sensors' means in the shares they have seen."""
    s2, s1 = seen_shares(inputs)
    return (s2 * experts[0].mean + s1 * experts[1].mean) / (s2 + s1).clamp_min(LEAST_SHARE)


def seen_shares(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Share of each location's pixels that Sentinel-2 and Sentinel-1 observed, (N, 1, H / 2, W / 2) each."""
    return functional.avg_pool2d(inputs.s2_valid, STRIDE), functional.avg_pool2d(inputs.s1_valid, STRIDE)
