"""The mapping model: read-out, calibration, and chips that join."""

from copy import deepcopy
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from contract.bands import Modality
from contract.bundle import Calibration
from tests.training.examples import LEGEND, encoder, inputs, model_config, worn
from training.models.latents import Latents
from training.models.layers import upsample
from training.models.mapping import USUAL, MappingModel, at_pixels
from training.models.raw import raw_features
from training.tensors import Inputs, Prediction

CALIBRATION = Calibration(temperature=1.7, variance_scale=0.4, expert_weights={Modality.S1: 0.3, Modality.S2: 1.2})


@pytest.fixture
def model() -> MappingModel:
    torch.manual_seed(2)
    made = worn(MappingModel(encoder(model_config(blocks=(0, 1, 0))), LEGEND)).eval()
    made.on_embedding.weight.data.mul_(3)
    made.doubt, made.latents = made.new_doubt(), Latents(made.encoder.config.latent)
    return made


def cut(batch: Inputs | Prediction, rows: slice, columns: slice) -> Inputs:
    return replace(batch, **{plane.name: getattr(batch, plane.name)[..., rows, columns] for plane in fields(batch)})


def with_gaps(chips: Inputs) -> Inputs:
    for plane in (chips.s2, chips.s2_valid):
        plane[..., 40:70, 30:58] = 0
    for plane in (chips.s1, chips.s1_valid):
        plane[..., 55:99, 50:] = 0
    return chips


@torch.no_grad()
def test_chips_with_a_halo_give_the_values_of_the_whole_image(model: MappingModel) -> None:
    model.usual.whitening.copy_(0.4 * torch.eye(36)[:, :, None, None])
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
def test_logits_are_linear_in_embedding_raw_bands_and_surroundings_without_what_classes_share(
    model: MappingModel,
) -> None:
    chips = inputs(2, 24, 40)
    expert = model.encoder(chips, torch.ones(2))
    raw = raw_features(chips, model.encoder.bands, model.encoder.standardise_s2, model.encoder.standardise_s1)
    weight = model.on_embedding.weight[:, :, 0, 0].double().numpy()
    weight = weight - weight.mean(axis=0)
    on_embedding = np.einsum("kd,ndhw->nkhw", weight, expert.mean.double())
    on_raw = np.einsum("kc,nchw->nkhw", model.on_raw.weight[:, :, 0, 0], raw) + model.on_raw.bias.numpy()[:, None, None]
    around = np.einsum("kc,nchw->nkhw", model.on_surroundings.weight[:, :, 0, 0], model.surroundings(raw, chips))
    variance = np.einsum("kd,ndhw->nkhw", weight**2, expert.variance.double())
    logits = model.read_out(chips, expert)
    np.testing.assert_allclose(
        logits.mean, _interpolated(on_embedding) + on_raw + _interpolated(around, 8), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(logits.variance, _interpolated(variance), rtol=1e-3, atol=1e-5)


def _interpolated(maps: np.ndarray, factor: int = 2) -> np.ndarray:
    """Linear interpolation between pixel centres, an axis at a time."""
    for axis in (2, 3):
        size = maps.shape[axis]
        places = np.clip((np.arange(factor * size) + 0.5) / factor - 0.5, 0, size - 1)
        before = np.floor(places).astype(int)
        after, share = np.minimum(before + 1, size - 1), places - before
        share = share.reshape([-1 if each == axis else 1 for each in range(4)])
        maps = maps.take(before, axis) * (1 - share) + maps.take(after, axis) * share
    return maps


@torch.no_grad()
def test_noise_of_raw_bands_adds_to_the_variance_of_logits_and_to_that_of_their_contrasts(model: MappingModel) -> None:
    chips = inputs(2, 24, 40)
    expert = model.encoder(chips, torch.ones(2))
    probabilities = torch.nn.functional.avg_pool2d(model(chips).probabilities, 2)
    before = model.read_out(chips, expert).variance, model.contrast(probabilities, chips, expert)
    model.raw_noise.covariance.copy_(torch.tensor([[2.0, -1.0, -1.0], [-1.0, 1.5, -0.5], [-1.0, -0.5, 1.5]]))
    model.raw_noise.log_scale.weight.normal_(0, 0.2)
    after = model.read_out(chips, expert).variance, model.contrast(probabilities, chips, expert)
    around = model.surroundings(model.raw(chips), chips)
    scale = _interpolated(model.raw_noise.scale(around).numpy(), 4)
    np.testing.assert_allclose(
        after[0] - before[0], _interpolated(scale) * np.reshape([2, 1.5, 1.5], (3, 1, 1)), rtol=1e-3, atol=1e-4
    )
    expected = model.raw_noise.contrast(probabilities).numpy() * scale
    np.testing.assert_allclose(after[1] - before[1], expected, rtol=1e-3, atol=1e-4)
    assert (model(chips).embedding > 0).all()


@torch.no_grad()
def test_logits_shrink_with_the_square_of_how_far_surroundings_are_from_what_is_usual(model: MappingModel) -> None:
    chips = inputs(2, 24, 40)
    chips.s1[..., 16:] += 30
    expert = model.encoder(chips, torch.ones(2))
    plain = model.read_out(chips, expert)
    model.usual.whitening.copy_(0.15 * torch.eye(36)[:, :, None, None])
    model.usual.mean.fill_(0.1)
    strange = model.read_out(chips, expert)
    around = model.surroundings(model.raw(chips), chips).numpy()
    distance = _interpolated(0.15 * np.linalg.norm(around - 0.1, axis=1, keepdims=True), 8)
    distance = distance / USUAL
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
    model.on_raw.bias.zero_()[0] = -model.on_raw.weight[0, 0, 0, 0] * band[24, -1]
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
    """Softmax does not see it, and its variance is not the map's."""
    chips = inputs(1, 24, 40)
    before = model(chips)
    model.on_embedding.weight += torch.randn(1, 6, 1, 1)
    after = model(chips)
    torch.testing.assert_close(after.probabilities, before.probabilities, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.embedding, before.embedding, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_calibration_scales_logits_variance_and_experts(model: MappingModel) -> None:
    chips = inputs(1, 24, 40)
    weighed = model.encoder(chips, torch.tensor([1.2, 0.3]))
    uncalibrated = model.read_out(chips, weighed)
    model.calibrate(CALIBRATION)
    logits, expert = model.logits(chips)
    torch.testing.assert_close(expert.mean, weighed.mean)
    torch.testing.assert_close(logits.mean, uncalibrated.mean / 1.7)
    torch.testing.assert_close(logits.variance, uncalibrated.variance * 0.4 / 1.7**2)


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
    expected = expected + model.doubt.on_raw.bias.numpy()[:, None, None]
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
    assert twin.temperature.item() == pytest.approx(1.7)
    assert twin.variance_scale.item() == pytest.approx(0.4)
    assert twin.expert_weights.tolist() == pytest.approx([1.2, 0.3])


@torch.no_grad()
def test_the_variance_of_logits_rises_when_a_sensor_is_missing(model: MappingModel) -> None:
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
