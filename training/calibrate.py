"""Calibration on held-out places: temperatures, variance scale and expert weights, then conformal thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from contract.bands import Modality
from contract.bundle import Calibration, Temperature
from contract.errors import SampleInvalid
from contract.record import Record
from training.data.legends import class_indices
from training.data.sample import Sample
from training.evaluate.answers import Answers, join
from training.evaluate.conformal import fit_thresholds
from training.evaluate.exam import Conditions, Exam, each_plane, inputs_of
from training.losses.classification import IGNORED
from training.models.encoder import fused
from training.models.expert import Expert
from training.models.layers import STRIDE
from training.models.mapping import MappingModel
from training.models.predictive import Logits
from training.models.sensor_sets import SENSOR_SETS, SETS, shown_to
from training.tensors import Inputs

PRIOR: Final = 5e-3
"""Cost of a squared logarithm of a fitted number, in Brier score. Where sensors are whole and clear, sigma says little of
errors, and nothing else would hold its scale."""


class CalibrateConfig(Record):
    """How calibration is fitted."""

    folds: int = Field(default=5, ge=2)
    """Cross-fitting by place: each fold's samples are answered by a model that was fitted on the others."""
    samples: int = Field(default=200, ge=1)
    """Most samples that the numbers are fitted on, evenly from all folds: they are held in memory at once."""
    pixels_per_sample: int = Field(default=2000, ge=1)
    """For conformal thresholds."""
    steps: int = Field(default=50, ge=1)
    """Of L-BFGS."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fold:
    """A model and labelled samples of places that it has not seen."""

    model: MappingModel
    samples: Sequence[Sample]
    known: Tensor
    """(K,) bool: classes that are judged. One that lies mostly in the fold's own places is new to this model, and not to
    the one that is calibrated."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """What a fold's model made of one sample, up to where the fitted numbers come in."""

    model: MappingModel
    inputs: Inputs
    experts: tuple[Expert, Expert]
    target: Tensor
    """(1, H, W) class indices."""

    def shown_to(self, sensors: tuple[Modality, ...]) -> Self:
        """The same with these sensors alone, and the labels of what they have seen."""
        shown = shown_to(self.inputs, sensors)
        seen = (shown.s2_valid + shown.s1_valid)[:, 0] > 0
        return replace(self, inputs=shown, target=self.target.where(seen, IGNORED))

    @property
    def labelled(self) -> Tensor:
        """(1, H, W) bool: pixels that are judged."""
        return self.target != IGNORED

    def loss(self, numbers: "Numbers", temperature: Tensor) -> Tensor:
        """Brier score summed over labelled pixels."""
        expert = fused(self.experts, self.inputs, self.model.balance * numbers.expert_weights)
        logits = self.model.read_out(self.inputs, expert, self.model.clear(self.experts[0]))
        # What a temperature divides is the logit, mean and deviation alike.
        scaled = Logits(
            mean=logits.mean / temperature,
            variance=logits.variance * numbers.variance_scale / temperature.square(),
        )
        truth = functional.one_hot(self.target.where(self.labelled, 0), logits.mean.shape[1]).movedim(-1, 1)
        return ((scaled.mean_field.softmax(dim=1) - truth).square().sum(dim=1) * self.labelled).sum()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Numbers:
    """What is fitted, each positive."""

    temperature: Tensor
    """(S,): that of each set of sensors."""
    variance_scale: Tensor
    expert_weights: Tensor
    """(2,): S2's and S1's."""

    @classmethod
    def of(cls, logarithms: Tensor) -> Self:
        """From (S + 3,) natural logarithms; those of the sensors alone are multiples of the temperature of both."""
        temperature, (scale, *weights) = logarithms[:SETS], logarithms[SETS:].exp()
        alone = torch.cat([torch.zeros(1), temperature[1:]])
        return cls(
            temperature=(temperature[0] + alone).exp(), variance_scale=scale, expert_weights=torch.stack(weights)
        )


