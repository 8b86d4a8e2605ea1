"""Sensor sets: which sensors see a pixel. What is read of both is not what is read of one alone."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from contract.bands import Modality
from training.tensors import Inputs

SENSOR_SETS: Final = ((Modality.S2, Modality.S1), (Modality.S2,), (Modality.S1,))
"""In the order of planes that hold one part for each set."""
SETS: Final = len(SENSOR_SETS)


def sensor_sets(inputs: Inputs, clear: Tensor, stride: int = 1) -> Tensor:
    """How far each set of sensors speaks for a location, (N, S, H / stride, W / stride); adds up to 1.

    Ground that nobody sees counts as Sentinel-1's.

    Args:
        inputs: What each sensor sees.
        clear: Share in which Sentinel-2 is believed where Sentinel-1 sees as well, (N, 1, H / stride, W / stride).
        stride: Pixels per location.
    """
    s2, s1 = (functional.max_pool2d(valid, stride) for valid in (inputs.s2_valid, inputs.s1_valid))
    both, s2_alone = s2 * s1 * clear, s2 * (1 - s1)
    return torch.cat([both, s2_alone, 1 - both - s2_alone], dim=1)


def of_its_set(planes: Tensor, sets: Tensor) -> Tensor:
    """At each location the part of its own set, or the mean of several, (N, S * C, h, w) -> (N, C, h, w)."""
    chips, channels, *size = planes.shape
    return (planes.reshape(chips, SETS, channels // SETS, *size) * sets.unsqueeze(2)).sum(dim=1)


def values_of_its_set(values: Tensor, sets: Tensor) -> Tensor:
    """At each location the numbers of its own set, or the mean of several, (S, C) -> (N, C, h, w)."""
    return functional.conv2d(sets, values.T[:, :, None, None])


def as_its_set(planes: Tensor, sets: Tensor) -> Tensor:
    """At each location the planes in the share of each set, (N, C, h, w) -> (N, S * C, h, w)."""
    return (planes.unsqueeze(1) * sets.unsqueeze(2)).flatten(1, 2)


def shown_to(inputs: Inputs, sensors: tuple[Modality, ...]) -> Inputs:
    """What is left of chips with these sensors alone."""
    s2, s1 = (float(modality in sensors) for modality in (Modality.S2, Modality.S1))
    return Inputs(s2=inputs.s2 * s2, s2_valid=inputs.s2_valid * s2, s1=inputs.s1 * s1, s1_valid=inputs.s1_valid * s1)
