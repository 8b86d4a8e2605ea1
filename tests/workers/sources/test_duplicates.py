"""Each observation once."""

from pathlib import Path

from shapely import box

from contract.scene import Scene
from tests.workers.sources.examples import BANDS, JSON, request, s1_item, s2_item, write_items
from workers.sources import find_scenes
from workers.sources.duplicates import passes

WIDE = box(9, 49, 12, 52)


def found(tmp_path: Path, *items: JSON) -> tuple[set[str], dict[str, str]]:
    result = find_scenes(request(write_items(tmp_path, *items)), bands=BANDS)
    return {scene.id for scene in result.scenes}, {scene.id: scene.reason for scene in result.skipped}


def groups(tmp_path: Path, *items: JSON) -> list[list[str]]:
    return [[scene.id for scene in group] for group in passes(scenes(tmp_path, *items))]


def scenes(tmp_path: Path, *items: JSON) -> tuple[Scene, ...]:
    return find_scenes(request(write_items(tmp_path, *items)), bands=BANDS).scenes


def at(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    return f"2023-06-10T10:{minutes:02}:{seconds:02}Z"


def test_the_newest_baseline_of_a_tile_is_used(tmp_path: Path) -> None:
    old, new = (s2_item(name, s2__mgrs_tile="32UPB", s2__processing_baseline=name) for name in ("02.14", "05.00"))
    kept, skipped = found(tmp_path, old, new)
    assert kept == {"05.00"}
    assert skipped == {"02.14": "05.00 is a newer version of it"}


def test_of_one_baseline_the_last_processed_is_used(tmp_path: Path) -> None:
    versions = [
        s2_item(name, s2__mgrs_tile="32UPB", s2__generation_time=made)
        for name, made in (("a", "2023-06-11T00:00:00Z"), ("c", "2023-06-10T12:00:00Z"), ("b", "2023-06-12T00:00:00Z"))
    ]
    assert found(tmp_path, *versions)[0] == {"b"}


def test_two_halves_of_a_tile_are_both_used(tmp_path: Path) -> None:
    """A change of datastrip cuts a tile in two products of the same name but for their time of processing."""
    west, east = box(10, 50, 10.55, 51), box(10.5, 50, 11, 51)
    halves = [s2_item(name, footprint=half, s2__mgrs_tile="32UPB") for name, half in (("a", west), ("b", east))]
    assert found(tmp_path, *halves)[0] == {"a", "b"}


def test_another_day_is_another_observation(tmp_path: Path) -> None:
    days = [s2_item(day, when=f"2023-06-{day}T10:00:00Z", s2__mgrs_tile="32UPB") for day in ("10", "15")]
    assert found(tmp_path, *days) == ({"10", "15"}, {})


def test_two_platforms_on_one_day_are_two_observations(tmp_path: Path) -> None:
    both = [s2_item(name, platform=name, s2__mgrs_tile="32UPB") for name in ("sentinel-2a", "sentinel-2c")]
    assert found(tmp_path, *both)[0] == {"sentinel-2a", "sentinel-2c"}


def test_a_tile_whose_part_of_the_area_is_in_its_neighbour_is_left_out(tmp_path: Path) -> None:
    whole = s2_item("whole", footprint=WIDE, s2__mgrs_tile="32UPB", when=at(0))
    corner = s2_item("corner", footprint=box(10.5, 50.5, 11.5, 51.5), s2__mgrs_tile="32UQC", when=at(14))
    kept, skipped = found(tmp_path, corner, whole)
    assert kept == {"whole"}
    assert skipped == {"corner": "the same pass is in whole, for all of its part of the area"}


def test_among_tiles_that_see_all_of_the_area_its_own_utm_zone_is_preferred(tmp_path: Path) -> None:
    tiles = [s2_item(name, footprint=WIDE, s2__mgrs_tile=name) for name in ("31UGS", "32UPB", "33UUR")]
    assert found(tmp_path, *tiles)[0] == {"32UPB"}


def test_the_preferred_zone_is_that_of_the_jobs_grid(tmp_path: Path) -> None:
    tiles = [s2_item(name, footprint=WIDE, s2__mgrs_tile=name) for name in ("31UGS", "32UPB", "33UUR")]
    asked = request(write_items(tmp_path, *tiles))
    asked = asked.model_copy(update={"options": asked.options.model_copy(update={"crs": "EPSG:32633"})})
    assert [scene.id for scene in find_scenes(asked, bands=BANDS).scenes] == ["33UUR"]


def test_neighbours_that_each_see_something_of_their_own_are_both_used(tmp_path: Path) -> None:
    west, east = box(9, 49, 10.6, 52), box(10.5, 49, 12, 52)
    tiles = [s2_item("w", footprint=west, s2__mgrs_tile="32UPB"), s2_item("e", footprint=east, s2__mgrs_tile="32UQB")]
    assert found(tmp_path, *tiles)[0] == {"w", "e"}


def test_a_tile_that_ends_near_its_neighbours_edge_is_used(tmp_path: Path) -> None:
    """Corners in longitude and latitude tell the edge of a tile to some hundreds of metres only."""
    large = s2_item("large", footprint=box(9, 49, 10.8, 52), s2__mgrs_tile="32UPB")
    near = s2_item("near", footprint=box(10.4, 49, 10.795, 52), s2__mgrs_tile="32UNB")
    inside = s2_item("inside", footprint=box(10.4, 49, 10.78, 52), s2__mgrs_tile="32UQB")
    assert found(tmp_path, large, near)[0] == {"large", "near"}
    assert found(tmp_path, large, inside)[0] == {"large"}


def test_the_same_item_on_two_pages_is_one_scene(tmp_path: Path) -> None:
    assert found(tmp_path, s2_item(), s2_item()) == ({"optical"}, {})


def test_tiles_of_one_pass_are_grouped_though_their_times_differ(tmp_path: Path) -> None:
    """The Planetary Computer gives the datatake's time to every tile, Earth Search each tile its own."""
    west, east = box(9, 49, 10.6, 52), box(10.5, 49, 12, 52)
    tiles = [s2_item("w", footprint=west, when=at(59)), s2_item("e", footprint=east, when=at(73))]
    assert groups(tmp_path, *tiles) == [["w", "e"]]


def test_slices_of_one_radar_pass_are_grouped(tmp_path: Path) -> None:
    bounds = [box(10, 50 + low, 11, 50.4 + low) for low in (0, 0.3, 0.6)]
    slices = [s1_item(f"slice {n}", footprint=part, when=at(25 * n)) for n, part in enumerate(bounds)]
    assert groups(tmp_path, *slices) == [["slice 0", "slice 1", "slice 2"]]


def test_the_next_orbit_is_another_pass(tmp_path: Path) -> None:
    orbits = [s1_item(str(n), when=f"2023-06-12T{17 + n}:38:00Z") for n in range(2)]
    assert groups(tmp_path, *orbits) == [["0"], ["1"]]


def test_sensors_and_platforms_are_never_in_one_pass(tmp_path: Path) -> None:
    items = [s2_item("2a"), s2_item("2b", platform="sentinel-2b"), s1_item("1a", when="2023-06-10T10:00:00Z")]
    assert sorted(groups(tmp_path, *items)) == [["1a"], ["2a"], ["2b"]]


def test_the_newest_baseline_comes_first_in_its_pass(tmp_path: Path) -> None:
    west, east = box(10, 50, 10.6, 51), box(10.5, 50, 11, 51)
    old = s2_item("old", footprint=west, s2__processing_baseline="04.00", when=at(0))
    new = s2_item("new", footprint=east, s2__processing_baseline="05.10", when=at(10))
    assert groups(tmp_path, old, new) == [["new", "old"]]


def test_part_of_the_scenes_is_grouped_as_all_of_them(tmp_path: Path) -> None:
    bounds = [box(10, 50 + low, 11, 50.4 + low) for low in (0, 0.3, 0.6)]
    slices = [s1_item(f"slice {n}", footprint=part, when=at(25 * n)) for n, part in enumerate(bounds)]
    later = [
        s1_item(f"later {n}", footprint=part, when=f"2023-06-24T10:00:{25 * n:02}Z") for n, part in enumerate(bounds)
    ]
    every = scenes(tmp_path, *slices, *later)
    assert [len(group) for group in passes(every)] == [3, 3]
    assert [len(group) for group in passes(scene for scene in every if "1" not in scene.id)] == [2, 2]
