"""Calibration: numbers that are known are found, and thresholds are those of the calibrated model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import numpy as np
import pytest
import torch
from torch.nn import functional

from contract.bands import Modality
from contract.bundle import Calibration, Temperature
from tests.training.evaluate.examples import random_answers
from tests.training.examples import LEGEND, STATISTICS, encoder, entry, inputs, model_config, observed, worn
from training.calibrate import CalibrateConfig, Fold, Numbers, _held_out, calibrate, pooled
from training.data.sample import NO_LABEL, BandChoice, Sample
from training.evaluate.answers import Answers
from training.evaluate.conformal import fit_thresholds
from training.evaluate.exam import Exam
from training.evaluate.views import View, as_given, only
from training.models.encoder import Encoder
from training.models.expert import Expert
from training.models.mapping import MappingModel
from training.models.raw import raw_channels_of
from training.models.sensor_sets import SENSOR_SETS
from training.stages import conditions
from training.tensors import Inputs

SHAPE = (30, 44)
"""Of samples: no multiple of the model's alignment."""
CONFIG = CalibrateConfig(pixels_per_sample=300)
VALUES = np.array([10, 40, 80], np.uint8)
VIEWS = as_given, only(Modality.S2), only(Modality.S1)
"""In the order of `SENSOR_SETS`."""


@pytest.fixture(autouse=True)
def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentinel-2 is, whatever its variance: a pixel that both sensors see has the temperature of both alone."""
    monkeypatch.setattr("training.models.mapping.DOUBTFUL", np.inf)


class Measured(Encoder):
    """Sentinel-2's expert is what its bands say; Sentinel-1's is as sure of itself, and says what its bands say."""

    def experts(self, chips: Inputs) -> tuple[Expert, Expert]:
        s2, s1 = (
            functional.avg_pool2d(plane * valid, 2)
            for plane, valid in (
                (self.standardise_s2(chips.s2, chips.s2_valid), chips.s2_valid),
                (self.standardise_s1(chips.s1, chips.s1_valid), chips.s1_valid),
            )
        )
        s2, s1 = torch.cat([s2, s2[:, :2]], dim=1), torch.cat([s1, s1, s1], dim=1)
        return Expert(mean=s2, log_variance=s2 - 1), Expert(mean=s1, log_variance=s1 - 1)


def by_pixel(sharpness: float = 1.0) -> MappingModel:
    """A model of single pixels; its logits are too sharp by a factor."""
    torch.manual_seed(0)
    model = MappingModel(encoder(), LEGEND).eval()
    for part in (model.on_embedding, model.on_surroundings):
        torch.nn.init.zeros_(part.weight)
    for plane in (model.on_raw.weight, model.on_embedding.bias):
        plane.data.mul_(3 * sharpness)
    return model


def by_embedding() -> MappingModel:
    """A model of embeddings alone."""
    torch.manual_seed(0)
    model = MappingModel(Measured(BandChoice(), model_config(), STATISTICS), LEGEND).eval()
    model.on_embedding.weight.data.mul_(6)
    for plane in (model.on_embedding.bias, model.on_raw.weight, model.on_surroundings.weight):
        torch.nn.init.zeros_(plane)
    return model


def drawn(count: int, truth: MappingModel) -> list[Sample]:
    """Samples whose labels are drawn from the probabilities of a model."""
    random = np.random.default_rng(0)
    return [_labelled(index, truth, random) for index in range(count)]


def _labelled(index: int, truth: MappingModel, random: np.random.Generator) -> Sample:
    chips = inputs(1, *SHAPE, seed=index)
    sample = Sample(
        entry=entry(str(index), f"place-{index}"),
        observations={Modality.S2: observed(chips.s2[0].numpy()), Modality.S1: observed(chips.s1[0].numpy())},
    )
    exam = Exam(predictor=truth, samples=[sample], legend=LEGEND, conditions=conditions(truth))
    probabilities = exam.predict(chips).probabilities[0].permute(1, 2, 0).double().numpy()
    classes = (random.random((*SHAPE, 1)) > probabilities.cumsum(axis=2)).sum(axis=2)
    return replace(sample, labels=VALUES[np.minimum(classes, 2)])


def fold(model: MappingModel, samples: Sequence[Sample], *, unknown: int | None = None) -> Fold:
    """A fold that judges every class but one."""
    known = torch.ones(len(LEGEND.classes), dtype=torch.bool)
    if unknown is not None:
        known[unknown] = False
    return Fold(model=model, samples=samples, known=known)


def brier(
    model: MappingModel, samples: Sequence[Sample], calibration: Calibration, views: Sequence[View] = VIEWS
) -> float:
    """Mean Brier score of all pixels in all views."""
    model.calibrate(calibration)
    answers = [answers_of(model, samples, pixels=SHAPE[0] * SHAPE[1], view=view) for view in views]
    return float(np.mean([np.square(each.probabilities - np.eye(3)[each.label]).sum(axis=1) for each in answers]))


def answers_of(model: MappingModel, samples: Sequence[Sample], *, pixels: int, view: View = as_given) -> Answers:
    asked = replace(conditions(model), pixels_per_sample=pixels)
    return Exam(predictor=model, samples=samples, legend=LEGEND, conditions=asked).answers(view)


@pytest.mark.parametrize("sharpness", [0.5, 2.5])
def test_the_temperature_undoes_logits_that_are_too_sharp_or_too_dull(
    sharpness: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels are drawn from softmax(z); the model says `sharpness` times z."""
    monkeypatch.setattr("training.calibrate.PRIOR", 0.0)
    model = by_pixel(sharpness)
    fitted = calibrate([fold(model, drawn(12, by_pixel()))], CONFIG, conditions(model))
    assert fitted.temperature.both == pytest.approx(sharpness, rel=0.05)


