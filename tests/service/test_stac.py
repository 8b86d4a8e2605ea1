"""Finished jobs as a STAC API."""

from typing import Any

import pystac
import pytest

from tests.service.serving import Server, bounds, order
from workers.demo.scene import DemoScene


@pytest.fixture(scope="module")
def maps(server: Server, scene: DemoScene, finished: str) -> tuple[str, ...]:
    """Ids of three finished jobs, newest first."""
    ids = [server.submit(order(scene)) for _ in range(2)]
    for job_id in ids:
        server.work(job_id)
    return (*ids[::-1], finished)


def found(server: Server, **search: Any) -> list[str]:
    answer = server.post("/search", search)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["features"]]


def test_an_item_is_valid_and_all_its_addresses_are_absolute(server: Server, finished: str) -> None:
    document = server.get(f"/collections/land-cover/items/{finished}").json()
    item = pystac.Item.from_dict(document)
    hrefs = [asset.href for asset in item.assets.values()] + [link["href"] for link in document["links"]]
    assert all(href.startswith(("http://", "https://", "/")) for href in hrefs)
    for asset in item.assets.values():
        assert server.get(asset.href.removeprefix(server.address)).status_code == 200
    assert document["collection"] == "land-cover"


def test_pages_show_every_map_once_newest_first(server: Server, maps: tuple[str, ...]) -> None:
    seen: list[str] = []
    url = "/collections/land-cover/items?limit=1"
    while url:
        page = server.get(url).json()
        seen += [item["id"] for item in page["features"]]
        url = next((link["href"] for link in page["links"] if link["rel"] == "next"), "").removeprefix(server.address)
    assert [job_id for job_id in seen if job_id in maps] == list(maps)
    assert len(set(seen)) == len(seen)


def test_the_next_page_of_a_posted_search_is_posted(server: Server, maps: tuple[str, ...]) -> None:
    page = server.post("/search", {"limit": 1, "ids": list(maps)}).json()
    (onward,) = [link for link in page["links"] if link["rel"] == "next"]
    assert onward["method"] == "POST"
    following = server.post("/search", onward["body"]).json()
    assert [page["features"][0]["id"], following["features"][0]["id"]] == list(maps[:2])


def test_maps_are_found_by_place(server: Server, scene: DemoScene, finished: str) -> None:
    west, south, east, north = bounds(scene)
    assert found(server, bbox=[west, south, east, north], ids=[finished]) == [finished]
    assert found(server, bbox=[west, south, 0, east, north, 100], ids=[finished]) == [finished]
    assert found(server, bbox=[east + 1, south, east + 2, north]) == []
    corner = [[west - 1, south - 1], [west + 0.001, south - 1], [west + 0.001, south + 0.001], [west - 1, south - 1]]
    assert found(server, intersects={"type": "Polygon", "coordinates": [corner]}, ids=[finished]) == [finished]
    assert server.get(f"/search?bbox={west},{south},{east},{north}&ids={finished}").json()["numberReturned"] == 1


def test_a_box_over_the_antimeridian_holds_what_is_outside_of_the_rest(
    server: Server, scene: DemoScene, finished: str
) -> None:
    west, south, east, north = bounds(scene)
    assert found(server, bbox=[west - 1, south, -170, north], ids=[finished]) == [finished]
    assert found(server, bbox=[east + 1, south, west - 1, north], ids=[finished]) == []


def test_maps_are_found_by_time(server: Server, scene: DemoScene, finished: str) -> None:
    assert found(server, datetime=scene.start.isoformat().replace("+00:00", "Z"), ids=[finished]) == [finished]
    assert found(server, datetime=f"{scene.start:%Y-%m-%d}T00:00:00Z/..", ids=[finished]) == [finished]
    assert found(server, datetime="../2001-01-01T00:00:00Z", ids=[finished]) == []


def test_other_collections_hold_nothing(server: Server, finished: str) -> None:
    assert found(server, collections=["other"], ids=[finished]) == []
    assert found(server, collections=["land-cover"], ids=[finished]) == [finished]


def test_jobs_that_are_not_done_are_no_maps(server: Server, scene: DemoScene) -> None:
    waiting = server.submit(order(scene))
    assert found(server, ids=[waiting]) == []
    assert server.get(f"/collections/land-cover/items/{waiting}").status_code == 404


@pytest.mark.parametrize(
    "search",
    [
        {"bbox": [1, 2, 3, 4, 5]},
        {"bbox": [1, 5, 2, 4]},
        {"bbox": [1, 2, 3, 4], "intersects": {"type": "Polygon", "coordinates": [[[1, 2], [3, 2], [3, 4], [1, 2]]]}},
        {"datetime": "2024-13-01T00:00:00Z"},
    ],
)
def test_a_search_that_makes_no_sense_is_refused(server: Server, search: dict[str, object]) -> None:
    assert server.post("/search", search).status_code == 422
