"""Where and when labels are from."""

from dataclasses import replace
from datetime import date

import pytest

from export.ground import Ground
from tests.training.examples import coloured, pool
from tests.training.test_stages import config
from training.data.sample import Footprint, Sample


def sample(index: int, west_deg: float, east_deg: float, day: date | None = None) -> Sample:
    made = coloured(index)
    box = Footprint(west_deg=west_deg, south_deg=-10 - index, east_deg=east_deg, north_deg=50 + index)
    return replace(made, entry=replace(made.entry, footprint=box, acquired=day))


@pytest.mark.parametrize(
    ("sides", "west_deg", "east_deg"),
    [
        ([(-8.5, -8.0), (30.0, 31.0)], -8.5, 31.0),
        ([(179.0, -179.5), (170.0, 171.0)], 170.0, -179.5),
        ([(179.0, -179.5), (-178.0, -177.0)], 179.0, -177.0),
    ],
    ids=["plain", "from the west to the antimeridian", "across it"],
)
def test_bounds_hold_every_sample(sides: list[tuple[float, float]], west_deg: float, east_deg: float) -> None:
    ground = Ground.of(config(), pool([sample(index, *pair) for index, pair in enumerate(sides)]))
    assert (ground.bounds.west_deg, ground.bounds.east_deg) == (west_deg, east_deg)
    assert (ground.bounds.south_deg, ground.bounds.north_deg) == (-11, 51)


def test_days_and_places_are_listed_once_and_pixels_counted_by_class() -> None:
    days = [date(2018, 5, 1), None, date(2017, 6, 1), date(2018, 5, 1)]
    samples = [sample(index, 1, 2, day) for index, day in enumerate(days)]
    ground = Ground.of(config(), pool(samples))
    assert ground.days == (date(2017, 6, 1), date(2018, 5, 1))
    assert (ground.samples, ground.places) == (4, ("place-0", "place-1", "place-2"))
    counts = {entry.value: count for entry, count in ground.class_px}
    assert counts == {value: sum(int((each.labels == value).sum()) for each in samples) for value in (10, 40, 80)}


def test_labels_that_a_recipe_leaves_out_do_not_count() -> None:
    recipe = config()
    few = recipe.model_copy(update={"probe": recipe.probe.model_copy(update={"labels": 0.5})})
    assert Ground.of(few, pool([coloured(index) for index in range(6)])).samples == 3


def test_ground_without_footprints_has_no_bounds() -> None:
    assert Ground.of(config(), pool([coloured(0)])).bounds is None
