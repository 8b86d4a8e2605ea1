"""Operations and parameters, counted layer by layer."""

import pytest
import torch
from torch import nn

from contract.legend import WORLDCOVER
from tests.training.examples import LEGEND, STATISTICS, encoder, inputs
from training.config import LEARNT_CLASSES
from training.data.sample import BandChoice
from training.models.config import ModelConfig
from training.models.cost import kflop_per_px, parameter_count
from training.models.encoder import Encoder
from training.models.mapping import MappingModel


def test_operations_are_those_of_every_convolution_of_both_branches_and_the_read_out() -> None:
    model = MappingModel(encoder(), LEGEND).eval()
    operations = []

    def count(layer: nn.Conv2d, _given: tuple[torch.Tensor], made: torch.Tensor) -> None:
        operations.append(2 * layer.weight.numel() * made.shape[2] * made.shape[3])

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model(inputs(1, 32, 32))
    # Mean and variance of logits are two convolutions with the weights of the probe at stride 2, and contrasts are three.
    operations += [2 * model.on_embedding.weight.numel() * 16 * 16] * 5
    # At stride 2, the sum over the other classes is of classes by classes. So are, for each of three sets of sensors, the
    # contrasts of what raw bands leave open and of what is missing.
    operations += [2 * len(LEGEND.classes) ** 2 * 16 * 16] * (1 + 3 + 3)
    # The variances of both, and those of raw bands in the logits, are chosen by sets. So are temperatures, there and at pixels.
    operations += [2 * len(LEGEND.classes) * 3 * 16 * 16] * 3
    operations += [2 * 3 * 16 * 16, 2 * 3 * 32 * 32]
    # How far surroundings are from what is usual for a set is one more each, at cells of 8 px.
    operations += [2 * model.on_surroundings.in_channels**2 * 4 * 4] * 3
    expected = sum(operations) / 32**2 / 1000
    assert kflop_per_px(model, 32) == pytest.approx(expected)


def test_counting_leaves_the_model_as_it_is() -> None:
    model = MappingModel(encoder(), LEGEND).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kflop_per_px(model, 16)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_shipped_model_takes_less_than_150_kflop_per_pixel() -> None:
    model = MappingModel(Encoder(BandChoice(), ModelConfig(), STATISTICS), WORLDCOVER.subset(*LEARNT_CLASSES))
    assert 50 < kflop_per_px(model, 256) < 150


def test_parameters_are_counted_frozen_or_not() -> None:
    layer = nn.Conv2d(3, 5, 3)
    layer.bias.requires_grad_(requires_grad=False)
    assert parameter_count(nn.Sequential(layer, nn.BatchNorm2d(5))) == 3 * 5 * 9 + 5 + 2 * 5
