"""The encoder of both sensors and its fusion."""

from dataclasses import replace

import pytest
import torch

from contract.bands import Modality
from tests.training.examples import encoder, inputs, model_config, worn
from training.models.encoder import Encoder, without_sigma
from training.models.surroundings import SURROUNDINGS_RADIUS_PX

ONES = torch.ones(2)


@pytest.fixture(params=[True, False], ids=["sigma on", "sigma off"])
def any_encoder(request: pytest.FixtureRequest) -> Encoder:
    return worn(encoder(model_config(blocks=(1, 0, 0), variational=request.param)))


def test_chips_of_any_shape_give_embeddings_at_stride_2(any_encoder: Encoder) -> None:
    expert = any_encoder(inputs(2, 24, 40), ONES)
    assert expert.mean.shape == expert.log_variance.shape == (2, 6, 12, 20)


def test_the_radius_is_that_of_the_branch_that_sees_further() -> None:
    near, far = model_config(blocks=(0, 1, 0)), model_config(blocks=(0, 2, 1))
    mixed = encoder(near.model_copy(update={"s1": far.s1}))
    assert mixed.radius_px == encoder(far).radius_px > encoder(near).radius_px


def test_windows_of_radar_reach_further_than_a_shallow_branch() -> None:
    shallow = model_config(blocks=(0, 0, 0))
    assert encoder(shallow).radius_px == SURROUNDINGS_RADIUS_PX > encoder(shallow).s2.radius_px
    assert encoder(model_config(variational=False)).radius_px == encoder(shallow).s2.radius_px


def test_without_sigma_sensors_count_by_what_they_have_seen_alone() -> None:
    chips = inputs(1, 24, 40)
    chips.s2_valid[..., :8] = 0
    chips.s1_valid[..., 20:] = 0
    chips.s2_valid[..., 30:] = 0
    network = worn(encoder())
    s2, s1 = network.experts(chips)
    made = without_sigma((s2, s1), chips)
    torch.testing.assert_close(made[..., :4], s1.mean[..., :4])
    torch.testing.assert_close(made[..., 4:10], (s2.mean + s1.mean)[..., 4:10] / 2)
    torch.testing.assert_close(made[..., 10:15], s2.mean[..., 10:15])
    assert (made[..., 15:] == 0).all()


def test_a_pixel_that_no_sensor_saw_has_exactly_the_prior(any_encoder: Encoder) -> None:
    chips = inputs(1, 24, 40)
    for plane in (chips.s2, chips.s2_valid, chips.s1, chips.s1_valid):
        plane[..., 8:16, 8:24] = 0
    expert = any_encoder(chips, ONES)
    assert (expert.mean[..., 4:8, 4:12] == 0).all()
    assert (expert.variance[..., 4:8, 4:12] == 1).all()
    assert (expert.variance[..., :4, :] < 1).all()


def test_a_sensor_that_saw_nothing_does_not_count(any_encoder: Encoder) -> None:
    chips = inputs(1, 24, 40)
    blind = replace(chips, s2=torch.zeros_like(chips.s2), s2_valid=torch.zeros_like(chips.s2_valid))
    s1 = any_encoder.expert(chips.s1, chips.s1_valid, Modality.S1)
    precision = 1 + 1 / s1.variance
    torch.testing.assert_close(any_encoder(blind, ONES).variance, 1 / precision)
    torch.testing.assert_close(any_encoder(blind, ONES).mean, s1.mean / s1.variance / precision)


def test_radar_alone_leaves_more_variance_than_both_sensors(any_encoder: Encoder) -> None:
    chips = inputs(2, 24, 40)
    blind = replace(chips, s2=torch.zeros_like(chips.s2), s2_valid=torch.zeros_like(chips.s2_valid))
    assert (any_encoder(blind, ONES).variance >= any_encoder(chips, ONES).variance).all()


def test_an_expert_weight_of_0_is_as_good_as_no_sensor(any_encoder: Encoder) -> None:
    chips = inputs(1, 24, 40)
    blind = replace(chips, s2=torch.zeros_like(chips.s2), s2_valid=torch.zeros_like(chips.s2_valid))
    weighed = any_encoder(chips, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(weighed.mean, any_encoder(blind, ONES).mean)


def test_a_location_is_trusted_by_the_share_of_its_pixels_that_were_seen(any_encoder: Encoder) -> None:
    chips = inputs(1, 24, 40)
    for plane in (chips.s2, chips.s2_valid):
        plane[..., 10, 12] = 0  # one of the four pixels of location (5, 6)
    s2, s1 = any_encoder.experts(chips)
    precision = 1 + 0.75 / s2.variance + 1 / s1.variance
    torch.testing.assert_close(any_encoder(chips, ONES).variance[..., 5, 6], 1 / precision[..., 5, 6])


def test_sensors_do_not_share_weights_nor_see_each_other(any_encoder: Encoder) -> None:
    chips = inputs(1, 24, 40)
    other = replace(chips, s1=chips.s1 + 3)
    assert torch.equal(any_encoder.experts(chips)[0].mean, any_encoder.experts(other)[0].mean)
    assert not torch.equal(any_encoder.experts(chips)[1].mean, any_encoder.experts(other)[1].mean)
