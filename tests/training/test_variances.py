"""Fitted variances: they say how far a view strays from clear ground, and nothing else of the encoder changes."""

import torch

from tests.training.examples import UNCHANGED, coloured, cpu, encoder
from tests.training.test_pretrain import batches
from training.data.chips import Chips
from training.data.sample import BandChoice
from training.evaluate.exam import inputs_of
from training.models.encoder import Encoder
from training.optimise import OptimiserConfig
from training.run import Run
from training.tensors import Inputs
from training.variances import VarianceConfig, fit_variances

STEPS = 60
CONFIG = VarianceConfig(
    optimiser=OptimiserConfig(steps=STEPS, learning_rate=0.3, weight_decay=0, average=0.9),
    augment=UNCHANGED.model_copy(update={"s2_offset": 0.1}),
)


@torch.no_grad()
def settled() -> Encoder:
    """An encoder whose norms have seen data, so that its means have the variance that they have after training."""
    network = encoder().train()
    for batch in batches(steps=STEPS):
        network.experts(Chips.of(batch).inputs)
    return network.eval()


def fitted(network: Encoder) -> Encoder:
    return fit_variances(cpu(), network, batches(steps=STEPS), CONFIG, Run(seed=1))


def test_everything_but_the_variances_stays_number_for_number() -> None:
    before = {name: plane.clone() for name, plane in encoder().state_dict().items()}
    after = fitted(encoder()).state_dict()
    changed = {name for name, plane in before.items() if not torch.equal(plane, after[name])}
    heads = {f"{branch}.log_variance.{part}" for branch in ("s2", "s1") for part in ("weight", "bias")}
    assert changed == {*heads, "s1.texture.weight"}
    assert all(parameter.requires_grad for parameter in fitted(encoder()).parameters())


def test_they_are_the_squared_distances_that_views_bring() -> None:
    """Offsets of Sentinel-2 move its embedding; Sentinel-1 is left alone, and its variance falls as far as steps go."""
    network = fitted(settled()).requires_grad_(requires_grad=False)
    found, moved, other = [], [], []
    generator = torch.Generator().manual_seed(3)
    for index in range(8):
        chips = inputs_of(coloured(index), BandChoice())
        shift = 0.2 * torch.rand(1, 4, 1, 1, generator=generator) - 0.1
        view = Inputs(s2=chips.s2 + shift, s2_valid=chips.s2_valid, s1=chips.s1, s1_valid=chips.s1_valid)
        (s2, s1), (clear, _) = network.experts(view), network.experts(chips)
        found.append(s2.variance.mean())
        other.append(s1.variance.mean())
        moved.append((s2.mean - clear.mean).square().mean())
    assert torch.stack(other).mean() < 0.7 * torch.stack(found).mean()
    ratio = torch.stack(found).mean() / torch.stack(moved).mean()
    assert 0.6 < ratio < 1.6
