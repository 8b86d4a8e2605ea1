"""The optimiser, its schedule and the averaged weights."""

import numpy as np
import pytest
import torch
from torch import nn

from contract.errors import LossNotFinite
from training.optimise import OptimiserConfig, averaged, make_optimiser, ramp, rate_factor, refuse_non_finite

CONFIG = OptimiserConfig(steps=50, learning_rate=0.02, warm_up=0.2, weight_decay=0.1, average=0.9)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))


def test_the_rate_rises_linearly_and_falls_as_a_cosine_to_zero() -> None:
    steps = np.arange(50)
    expected = np.where(steps < 10, (steps + 1) / 10, 0.5 * (1 + np.cos(np.pi * (steps - 10) / 40)))
    np.testing.assert_allclose([rate_factor(step, CONFIG) for step in steps], expected, atol=1e-12)
    assert rate_factor(50, CONFIG) == 0


def test_without_a_warm_up_the_first_step_has_the_whole_rate() -> None:
    assert rate_factor(0, CONFIG.model_copy(update={"warm_up": 0.0})) == 1


def test_the_schedule_moves_every_module_by_its_own_factor() -> None:
    first, second = network(), network()
    optimiser, schedule = make_optimiser([(first, 1.0), (second, 0.3)], CONFIG)
    for step in range(20):
        for group in optimiser.param_groups:
            factor = 0.3 if any(group["params"][0] is own for own in second.parameters()) else 1.0
            assert group["lr"] == pytest.approx(0.02 * factor * rate_factor(step, CONFIG))
        optimiser.step()
        schedule.step()


def test_weights_decay_and_biases_and_norms_do_not() -> None:
    module = network()
    optimiser, _ = make_optimiser([(module, 1.0)], CONFIG)
    decay = {id(plane): group["weight_decay"] for group in optimiser.param_groups for plane in group["params"]}
    assert decay[id(module[0].weight)] == 0.1
    assert [decay[id(plane)] for plane in (module[0].bias, module[1].weight, module[1].bias)] == [0, 0, 0]


def test_frozen_parameters_are_left_out() -> None:
    module = network()
    module[0].requires_grad_(requires_grad=False)
    optimiser, _ = make_optimiser([(module, 1.0)], CONFIG)
    assert sum(len(group["params"]) for group in optimiser.param_groups) == 2


def test_the_average_decays_exponentially_from_the_first_step_norms_included() -> None:
    module = network()
    average = averaged(module, CONFIG)
    weights, means = [], []
    for step in range(4):
        module[0].weight.data.add_(step + 1)
        module[1].running_mean.add_(step + 1)
        average.update_parameters(module)
        weights.append(module[0].weight.detach().clone())
        means.append(module[1].running_mean.clone())
    for expected, made in ((weights, average.module[0].weight), (means, average.module[1].running_mean)):
        mean = expected[0]
        for later in expected[1:]:
            mean = 0.9 * mean + 0.1 * later
        torch.testing.assert_close(made.detach(), mean)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (5, 0.5), (10, 1.0), (40, 1.0)])
def test_a_ramp_rises_over_a_share_of_the_steps(step: int, expected: float) -> None:
    assert ramp(step, steps=50, share=0.2) == expected


def test_a_ramp_over_no_steps_is_up_at_once() -> None:
    assert ramp(0, steps=50, share=0) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_term_that_is_not_finite_is_named(bad: float) -> None:
    with pytest.raises(LossNotFinite, match=rf"'divergence' is {bad} at step 7"):
        refuse_non_finite({"contrastive": torch.tensor(1.0), "divergence": torch.tensor(bad)}, 7)


def test_finite_terms_pass() -> None:
    refuse_non_finite({"contrastive": torch.tensor(1.0)}, 0)
