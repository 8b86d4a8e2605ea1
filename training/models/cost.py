"""What a model costs: operations for each pixel of a map, and parameters."""

from copy import deepcopy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from training.models.mapping import MappingModel
from training.tensors import Inputs


def kflop_per_px(model: MappingModel, side_px: int) -> float:
    """Thousands of floating-point operations for each input pixel, of both branches, fusion and read-out.

    A multiplication with its addition counts as two. Only convolutions count; what is left out grows with channels, not
    with their product.

    Args:
        model: Stays as it is, and may be on any device.
        side_px: Height and width of the chip; a multiple of the model's alignment. Its halo counts like any pixel.
    """
    # On the meta device there are shapes without numbers: nothing is computed.
    blank = deepcopy(model).to("meta").eval()
    bands = model.encoder.bands
    s2, s1, valid = (
        torch.empty(1, count, side_px, side_px, device="meta") for count in (len(bands.s2), len(bands.s1), 1)
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        blank(Inputs(s2=s2, s2_valid=valid, s1=s1, s1_valid=valid))
    return float(counter.get_total_flops()) / side_px**2 / 1000


def parameter_count(model: nn.Module) -> int:
    """Numbers that are learnt, frozen ones included."""
    return sum(parameter.numel() for parameter in model.parameters())
