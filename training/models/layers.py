"""Building blocks of the encoders: convolution with norm, residual block, linear upsampling."""

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

STRIDE: Final = 2
"""Pixels per embedding location: work at full resolution costs four times as much and labels are not that sharp."""


def convolution(inputs: int, outputs: int, *, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, BatchNorm (which folds into it on export) and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=(kernel - 1) // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (arXiv:1512.03385)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        return functional.relu(features + self.second(self.first(features)))


def upsample(values: Tensor, factor: int) -> Tensor:
    """Linear interpolation between pixel centres: (N, C, h, w) -> (N, C, h * factor, w * factor)."""
    return functional.interpolate(values, scale_factor=float(factor), mode="bilinear", align_corners=False)
