from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch.nn.functional import avg_pool2d

from contract.bands import Modality
from contract.errors import SampleInvalid
from tests.training.evaluate.examples import LEGEND, SHAPE, exam, formula, landscape, random_answers
from training.augment import Corruption
from training.data.sample import BandChoice
from training.evaluate.answers import Uncertainty, in_common, join
from training.evaluate.exam import Conditions, Exam, boundaries, inputs_of
from training.evaluate.views import View, as_given, clouded, corrupted, only, speckled
from training.tensors import Inputs, Prediction

EVERY_PIXEL = Conditions(pixels_per_sample=10**6)


def test_every_labelled_observed_pixel_is_asked_once() -> None:
    sample = landscape()
    answers = replace(exam(1), conditions=EVERY_PIXEL).answers()
    asked = np.zeros(SHAPE, int)
    np.add.at(asked, tuple(answers.position.T), 1)
    observed = sample.observations[Modality.S2].valid | sample.observations[Modality.S1].valid
    np.testing.assert_array_equal(asked, np.isin(sample.labels, [10, 40, 50, 80]) & observed)


def test_pixels_of_unknown_classes_are_counted_and_not_scored() -> None:
    answers = replace(exam(2), conditions=EVERY_PIXEL).answers()
    assert answers.outside_legend == 2 * 4 * 7
    assert set(np.unique(answers.label)) == {0, 1, 2, 3}


def test_answers_stand_beside_the_labels_of_their_pixels() -> None:
    samples = [landscape(index) for index in range(5)]
    answers = exam(5).answers()
    values = np.array([entry.value for entry in LEGEND.classes])
    rows, columns = answers.position.T
    labels = np.stack([sample.labels for sample in samples])[answers.sample, rows, columns]
    np.testing.assert_array_equal(values[answers.label], labels)
    places = np.array([sample.entry.place for sample in samples])[answers.sample]
    np.testing.assert_array_equal(np.array(answers.places)[answers.place], places)


def test_answers_are_those_of_the_model_at_their_pixels() -> None:
    answers = exam(1).answers()
    whole = formula(inputs_of(landscape(), BandChoice()))
    rows, columns = answers.position.T
    np.testing.assert_allclose(answers.probabilities, whole.probabilities[0, :, rows, columns].T, rtol=1e-5)
    np.testing.assert_allclose(answers.embedding, whole.embedding[0, rows, columns], rtol=1e-5)


def test_at_most_the_pixels_asked_for_are_kept_of_each_sample() -> None:
    answers = replace(exam(3), conditions=Conditions(pixels_per_sample=17)).answers()
    np.testing.assert_array_equal(np.bincount(answers.sample), [17, 17, 17])


def test_the_seed_decides_which_pixels_are_kept() -> None:
    kept = [
        replace(exam(1), conditions=Conditions(pixels_per_sample=50, seed=seed)).answers().position
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(kept[0], kept[1])
    assert not np.array_equal(kept[0], kept[2])


def test_a_sample_is_padded_with_unobserved_pixels_to_whole_strides() -> None:
    seen = []

    def watched(inputs: Inputs) -> Prediction:
        seen.append(inputs)
        return formula(inputs)

    conditions = Conditions(halo_px=12, alignment_px=6)
    Exam(predictor=watched, samples=[landscape()], legend=LEGEND, conditions=conditions).answers()
    (inputs,) = seen
    assert inputs.s2.shape == (1, 4, 66, 84)  # 40 + 24 and 56 + 24, to multiples of 6
    sample = inputs_of(landscape(), BandChoice())
    assert torch.equal(inputs.s1[..., 12:52, 12:68], sample.s1)
    assert inputs.s1_valid.sum() == sample.s1_valid.sum()
    assert inputs.s2.abs().sum() == sample.s2.abs().sum()


def test_strides_start_on_the_lattice_of_the_sample() -> None:
    columns = torch.arange(200.0)

    def within_a_stride(inputs: Inputs) -> Prediction:
        answer = formula(inputs)
        rows, cols = inputs.s2.shape[-2:]
        return replace(answer, total=(10 * (columns[:rows, None] % 4) + columns[:cols] % 4).expand_as(answer.total))

    sample = replace(landscape(), lattice_origin=(-7, 13))
    conditions = Conditions(halo_px=8, alignment_px=4)
    answers = Exam(predictor=within_a_stride, samples=[sample], legend=LEGEND, conditions=conditions).answers()
    row, column = answers.position.T
    np.testing.assert_array_equal(answers.total, 10 * ((row - 7) % 4) + (column + 13) % 4)


def test_a_halo_is_cut_off_again() -> None:
    def context(inputs: Inputs) -> Prediction:
        answer = formula(inputs)
        return replace(answer, total=avg_pool2d(inputs.s2[:, :1], 5, 1, 2)[:, 0])

    plain = Exam(predictor=context, samples=[landscape()], legend=LEGEND).answers()
    padded = replace(exam(1), predictor=context, conditions=Conditions(halo_px=8, alignment_px=4)).answers()
    np.testing.assert_allclose(padded.total, plain.total, rtol=1e-5)


def test_a_halo_of_broken_strides_is_refused() -> None:
    with pytest.raises(ValueError, match="halo of 6 px is no multiple of the 4 px"):
        Conditions(halo_px=6, alignment_px=4)


def test_a_sample_without_labels_is_refused() -> None:
    bare = replace(landscape(), labels=None)
    with pytest.raises(SampleInvalid, match="landscape 0: found no label map"):
        replace(exam(1), samples=[bare]).answers()


def test_a_model_of_another_legend_is_refused() -> None:
    with pytest.raises(ValueError, match="gives 4 classes; the legend has 2"):
        replace(exam(1), legend=LEGEND.subset(10, 40)).answers()


def test_a_model_that_gives_nan_is_refused() -> None:
    def broken(inputs: Inputs) -> Prediction:
        answer = formula(inputs)
        return replace(answer, aleatoric=answer.aleatoric * float("nan"))

    with pytest.raises(ValueError, match="aleatoric of the model is not finite everywhere in sample landscape 0"):
        replace(exam(1), predictor=broken).answers()


def test_an_exam_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="0 samples"):
        exam(0)


