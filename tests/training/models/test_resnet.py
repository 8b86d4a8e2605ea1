"""The ResNet-50 trunk, for parity with the literature."""

import torch
from torch import nn

from tests.training.examples import STATISTICS
from training.data.sample import BandChoice
from training.models.config import BranchConfig, ModelConfig
from training.models.cost import parameter_count
from training.models.encoder import Encoder
from training.models.layers import upsample
from training.models.resnet import ResNet50
from training.tensors import Inputs


def test_the_trunk_has_the_published_number_of_parameters() -> None:
    """25 557 032 of arXiv:1512.03385's network for three bands, without the 2 049 000 of its classifier."""
    with torch.device("meta"):
        assert parameter_count(ResNet50(3)) == 25_557_032 - 2_049_000


def open_trunk() -> ResNet50:
    """One in which no ReLU is ever shut and no maximum hides its neighbours: every pixel that can be seen is seen."""
    trunk = ResNet50(1).eval()
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data.abs_()
            layer.weight.data /= layer.weight.data.sum(dim=(1, 2, 3), keepdim=True)
    trunk.stem[1] = nn.AvgPool2d(3, stride=2, padding=1)
    return trunk


def test_an_output_pixel_sees_no_further_than_the_radius() -> None:
    torch.manual_seed(0)
    trunk, reaches = open_trunk(), []
    bands = torch.rand(1, 1, 672, 32, requires_grad=True)  # a strip: what counts is how far along it a pixel sees
    features = upsample(trunk(bands), 2)
    for row in (335, 336, 351):
        (gradient,) = torch.autograd.grad(features[:, :4, row, 16].sum(), bands, retain_graph=True)
        seen = gradient.sum(dim=(0, 1, 3)).nonzero().flatten()
        reaches += [row - int(seen.min()), int(seen.max()) - row]
    assert trunk.radius_px - 32 < max(reaches) <= trunk.radius_px


def test_a_position_lies_in_the_middle_of_what_it_sees() -> None:
    torch.manual_seed(0)
    trunk = open_trunk()
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data.fill_(1 / layer.weight[0].numel())  # symmetric: the centre of what is seen is its middle
    bands = torch.rand(1, 1, 672, 32, requires_grad=True)
    features = trunk(bands)
    centres = []
    for row in range(168, 184):  # one cell of the coarsest stride
        (gradient,) = torch.autograd.grad(features[0, 0, row, 8], bands, retain_graph=True)
        weight = gradient.sum(dim=(0, 1, 3))
        centres.append(float((weight * torch.arange(672)).sum() / weight.sum()) - (2 * row + 0.5))
    assert abs(sum(centres) / len(centres)) < 1


def test_an_encoder_of_two_such_branches_gives_embeddings_at_stride_2() -> None:
    branch = BranchConfig(backbone="resnet50")
    config = ModelConfig(s2=branch, s1=branch, latent=5)
    with torch.device("meta"):
        encoder = Encoder(BandChoice(), config, STATISTICS)
        valid = torch.ones(2, 1, 96, 64)
        chips = Inputs(s2=torch.ones(2, 4, 96, 64), s2_valid=valid, s1=torch.ones(2, 2, 96, 64), s1_valid=valid)
        assert encoder(chips, torch.ones(2)).mean.shape == (2, 5, 48, 32)
    assert config.alignment_px == 32
