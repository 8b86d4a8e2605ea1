from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import PlacesOverlap
from training.data.reben import ReBEN
from training.data.sample import Entry, Footprint
from training.data.splits import (
    Fractions,
    archive_split,
    few_labels,
    place_folds,
    place_split,
    refuse_overlap,
    spatial_block,
)

PLACES = {"a": 9, "b": 6, "c": 6, "d": 5, "e": 3, "f": 2, "g": 1, "h": 1}


def entry(name: str, place: str = "", box: tuple[float, float, float, float] | None = None, split: str = "") -> Entry:
    west_south_east_north = ("west_deg", "south_deg", "east_deg", "north_deg")
    footprint = Footprint(**dict(zip(west_south_east_north, box, strict=True))) if box else None
    return Entry(name=name, place=place or name, footprint=footprint, split=split or None, files=())


def samples(sizes: dict[str, int]) -> list[Entry]:
    return [entry(f"{place}{number}", place) for place, count in sizes.items() for number in range(count)]


# --- the archive's own -----------------------------------------------------------------------------------------------


def test_the_split_of_the_archive_is_kept() -> None:
    entries = [entry("a", split="val"), entry("b", split="train"), entry("c", split="test"), entry("d", split="train")]
    split = archive_split(entries)
    assert [[one.name for one in side] for side in (split.train, split.val, split.test)] == [["b", "d"], ["a"], ["c"]]


@pytest.mark.parametrize("side", ["", "holdout"])
def test_a_sample_of_no_known_side_is_named(side: str) -> None:
    with pytest.raises(ValueError, match=r"sample b has split .* need one of train, val, test"):
        archive_split([entry("a", split="train"), entry("b", split=side)])


# --- by place --------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 9), min_size=3), st.integers(0, 99))
def test_every_sample_is_on_one_side_with_its_place(sizes: dict[str, int], seed: int) -> None:
    entries = samples(sizes)
    split = place_split(entries, Fractions(), seed)
    sides = (split.train, split.val, split.test)
    assert Counter(one.name for side in sides for one in side) == Counter(one.name for one in entries)
    assert sum(len({one.place for one in side}) for side in sides) == len(sizes)
    assert all(sides)


def test_sides_are_near_to_their_fractions() -> None:
    sizes = {f"{number}": 1 + number % 7 for number in range(60)}
    split = place_split(samples(sizes), Fractions(train=0.6, val=0.1, test=0.3), seed=3)
    total = sum(sizes.values())
    assert [len(side) / total for side in (split.train, split.val, split.test)] == pytest.approx(
        [0.6, 0.1, 0.3], abs=0.01
    )


def test_a_side_without_a_share_stays_empty() -> None:
    split = place_split(samples(PLACES), Fractions(train=0.5, val=0, test=0.5), seed=0)
    assert (len(split.train), len(split.val), len(split.test)) == (17, 0, 16)


def test_places_of_one_size_go_where_the_seed_says() -> None:
    entries = samples(dict.fromkeys("abcdefghij", 2))
    splits = {tuple(one.name for one in place_split(entries, Fractions(), seed).test) for seed in range(9)}
    assert len(splits) > 3


def test_the_order_of_entries_does_not_change_the_split() -> None:
    forth, back = (place_split(samples(PLACES)[::step], Fractions(), 5) for step in (1, -1))
    assert {one.name for one in forth.test} == {one.name for one in back.test}


def test_fewer_places_than_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="2 places that share no ground cannot be on 3 sides"):
        place_split(samples({"a": 5, "b": 5}), Fractions(), seed=0)


@pytest.mark.parametrize("shares", [(0, 0.5, 0.5), (0.9, -0.1, 0.2)])
def test_fractions_that_are_none_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="need train above 0, the others 0 or above"):
        Fractions(train=shares[0], val=shares[1], test=shares[2])


def test_folds_share_no_place_and_are_of_one_size() -> None:
    folds = place_folds(samples(PLACES), 3, seed=1)
    assert [len(fold) for fold in folds] == [11, 11, 11]
    assert sum(len({one.place for one in fold}) for fold in folds) == len(PLACES)


def test_five_folds_of_the_development_patches_are_of_one_size(shared: Path) -> None:
    folds = place_folds(ReBEN(shared / "data/reben").entries, 5, seed=0)
    assert sum(len(fold) for fold in folds) == 73
    assert max(len(fold) for fold in folds) - min(len(fold) for fold in folds) <= 1


# --- few labels ------------------------------------------------------------------------------------------------------


@given(st.floats(0.001, 1), st.floats(0.001, 1), st.integers(0, 99))
def test_fewer_labels_are_among_the_more(one: float, other: float, seed: int) -> None:
    entries = samples({"a": 30, "b": 70})
    few, many = (few_labels(entries, fraction, seed) for fraction in sorted((one, other)))
    assert {one.name for one in few} <= {one.name for one in many}
    assert len(many) == max(1, round(max(one, other) * 100))


def test_other_seeds_choose_other_samples() -> None:
    chosen = {tuple(one.name for one in few_labels(samples({"a": 50}), 0.1, seed)) for seed in range(9)}
    assert len(chosen) > 3


@pytest.mark.parametrize("fraction", [0, -0.1, 1.5])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="need above 0, at most 1"):
        few_labels(samples({"a": 5}), fraction, 0)


# --- overlap ---------------------------------------------------------------------------------------------------------


