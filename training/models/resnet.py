"""ResNet-50 as a trunk, for parity with published two-branch models (arXiv:1512.03385)."""

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from training.models.layers import STRIDE, convolution, upsample

STAGES: Final = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Width and number of bottlenecks of each stage."""
EXPANSION: Final = 4
CELL_PX: Final = 32
"""The coarsest stride."""


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut; the stride sits on the 3x3."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.body = nn.Sequential(
            convolution(inputs, width, kernel=1),
            convolution(width, width, stride=stride),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, 4 * width, h / stride, w / stride)."""
        return functional.relu(self.shortcut(features) + self.body(features))


class ResNet50(nn.Module):
    """Four stages to stride 32, interpolated to stride 2 for the heads."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(channels, 64, stride=2, kernel=7), nn.MaxPool2d(3, stride=2, padding=1))
        stages, inputs = [], 64
        for index, (width, count) in enumerate(STAGES):
            strides = [1 if index == 0 else 2] + [1] * (count - 1)
            for stride in strides:
                stages.append(Bottleneck(inputs, width, stride))
                inputs = width * EXPANSION
        self.stages = nn.Sequential(*stages)
        self.channels = inputs
        # 483 px across (published for ResNet-50), and interpolation reaches one position of stride 32 further.
        self.radius_px = 241 + CELL_PX

    def forward(self, bands: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 2048, H / 2, W / 2); H and W are multiples of 32."""
        # Strided convolutions of odd size are centred on the first pixel of a cell, interpolation on its middle: half a
        # cell is cut off in front, and made up for behind.
        features = functional.pad(self.stages(self.stem(bands)), (0, 1, 0, 1), mode="replicate")
        height, width = (side // STRIDE for side in bands.shape[2:])
        half = CELL_PX // STRIDE // 2
        return upsample(features, CELL_PX // STRIDE)[..., half : half + height, half : half + width]
