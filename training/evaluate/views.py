"""Views: what of a sample a model is shown, and in what state."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from contract.bands import Modality
from training.augment import Corruption, add_speckle, corrupt
from training.clouds import paste_clouds
from training.models.sensor_sets import shown_to
from training.tensors import Inputs

CLOUD_SEVERITY: Final = 0.7
"""Of pasted clouds: about 60 % of a chip under cloud of some opacity, so that clear and clouded pixels are both common."""
SPECKLE_LOOKS: Final = 1.0
"""Of added speckle: that of a single-look image, the strongest that radar shows."""
OPAQUE: Final = 0.5
"""Opacity above which a pixel counts as clouded: more of its light comes from cloud than from the ground."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """What a model is shown."""

    inputs: Inputs
    spoiled: Tensor
    """(N, 1, H, W) bool: True where the view put something between sensor and ground, for tests of detection."""


View = Callable[[Inputs, torch.Generator], Shown]
"""From what was observed to what is shown. The generator is on the CPU and seeded for each sample."""


def as_given(inputs: Inputs, _generator: torch.Generator) -> Shown:
    """All that was observed."""
    return Shown(inputs=inputs, spoiled=_nowhere(inputs))


def only(modality: Modality) -> View:
    """The view of one sensor, the other masked."""

    def view(inputs: Inputs, _generator: torch.Generator) -> Shown:
        return Shown(inputs=shown_to(inputs, (modality,)), spoiled=_nowhere(inputs))

    return view


def clouded(inputs: Inputs, generator: torch.Generator) -> Shown:
    """Sentinel-2 alone, under pasted clouds that no mask announces.

    Thin cloud and shadow do not count as spoiled, though they are not clear either: no score can reach a precision of 1.
    """
    s2, opacity = paste_clouds(inputs.s2, CLOUD_SEVERITY, generator)
    clouds = replace(inputs, s2=s2 * inputs.s2_valid)
    return Shown(inputs=shown_to(clouds, (Modality.S2,)), spoiled=opacity > OPAQUE)


def speckled(inputs: Inputs, generator: torch.Generator) -> Shown:
    """Sentinel-1 alone, with speckle added everywhere."""
    speckle = replace(inputs, s1=add_speckle(inputs.s1, SPECKLE_LOOKS, generator) * inputs.s1_valid)
    return Shown(inputs=shown_to(speckle, (Modality.S1,)), spoiled=~_nowhere(inputs))


def corrupted(kind: Corruption, level: int) -> View:
    """The view of both sensors under a corruption of level 1 to 5."""

    def view(inputs: Inputs, generator: torch.Generator) -> Shown:
        return Shown(inputs=corrupt(inputs, kind, level, generator), spoiled=_nowhere(inputs))

    return view


def _nowhere(inputs: Inputs) -> Tensor:
    return torch.zeros_like(inputs.s2_valid, dtype=torch.bool)
