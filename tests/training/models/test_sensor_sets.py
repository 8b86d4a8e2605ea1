"""Which sensors see a location, and the part of planes that is theirs."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from contract.bands import Modality
from tests.training.examples import inputs
from training.models.sensor_sets import (
    SENSOR_SETS,
    SETS,
    as_its_set,
    of_its_set,
    sensor_sets,
    shown_to,
    values_of_its_set,
)
from training.tensors import Inputs

CLEAR = torch.ones(1, 1, 1, 1)


def chips() -> Inputs:
    """Each sensor has seen pixels of its own; a quarter is seen by both, and another by nobody."""
    generator = torch.Generator().manual_seed(0)
    made = inputs(2, 24, 40)
    for valid in (made.s2_valid, made.s1_valid):
        valid.copy_((torch.rand(valid.shape, generator=generator) < 0.5).float())
    return made


def number_of_set(s2: np.ndarray, s1: np.ndarray) -> np.ndarray:
    """Of what each sensor sees."""
    return np.where(s2 & s1, 0, np.where(s2, 1, 2))


def test_sets_are_of_both_sensors_and_of_each_alone() -> None:
    assert SENSOR_SETS == ((Modality.S2, Modality.S1), (Modality.S2,), (Modality.S1,))
    assert len(SENSOR_SETS) == SETS


def test_a_pixel_is_of_the_set_of_the_sensors_that_see_it_and_of_no_other() -> None:
    seen = chips()
    s2, s1 = (valid[:, 0].numpy() > 0 for valid in (seen.s2_valid, seen.s1_valid))
    sets = sensor_sets(seen, CLEAR)
    assert sets.shape == (2, 3, 24, 40)
    np.testing.assert_array_equal(np.moveaxis(sets.numpy(), 1, -1), np.eye(3)[number_of_set(s2, s1)])
    assert not (s2 | s1)[sets[:, 2].numpy() > 0].all()  # ground that nobody sees is Sentinel-1's


def test_what_sentinel_2_is_not_believed_is_sentinel_1s_where_that_sees_as_well() -> None:
    seen, clear = chips(), torch.rand(2, 1, 24, 40)
    sure, sets = sensor_sets(seen, CLEAR), sensor_sets(seen, clear)
    torch.testing.assert_close(sets[:, :1], sure[:, :1] * clear)
    assert torch.equal(sets[:, 1], sure[:, 1])
    torch.testing.assert_close(sets[:, 2:], sure[:, 2:] + sure[:, :1] * (1 - clear))


@pytest.mark.parametrize("stride", [2, 4])
def test_a_location_is_seen_where_one_of_its_pixels_is(stride: int) -> None:
    seen = chips()
    seen.s1_valid[:, :, :, :20] = 0
    seen.s1_valid[..., 6, 8] = 1
    seen.s2_valid[:, :, :12] = 0
    s2, s1 = (
        valid.numpy().reshape(2, 24 // stride, stride, 40 // stride, stride).any(axis=(2, 4))
        for valid in (seen.s2_valid, seen.s1_valid)
    )
    number = number_of_set(s2, s1)
    assert {*np.unique(number)} == {0, 1, 2}
    np.testing.assert_array_equal(np.moveaxis(sensor_sets(seen, CLEAR, stride).numpy(), 1, -1), np.eye(3)[number])


def test_a_location_has_the_part_of_its_own_set() -> None:
    sets = sensor_sets(chips(), CLEAR)
    planes = np.random.default_rng(0).normal(size=(2, 3 * 5, 24, 40))
    parts, number = planes.reshape(2, 3, 5, 24, 40), sets.numpy().argmax(axis=1)
    expected = np.take_along_axis(parts, number[:, None, None], axis=1)[:, 0]
    np.testing.assert_array_equal(of_its_set(torch.from_numpy(planes), sets), expected)


def test_what_is_the_same_for_all_chips_is_of_a_set_at_each_location_too() -> None:
    sets = sensor_sets(chips(), CLEAR)
    level = np.arange(3 * 5.0)
    expected = np.moveaxis(level.reshape(3, 5)[sets.numpy().argmax(axis=1)], -1, 1)
    np.testing.assert_array_equal(of_its_set(torch.from_numpy(level).reshape(1, -1, 1, 1), sets), expected)


def test_a_location_has_the_numbers_of_its_own_set() -> None:
    sets, values = sensor_sets(chips(), CLEAR), np.arange(3 * 5, dtype=np.float32).reshape(3, 5)
    expected = np.moveaxis(values[sets.numpy().argmax(axis=1)], -1, 1)
    np.testing.assert_array_equal(values_of_its_set(torch.from_numpy(values), sets), expected)


def test_as_the_part_of_their_set_planes_are_nothing_to_the_others() -> None:
    sets = sensor_sets(chips(), CLEAR)
    planes = np.random.default_rng(0).normal(size=(2, 5, 24, 40))
    made = as_its_set(torch.from_numpy(planes), sets).numpy().reshape(2, 3, 5, 24, 40)
    number = sets.numpy().argmax(axis=1)[:, None]
    for each in range(3):
        np.testing.assert_array_equal(made[:, each], np.where(number == each, planes, 0))


@pytest.mark.parametrize("sensors", SENSOR_SETS)
def test_of_chips_that_are_shown_to_some_sensors_nothing_of_the_others_is_left(sensors: tuple[Modality, ...]) -> None:
    seen = chips()
    shown = shown_to(seen, sensors)
    for plane in fields(shown):
        whole, left = getattr(seen, plane.name), getattr(shown, plane.name)
        assert whole.any()
        assert torch.equal(left, whole if Modality(plane.name[:2]) in sensors else torch.zeros_like(whole))


def test_what_a_set_is_shown_of_ground_that_both_see_is_of_that_set_alone() -> None:
    for number, sensors in enumerate(SENSOR_SETS):
        assert sensor_sets(shown_to(inputs(1, 4, 6), sensors), CLEAR).argmax(dim=1).unique().tolist() == [number]