def test_a_sensor_that_a_sample_lacks_is_nowhere_valid() -> None:
    inputs = inputs_of(landscape(modalities=[Modality.S1]), BandChoice(s2=("B04", "B08", "B11")))
    assert inputs.s2.shape == (1, 3, *SHAPE)
    assert not inputs.s2_valid.any()
    assert inputs.s1_valid.any()


def test_a_view_of_one_sensor_asks_only_where_that_sensor_saw() -> None:
    answers = replace(exam(2), conditions=EVERY_PIXEL).answers(only(Modality.S1))
    rows, columns = answers.position.T
    assert landscape().observations[Modality.S1].valid[rows, columns].all()
    assert columns.min() == 2


def test_a_view_of_a_sensor_that_nobody_has_is_empty() -> None:
    alone = replace(exam(1), samples=[landscape(modalities=[Modality.S2])])
    assert len(alone.answers(only(Modality.S1))) == 0
    assert alone.answers(only(Modality.S1)).probabilities.shape == (0, 4)


def test_boundaries_are_where_another_class_is_next() -> None:
    labels = np.array([[10, 10, 10, 40], [10, 10, 10, 10], [0, 0, 10, 10], [50, 0, 10, 10]], np.uint8)
    expected = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], bool)
    np.testing.assert_array_equal(boundaries(labels), expected)


def test_uncertainties_are_what_their_names_say() -> None:
    answers = random_answers(50)
    ranked = np.sort(answers.probabilities, axis=1)
    expected = {
        Uncertainty.ENTROPY: entropy(answers.probabilities, axis=1),
        Uncertainty.MARGIN: 1 - ranked[:, -1] + ranked[:, -2],
        Uncertainty.CONFIDENCE: 1 - ranked[:, -1],
        Uncertainty.SHORTNESS: -answers.embedding_norm,
    }
    for kind, values in expected.items():
        np.testing.assert_allclose(answers.uncertainty(kind), values, atol=1e-6)


def test_doubt_and_distance_are_asked_of_models_that_have_them() -> None:
    def with_both(inputs: Inputs) -> Prediction:
        answer = formula(inputs)
        return replace(answer, doubt=2 * answer.total, ood_distance=3 * answer.total)

    asked, bare = replace(exam(3), predictor=with_both).answers(), exam(3).answers()
    np.testing.assert_allclose(asked.uncertainty(Uncertainty.DOUBT), 2 * bare.total, rtol=1e-6)
    np.testing.assert_allclose(asked.at(bare.place == 1).ood_distance, 3 * bare.total[bare.place == 1], rtol=1e-6)
    assert asked.uncertainties == tuple(Uncertainty)
    assert {*Uncertainty} - {*bare.uncertainties} == {Uncertainty.DOUBT, Uncertainty.DISTANCE}


def test_answers_of_different_places_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="different places"):
        join([random_answers(5), random_answers(5, places=2)])


def test_common_pixels_are_those_that_every_view_has() -> None:
    both, s2, s1 = in_common([exam(3).answers(view) for view in (as_given, only(Modality.S2), only(Modality.S1))])
    assert len(both) > 800
    for view in (s2, s1):
        np.testing.assert_array_equal(view.sample, both.sample)
        np.testing.assert_array_equal(view.position, both.position)
    assert both.position[:, 0].min() == 2
    assert both.position[:, 1].min() == 2


@pytest.mark.parametrize("view", [as_given, clouded, speckled, only(Modality.S1), corrupted(Corruption.NODATA, 3)])
def test_values_are_0_where_a_view_shows_nothing(view: View) -> None:
    shown = view(inputs_of(landscape(), BandChoice()), torch.Generator().manual_seed(3)).inputs
    assert not shown.s2[(shown.s2_valid == 0).expand_as(shown.s2)].any()
    assert not shown.s1[(shown.s1_valid == 0).expand_as(shown.s1)].any()


def test_clouds_are_on_sentinel_2_alone_and_are_marked() -> None:
    inputs = inputs_of(landscape(), BandChoice())
    shown = clouded(inputs, torch.Generator().manual_seed(2))
    assert not shown.inputs.s1_valid.any()
    change = (shown.inputs.s2 - inputs.s2).mean(dim=1, keepdim=True)
    seen = inputs.s2_valid > 0
    assert 0.1 < shown.spoiled.float().mean() < 0.6
    assert change[seen & shown.spoiled].mean() > 0.2
    assert change[seen & shown.spoiled].mean() > 3 * change[seen & ~shown.spoiled].mean()


def test_speckle_is_on_sentinel_1_alone_and_everywhere() -> None:
    inputs = inputs_of(landscape(), BandChoice())
    shown = speckled(inputs, torch.Generator().manual_seed(1))
    assert not shown.inputs.s2_valid.any()
    assert shown.spoiled.all()
    power = 10 ** ((shown.inputs.s1 - inputs.s1)[:, :, :, 2:] / 10)
    assert power.mean() == pytest.approx(1, abs=0.1)
    assert power.var() == pytest.approx(1, abs=0.3)
