"""What lies around a pixel: mean and spread of each raw feature in windows. Texture tells a village from a field."""

from itertools import chain
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

CELL_PX: Final = 8
"""Height and width of a cell, the step of the windows; the coarsest stride of a branch, so that chips start on cells."""
WINDOWS: Final = (3, 7)
"""Height and width of each window in cells: 24 px and 56 px."""
LEAST_VARIANCE: Final = 5e-3
"""Below it, a feature does not vary: a fourteenth of its deviation over the training data. Much less would be lost in the
difference of two means in single precision."""
TYPICAL_LOG_DEVIATION: Final = -1.0
"""Of standardised features over land; a window that nobody observed counts as such."""
UNSEEN: Final = 1e-6
"""Share of observed pixels below which a window is unobserved."""
STATISTICS: Final = 2

SURROUNDINGS_RADIUS_PX: Final = CELL_PX * (WINDOWS[-1] // 2 + 1) + CELL_PX // 2
"""How far a pixel's surroundings reach: half a window, the rest of its own cell, and the next cell by interpolation."""


def surroundings_channels(raw: int) -> int:
    """Number of channels that `surroundings` gives for so many raw features."""
    return raw * STATISTICS * len(WINDOWS)


def surroundings(raw: Tensor, valid: Tensor) -> Tensor:
    """For each window, mean and logarithm of the standard deviation of each feature over what was observed.

    Args:
        raw: (N, C, H, W), 0 where not observed; H and W are multiples of `CELL_PX`.
        valid: (N, C, H, W), 1 where the feature was observed, 0 where not.

    Returns:
        (N, `surroundings_channels`, H / 8, W / 8), at the centres of cells; 0 where a window shows nothing.
    """
    cells = [functional.avg_pool2d(plane, CELL_PX) for plane in (valid, raw, raw.square())]
    return torch.cat(list(chain.from_iterable(_window(cells, size) for size in WINDOWS)), dim=1)


def _window(cells: list[Tensor], size: int) -> tuple[Tensor, Tensor]:
    # Zeros beyond the edge count as what was not observed, in all three alike.
    share, total, squares = (functional.avg_pool2d(plane, size, stride=1, padding=size // 2) for plane in cells)
    seen = (share > UNSEEN).to(share.dtype)
    observed = share.clamp_min(UNSEEN)
    mean = total / observed
    variance = (squares / observed - mean.square()).clamp_min(LEAST_VARIANCE)
    return mean * seen, (0.5 * variance.log() - TYPICAL_LOG_DEVIATION) * seen
