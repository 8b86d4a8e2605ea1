"""ModelConfig: everything that shapes the network."""

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from contract.record import Record

COARSEST_STRIDE_PX: Final = {"compact": 8, "resnet50": 32}
"""Of each backbone."""


class BranchConfig(Record):
    """One sensor's encoder."""

    backbone: Literal["compact", "resnet50"] = "compact"
    """compact: bounded context, for mapping. resnet50: parity with the literature; its context spans hundreds of pixels."""
    widths: tuple[int, int, int] = (24, 48, 64)
    """Channels at strides 2, 4 and 8 (compact)."""
    blocks: tuple[int, int, int] = (1, 2, 1)
    """Residual blocks at strides 2, 4 and 8 (compact). Each adds 2 x stride to the radius of the receptive field."""

    @model_validator(mode="after")
    def _has_layers(self) -> Self:
        if min(self.widths) < 1 or min(self.blocks) < 0:
            raise ValueError(f"widths {self.widths} must be positive and blocks {self.blocks} not negative")
        return self


class ModelConfig(Record):
    """The encoder of both sensors."""

    s2: BranchConfig = BranchConfig()
    s1: BranchConfig = BranchConfig()
    latent: int = Field(default=64, ge=2)
    """Dimensions of the embedding."""
    variational: bool = True
    """True: experts are Gaussians (VDual-SimCLR). False: sigma is off (Dual-SimCLR)."""

    @property
    def alignment_px(self) -> int:
        """Stride alignment: heights, widths and starts of chips are multiples of it."""
        return max(COARSEST_STRIDE_PX[branch.backbone] for branch in (self.s2, self.s1))
