"""The mapping model: read-out, calibration, and chips that join."""

from copy import deepcopy
from dataclasses import fields, replace
from itertools import chain

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch.nn import functional

from contract.bands import Modality
from contract.bundle import Calibration, Temperature
from tests.training.examples import LEGEND, encoder, inputs, model_config, worn
from training.models.expert import Expert
from training.models.latents import Latents
from training.models.layers import upsample
from training.models.mapping import USUAL, MappingModel, at_pixels
from training.models.raw import raw_features
from training.models.sensor_sets import SENSOR_SETS, shown_to
from training.tensors import Inputs, Prediction

CLEAR = torch.ones(2, 1, 12, 20)
"""Of two chips of 24 x 40 px, in all of which Sentinel-2 is believed."""
TEMPERATURES = np.array([1.7, 2.3, 1.1], np.float32)
CALIBRATION = Calibration(
    temperature=Temperature(both=1.7, s2_alone=2.3, s1_alone=1.1),
    variance_scale=0.4,
    expert_weights={Modality.S1: 0.3, Modality.S2: 1.2},
)


@pytest.fixture
def model() -> MappingModel:
    torch.manual_seed(2)
    made = worn(MappingModel(encoder(model_config(blocks=(0, 1, 0))), LEGEND)).eval()
    made.on_embedding.weight.data.mul_(3)
    made.doubt, made.latents = made.new_doubt(), Latents(made.encoder.config.latent)
    return made


def cut(batch: Inputs | Prediction, rows: slice, columns: slice) -> Inputs:
    return replace(batch, **{plane.name: getattr(batch, plane.name)[..., rows, columns] for plane in fields(batch)})


def seen_in_parts(chips: Inputs) -> Inputs:
    """Of ground that is 40 px wide, Sentinel-1 alone has seen the left, Sentinel-2 alone the right, and both the middle."""
    for plane in (chips.s2, chips.s2_valid):
        plane[..., :13] = 0
    for plane in (chips.s1, chips.s1_valid):
        plane[..., 25:] = 0
    return chips


def set_numbers(chips: Inputs, stride: int = 1) -> np.ndarray:
    """Which set has seen each location, one pixel of which is enough, (N, h, w)."""
    s2, s1 = (functional.max_pool2d(valid, stride)[:, 0].numpy() > 0 for valid in (chips.s2_valid, chips.s1_valid))
    return np.where(s2 & s1, 0, np.where(s2, 1, 2))


