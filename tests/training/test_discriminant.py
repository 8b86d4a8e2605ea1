"""The probe in closed form: what is summed, and what is solved."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from contract.errors import TrainingStopped
from tests.training.examples import (
    LEGEND,
    UNCHANGED,
    coloured,
    cpu,
    encoder,
    inputs,
    model_config,
    pool,
    read_outs,
    worn,
)
from training.data.chips import Batch, ChipDataset, Chips, Cut
from training.data.sample import BandChoice, Sample
from training.discriminant import Gathered, Moments, fit_probe, gather, solve
from training.losses.classification import IGNORED
from training.missing import STEP, ReadOut
from training.models.latents import Latents
from training.models.mapping import MappingModel
from training.probe import ProbeConfig, augmented_view
from training.run import Run
from training.tensors import Inputs

CHIPS = 4
CONFIG = ProbeConfig(chips=CHIPS, chip_px=16, augment=UNCHANGED)
ONES = torch.ones(3)
SAMPLES = [coloured(index) for index in range(6)]
S2, S1 = [0, 1, 2, 3, 6, 7], [4, 5, 8]
"""Raw features of each sensor."""


def changed(**fields: object) -> ProbeConfig:
    return ProbeConfig.model_validate({**CONFIG.model_dump(), **fields})


def model(*, variational: bool = True) -> MappingModel:
    torch.manual_seed(0)
    return MappingModel(worn(encoder(model_config(blocks=(1, 0, 0), variational=variational))), LEGEND).eval()


def batches(samples: Sequence[Sample] = SAMPLES, steps: int = 20) -> Iterator[Batch]:
    items = ChipDataset(pool(samples), Cut(chip_px=16), bands=BandChoice(), legend=LEGEND, seed=1, length=steps * CHIPS)
    for step in range(steps):
        chips = [items[step * CHIPS + index] for index in range(CHIPS)]
        yield {name: torch.stack([chip[name] for chip in chips]) for name in chips[0]}


def summed(made: MappingModel, chips: Iterator[Batch], places: Sequence[int], config: ProbeConfig = CONFIG) -> Gathered:
    return gather(cpu(), made, chips, config, Run(seed=0), places)


def fitted(made: MappingModel, config: ProbeConfig = CONFIG) -> list[ReadOut]:
    """The probes in closed form on all samples, which the model takes over."""
    found = summed(made, batches(), range(6), config)
    fit_probe(made, found, torch.ones(6), config, ONES)
    return [solve(moments, torch.ones(6), config, ONES) for moments in found.of_set]


def alone(seen: Inputs, number: int) -> Inputs:
    """What a set of sensors sees."""
    hidden = ((), ("s1", "s1_valid"), ("s2", "s2_valid"))[number]
    return replace(seen, **{name: torch.zeros_like(getattr(seen, name)) for name in hidden})


# --- the closed form --------------------------------------------------------------------------------------------------


ROWS, CLASSES, PLACES = 600, 3, 4


def drawn_rows(apart: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, 5) that are correlated and of other scales each, with classes and places."""
    random = np.random.default_rng(0)
    classes = random.choice(CLASSES, ROWS, p=[0.6, 0.3, 0.1])
    centres = apart * random.normal(size=(CLASSES, 5))
    rows = (centres[classes] + random.normal(size=(ROWS, 5))) @ random.normal(size=(5, 5))
    return rows * [1, 20, 0.1, 3, 1] + [5, -300, 0, 2, 1], classes, random.integers(0, PLACES, ROWS)


def moments_of(rows: np.ndarray, classes: np.ndarray, places: np.ndarray, count: int = CLASSES) -> Moments:
    parts = [[rows[(places == place) & (classes == each)] for each in range(count)] for place in range(PLACES)]
    of_place = [rows[places == place] for place in range(PLACES)]
    return Moments(
        counts=torch.tensor([[float(len(part)) for part in place] for place in parts], dtype=torch.float64),
        sums=torch.from_numpy(np.array([[part.sum(axis=0) for part in place] for place in parts])),
        squares=torch.from_numpy(np.array([part.T @ part for part in of_place])),
    )


