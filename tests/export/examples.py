"""A tiny mapping model with everything fitted, and its chips."""

from dataclasses import replace

import numpy as np
import torch

from contract.bundle import ConformalThreshold
from tests.training.examples import LEGEND, encoder, inputs, model_config, worn
from training.models.latents import Latents
from training.models.mapping import MappingModel
from training.tensors import Inputs

CHIP_PX = 64
THRESHOLDS = (
    ConformalThreshold(alpha=0.1, method="lac", threshold=0.9, calibration_blocks=9),
    ConformalThreshold(alpha=0.1, method="raps", threshold=0.9, calibration_blocks=9),
    ConformalThreshold(alpha=0.2, method="lac", threshold=0.7, calibration_blocks=9),
)


def fitted() -> MappingModel:
    torch.manual_seed(2)
    model = worn(MappingModel(encoder(model_config(blocks=(0, 1, 0))), LEGEND)).eval()
    model.on_embedding.weight.data.mul_(3)
    model.temperature.copy_(torch.tensor([1.3, 1.6, 0.9]))
    model.variance_scale.fill_(0.7)
    model.expert_weights.copy_(torch.tensor([1.2, 0.4]))
    model.doubt = worn(model.new_doubt())
    model.latents = Latents(6)
    model.latents.fit(torch.arange(6.0).double() / 10, torch.diag(torch.arange(1.0, 7.0)).double())
    return model.eval()


def chips(count: int = 1, seed: int = 0) -> Inputs:
    """With a gap of each sensor that the other fills, and one of both."""
    made = inputs(count, CHIP_PX, CHIP_PX, seed)
    made.s2_valid[..., 8:31, 5:50] = 0
    made.s1_valid[..., 20:60, 30:37] = 0
    return replace(made, s2=made.s2 * made.s2_valid, s1=made.s1 * made.s1_valid)


def poisoned(chip: Inputs, value: float = np.nan) -> Inputs:
    """The chip with a value wherever nothing was observed."""
    return replace(chip, s2=chip.s2.where(chip.s2_valid > 0, value), s1=chip.s1.where(chip.s1_valid > 0, value))
