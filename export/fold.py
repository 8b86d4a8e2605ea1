"""The same numbers from fewer operations: norms folded into convolutions, stems that read pixels where they lie."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.models.branch import CompactTrunk
from training.models.layers import STRIDE
from training.models.mapping import MappingModel


def fold(model: MappingModel) -> MappingModel:
    """The model, changed in place, without what costs time and no more than rearranges; not to be trained any more."""
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            _fold_norms(module)
    for branch in (model.encoder.s2, model.encoder.s1):
        if isinstance(branch.trunk, CompactTrunk):
            _read_pixels(branch.trunk)
    return model


def _fold_norms(chain: nn.Sequential) -> None:
    for index in range(len(chain) - 1):
        first, second = chain[index], chain[index + 1]
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            chain[index], chain[index + 1] = fuse_conv_bn_eval(first, second), nn.Identity()


def _read_pixels(trunk: CompactTrunk) -> None:
    stem = trunk.stem[0]
    if isinstance(stem, nn.Conv2d):
        trunk.cells, trunk.stem[0] = nn.Identity(), _strided(stem)


def _strided(stem: nn.Conv2d) -> nn.Conv2d:
    """A convolution of cells (`nn.PixelUnshuffle`) as a strided one of their pixels, with the same multiplications."""
    outputs, planes, rows, columns = stem.weight.shape
    bands = planes // STRIDE**2
    of_cells = stem.weight.reshape(outputs, bands, STRIDE, STRIDE, rows, columns)
    # Pixel row i of cell row k is row STRIDE * k + i of the kernel.
    of_pixels = of_cells.permute(0, 1, 4, 2, 5, 3).reshape(outputs, bands, STRIDE * rows, STRIDE * columns)
    made = nn.Conv2d(bands, outputs, STRIDE * rows, stride=STRIDE, padding=STRIDE * (rows // 2))
    made.weight, made.bias = nn.Parameter(of_pixels), stem.bias
    return made
