"""Split: which samples train, which choose, which test. By place, so that figures are of unseen ground."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from scipy import sparse

from contract.errors import PlacesOverlap
from training.data.sample import Entry, Footprint

_TOUCH_DEG: Final = 1e-7
"""Footprints that share less than this (1 cm) touch: the same edge comes out of a projection with other last digits."""
_EARTH_RADIUS_KM: Final = 6371.0088
"""Mean radius, IUGG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The sides of a split."""

    train: tuple[Entry, ...]
    val: tuple[Entry, ...] = ()
    """For choices: early stopping, calibration."""
    test: tuple[Entry, ...] = ()
    """For figures that are published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fractions:
    """The shares of samples on each side; they need not sum to 1."""

    train: float = 0.7
    val: float = 0.15
    test: float = 0.15

    def __post_init__(self) -> None:
        """Refuse negative shares, and none to train on."""
        if self.train <= 0 or self.val < 0 or self.test < 0:
            raise ValueError(f"{self}: need train above 0, the others 0 or above")


def archive_split(entries: Sequence[Entry]) -> Split:
    """The archive's own split.

    Raises:
        ValueError: A sample belongs to no side, or to one of another name than train, val or test.
    """
    sides: dict[str, list[Entry]] = {"train": [], "val": [], "test": []}
    for entry in entries:
        if entry.split not in sides:
            raise ValueError(f"sample {entry.name} has split {entry.split!r}; need one of {', '.join(sides)}")
        sides[entry.split].append(entry)
    return Split(train=tuple(sides["train"]), val=tuple(sides["val"]), test=tuple(sides["test"]))


def place_split(entries: Sequence[Entry], fractions: Fractions, seed: int) -> Split:
    """Whole places on each side, with numbers of samples near to the fractions.

    Raises:
        ValueError: There are fewer places than sides.
    """
    shares = (fractions.train, fractions.val, fractions.test)
    dealt = iter(_dealt(entries, [share for share in shares if share > 0], seed))
    train, val, test = (next(dealt) if share > 0 else () for share in shares)
    return Split(train=train, val=val, test=test)


def place_folds(entries: Sequence[Entry], folds: int, seed: int) -> tuple[tuple[Entry, ...], ...]:
    """Whole places in each fold, of about as many samples; places that share ground are in one. Each sample is in one fold.

    Raises:
        ValueError: There are fewer places than folds.
    """
    return tuple(_dealt(entries, [1.0] * folds, seed))