def probabilities(found: ReadOut, rows: np.ndarray) -> np.ndarray:
    return softmax(rows @ found.weight.numpy().T + found.bias.numpy(), axis=1)


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 0.7])
def test_it_is_linear_discriminant_analysis_of_features_of_one_scale(shrinkage: float) -> None:
    rows, classes, places = drawn_rows()
    scale = rows.std(axis=0)
    library = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(rows / scale, classes)
    found = solve(moments_of(rows, classes, places), torch.ones(PLACES), changed(shrinkage=shrinkage), ONES)
    np.testing.assert_allclose(probabilities(found, rows), library.predict_proba(rows / scale), rtol=1e-4, atol=1e-6)


def test_places_count_as_often_as_they_were_drawn() -> None:
    rows, classes, places = drawn_rows()
    often = np.array([2, 0, 1, 1])
    again = np.repeat(np.arange(ROWS), often[places])
    scale = rows[again].std(axis=0)
    library = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(rows[again] / scale, classes[again])
    found = solve(moments_of(rows, classes, places), torch.from_numpy(often), CONFIG, ONES)
    np.testing.assert_allclose(probabilities(found, rows), library.predict_proba(rows / scale), rtol=1e-4, atol=1e-6)


def test_weights_of_classes_are_factors_on_their_shares() -> None:
    rows, classes, places = drawn_rows()
    moments, weights = moments_of(rows, classes, places), torch.tensor([0.5, 1.0, 4.0])
    plain, weighed = (solve(moments, torch.ones(PLACES), CONFIG, each) for each in (ONES, weights))
    expected = probabilities(plain, rows) * weights.numpy()
    np.testing.assert_allclose(probabilities(weighed, rows), expected / expected.sum(axis=1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("apart", [1.0, 30.0])
def test_a_class_without_pixels_is_all_but_never_said(apart: float) -> None:
    """Not even in the middle between classes, however far they are apart."""
    rows, classes, places = drawn_rows(apart)
    found = solve(moments_of(rows, classes, places, 4), torch.ones(PLACES), CONFIG, torch.tensor([1.0, 1.0, 1.0, 0.0]))
    asked = np.concatenate([rows, rows.mean(axis=0)[None], rows[:300] / 2 + rows[300:] / 2])
    assert probabilities(found, asked)[:, 3].max() < 1e-3


def test_a_feature_whose_embedding_varies_is_trusted_less() -> None:
    rows, classes, places = drawn_rows()
    twins = np.concatenate([rows, rows[:, :1] + np.random.default_rng(1).normal(0, 0.1, (ROWS, 1))], axis=1)
    moments = moments_of(twins, classes, places)
    varied = moments.squares.clone()
    varied[:, 0, 0] += 100 * moments.counts.sum(dim=1)
    config = changed(shrinkage=0.01)
    before, after = (
        solve(each, torch.ones(PLACES), config, ONES).weight for each in (moments, replace(moments, squares=varied))
    )
    assert (after[:, 0].abs() < 0.2 * before[:, 0].abs()).all()


# --- what is summed ---------------------------------------------------------------------------------------------------


def with_gaps() -> Batch:
    """Labels on a part; of a chip, Sentinel-1 has seen nothing, and of another, Sentinel-2 only a half."""
    batch = next(batches())
    batch["target"][:, :5] = IGNORED
    for name in ("s1", "s1_valid"):
        batch[name][0] = 0
    for name in ("s2", "s2_valid"):
        batch[name][1, :, :, 7:] = 0
    return batch


def view_of(batch: Batch, number: int) -> tuple[Inputs, torch.Tensor]:
    """What a set of sensors sees of the first batch, as `gather` turns it, and the class of each location."""
    view, target = augmented_view(Chips.of(batch), UNCHANGED, Run(seed=0).generator(0, cpu()))
    return alone(view, number), target[:, ::2, ::2]


def read_of(made: MappingModel, view: Inputs) -> torch.Tensor:
    """What a probe reads at each location, (N, h, w, D)."""
    raw = made.raw(view)
    around = torch.nn.functional.interpolate(made.surroundings(raw, view), size=(8, 8), mode="bilinear")
    mean = made.encoder(view, made.expert_weights).mean
    return torch.cat([mean, raw[..., ::2, ::2], around], dim=1).permute(0, 2, 3, 1)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("variational", [True, False], ids=["sigma on", "sigma off"])
@torch.no_grad()
def test_moments_are_of_the_labelled_locations_that_a_set_of_sensors_sees_with_the_variance_of_the_embedding(
    *, variational: bool, number: int
) -> None:
    made = model(variational=variational)
    made.expert_weights.copy_(torch.tensor([1.3, 0.4]))
    batch = with_gaps()
    found = summed(made, iter([batch]), range(6)).of_set[number]
    view, target = view_of(batch, number)
    expert = made.encoder(view, made.expert_weights)
    known = (target != IGNORED) & ((view.s2_valid + view.s1_valid)[:, 0, ::2, ::2] > 0)
    rows, classes = read_of(made, view)[known].double().numpy(), target[known].numpy()
    np.testing.assert_array_equal(found.counts.sum(dim=0), np.bincount(classes, minlength=3))
    np.testing.assert_allclose(
        found.sums.sum(dim=0), [rows[classes == each].sum(axis=0) for each in range(3)], rtol=1e-5, atol=1e-4
    )
    variance = np.zeros(rows.shape[1])
    variance[:6] = expert.variance.permute(0, 2, 3, 1)[known].double().sum(dim=0) if variational else 0
    np.testing.assert_allclose(found.squares.sum(dim=0), rows.T @ rows + np.diag(variance), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("number", [1, 2])
def test_moments_of_one_sensor_alone_are_those_of_chips_that_no_other_has_seen(number: int) -> None:
    made, batch = model(), with_gaps()
    hidden = ((), ("s1", "s1_valid"), ("s2", "s2_valid"))[number]
    blind = {name: torch.zeros_like(plane) if name in hidden else plane for name, plane in batch.items()}
    whole, half = (summed(made, iter([each]), range(6)).of_set for each in (batch, blind))
    for plane in fields(Moments):
        expected = getattr(whole[number], plane.name)
        for same in (half[0], half[number]):
            torch.testing.assert_close(getattr(same, plane.name), expected)
        assert not torch.equal(expected, getattr(whole[0], plane.name))
        assert not getattr(half[3 - number], plane.name).any()


@torch.no_grad()
def test_views_are_of_some_locations_that_both_sensors_see() -> None:
    made, batch = model(), with_gaps()
    found = summed(made, iter([batch]), [3, 1, 0, 2, 4, 5]).views
    (view, _), *_ = views = [view_of(batch, number) for number in range(3)]
    seen = (view.s2_valid * view.s1_valid)[:, 0, ::2, ::2].flatten(1)[:, ::STEP] > 0
    assert 0 < seen[1:].sum() < seen[1:].numel()
    rows = [read_of(made, each).flatten(1, 2)[:, ::STEP][seen] for each, _ in views]
    torch.testing.assert_close(found.features, torch.stack(rows, dim=1))
    places = torch.tensor([3, 1, 0, 2, 4, 5])[batch["image"]]
    assert found.place.tolist() == places[seen.nonzero()[:, 0]].tolist()


def test_moments_of_places_add_up() -> None:
    made = model()
    three, one = (summed(made, batches(), places).of_set for places in ([0, 1, 2, 0, 1, 2], [0] * 6))
    for of_three, of_one in zip(three, one, strict=True):
        assert len(of_three.counts) == 3
        for name in ("counts", "sums", "squares"):
            torch.testing.assert_close(getattr(of_three, name).sum(dim=0), getattr(of_one, name)[0])


def test_a_place_that_was_not_drawn_leaves_no_trace() -> None:
    made = model()
    chips = list(batches())
    last = [{**chip, "image": torch.full_like(chip["image"], 5)} for chip in batches(SAMPLES[5:], steps=4)]
    others = [{**chip, "image": chip["image"] % 5} for chip in chips]
    twin = model()
    fit_probe(made, summed(made, iter(others + last), range(6)), torch.tensor([1, 1, 1, 1, 1, 0]) > 0, CONFIG, ONES)
    fit_probe(twin, summed(twin, iter(others), range(5)), torch.ones(5), CONFIG, ONES)
    planes = twin.state_dict()
    for name, plane in made.state_dict().items():
        torch.testing.assert_close(plane, planes[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("beside", ["nothing", "pixel", "surroundings"])
@torch.no_grad()
def test_a_sensor_that_no_labelled_chip_has_is_read_alone_as_beside_the_other(beside: str) -> None:
    made, config = model(), changed(beside=beside)
    blind = [{**chip, **{name: torch.zeros_like(chip[name]) for name in ("s1", "s1_valid")}} for chip in batches()]
    fit_probe(made, summed(made, iter(blind), range(6), config), torch.ones(6), config, ONES)
    assert all(plane.isfinite().all() for plane in made.state_dict().values())
    both, s2, s1 = made.on_embedding.weight.chunk(3)
    torch.testing.assert_close(s2, both)
    assert torch.equal(s1, both)
    assert not made.missing.any()
    chips = alone(inputs(1, 16, 24), 1)
    assert made(chips).probabilities.std() > 0.01


def test_two_runs_agree_to_the_last_bit() -> None:
    for first, second in zip(fitted(model()), fitted(model()), strict=True):
        assert torch.equal(first.weight, second.weight)
        assert torch.equal(first.bias, second.bias)


def test_gathering_ends_where_someone_asks() -> None:
    watched: list[int] = []
    run = Run(seed=0, watch=lambda step, _terms: watched.append(step), stop=lambda: len(watched) == 2)
    with pytest.raises(TrainingStopped):
        gather(cpu(), model(), batches(), CONFIG, run, range(6))
    assert watched == [0, 1]


# --- the probe --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def accuracy(made: MappingModel) -> float:
    """On chips of samples that were not learnt from."""
    right = []
    for batch in batches([coloured(index) for index in range(20, 26)], steps=3):
        chips = Chips.of(batch)
        right.append(made(chips.inputs).probabilities.argmax(dim=1) == chips.target)
    return float(torch.cat(right).float().mean())


@pytest.mark.parametrize("beside", ["pixel", "surroundings"])
def test_a_probe_tells_classes_by_the_colour_of_the_pixel(beside: str) -> None:
    made = model()
    fitted(made, changed(beside=beside))
    assert accuracy(made) > 0.9


@pytest.mark.parametrize(("beside", "read"), [("nothing", 1), ("pixel", 2), ("surroundings", 3)])
def test_what_the_probe_is_not_to_read_has_no_weight(beside: str, read: int) -> None:
    made = model()
    fitted(made, changed(beside=beside))
    assert [bool(part.weight.any()) for part in read_outs(made)] == [place < read for place in range(3)]


@pytest.mark.parametrize("beside", ["nothing", "pixel", "surroundings"])
def test_each_set_of_sensors_has_a_probe_of_its_own(beside: str) -> None:
    made = model()
    found = fitted(made, changed(beside=beside))
    of_embedding, of_surroundings = (
        part.weight[:, :, 0, 0].reshape(3, 3, -1) for part in (made.on_embedding, made.on_surroundings)
    )
    weight = torch.cat([of_embedding, made.on_raw_of_sets(), of_surroundings], dim=2)
    for number, each in enumerate(found):
        read = each.weight.shape[1]
        torch.testing.assert_close(weight[number, :, :read], each.weight.float())
        assert not weight[number, :, read:].any()
        torch.testing.assert_close(made.on_embedding.bias[3 * number : 3 * number + 3], each.bias.float())


@torch.no_grad()
def test_what_is_missing_is_what_the_fitted_probes_disagree_on_at_the_places_that_count() -> None:
    made, drawn = model(), torch.tensor([1, 0, 2, 1, 1, 0])
    found = summed(made, batches(), range(6))
    fit_probe(made, found, drawn, CONFIG, ONES)
    probes = [solve(moments, drawn, CONFIG, ONES) for moments in found.of_set]
    rows = found.views.features.double().numpy()
    logits = [rows[:, number] @ each.weight.numpy().T + each.bias.numpy() for number, each in enumerate(probes)]
    often = drawn[found.views.place].numpy()
    assert {*np.unique(often)} == {0, 1, 2}
    for number in range(3):
        apart = logits[0] - logits[number]
        apart -= apart.mean(axis=1, keepdims=True)
        expected = np.einsum("r,rk,rl->kl", often / often.sum(), apart, apart)
        assert expected.any() == (number > 0)
        np.testing.assert_allclose(made.missing[number], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("number", "other"), [(1, S1), (2, S2)])
@torch.no_grad()
def test_the_probe_of_one_sensor_reads_nothing_that_the_other_shows(number: int, other: list[int]) -> None:
    made = model()
    raw = fitted(made)[number].weight[:, 6:15]
    of_classes, around = (
        slice(3 * number, 3 * number + 3),
        [9 * part + channel for part in range(4) for channel in other],
    )
    slopes = made.raw_noise.log_scale.weight[number]
    whitening = made.usual_ground[number].whitening.mT
    for plane in (made.on_surroundings.weight[of_classes].transpose(0, 1), slopes, whitening.transpose(0, 2)[0]):
        assert plane.any()
        assert not plane[around].any()
    assert raw.any()
    assert not raw[:, other].any()


@pytest.mark.parametrize("number", [1, 2])
@torch.no_grad()
def test_ground_that_one_sensor_sees_is_mapped_without_what_the_other_shows_beside_it(number: int) -> None:
    made = model()
    fitted(made)
    chips = inputs(1, 48, 64)
    other, valid = ((chips.s1, chips.s1_valid), (chips.s2, chips.s2_valid))[number - 1]
    other[..., 32:], valid[..., 32:] = 0, 0
    before = made(chips)
    other[..., :32] *= 1.5
    after = made(chips)
    for plane in ("probabilities", "total", "embedding"):
        first, second = getattr(before, plane), getattr(after, plane)
        assert torch.equal(first[..., 36:], second[..., 36:])  # closer, locations are interpolated
        assert not torch.equal(first[..., 24:32], second[..., 24:32])


def test_usual_surroundings_are_those_of_the_places_that_count() -> None:
    made = model()
    found = summed(made, batches(), range(6))
    fit_probe(made, found, torch.tensor([1, 0, 2, 1, 1, 0]), CONFIG, ONES)
    counted = [0, 2, 2, 3, 4]
    for usual, moments in zip(made.usual_ground, found.of_set, strict=True):
        total = moments.counts[counted].sum()
        mean = moments.sums[counted].sum(dim=(0, 1)) / total
        covariance = moments.squares[counted].sum(dim=0) / total - torch.outer(mean, mean)
        expected = Latents(36)
        expected.fit(mean[15:], covariance[15:, 15:], shrinkage=0.1)
        torch.testing.assert_close(usual.mean, expected.mean)
        torch.testing.assert_close(usual.whitening, expected.whitening, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("beside", ["nothing", "pixel"])
@torch.no_grad()
def test_a_probe_that_reads_no_surroundings_is_at_home_everywhere(beside: str) -> None:
    made = model()
    fitted(made, changed(beside=beside))
    assert not any(usual.distance(torch.randn(1, 36, 5, 7)).any() for usual in made.usual_ground)


@pytest.mark.parametrize(("beside", "open_"), [("nothing", False), ("pixel", True), ("surroundings", True)])
def test_what_the_probe_reads_beside_the_embedding_has_noise(beside: str, *, open_: bool) -> None:
    made = model()
    fitted(made, changed(beside=beside))
    assert [bool(covariance.any()) for covariance in made.raw_noise.covariance] == [open_] * 3


def test_the_encoder_stays_as_it_is_to_the_last_bit() -> None:
    made = model()
    before = {name: plane.clone() for name, plane in made.encoder.state_dict().items()}
    fitted(made)
    assert all(torch.equal(plane, before[name]) for name, plane in made.encoder.state_dict().items())