def of_sets(parts: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """At each location the part of its set, (N, S, C, h, w) -> (N, C, h, w)."""
    return np.take_along_axis(parts, numbers[:, None, None], axis=1)[:, 0]


@pytest.fixture
def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentinel-2 is, whatever its variance."""
    monkeypatch.setattr("training.models.mapping.DOUBTFUL", np.inf)


def by_set(plane: torch.nn.Conv2d) -> np.ndarray:
    """Weights of each set, (S, K, D)."""
    return plane.weight.double().numpy().reshape(3, 3, -1)


def make_noisy(model: MappingModel) -> None:
    """Each set has a covariance of its own, which surroundings scale."""
    generator = torch.Generator().manual_seed(6)
    root = torch.randn(model.raw_noise.covariance.shape, generator=generator)
    model.raw_noise.covariance.copy_(root @ root.mT)
    model.raw_noise.log_scale.weight.normal_(0, 0.2, generator=generator)


def make_missing(model: MappingModel) -> None:
    """Each sensor alone leaves something open, and both nothing."""
    root = torch.randn(model.missing.shape, generator=torch.Generator().manual_seed(7))
    model.missing.copy_(root @ root.mT)
    model.missing[0] = 0


def with_gaps(chips: Inputs) -> Inputs:
    for plane in (chips.s2, chips.s2_valid):
        plane[..., 40:70, 30:58] = 0
    for plane in (chips.s1, chips.s1_valid):
        plane[..., 55:99, 50:] = 0
    return chips


@torch.no_grad()
def test_chips_with_a_halo_give_the_values_of_the_whole_image(model: MappingModel) -> None:
    for number, usual in enumerate(model.usual_ground):
        usual.whitening.copy_((0.4 + 0.1 * number) * torch.eye(36)[:, :, None, None])
    make_noisy(model)
    make_missing(model)
    image = with_gaps(inputs(1, 160, 144))
    halo = -(-model.radius_px // 8) * 8
    whole = model(image)
    chips = 0
    for row in range(halo, 160 - halo - 16 + 1, 16):
        for column in range(halo, 144 - halo - 8 + 1, 8):
            rows, columns = slice(row - halo, row + 16 + halo), slice(column - halo, column + 8 + halo)
            made = cut(model(cut(image, rows, columns)), slice(halo, halo + 16), slice(halo, halo + 8))
            expected = cut(whole, slice(row, row + 16), slice(column, column + 8))
            for plane in fields(made):
                torch.testing.assert_close(
                    getattr(made, plane.name), getattr(expected, plane.name), rtol=1e-4, atol=1e-5
                )
            chips += 1
    assert chips > 8


@torch.no_grad()
def test_without_a_halo_they_do_not(model: MappingModel) -> None:
    image = inputs(1, 96, 80)
    inside = slice(32, 64)
    alone, whole = model(cut(image, inside, inside)), cut(model(image), inside, inside)
    assert (alone.probabilities - whole.probabilities).abs().max() > 1e-3


@torch.no_grad()
def test_logits_are_linear_in_what_the_sensors_of_a_pixel_see_without_what_their_classes_share(
    model: MappingModel,
) -> None:
    chips = seen_in_parts(inputs(2, 24, 40))
    expert = model.encoder(chips, torch.ones(2))
    raw = raw_features(chips, model.encoder.bands, model.encoder.standardise_s2, model.encoder.standardise_s1)
    weight = by_set(model.on_embedding)
    weight = weight - weight.mean(axis=1, keepdims=True)
    on_embedding = np.einsum("skd,ndhw->nskhw", weight, expert.mean)
    on_embedding += model.on_embedding.bias.numpy().reshape(3, 3, 1, 1)
    both, alone = np.split(model.on_raw.weight.numpy()[:, :, 0, 0], 2, axis=1)
    on_raw = np.einsum("skc,nchw->nskhw", np.stack([both, alone, alone]), raw)
    around = np.einsum("skc,nchw->nskhw", by_set(model.on_surroundings), model.surroundings(raw, chips))
    variance = np.einsum("skd,ndhw->nskhw", weight**2, expert.variance)
    at_locations, at_pixels_ = set_numbers(chips, 2), set_numbers(chips)
    assert {*np.unique(at_locations)} == {*np.unique(at_pixels_)} == {0, 1, 2}
    logits = model.read_out(chips, expert, CLEAR)
    of_locations = of_sets(on_embedding + _interpolated(around, 4), at_locations)
    np.testing.assert_allclose(
        logits.mean, _interpolated(of_locations) + of_sets(on_raw, at_pixels_), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(logits.variance, _interpolated(of_sets(variance, at_locations)), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.usefixtures("believed")
@torch.no_grad()
def test_what_is_fitted_for_other_sets_of_sensors_changes_nothing(model: MappingModel, number: int) -> None:
    make_noisy(model)
    make_missing(model)
    chips = shown_to(inputs(2, 24, 40), SENSOR_SETS[number])
    before = model(chips)
    others = [each for each in range(3) if each != number]
    parts = (model.on_embedding, model.on_surroundings, model.raw_noise.log_scale)
    planes = [parameter for part in parts for parameter in part.parameters()]
    for plane in (*planes, model.raw_noise.covariance, model.missing):
        of_each = plane.reshape(3, -1)
        of_each[others] += torch.randn(2, of_each.shape[1])
    both, s2, s1 = range(9), [9, 10, 11, 12, 15, 16], [13, 14, 17]
    channels = [*chain.from_iterable((both, s2, s1)[other] for other in others)]
    model.on_raw.weight[:, channels] += torch.randn(3, len(channels), 1, 1)
    for other in others:
        model.usual_ground[other].whitening.fill_(3)
    after = model(chips)
    for plane in fields(before):
        assert torch.equal(getattr(after, plane.name), getattr(before, plane.name))


def _interpolated(maps: np.ndarray, factor: int = 2) -> np.ndarray:
    """Linear interpolation between pixel centres, an axis at a time."""
    for axis in (maps.ndim - 2, maps.ndim - 1):
        size = maps.shape[axis]
        places = np.clip((np.arange(factor * size) + 0.5) / factor - 0.5, 0, size - 1)
        before = np.floor(places).astype(int)
        after, share = np.minimum(before + 1, size - 1), places - before
        share = share.reshape([-1 if each == axis else 1 for each in range(maps.ndim)])
        maps = maps.take(before, axis) * (1 - share) + maps.take(after, axis) * share
    return maps


@torch.no_grad()
def test_raw_features_of_one_sensor_weigh_nothing_where_the_other_is_alone(model: MappingModel) -> None:
    chips = inputs(2, 24, 40)
    for number, sensors in enumerate(SENSOR_SETS):
        shown = shown_to(chips, sensors)
        expected = np.einsum("kc,nchw->nkhw", model.on_raw_of_sets()[number], model.raw(chips))
        blank = torch.zeros(2, 6, 12, 20)
        for plane in (*model.on_embedding.parameters(), model.on_surroundings.weight):
            plane.zero_()
        made = model.read_out(shown, Expert(mean=blank, log_variance=blank), CLEAR).mean
        np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_sentinel_2_is_believed_beside_sentinel_1_as_far_as_its_variance_is_small(model: MappingModel) -> None:
    variance = torch.tensor([0.001, 0.25, 0.5, 50.0]).reshape(1, 1, 1, 4) * torch.tensor([0.5, 1.5]).reshape(1, 2, 1, 1)
    clear = model.clear(Expert(mean=variance, log_variance=variance.log()))
    np.testing.assert_allclose(clear[0, 0, 0], [1, 0.5, 0.2, 0], atol=1e-3)


@torch.no_grad()
def test_where_sentinel_2_is_not_believed_raw_bands_are_read_as_of_sentinel_1_alone(model: MappingModel) -> None:
    chips, expert = inputs(2, 24, 40), model.encoder(inputs(2, 24, 40), torch.ones(2))
    model.on_surroundings.weight.zero_()  # of another sensor, what is fitted has no weight
    share = torch.linspace(0, 1, 20).expand(2, 1, 12, 20)
    together, radar = (model.read_out(shown_to(chips, sensors), expert, CLEAR).mean for sensors in SENSOR_SETS[::2])
    made = model.read_out(chips, expert, share).mean
    by_pixel = upsample(share, 2)
    torch.testing.assert_close(model.read_out(chips, expert, 0 * CLEAR).mean, radar)
    inside = slice(2, -2)  # products of two interpolations differ where one of them ends
    expected = together * by_pixel + radar * (1 - by_pixel)
    torch.testing.assert_close(made[..., inside], expected[..., inside], rtol=0.05, atol=0.05)


@torch.no_grad()
def test_without_sentinel_1_sentinel_2_is_what_there_is(model: MappingModel) -> None:
    chips = shown_to(inputs(2, 24, 40), SENSOR_SETS[1])
    expert = model.encoder(chips, torch.ones(2))
    assert torch.equal(model.read_out(chips, expert, 0 * CLEAR).mean, model.read_out(chips, expert, CLEAR).mean)


@torch.no_grad()
def test_noise_of_raw_bands_adds_to_the_variance_of_logits(model: MappingModel) -> None:
    chips = seen_in_parts(inputs(2, 24, 40))
    expert = model.encoder(chips, torch.ones(2))
    before = model.read_out(chips, expert, CLEAR).variance
    make_noisy(model)
    scale = model.raw_noise.scale(model.surroundings(model.raw(chips), chips)).numpy()
    variance = np.einsum("skk->sk", model.raw_noise.covariance)[:, :, None, None] * _interpolated(scale, 4)[:, :, None]
    expected = _interpolated(of_sets(variance, set_numbers(chips, 2)))
    np.testing.assert_allclose(model.read_out(chips, expert, CLEAR).variance - before, expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_contrasts_are_of_the_embedding_of_noise_and_of_what_is_missing(model: MappingModel) -> None:
    """Quadratic forms of the three covariances together, those of the sensors that see a location."""
    chips = seen_in_parts(inputs(2, 24, 40))
    make_noisy(model)
    make_missing(model)
    model.calibrate(CALIBRATION)
    expert = model.encoder(chips, model.expert_weights)
    numbers = set_numbers(chips, 2)
    p = softmax(np.random.default_rng(5).normal(size=(2, 3, 12, 20)), axis=1)
    weight = by_set(model.on_embedding)[numbers]  # (N, h, w, K, d)
    scale = model.raw_noise.scale(model.surroundings(model.raw(chips), chips)).numpy()
    scale = of_sets(_interpolated(scale, 4)[:, :, None], numbers)[:, 0, :, :, None, None]
    covariance = np.einsum("nhwkd,ndhw,nhwld->nhwkl", weight, expert.variance, weight)
    covariance += scale * model.raw_noise.covariance.numpy()[numbers] + model.missing.numpy()[numbers]
    less = np.eye(3) - np.moveaxis(p, 1, -1)[..., None, :]
    expected = np.einsum("nhwck,nhwkl,nhwcl->nchw", less, covariance, less) * 0.4 / TEMPERATURES[numbers[:, None]] ** 2
    made = model.contrast(torch.from_numpy(p).float(), chips, expert, CLEAR)
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.usefixtures("believed")
@torch.no_grad()
def test_what_a_missing_sensor_leaves_open_is_due_to_the_input_and_changes_no_probability(model: MappingModel) -> None:
    chips = seen_in_parts(inputs(2, 24, 40))
    before, of_logits = model(chips), model.logits(chips)[0].variance
    make_missing(model)
    after = model(chips)
    assert torch.equal(model.logits(chips)[0].variance, of_logits)
    assert torch.equal(after.probabilities, before.probabilities)
    assert torch.equal(after.total, before.total)
    radar, both, optical = slice(12), slice(13, 25), slice(26, None)  # between, they are interpolated
    for alone in (radar, optical):
        assert (after.embedding[..., alone] > before.embedding[..., alone]).all()
    assert torch.equal(after.embedding[..., both], before.embedding[..., both])


@torch.no_grad()
def test_logits_shrink_with_the_square_of_how_far_surroundings_are_from_what_is_usual(model: MappingModel) -> None:
    chips = inputs(2, 24, 40)
    chips.s1[..., 16:] += 30
    chips = seen_in_parts(chips)
    expert = model.encoder(chips, torch.ones(2))
    plain = model.read_out(chips, expert, CLEAR)
    steps, levels = np.array([0.15, 0.2, 0.25]), np.array([0.1, -0.1, 0.3])
    for usual, step, level in zip(model.usual_ground, steps, levels, strict=True):
        usual.whitening.copy_(step * torch.eye(36)[:, :, None, None])
        usual.mean.fill_(level)
    strange = model.read_out(chips, expert, CLEAR)
    around = model.surroundings(model.raw(chips), chips).numpy()
    apart = around[:, None] - levels[:, None, None, None]  # (N, S, C, h, w)
    of_each = steps[:, None, None, None] * np.linalg.norm(apart, axis=2, keepdims=True)
    distance = _interpolated(of_sets(_interpolated(of_each, 4), set_numbers(chips, 2))) / USUAL
    assert distance.min() < 1 < distance.max()
    np.testing.assert_allclose(strange.mean, plain.mean.numpy() / np.maximum(distance, 1) ** 2, rtol=1e-4, atol=1e-5)
    assert torch.equal(strange.variance, plain.variance)


@torch.no_grad()
def test_a_prediction_is_a_distribution_whose_variances_add_up(model: MappingModel) -> None:
    answer = model(with_gaps(inputs(2, 104, 88)))
    assert answer.probabilities.shape == (2, 3, 104, 88)
    torch.testing.assert_close(answer.probabilities.sum(dim=1), torch.ones(2, 104, 88))
    torch.testing.assert_close(answer.total, (answer.probabilities * (1 - answer.probabilities)).sum(dim=1))
    torch.testing.assert_close(answer.aleatoric + answer.embedding, answer.total)
    for plane in (answer.aleatoric, answer.embedding):
        assert plane.min() >= 0
        assert plane.max() <= 1 - 1 / 3


@torch.no_grad()
def test_beside_certain_pixels_single_precision_says_what_double_does(model: MappingModel) -> None:
    chips = inputs(1, 48, 48)
    chips.s2[:] = 0.1
    chips.s2[:, 0, :, :24] = torch.linspace(0.2, 0.3, 48)[:, None]
    band = model.raw(chips)[0, 0]
    model.on_surroundings.weight.zero_()
    # A margin of about 14 on the left, and none on the right.
    model.on_raw.weight.zero_()[0, 0] = 14 / (band[24, 0] - band[24, -1])
    model.on_embedding.bias.zero_()[0] = -model.on_raw.weight[0, 0, 0, 0] * band[24, -1]
    exact = deepcopy(model).double()(
        Inputs(**{each.name: getattr(chips, each.name).double() for each in fields(chips)})
    )
    certain, open_ = exact.total[..., :24], exact.total[..., 24:]
    assert ((certain > 1e-7) & (certain < 1e-5)).any()
    assert open_.median() > 0.1
    torch.testing.assert_close(model(chips).embedding.double(), exact.embedding, rtol=0, atol=1e-5)


@torch.no_grad()
def test_where_nothing_was_seen_the_latent_is_the_prior(model: MappingModel) -> None:
    chips = inputs(1, 24, 40)
    blind = Inputs(**{plane.name: torch.zeros_like(getattr(chips, plane.name)) for plane in fields(chips)})
    answer = model(blind)
    assert (answer.latent_variance == 1).all()
    assert (answer.embedding_norm == 0).all()


@torch.no_grad()
def test_an_offset_of_every_class_alike_changes_nothing(model: MappingModel) -> None:
    """Softmax does not see it, and its variance is not the map's. Each set of sensors can have its own."""
    chips = seen_in_parts(inputs(1, 24, 40))
    before = model(chips)
    model.on_embedding.weight += torch.randn(3, 6, 1, 1).repeat_interleave(3, dim=0)
    after = model(chips)
    torch.testing.assert_close(after.probabilities, before.probabilities, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.embedding, before.embedding, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("believed")
@torch.no_grad()
def test_calibration_scales_logits_variance_and_experts(model: MappingModel) -> None:
    """Each pixel has the temperature of the sensors that see it."""
    chips = seen_in_parts(inputs(1, 24, 40))
    weighed = model.encoder(chips, torch.tensor([1.2, 0.3]))
    uncalibrated = model.read_out(chips, weighed, model.clear(model.encoder.experts(chips)[0]))
    model.calibrate(CALIBRATION)
    logits, expert = model.logits(chips)
    torch.testing.assert_close(expert.mean, weighed.mean)
    temperature = torch.from_numpy(TEMPERATURES[set_numbers(chips)[:, None]])
    torch.testing.assert_close(logits.mean, uncalibrated.mean / temperature)
    torch.testing.assert_close(logits.variance, uncalibrated.variance * 0.4 / temperature**2)


@torch.no_grad()
def test_heads_vote_at_each_location_on_embedding_mean_raw_bands_and_surroundings(model: MappingModel) -> None:
    chips = inputs(2, 24, 40)
    expert = model.encoder(chips, torch.ones(2))
    raw = raw_features(chips, model.encoder.bands, model.encoder.standardise_s2, model.encoder.standardise_s1)
    around = _interpolated(model.surroundings(raw, chips).numpy(), 4)
    raw = raw.numpy().reshape(2, -1, 12, 2, 20, 2).mean(axis=(3, 5))
    of_embedding, of_raw = model.doubt.on_embedding.weight[:, :, 0, 0], model.doubt.on_raw.weight[:, :, 0, 0]
    of_around = model.doubt.on_surroundings.weight[:, :, 0, 0]
    expected = np.einsum("kd,ndhw->nkhw", of_embedding, expert.mean) + np.einsum("kc,nchw->nkhw", of_raw, raw)
    expected = expected + np.einsum("kc,nchw->nkhw", of_around, around)
    expected = expected + model.doubt.on_embedding.bias.numpy()[:, None, None]
    np.testing.assert_allclose(model.votes(model.doubt, chips, expert), expected, rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_doubt_and_distance_are_of_the_fused_embedding_at_pixels(model: MappingModel) -> None:
    chips = inputs(2, 24, 40)
    model.calibrate(CALIBRATION)
    answer, (_, expert) = model(chips), model.logits(chips)
    votes = model.votes(model.doubt, chips, expert) / 1.7
    doubt = _interpolated(model.doubt.mutual_information(votes).numpy())
    np.testing.assert_allclose(answer.doubt, doubt[:, 0], rtol=1e-3, atol=1e-6)
    distance = _interpolated(model.latents.distance(expert.mean).numpy())
    np.testing.assert_allclose(answer.ood_distance, distance[:, 0], rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_doubt_does_not_repeat_the_variance_of_the_embedding(model: MappingModel) -> None:
    chips = inputs(1, 24, 40)
    before = model(chips)
    model.variance_scale.fill_(9.0)
    after = model(chips)
    assert torch.equal(after.doubt, before.doubt)
    assert (after.embedding > 1.5 * before.embedding).all()


def test_what_is_not_fitted_is_not_said(model: MappingModel) -> None:
    model.doubt, model.latents = None, None
    answer = model(inputs(1, 24, 40))
    assert answer.doubt is None
    assert answer.ood_distance is None


def test_calibration_is_stored_with_the_weights(model: MappingModel) -> None:
    model.calibrate(CALIBRATION)
    twin = MappingModel(encoder(model_config(blocks=(0, 1, 0))), LEGEND)
    twin.doubt, twin.latents = twin.new_doubt(), Latents(twin.encoder.config.latent)
    twin.load_state_dict(model.state_dict())
    assert twin.temperature.tolist() == pytest.approx(TEMPERATURES.tolist())
    assert twin.variance_scale.item() == pytest.approx(0.4)
    assert twin.expert_weights.tolist() == pytest.approx([1.2, 0.3])


@torch.no_grad()
def test_the_variance_of_logits_of_one_probe_rises_when_a_sensor_is_missing(model: MappingModel) -> None:
    model.on_embedding.weight.copy_(model.on_embedding.weight[:3].repeat(3, 1, 1, 1))
    chips = inputs(2, 24, 40)
    radar = replace(chips, s2=torch.zeros_like(chips.s2), s2_valid=torch.zeros_like(chips.s2_valid))
    assert (model.logits(radar)[0].variance > model.logits(chips)[0].variance).all()


@torch.no_grad()
def test_without_sigma_the_same_model_maps_with_next_to_no_embedding_variance() -> None:
    torch.manual_seed(3)
    model = worn(MappingModel(encoder(model_config(variational=False)), LEGEND)).eval()
    answer = model(inputs(1, 24, 40))
    assert answer.total.mean() > 0.1
    assert answer.embedding.max() < 1e-3


@torch.no_grad()
def test_a_pixel_beside_unobserved_ground_takes_nothing_from_it() -> None:
    chips = inputs(1, 16, 24)
    for valid in (chips.s2_valid, chips.s1_valid):
        valid[..., 10:, :] = 0
        valid[..., :, :6] = 0
    known, prior = 3.0, 40.0
    locations = torch.full((1, 2, 8, 12), prior)
    locations[..., :5, 3:] = known
    made = at_pixels(locations, chips)
    torch.testing.assert_close(made[..., :10, 6:], torch.full((1, 2, 10, 18), known), rtol=0.01, atol=0)
    torch.testing.assert_close(made[..., 12:, :], torch.full((1, 2, 4, 24), prior))


@torch.no_grad()
def test_where_all_was_seen_pixels_are_interpolated() -> None:
    locations = torch.rand(1, 3, 8, 12)
    torch.testing.assert_close(at_pixels(locations, inputs(1, 16, 24)), upsample(locations, 2))