def few_labels(entries: Sequence[Entry], fraction: float, seed: int) -> tuple[Entry, ...]:
    """A part of the samples, at least one. With one seed, a smaller fraction is a subset of a larger one.

    Raises:
        ValueError: The fraction is not above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction {fraction:g}: need above 0, at most 1")
    ordered = sorted(entries, key=lambda entry: (entry.name, entry.files))
    order = np.random.default_rng(seed).permutation(len(ordered))
    chosen = {ordered[index] for index in order[: max(1, round(fraction * len(ordered)))]}
    return tuple(entry for entry in entries if entry in chosen)


def refuse_overlap(train: Sequence[Entry], held_out: Sequence[Entry]) -> None:
    """Nothing, if no ground is on both sides. Samples without a footprint are told apart by place alone.

    Raises:
        PlacesOverlap: A place is on both sides, or two footprints share ground; those that only touch are fine.
    """
    first_of = {entry.place: entry for entry in train}
    for entry in held_out:
        if entry.place in first_of:
            raise PlacesOverlap(first_of[entry.place].name, entry.name, f"both are of place {entry.place}")
    seen, unseen = _boxes(train), _boxes(held_out)
    if not seen or not unseen:
        return
    tree = shapely.STRtree([box for box, _ in seen])
    meetings = tree.query([box for box, _ in unseen], predicate="intersects")
    if meetings.size:
        index, other = meetings[:, 0]
        raise PlacesOverlap(seen[other][1].name, unseen[index][1].name, "their footprints share ground")


def spatial_block(footprint: Footprint, size_km: float) -> str:
    """The name of the block of the Earth, about `size_km` on a side, in which the middle of a footprint lies.

    Blocks are rows of latitude, each cut into as many equal parts as fit at its middle.
    """
    lat_deg = (footprint.south_deg + footprint.north_deg) / 2
    row_deg = math.degrees(size_km / _EARTH_RADIUS_KM)
    row = math.floor((lat_deg + 90) / row_deg)
    middle_deg = min((row + 0.5) * row_deg - 90, 90)
    around_km = 2 * math.pi * _EARTH_RADIUS_KM * math.cos(math.radians(middle_deg))
    cols = max(1, round(around_km / size_km))
    turned = 360 if footprint.west_deg > footprint.east_deg else 0
    lon_deg = (footprint.west_deg + footprint.east_deg + turned) / 2
    return f"{size_km:g}km-{row}-{math.floor((lon_deg + 180) % 360 / 360 * cols)}"


def _dealt(entries: Sequence[Entry], shares: Sequence[float], seed: int) -> list[tuple[Entry, ...]]:
    """Entries by side: the largest places first, each to the side that it fills least; the seed orders equal ones."""
    ground_of = _grounds(entries)
    sizes = Counter(ground_of[entry.place] for entry in entries)
    if len(sizes) < len(shares):
        raise ValueError(
            f"{len(sizes)} places that share no ground cannot be on {len(shares)} sides; need at least as many"
        )
    places = sorted(_shuffled(sizes, seed), key=lambda place: -sizes[place])
    loads = [0] * len(shares)
    side_of: dict[str, int] = {}
    for dealt, place in enumerate(places):
        empty = [side for side, load in enumerate(loads) if not load]
        # The last places go to sides that would otherwise have none.
        open_sides = empty if len(places) - dealt <= len(empty) else range(len(shares))
        side = min(open_sides, key=lambda side: (loads[side] + sizes[place]) / shares[side])
        side_of[place] = side
        loads[side] += sizes[place]
    return [tuple(entry for entry in entries if side_of[ground_of[entry.place]] == side) for side in range(len(shares))]


def _grounds(entries: Sequence[Entry]) -> dict[str, str]:
    """For each place, the first by name of those that it shares ground with, directly or by others between them."""
    places = sorted({entry.place for entry in entries})
    number = {place: index for index, place in enumerate(places)}
    boxes = _boxes(entries)
    meets = sparse.identity(len(places), format="coo")
    if boxes:
        of_box = np.array([number[entry.place] for _, entry in boxes])
        shapes = [box for box, _ in boxes]
        one, other = of_box[shapely.STRtree(shapes).query(shapes, predicate="intersects")]
        meets = sparse.coo_matrix((np.ones(len(one)), (one, other)), shape=(len(places),) * 2)
    _, ground = sparse.csgraph.connected_components(meets, directed=False)
    first = dict(zip(reversed(ground.tolist()), reversed(places), strict=True))
    return {place: first[index] for place, index in zip(places, ground.tolist(), strict=True)}


def _shuffled(names: Iterable[str], seed: int) -> list[str]:
    """The names in an order of the seed alone, however they came."""
    ordered = sorted(names)
    return [ordered[index] for index in np.random.default_rng(seed).permutation(len(ordered))]


def _boxes(entries: Sequence[Entry]) -> list[tuple[shapely.Polygon, Entry]]:
    """Footprints, in parts where they cross the antimeridian, each with its sample."""
    return [(box, entry) for entry in entries if entry.footprint is not None for box in _parts(entry.footprint)]


def _parts(footprint: Footprint) -> list[shapely.Polygon]:
    """A footprint without half of `_TOUCH_DEG` along its edges."""
    rim = _TOUCH_DEG / 2
    south, north = footprint.south_deg + rim, footprint.north_deg - rim
    west, east = footprint.west_deg + rim, footprint.east_deg - rim
    if footprint.west_deg <= footprint.east_deg:
        return [shapely.box(west, south, east, north)]
    return [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]