def calibrate(folds: Sequence[Fold], config: CalibrateConfig, conditions: Conditions) -> Calibration:
    """What makes the folds' models honest on places that they have not seen.

    The numbers minimise the Brier score of the labels, as both sensors tell them and as each alone does. That score is
    bounded: coarse labels are wrong in places, and likelihood pays any price there. Conformal thresholds follow, with each
    sample as a block: pixels of one sample are not exchangeable.

    Args:
        folds: Uncalibrated models, with held-out samples.
        config: How.
        conditions: How samples are put before a model.
    """
    every = [(fold, index) for fold in folds for index in range(len(fold.samples))]
    evenly = np.linspace(0, len(every) - 1, min(len(every), config.samples)).round().astype(int)
    held_out = [_held_out(fold, index, conditions) for fold, index in (every[place] for place in evenly)]
    numbers = _fit(held_out, config)
    both, s2_alone, s1_alone = numbers.temperature.tolist()
    s2, s1 = numbers.expert_weights.tolist()
    fitted = Calibration(
        temperature=Temperature(both=both, s2_alone=s2_alone, s1_alone=s1_alone),
        variance_scale=float(numbers.variance_scale),
        expert_weights={Modality.S2: s2, Modality.S1: s1},
    )
    answers = pooled([_answers(fold, fitted, config, conditions) for fold in folds])
    return fitted.model_copy(update={"conformal": fit_thresholds(answers, answers.sample)})


def pooled(parts: Sequence[Answers]) -> Answers:
    """The answers of exams about different samples as one."""
    places = tuple(dict.fromkeys(place for part in parts for place in part.places))
    shifted, samples = [], 0
    for part in parts:
        index = np.array([places.index(place) for place in part.places])
        shifted.append(replace(part, places=places, place=index[part.place], sample=part.sample + samples))
        samples += int(part.sample.max(initial=-1)) + 1
    return join(shifted)


@torch.no_grad()
def _held_out(fold: Fold, index: int, conditions: Conditions) -> HeldOut:
    """What the fold's model made of a sample under the conditions of an exam, without most of the halo."""
    model, sample = fold.model.eval().requires_grad_(requires_grad=False), fold.samples[index]
    if sample.labels is None:
        raise SampleInvalid(path=sample.entry.name, found="no label map", needed="one, to calibrate on")
    target = torch.from_numpy(class_indices(sample.labels, model.legend))[None]
    target = target.where(fold.known[target.clamp_min(0)], IGNORED)
    above, left = conditions.margins(sample.lattice_origin)
    inputs = conditions.padded(inputs_of(sample, model.encoder.bands), sample.lattice_origin)
    (height, width), (rows, columns) = inputs.s2.shape[-2:], target.shape[1:]
    target = functional.pad(target, (left, width - left - columns, above, height - above - rows), value=IGNORED)
    # Interpolation at the edge looks one cell further.
    beyond_px = max(0, conditions.halo_px - conditions.alignment_px)
    s2, s1 = (
        Expert(
            mean=_inner(expert.mean, beyond_px // STRIDE), log_variance=_inner(expert.log_variance, beyond_px // STRIDE)
        )
        for expert in model.encoder.experts(inputs)
    )
    return HeldOut(
        model=model,
        inputs=each_plane(inputs, lambda plane: _inner(plane, beyond_px)),
        experts=(s2, s1),
        target=_inner(target, beyond_px),
    )


def _inner(plane: Tensor, beyond: int) -> Tensor:
    """The plane without so many of its outermost rows and columns on every side."""
    return functional.pad(plane, (-beyond,) * 4)


def _fit(held_out: Sequence[HeldOut], config: CalibrateConfig) -> Numbers:
    """Where the mean Brier score is least, from a start at which nothing is changed."""
    logarithms = torch.zeros(SETS + 3, requires_grad=True)
    optimiser = torch.optim.LBFGS([logarithms], max_iter=config.steps, line_search_fn="strong_wolfe")
    of_sets = [[sample.shown_to(sensors) for sample in held_out] for sensors in SENSOR_SETS]
    pixels = [max(1, sum(int(view.labelled.sum()) for view in views)) for views in of_sets]

    def loss() -> Tensor:
        optimiser.zero_grad()
        mean = PRIOR * logarithms.square().sum()
        mean.backward()  # type: ignore[no-untyped-call]  # torch does not type it
        for index, (views, judged) in enumerate(zip(of_sets, pixels, strict=True)):
            for view in views:
                numbers = Numbers.of(logarithms)
                part = view.loss(numbers, numbers.temperature[index]) / (SETS * judged)
                part.backward()  # type: ignore[no-untyped-call]  # torch does not type it
                mean = mean + part
        return mean.detach()

    optimiser.step(loss)  # type: ignore[no-untyped-call]  # torch does not type it
    return Numbers.of(logarithms.detach())


def _answers(fold: Fold, fitted: Calibration, config: CalibrateConfig, conditions: Conditions) -> Answers:
    fold.model.calibrate(fitted)
    exam = Exam(
        predictor=fold.model,
        samples=fold.samples,
        legend=fold.model.legend,
        conditions=replace(conditions, pixels_per_sample=config.pixels_per_sample),
    )
    answers = exam.answers()
    return answers.at(fold.known.numpy()[answers.label])