def test_each_sensor_alone_has_a_temperature_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one sensor says is sharpened, and that of both is left."""
    monkeypatch.setattr("training.calibrate.PRIOR", 0.0)
    samples, model, sharper = drawn(6, by_pixel()), by_pixel(), by_pixel()
    s2, s1 = 0.8, 2.0
    of_radar = raw_channels_of(model.encoder.bands, (Modality.S1,)) > 0
    for each in (model, sharper):
        each.on_raw.weight.data = each.on_raw.weight.data.chunk(2, dim=1)[0].repeat(1, 2, 1, 1)
        each.on_embedding.bias.data.zero_()
    sharper.on_raw.weight.data.chunk(2, dim=1)[1].mul_(torch.where(of_radar, s1, s2)[:, None, None])
    before, after = (
        calibrate([fold(each, samples)], CONFIG, conditions(each)).temperature for each in (model, sharper)
    )
    assert after.both == pytest.approx(before.both, rel=0.001)
    assert after.s2_alone == pytest.approx(s2 * before.s2_alone, rel=0.01)
    assert after.s1_alone == pytest.approx(s1 * before.s1_alone, rel=0.01)


def test_a_sensor_that_no_sample_has_is_as_sure_as_both_are() -> None:
    model = by_pixel(2.5)
    samples = [
        replace(each, observations={Modality.S2: each.observations[Modality.S2]}) for each in drawn(4, by_pixel())
    ]
    fitted = calibrate([fold(model, samples)], CONFIG, conditions(model)).temperature
    assert fitted.s1_alone == fitted.both
    assert fitted.both > 1.5


def test_numbers_that_nothing_depends_on_stay_at_1() -> None:
    model = by_pixel()
    fitted = calibrate([fold(model, drawn(4, model))], CONFIG, conditions(model))
    assert fitted.variance_scale == 1
    assert fitted.expert_weights == {Modality.S2: 1, Modality.S1: 1}


def test_an_expert_that_misleads_loses_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.calibrate.PRIOR", 0.0)
    truth = by_embedding()
    truth.calibrate(_numbers(s2=1, s1=0))
    model = by_embedding()
    fitted = calibrate([fold(model, drawn(8, truth))], CONFIG, conditions(model))
    assert fitted.expert_weights[Modality.S1] < fitted.expert_weights[Modality.S2] / 3


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_labels_are_told_as_well_by_the_fitted_numbers_as_by_the_true_ones(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers themselves need not be the true ones: temperature and scale of variances can stand in for one another."""
    monkeypatch.setattr("training.calibrate.PRIOR", 0.0)
    truth, model = by_embedding(), by_embedding()
    true_numbers = _numbers(variance_scale=scale)
    truth.calibrate(true_numbers)
    samples = drawn(12, truth)
    fitted = calibrate([fold(model, samples)], CONFIG, conditions(model))
    assert brier(model, samples, fitted) <= brier(model, samples, true_numbers)


def test_labels_that_say_little_of_the_variance_do_not_make_it_vanish() -> None:
    """Labels are drawn without any variance of logits; that hardly shows, so it stays in the map."""
    truth, model = by_embedding(), by_embedding()
    truth.calibrate(_numbers(variance_scale=1e-9))
    fitted = calibrate([fold(model, drawn(6, truth))], CONFIG, conditions(model))
    assert 0.2 < fitted.variance_scale < 1


@pytest.mark.parametrize("index", range(3), ids=["both", "s2", "s1"])
def test_what_is_fitted_is_what_an_exam_would_find(index: int) -> None:
    """Up to the edge of a sample, where it matters what lies beyond."""
    torch.manual_seed(0)
    model = worn(MappingModel(encoder(model_config(blocks=(0, 1, 0))), LEGEND)).eval()
    sample = drawn(1, by_pixel())[0]
    numbers = Numbers.of(torch.tensor([0.3, 0.5, -0.7, -0.4, 0.2, -0.6]))
    held_out = _held_out(fold(model, [sample]), 0, conditions(model)).shown_to(SENSOR_SETS[index])
    fitted = held_out.loss(numbers, numbers.temperature[index]).item() / sample.labels.size
    calibration = Calibration(
        temperature=Temperature(both=np.exp(0.3), s2_alone=np.exp(0.8), s1_alone=np.exp(-0.4)),
        variance_scale=np.exp(-0.4),
        expert_weights={Modality.S2: np.exp(0.2), Modality.S1: np.exp(-0.6)},
    )
    assert fitted == pytest.approx(brier(model, [sample], calibration, VIEWS[index : index + 1]), rel=1e-5)


