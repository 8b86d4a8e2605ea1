"""Balance: what is usual does not make one sensor more believed than the other; what is not, does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from contract.bands import Modality
from tests.training.examples import LEGEND, coloured, encoder, model_config, worn
from training.balance import balanced
from training.data.sample import Observation, Sample
from training.evaluate.exam import inputs_of
from training.models.encoder import Encoder
from training.models.mapping import MappingModel
from training.stages import conditions


def weights(of: Encoder, samples: list[Sample], s1_trust: float = 0.5) -> list[float]:
    return balanced(of, samples, conditions(MappingModel(of, LEGEND)), s1_trust).tolist()


def usual(of: Encoder, sample: Sample) -> list[float]:
    """Mean log variance of each sensor where it sees, with the margin that a map has around each chip."""
    shown = conditions(MappingModel(of, LEGEND)).padded(inputs_of(sample, of.bands), (0, 0))
    with torch.no_grad():
        experts = of.experts(shown)
    seen = [functional.max_pool2d(valid, 2)[0, 0] > 0 for valid in (shown.s2_valid, shown.s1_valid)]
    return [each.log_variance[0, :, where].mean().item() for each, where in zip(experts, seen, strict=True)]


def uneven() -> Encoder:
    made = worn(encoder())
    assert isinstance(made, Encoder)
    return made


@pytest.mark.parametrize("trust", [0.25, 0.5, 2.0])
def test_radar_counts_as_told_beside_optics_on_usual_ground(trust: float) -> None:
    """Means of log precisions differ by the logarithm of the trust, however sure each sensor is of itself."""
    model, samples = uneven(), [coloured(1), coloured(2)]
    with torch.no_grad():
        model.s1.log_variance.bias -= 2
    s2, s1 = np.mean([usual(model, sample) for sample in samples], axis=0)
    assert weights(model, samples, trust) == pytest.approx([1, trust * np.exp(s1 - s2)], rel=1e-5)


def test_a_sensor_that_is_surer_of_everything_gains_nothing_by_it() -> None:
    """What it says of one location beside another is what counts."""
    model, samples = uneven(), [coloured(1)]
    inputs = inputs_of(samples[0], model.bands)
    shares = []
    for surer in (0, 3):
        with torch.no_grad():
            model.s1.log_variance.bias -= surer
            s2, s1 = (
                weight / expert.variance
                for weight, expert in zip(weights(model, samples), model.experts(inputs), strict=True)
            )
        shares.append(s1 / (s2 + s1))
    torch.testing.assert_close(*shares)
    assert shares[0].std() > 0.01


def test_sensors_without_sigma_count_as_told() -> None:
    assert weights(encoder(model_config(variational=False)), [coloured(1)]) == [1, 0.5]


def test_gaps_do_not_count() -> None:
    """Under a gap an expert is unsure, and that is not usual."""
    model, sample = uneven(), coloured(1)
    valid = sample.observations[Modality.S1].valid.copy()
    valid[:, 16:] = False
    gap = Observation(values=sample.observations[Modality.S1].values * valid, valid=valid)
    spoiled = replace(sample, observations={**sample.observations, Modality.S1: gap})
    s2, s1 = usual(model, spoiled)
    assert weights(model, [spoiled], 1.0)[1] == pytest.approx(np.exp(s1 - s2), rel=1e-5)


def test_samples_of_one_sensor_weigh_nothing_against_nothing() -> None:
    sample = coloured(1)
    alone = replace(sample, observations={Modality.S2: sample.observations[Modality.S2]})
    assert weights(uneven(), [alone]) == [1, 1]
