"""Clouds pasted on optical chips: an ambiguity that no mask announces."""

from math import ceil
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import interpolate

CELLS_PX: Final = (32, 16, 8, 4)
"""Node spacing of the octaves of a cloud field, 320 m to 40 m at 10 m pixels."""
PERSISTENCE: Final = 0.5
"""Amplitude of an octave, of that of the one before."""
FULL_COVER: Final = 0.9
"""Share of a chip under cloud at severity 1: some structure always remains."""
THICKNESS: Final = (0.5, 1.0)
"""Largest opacity of a cloud, drawn per chip: haze to opaque."""
SOFTNESS: Final = (0.2, 0.6)
"""Width of a cloud's edge, in standard deviations of its field, drawn per chip."""
BRIGHTNESS: Final = (0.3, 0.8)
"""Reflectance of an opaque cloud, drawn per chip."""
TINT: Final = (0.92, 1.08)
"""Factor of the brightness, drawn per chip and band: clouds are nearly white."""
SHADOW: Final = (0.0, 0.6)
"""Light lost in the middle of a shadow, drawn per chip; 0 is a cloud whose shadow falls elsewhere."""
SHADOW_REACH_PX: Final = 24
"""Longest way from a cloud to its shadow along rows and along columns."""


def uniform(shape: tuple[int, ...], span: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Numbers between the ends of the span, on the generator's device."""
    low, high = span
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def paste_clouds(s2: Tensor, severity: float | Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Surface reflectance under soft clouds and their shadows, and the opacity of the clouds.

    Cover and opacity both grow with severity: with the same generator state, no pixel's opacity falls when severity rises.
    Validity is not known here: the caller sets to 0 what was not observed.

    Args:
        s2: (N, bands, H, W), surface reflectance.
        severity: 0 (nothing changes) to 1, for all chips or (N,).
        generator: On the device of `s2`.

    Returns:
        The clouded chips, and (N, 1, H, W) opacity in 0..1: what share of the light comes from cloud instead of ground.
    """
    chips, bands, *size = s2.shape
    each = (chips, 1, 1, 1)
    severity = torch.as_tensor(severity, dtype=s2.dtype, device=s2.device).expand(chips).reshape(each)
    field = cloud_field(chips, (size[0] + SHADOW_REACH_PX, size[1] + SHADOW_REACH_PX), generator)
    edge = torch.special.ndtri(1 - FULL_COVER * severity)  # the field is close to a standard normal one
    opacity = severity**0.25 * uniform(each, THICKNESS, generator)
    clouds = opacity * torch.sigmoid((field - edge) / uniform(each, SOFTNESS, generator))
    alpha = _random_crops(clouds, (size[0], size[1]), generator)
    shadow = _random_crops(clouds, (size[0], size[1]), generator) * uniform(each, SHADOW, generator)
    brightness = uniform(each, BRIGHTNESS, generator) * uniform((chips, bands, 1, 1), TINT, generator)
    return torch.lerp(s2 * (1 - shadow), brightness, alpha), alpha


def cloud_field(chips: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Smooth random fields (chips, 1, *size) of mean 0 and standard deviation 1 over each chip."""
    field = torch.zeros((chips, 1, 1, 1), device=generator.device)
    for octave, cell_px in enumerate(CELLS_PX):
        nodes = (ceil(size[0] / cell_px) + 1, ceil(size[1] / cell_px) + 1)
        noise = torch.randn((chips, 1, *nodes), generator=generator, device=generator.device)
        field = interpolate(field, nodes, mode="bilinear", align_corners=True) + PERSISTENCE**octave * noise
    field = interpolate(field, size, mode="bicubic", align_corners=True)
    field = field - field.mean((2, 3), keepdim=True)
    return field / field.square().mean((2, 3), keepdim=True).sqrt()  # a quarter of the time of torch.std_mean


def _random_crops(field: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A window of each chip's field (N, 1, H, W), at a place of its own."""
    index = []
    for whole, kept in zip(field.shape[2:], size, strict=True):
        start = torch.randint(whole - kept + 1, (len(field), 1), generator=generator, device=field.device)
        index.append(start + torch.arange(kept, device=field.device))
    chip = torch.arange(len(field), device=field.device)
    return field[chip[:, None, None], 0, index[0][:, :, None], index[1][:, None, :]].unsqueeze(1)
