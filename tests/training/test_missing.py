"""What one sensor alone leaves open, from ground that both have seen."""

import numpy as np
import pytest
import torch

from training.missing import STEP, ReadOut, Views, in_common, missing

ROWS, CLASSES, WIDTH = 400, 3, 5


@pytest.fixture(scope="module")
def views() -> Views:
    random = np.random.default_rng(0)
    return Views(
        place=torch.from_numpy(random.integers(0, 4, ROWS)),
        features=torch.from_numpy(random.normal(size=(ROWS, 3, WIDTH))).float(),
    )


@pytest.fixture(scope="module")
def probes() -> list[ReadOut]:
    """Those of both sensors, Sentinel-2 alone and Sentinel-1 alone."""
    random = np.random.default_rng(1)
    planes = [(random.normal(size=(CLASSES, WIDTH)), random.normal(size=CLASSES)) for _ in range(3)]
    return [ReadOut(weight=torch.from_numpy(weight), bias=torch.from_numpy(bias)) for weight, bias in planes]


def second_moment(views: Views, probes: list[ReadOut], number: int) -> np.ndarray:
    """Of what the probe of both says beside that of a set."""
    both, alone = (
        views.features[:, each].double().numpy() @ probes[each].weight.numpy().T + probes[each].bias.numpy()
        for each in (0, number)
    )
    apart = both - alone
    apart -= apart.mean(axis=1, keepdims=True)
    return apart.T @ apart / len(apart)


def test_a_missing_sensor_leaves_open_how_far_the_probe_of_both_strays_on_the_same_ground(
    views: Views, probes: list[ReadOut]
) -> None:
    found = missing(views, probes, torch.ones(4))
    assert found.shape == (3, CLASSES, CLASSES)
    for number in (1, 2):
        np.testing.assert_allclose(found[number], second_moment(views, probes, number), rtol=1e-6)


def test_where_both_see_nothing_is_missing(views: Views, probes: list[ReadOut]) -> None:
    assert not missing(views, probes, torch.ones(4))[0].any()


def test_what_all_classes_share_is_not_missed(views: Views, probes: list[ReadOut]) -> None:
    """Softmax does not see it."""
    higher = [ReadOut(weight=each.weight + number, bias=each.bias - number) for number, each in enumerate(probes)]
    found = missing(views, higher, torch.ones(4))
    torch.testing.assert_close(found, missing(views, probes, torch.ones(4)))
    assert found.sum(dim=2).abs().max() < 1e-9


def test_places_count_as_often_as_they_were_drawn(views: Views, probes: list[ReadOut]) -> None:
    often = torch.tensor([2, 0, 1, 3])
    again = torch.arange(ROWS).repeat_interleave(often[views.place])
    drawn = Views(place=views.place[again], features=views.features[again])
    found = missing(views, probes, often)
    for number in (1, 2):
        np.testing.assert_allclose(found[number], second_moment(drawn, probes, number), rtol=1e-6)


def test_without_ground_that_both_see_nothing_is_known_to_be_missing(probes: list[ReadOut]) -> None:
    nothing = Views(place=torch.zeros(0, dtype=torch.int64), features=torch.zeros(0, 3, WIDTH))
    assert torch.equal(missing(nothing, probes, torch.ones(4)), torch.zeros(3, CLASSES, CLASSES).double())


def test_ground_in_common_is_some_of_what_every_set_of_sensors_sees() -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(3, 4, 4000, WIDTH, generator=generator)
    shown = torch.rand(3, 4, 4000, generator=generator) < 0.8
    shown[1, 2] = False
    found = in_common(features, shown, torch.tensor([5, 0, 1, 7]))
    kept = [
        (chip, location) for chip in range(4) for location in range(0, 4000, STEP) if shown[:, chip, location].all()
    ]
    assert 50 < len(kept) < 3 * 4000 / STEP
    assert found.place.tolist() == [(5, 0, 1, 7)[chip] for chip, _ in kept]
    for row, (chip, location) in zip(found.features, kept, strict=True):
        assert torch.equal(row, features[:, chip, location])


@pytest.mark.parametrize("side", [8, 16, 32, 64, 128])
def test_locations_that_are_kept_lie_in_many_columns(side: int) -> None:
    """Not below one another, as if the length of a row were a multiple of the step."""
    locations = torch.arange(side**2).reshape(1, 1, side**2, 1).expand(3, -1, -1, -1)
    found = in_common(locations, torch.ones(3, 1, side**2, dtype=torch.bool), torch.tensor([0]))
    columns = found.features[:, 0, 0] % side
    assert len(columns.unique()) == min(len(columns), side)
