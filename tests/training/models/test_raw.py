"""Bands and indices of single pixels."""

from dataclasses import replace

import numpy as np
import torch

from contract.bands import Modality
from tests.training.examples import STATISTICS, inputs
from training.data.sample import BandChoice
from training.models.raw import raw_channels, raw_channels_of, raw_features, raw_validity
from training.models.standardise import Standardise
from training.tensors import Inputs

S2 = Standardise(Modality.S2, STATISTICS[Modality.S2])
S1 = Standardise(Modality.S1, STATISTICS[Modality.S1])


def test_indices_follow_the_bands() -> None:
    chips = inputs(2, 5, 7)
    made = raw_features(chips, BandChoice(), S2, S1)
    _, green, red, infrared = chips.s2.numpy().transpose(1, 0, 2, 3)
    vv, vh = chips.s1.numpy().transpose(1, 0, 2, 3)
    assert made.shape == (2, raw_channels(BandChoice()), 5, 7)
    torch.testing.assert_close(made[:, :4], S2(chips.s2, chips.s2_valid))
    torch.testing.assert_close(made[:, 4:6], S1(chips.s1, chips.s1_valid))
    np.testing.assert_allclose(made[:, 6], (infrared - red) / (infrared + red + 0.01), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(made[:, 7], (green - infrared) / (green + infrared + 0.01), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(made[:, 8], (vv - vh - 7) / 7, rtol=1e-4, atol=1e-5)


def test_a_pixel_sees_itself_alone() -> None:
    chips = inputs(1, 5, 7)
    other = replace(chips, s2=chips.s2.clone(), s1=chips.s1.clone())
    other.s2[..., 2, 3] += 0.1
    other.s1[..., 2, 3] += 1
    changed = (raw_features(chips, BandChoice(), S2, S1) != raw_features(other, BandChoice(), S2, S1)).any(dim=1)[0]
    assert changed.nonzero().tolist() == [[2, 3]]


def test_what_was_not_observed_becomes_0() -> None:
    chips = inputs(1, 5, 7)
    for plane in (chips.s2, chips.s2_valid):
        plane[..., 2, 3] = 0
    for plane in (chips.s1, chips.s1_valid):
        plane[..., 4, 1] = 0
    made = raw_features(chips, BandChoice(), S2, S1)
    assert not made[:, [0, 1, 2, 3, 6, 7], 2, 3].any()
    assert made[:, [4, 5, 8], 2, 3].all()
    assert not made[:, [4, 5, 8], 4, 1].any()


def test_a_feature_is_observed_where_its_sensor_is() -> None:
    chips = inputs(2, 5, 7)
    chips.s2_valid[..., 2, 3] = 0
    chips.s1_valid[..., 4, 1] = 0
    valid = raw_validity(chips, BandChoice())
    assert valid.shape == (2, raw_channels(BandChoice()), 5, 7)
    for channel in range(9):
        of_sensor = chips.s1_valid if channel in (4, 5, 8) else chips.s2_valid
        assert torch.equal(valid[:, channel : channel + 1], of_sensor)


def test_each_feature_comes_of_one_sensor() -> None:
    chips = inputs(1, 2, 3)
    for number, (valid, sensor) in enumerate(((chips.s2_valid, Modality.S2), (chips.s1_valid, Modality.S1))):
        of_it = raw_channels_of(BandChoice(), [sensor])
        assert of_it.nonzero().flatten().tolist() == ([0, 1, 2, 3, 6, 7], [4, 5, 8])[number]
        valid.zero_()
        assert torch.equal(of_it, 1 - raw_validity(chips, BandChoice())[0, :, 1, 2])
        valid.fill_(1)
    assert raw_channels_of(BandChoice(), Modality).tolist() == [1] * 9


def test_dark_and_negative_reflectance_give_finite_indices() -> None:
    chips = inputs(1, 2, 2)
    dark = replace(chips, s2=torch.full_like(chips.s2, -0.01))
    assert raw_features(dark, BandChoice(), S2, S1).isfinite().all()


def test_indices_whose_bands_are_not_read_are_left_out() -> None:
    bands = BandChoice(s2=("B03", "B04"), s1=("VH",))
    valid = torch.ones(1, 1, 2, 3)
    chips = Inputs(s2=torch.rand(1, 2, 2, 3), s2_valid=valid, s1=torch.rand(1, 1, 2, 3), s1_valid=valid)
    s2 = Standardise(Modality.S2, replace(STATISTICS[Modality.S2], mean=(0.0,) * 2, deviation=(1.0,) * 2))
    s1 = Standardise(Modality.S1, replace(STATISTICS[Modality.S1], mean=(0.0,), deviation=(1.0,)))
    assert raw_features(chips, bands, s2, s1).shape[1] == raw_channels(bands) == 3
