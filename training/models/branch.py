"""One sensor's encoder: standardised bands and their validity -> an expert at stride 2."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from contract.bands import Modality
from training.models.config import COARSEST_STRIDE_PX, BranchConfig, ModelConfig
from training.models.expert import LOG_VARIANCE_LIMIT, Expert
from training.models.layers import STRIDE, ResidualBlock, convolution, upsample
from training.models.resnet import ResNet50
from training.models.surroundings import CELL_PX, SURROUNDINGS_RADIUS_PX, surroundings, surroundings_channels

ALIGNMENT_PX: Final = COARSEST_STRIDE_PX["compact"]
"""The coarsest stride of a compact branch: chips start on multiples of it, or the coarse grid would shift."""
INITIAL_LOG_VARIANCE: Final = -2.0
"""A confident start lets the means spread before sigma is learnt."""


class CompactTrunk(nn.Module):
    """Residual blocks at strides 2, 4 and 8, brought back to stride 2 by sums of linear interpolations."""

    def __init__(self, channels: int, config: BranchConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.widths
        # Strided convolutions of 2x2 are centred on the cell that they stand for; of 3x3, half a position beside it, and
        # turned chips would not give turned features.
        self.cells: nn.Module = nn.PixelUnshuffle(STRIDE)
        self.stem = convolution(channels * STRIDE**2, fine)
        self.fine = nn.Sequential(*(ResidualBlock(fine) for _ in range(config.blocks[0])))
        self.middle = nn.Sequential(
            convolution(fine, middle, stride=2, kernel=2), *(ResidualBlock(middle) for _ in range(config.blocks[1]))
        )
        self.coarse = nn.Sequential(
            convolution(middle, coarse, stride=2, kernel=2), *(ResidualBlock(coarse) for _ in range(config.blocks[2]))
        )
        # Lateral 1x1 convolutions work before each upsampling, where there are four times fewer pixels.
        self.from_coarse = nn.Conv2d(coarse, middle, 1)
        self.from_middle = nn.Conv2d(middle, fine, 1)
        self.join = convolution(fine, fine)
        self.channels = fine
        self.radius_px = _radius_px(config.blocks)

    def forward(self, bands: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, fine, H / 2, W / 2); H and W are multiples of 8."""
        fine = self.fine(self.stem(self.cells(bands)))  # (N, fine, H / 2, W / 2)
        middle = self.middle(fine)  # (N, middle, H / 4, W / 4)
        coarse = self.coarse(middle)  # (N, coarse, H / 8, W / 8)
        middle = functional.relu(middle + upsample(self.from_coarse(coarse), 2))
        fine = functional.relu(fine + upsample(self.from_middle(middle), 2))
        joined: Tensor = self.join(fine)
        return joined


def _radius_px(blocks: tuple[int, int, int]) -> int:
    """The furthest input pixel that an output pixel can see, along one axis."""
    # A 3x3 convolution reaches one position further at the stride of its input; linear interpolation reaches one
    # position of the coarser grid.
    fine, middle, coarse = blocks
    at_stride_2 = 1 + 2 * fine + 1  # stem, blocks, join
    at_stride_4 = 2 * middle + 1  # blocks, interpolation to stride 2
    at_stride_8 = 2 * coarse + 1  # blocks, interpolation to stride 4
    interpolation_to_pixels = 1
    return 2 * (at_stride_2 + interpolation_to_pixels) + 4 * at_stride_4 + 8 * at_stride_8


class Branch(nn.Module):
    """Trunk and Gaussian head of one sensor."""

    texture: nn.Conv2d | None
    """On what surrounds a location, in the variance. Speckle is texture, and features that have learnt to see past it show
    little of it. Clouds they do show, and windows would only smear them: for Sentinel-1 alone."""

    def __init__(self, bands: int, config: BranchConfig, model: ModelConfig, modality: Modality) -> None:
        super().__init__()
        self.variational = model.variational
        self.trunk = ResNet50(bands + 1) if config.backbone == "resnet50" else CompactTrunk(bands + 1, config)
        # Over the data, each dimension has the prior's mean and variance, so that sigma has a scale that nothing can shrink.
        self.mean = nn.Sequential(
            nn.Conv2d(self.trunk.channels, model.latent, 1, bias=False), nn.BatchNorm2d(model.latent, affine=False)
        )
        if self.variational:
            self.log_variance = nn.Conv2d(self.trunk.channels, model.latent, 1)
            nn.init.zeros_(self.log_variance.weight)
            nn.init.constant_(self.log_variance.bias, INITIAL_LOG_VARIANCE)  # type: ignore[arg-type]  # has a bias
        self.texture = None
        if self.variational and modality is Modality.S1:
            self.texture = nn.Conv2d(surroundings_channels(bands), model.latent, 1, bias=False)
            nn.init.zeros_(self.texture.weight)
            self.texture.requires_grad_(requires_grad=False)  # learnt once the means are, with the variances alone

    def forward(self, standardised: Tensor, valid: Tensor) -> Expert:
        """(N, bands, H, W), (N, 1, H, W) -> an expert of (N, d, H / 2, W / 2)."""
        features = self.trunk(torch.cat([standardised, valid], dim=1))
        # Bounded, and little changed where they are small: without, water and snow lie so far outside all other ground that
        # they alone set the scale of every dimension, and what is new lies further out still.
        features = features * torch.rsqrt(1 + features.square().mean(dim=1, keepdim=True))
        mean = self.mean(features)
        if not self.variational:
            return Expert(mean=mean, log_variance=torch.full_like(mean, -LOG_VARIANCE_LIMIT))
        log_variance = self.log_variance(features)
        if self.texture is not None:
            around = surroundings(standardised, valid.expand_as(standardised))
            log_variance = log_variance + upsample(self.texture(around), CELL_PX // STRIDE)
        return Expert(mean=mean, log_variance=log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT))

    @property
    def radius_px(self) -> int:
        """How far an output pixel can see, per side."""
        return max(self.trunk.radius_px, SURROUNDINGS_RADIUS_PX if self.texture is not None else 0)