def test_the_fitted_numbers_explain_labels_as_well_as_those_that_made_them() -> None:
    numbers = _numbers(temperature=1.5, variance_scale=2.5, s2=0.8, s1=0.3)
    truth = by_embedding()
    truth.calibrate(numbers)
    samples, model = drawn(8, truth), by_embedding()
    fitted = calibrate([fold(model, samples)], CONFIG, conditions(model))
    best = brier(model, samples, numbers)
    assert brier(model, samples, _numbers()) > best + 0.01
    assert brier(model, samples, fitted) < best + 0.001


def test_thresholds_are_of_the_calibrated_model_with_samples_as_blocks() -> None:
    truth, model = by_pixel(), by_pixel(2.5)
    samples = drawn(7, truth)
    fitted = calibrate([fold(model, samples)], CONFIG, conditions(model))
    twin = by_pixel(2.5)
    twin.calibrate(fitted)
    answers = answers_of(twin, samples, pixels=300)
    assert fitted.conformal == fit_thresholds(answers, answers.sample)
    assert {threshold.calibration_blocks for threshold in fitted.conformal} == {7}
    assert len(fitted.conformal) == 6


def test_what_a_fold_has_not_learnt_does_not_count() -> None:
    """Of the labels of one class, all that the model says is wrong."""
    samples = drawn(8, by_pixel())
    swapped = [replace(each, labels=np.where(each.labels == 10, 80, each.labels).astype(np.uint8)) for each in samples]
    without = [replace(each, labels=np.where(each.labels == 10, NO_LABEL, each.labels)) for each in samples]
    without = [replace(each, labels=np.where(each.labels == 80, NO_LABEL, each.labels)) for each in without]

    def fitted(seen: Sequence[Sample], unknown: int | None) -> Calibration:
        return calibrate([fold(by_pixel(), seen, unknown=unknown)], CONFIG, conditions(by_pixel()))

    judged, expected = fitted(swapped, 2), fitted(without, None)
    assert judged.temperature.both == pytest.approx(expected.temperature.both, rel=1e-4)
    assert fitted(swapped, None).temperature.both > 2 * judged.temperature.both


def test_each_fold_is_answered_by_its_own_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models of which each is wrong about the other's samples."""
    monkeypatch.setattr("training.calibrate.PRIOR", 0.0)
    samples = [drawn(5, by_pixel(sign)) for sign in (1, -1)]

    def temperature(*signs: int) -> float:
        folds = [fold(by_pixel(sign), seen) for sign, seen in zip(signs, samples, strict=True)]
        return calibrate(folds, CONFIG, conditions(folds[0].model)).temperature.both

    assert temperature(1, -1) == pytest.approx(1, rel=0.1)
    assert temperature(-1, 1) > 10


class Recorded(Sequence[Sample]):
    """Counts how often each sample is taken."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples, self.taken = samples, Counter[int]()

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        assert isinstance(index, int)
        self.taken[index] += 1
        return self.samples[index]


def test_numbers_are_fitted_on_no_more_samples_than_allowed_from_all_folds() -> None:
    model = by_pixel()
    folds = [Recorded(drawn(5, model)), Recorded(drawn(4, model))]
    fitted = calibrate(
        [fold(by_pixel(), samples) for samples in folds],
        CalibrateConfig(samples=3, pixels_per_sample=50, steps=2),
        conditions(model),
    )
    # The exam takes each once, for thresholds; what is fitted on is taken once more.
    assert [sum(samples.taken.values()) - len(samples) for samples in folds] == [2, 1]
    assert fitted.conformal[0].calibration_blocks == 9


def test_answers_of_several_exams_keep_places_and_samples_apart() -> None:
    first = replace(random_answers(40, places=3, seed=1), sample=np.arange(40) % 6)
    second = replace(random_answers(30, places=2, seed=2), sample=np.arange(30) % 4, places=("place 1", "other"))
    nothing = second.at(np.zeros(30, bool))
    joined = pooled([first, nothing, second])
    assert joined.places == ("place 0", "place 1", "place 2", "other")
    assert [joined.places[place] for place in joined.place[:40]] == [first.places[place] for place in first.place]
    assert [joined.places[place] for place in joined.place[40:]] == [second.places[place] for place in second.place]
    assert joined.sample.tolist() == [*first.sample, *(second.sample + 6)]


def _numbers(*, temperature: float = 1.0, variance_scale: float = 1.0, s2: float = 1.0, s1: float = 1.0) -> Calibration:
    weights = {Modality.S2: s2, Modality.S1: s1}
    of_sets = Temperature(both=temperature, s2_alone=temperature, s1_alone=temperature)
    return Calibration(temperature=of_sets, variance_scale=variance_scale, expert_weights=weights)
