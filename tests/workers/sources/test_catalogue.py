"""Every kind of source, over real servers on this machine."""

import json
from pathlib import Path

import pytest
import requests
import rustac
import shapely
from shapely import MultiPolygon, Point, box
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contract.errors import SourceUnreachable, SourceUnusable
from contract.request import MapOptions, MapRequest
from contract.scene import Radiometry, Scene
from tests.servers import file_server, running, served_catalogue, stac_api
from tests.workers.sources.examples import BANDS, BOX, JSON, request, s1_item, s2_item, write_items
from workers.sources import Found, find_scenes, http
from workers.sources.catalogue import Catalogue, Query, outline

DAYS = [s2_item(f"day {day:02}", when=f"2023-06-{day:02}T10:00:00Z", eo__cloud_cover=day) for day in range(1, 8)]
SAVANNA_AREA = box(33.001, -15.44, 33.03, -15.38)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without waiting."""
    monkeypatch.setattr(http, "BACKOFF_S", 0.0)


class Api:
    """A STAC API that misbehaves: `failures` bad answers to searches, then all items in pages of one."""

    def __init__(self, items: list[JSON], *, failures: int = 0, status: int = 503, landing: JSON | None = None) -> None:
        self.items, self.failures, self.status, self.landing = items, failures, status, landing or {}
        self.bodies: list[JSON] = []
        self.app = Starlette(routes=[Route("/", self.root), Route("/search", self.search, methods=["GET", "POST"])])

    async def root(self, _: Request) -> Response:
        link = {"rel": "search", "href": "./search", "method": "POST"}
        return JSONResponse({"type": "Catalog", "id": "api", "links": [link], **self.landing})

    async def search(self, asked: Request) -> Response:
        body = await asked.json() if asked.method == "POST" else dict(asked.query_params)
        self.bodies.append(body)
        if len(self.bodies) <= self.failures:
            return Response("broken", self.status, headers={"Retry-After": "0"})
        token = int(body.get("token", 0))
        page = {"type": "FeatureCollection", "features": self.items[token : token + 1], "links": []}
        if token + 1 < len(self.items):
            following = {"rel": "next", "href": str(asked.url), "method": "POST", "merge": True}
            page["links"] = [following | {"body": {"token": token + 1}}]
        return JSONResponse(page)


def june() -> Query:
    asked = request("any")
    return Query(
        collections=("sentinel-2-l2a",),
        area=MultiPolygon([BOX]),
        start=asked.start,
        end=asked.end,
        max_cloud_cover_percent=None,
    )


def names(found: Found) -> list[str]:
    return [scene.id for scene in found.scenes]


def test_a_real_api_gives_every_page(tmp_path: Path) -> None:
    with stac_api([*DAYS, s1_item()], tmp_path) as api:
        found = Catalogue("api", api, page_items=2).items([june()])
        first = requests.post(f"{api}/search", json={"collections": ["sentinel-2-l2a"], "limit": 2}, timeout=5).json()
    assert len(first["features"]) == 2
    assert sorted(item.content["id"] for item in found) == [f"day {day:02}" for day in range(1, 8)]


def test_the_end_of_the_span_is_left_out_of_a_real_api_too(tmp_path: Path) -> None:
    edges = [s2_item("first", when="2023-06-01T00:00:00Z"), s2_item("after", when="2023-07-01T00:00:00Z")]
    with stac_api(edges, tmp_path) as api:
        assert len(Catalogue("api", api).items([june()])) == 2
        assert names(find_scenes(request(api), bands=BANDS)) == ["first"]


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.usefixtures("impatient")
def test_a_search_that_fails_is_asked_again(status: int) -> None:
    api = Api(DAYS, failures=2, status=status)
    with running(api.app) as address:
        assert len(find_scenes(request(address), bands=BANDS).scenes) == 7
    assert api.bodies[0] == api.bodies[1] == api.bodies[2]


@pytest.mark.usefixtures("impatient")
def test_a_page_in_the_middle_that_fails_for_good_fails_the_search() -> None:
    api = Api(DAYS, failures=100)
    with running(api.app) as address, pytest.raises(SourceUnreachable, match="too many 503") as caught:
        find_scenes(request(address), bands=BANDS)
    assert caught.value.url == f"{address}/search"


@pytest.mark.usefixtures("impatient")
def test_a_refused_search_says_what_the_api_said() -> None:
    with running(Api(DAYS, failures=1, status=400).app) as address, pytest.raises(SourceUnusable, match="400: broken"):
        find_scenes(request(address), bands=BANDS)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_not_there_is_unreachable() -> None:
    with running(Starlette()) as address:
        pass
    with pytest.raises(SourceUnreachable, match=address):
        find_scenes(request(address), bands=BANDS)


def test_the_api_filters_clouds_where_it_can() -> None:
    conforming = {"conformsTo": ["https://api.stacspec.org/v1.0.0/item-search#query"]}
    limited = MapOptions(max_cloud_cover_percent=3)
    for landing, sent in (({}, None), (conforming, {"eo:cloud_cover": {"lte": 3}})):
        api = Api(DAYS, landing=landing)
        with running(api.app) as address:
            assert names(find_scenes(request(address, options=limited), bands=BANDS)) == ["day 01", "day 02", "day 03"]
        optical, radar = (body for body in api.bodies if "token" not in body)
        assert optical.get("query") == sent
        assert "query" not in radar


def test_an_api_without_post_is_searched_with_get() -> None:
    api = Api(DAYS[:1], landing={"links": [{"rel": "search", "href": "./search"}]})
    with running(api.app) as address:
        assert names(find_scenes(request(address), bands=BANDS)) == ["day 01"]
    assert json.loads(api.bodies[0]["intersects"])["type"] == "MultiPolygon"


def test_every_form_of_a_catalogue_gives_the_same_scenes(shared: Path, tmp_path: Path) -> None:
    catalogue = shared / "stac" / "savanna" / "catalog.json"
    static = find_scenes(request_2020(catalogue), bands=BANDS)
    assert len(static.scenes) == 7
    assert static.scenes[1].item_href == str(
        catalogue.parent / "sentinel-2-l2a" / static.scenes[1].id / f"{static.scenes[1].id}.json"
    )
    with served_catalogue(catalogue, tmp_path) as api, file_server(catalogue.parent) as files:
        over_http = find_scenes(request_2020(f"{files}/catalog.json"), bands=BANDS)
        searched = find_scenes(request_2020(api), bands=BANDS)
        for found, address in ((static, str(catalogue.parent)), (over_http, files)):
            assert all(asset.href.startswith(address) for scene in found.scenes for asset in scene.assets)
        href = searched.scenes[0].assets[0].href
        part = requests.get(href, headers={"Range": "bytes=0-3"}, timeout=5)
    assert part.status_code == 206
    assert part.content in {b"II*\0", b"II+\0"}
    assert [essence(scene) for scene in static.scenes] == [essence(scene) for scene in over_http.scenes]
    assert [essence(scene) for scene in static.scenes] == [essence(scene) for scene in searched.scenes]


def request_2020(source: str | Path) -> MapRequest:
    june_2023 = request(source, area=SAVANNA_AREA)
    return june_2023.model_copy(
        update={"start": june_2023.start.replace(2020, 8), "end": june_2023.end.replace(2020, 9)}
    )


def essence(scene: Scene) -> tuple[Scene, list[tuple[str, str, Radiometry]]]:
    """A scene without where its files are."""
    assets = [(asset.band, asset.href.rpartition("/")[2], asset.radiometry) for asset in scene.assets]
    return scene.model_copy(update={"assets": (), "item_href": None}), assets


def test_stac_geoparquet_gives_what_its_items_give(tmp_path: Path) -> None:
    items = [*DAYS, s1_item()]
    for item in items:
        for key, asset in item["assets"].items():
            asset["href"] = f"./files/{item['id']}/{key}.tif"
    path = tmp_path / "items.parquet"
    rustac.write_sync(str(path), items)
    from_parquet = find_scenes(request(path), bands=BANDS)
    assert from_parquet == find_scenes(request(write_items(tmp_path, *items)), bands=BANDS)
    assert from_parquet.scenes[0].assets[0].href == f"{tmp_path}/files/day 01/B02.tif"
    with file_server(tmp_path) as files:
        over_http = find_scenes(request(f"{files}/items.parquet"), bands=BANDS)
    assert over_http.scenes[0].assets[0].href == f"{files}/files/day 01/B02.tif"
    assert [scene.id for scene in over_http.scenes] == [scene.id for scene in from_parquet.scenes]


def test_a_listing_in_pages_is_read_to_its_end() -> None:
    async def listing(asked: Request) -> Response:
        page = int(asked.query_params.get("page", 0))
        links = [{"rel": "next", "href": f"./items?page={page + 1}"}] if page < 6 else []
        return JSONResponse({"type": "FeatureCollection", "features": [DAYS[page]], "links": links})

    with running(Starlette(routes=[Route("/items", listing)])) as address:
        assert len(find_scenes(request(f"{address}/items"), bands=BANDS).scenes) == 7


def test_a_catalogue_that_links_in_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "item.json").write_text(json.dumps(s2_item()))
    for name, other in (("catalog", "other"), ("other", "other")):
        links = [{"rel": "child", "href": f"{other}.json"}, {"rel": "item", "href": "./item.json"}]
        (tmp_path / f"{name}.json").write_text(json.dumps({"type": "Catalog", "id": name, "links": links}))
    assert names(find_scenes(request(tmp_path / "catalog.json"), bands=BANDS)) == ["optical"]


def test_items_of_other_collections_are_not_even_read(tmp_path: Path) -> None:
    links = [{"rel": "item", "href": "./missing.json"}]
    (tmp_path / "landsat.json").write_text(json.dumps({"type": "Collection", "id": "landsat", "links": links}))
    (tmp_path / "item.json").write_text(json.dumps(s2_item()))
    links = [{"rel": "child", "href": "landsat.json"}, {"rel": "item", "href": "./item.json"}]
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "both", "links": links}))
    assert names(find_scenes(request(tmp_path / "catalog.json"), bands=BANDS)) == ["optical"]


def test_a_catalogue_with_a_broken_link_is_not_half_read(tmp_path: Path) -> None:
    links = [{"rel": "item", "href": "./missing.json"}]
    (tmp_path / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "broken", "links": links}))
    with pytest.raises(SourceUnusable, match=r"missing\.json cannot be read"):
        find_scenes(request(tmp_path / "catalog.json"), bands=BANDS)


@pytest.mark.parametrize("content", ["<html>", "[]", "{}"])
def test_what_is_no_stac_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "page.json"
    path.write_text(content)
    with pytest.raises(SourceUnusable, match=r"page\.json"):
        find_scenes(request(path), bands=BANDS)


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    path.write_text("text")
    with pytest.raises(SourceUnusable, match="cannot be read as stac-geoparquet"):
        find_scenes(request(path), bands=BANDS)


def test_an_outline_with_many_vertices_is_searched_by_boxes_around_it() -> None:
    simple = MultiPolygon([BOX])
    assert outline(simple) is simple
    east, west = Point(179, 10).buffer(1, quad_segs=200), Point(-179.5, 10).buffer(0.5, quad_segs=200)
    boxes = outline(MultiPolygon([east, west]))
    assert boxes.covers(shapely.union_all([east, west]))
    assert boxes.equals(MultiPolygon([box(178, 9, 180, 11), box(-180, 9.5, -179, 10.5)]))