def test_a_place_on_both_sides_is_refused() -> None:
    with pytest.raises(PlacesOverlap, match="samples b and c lie on both sides of a split: both are of place T34VER"):
        refuse_overlap([entry("a", "T35VLG"), entry("b", "T34VER")], [entry("c", "T34VER")])


@pytest.mark.parametrize(
    ("seen", "unseen"),
    [
        ((24, 60, 24.02, 60.01), (24.01, 60.005, 24.03, 60.015)),
        ((24, 60, 24.3, 60.2), (24.1, 60.1, 24.11, 60.11)),
        ((179.99, 10, -179.99, 10.02), (-179.995, 10, -179.98, 10.02)),
        ((179.99, 10, -179.99, 10.02), (179.98, 10, 179.995, 10.02)),
        ((179.99, 10, -179.99, 10.02), (179.98, 10, -179.98, 10.02)),
    ],
    ids=["corner", "inside", "east of the antimeridian", "west of it", "across it"],
)
def test_shared_ground_is_refused(seen: tuple, unseen: tuple) -> None:
    train = [entry("far", box=(0, 0, 1, 1)), entry("a", box=seen)]
    with pytest.raises(
        PlacesOverlap, match="samples a and b lie on both sides of a split: their footprints share ground"
    ):
        refuse_overlap(train, [entry("none"), entry("b", box=unseen)])


@pytest.mark.parametrize(
    ("seen", "unseen"),
    [
        ((24, 60, 24.02, 60.01), (24.02 - 1e-12, 60, 24.04, 60.01)),
        ((24, 60, 24.02, 60.01), (24.02, 60.01, 24.04, 60.02)),
        ((179.99, 10, 180, 10.02), (-180, 10, -179.99, 10.02)),
        ((179.99, 10, -179.99, 10.02), (-0.01, 10, 0.01, 10.02)),
    ],
    ids=["edge", "corner", "antimeridian", "other side of the Earth"],
)
def test_footprints_that_touch_are_fine(seen: tuple, unseen: tuple) -> None:
    refuse_overlap([entry("a", box=seen)], [entry("b", box=unseen)])


def test_samples_without_footprints_are_told_apart_by_place() -> None:
    refuse_overlap([entry("a"), entry("b")], [entry("c")])


def test_the_split_of_the_development_patches_shares_no_ground(shared: Path) -> None:
    split = archive_split(ReBEN(shared / "data/reben").entries)
    assert (len(split.train), len(split.val), len(split.test)) == (53, 20, 0)
    refuse_overlap(split.train, split.val)


# --- spatial blocks --------------------------------------------------------------------------------------------------


def small_box(lon_deg: float, lat_deg: float) -> Footprint:
    west, east = ((lon + 180) % 360 - 180 for lon in (lon_deg - 0.01, lon_deg + 0.01))
    return Footprint(west_deg=west, east_deg=east, south_deg=lat_deg - 0.01, north_deg=lat_deg + 0.01)


@pytest.mark.parametrize(("lon_deg", "lat_deg"), [(0, 0), (25, 60), (-70, -33), (179.9, 80)])
def test_a_block_is_as_large_as_it_says(lon_deg: float, lat_deg: float) -> None:
    # 0.01 degrees apart, along the meridian and along the parallel; 111.2 km are a degree of a meridian.
    north = [spatial_block(small_box(lon_deg, lat_deg + step / 100), 50) for step in range(1, 900)]
    heights_km = [count * 1.112 for count in list(Counter(north).values())[1:-1]]
    assert heights_km == pytest.approx([50] * len(heights_km), abs=1.2)


def test_blocks_do_not_grow_narrow_towards_the_poles() -> None:
    east = Counter(spatial_block(small_box(lon / 10, 70.1), 50) for lon in range(-1800, 1800))
    kilometres_around = 40030 * 0.3404
    assert len(east) == pytest.approx(kilometres_around / 50, abs=4)
    assert max(east.values()) - min(east.values()) <= 1


def test_a_footprint_across_the_antimeridian_lies_where_its_middle_is() -> None:
    across = Footprint(west_deg=179.5, east_deg=-179.9, south_deg=10, north_deg=10.1)
    assert spatial_block(across, 100) == spatial_block(small_box(179.8, 10.05), 100)
    assert spatial_block(across, 100) != spatial_block(small_box(0.2, 10.05), 100)


@pytest.mark.parametrize("lat_deg", [-90, 90])
def test_there_is_a_block_at_each_pole(lat_deg: float) -> None:
    pole = Footprint(west_deg=0, east_deg=1, south_deg=min(lat_deg, 89.9), north_deg=max(lat_deg, -89.9))
    assert spatial_block(pole, 50).startswith("50km-")


def test_places_that_share_ground_are_in_one_fold() -> None:
    """Neighbouring tiles overlap; here each of three overlaps the next, and two lie apart."""
    chained = [entry(f"tile-{west}", box=(west, 0, west + 1, 1)) for west in (0.0, 0.8, 1.6)]
    apart = [entry(f"tile-{west}", box=(west, 0, west + 1, 1)) for west in (10.0, 20.0)]
    folds = place_folds([*chained, *apart], 3, seed=0)
    assert sorted(len(fold) for fold in folds) == [1, 1, 3]
    assert {one.place for one in max(folds, key=len)} == {one.place for one in chained}
