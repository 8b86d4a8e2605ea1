"""The items of a source, whatever it is: a STAC API, a static catalogue, an item collection or stac-geoparquet."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import rustac
from pystac_client.exceptions import APIError
from pystac_client.item_search import ItemSearch
from pystac_client.stac_api_io import StacApiIO
from shapely import MultiPolygon, box, get_num_coordinates, unary_union
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from contract.errors import SourceUnreachable, SourceUnusable
from workers.sources.hrefs import absolute, is_url
from workers.sources.http import TIMEOUT_S, catalogue_io, session

PARQUET_SUFFIXES: Final = (".parquet", ".geoparquet")
PAGE_ITEMS: Final = 100
"""Items of one page: Earth Search fails on answers above 6 MB, and its items have 25 kB each."""
WALKERS: Final = 8
"""Files of a static catalogue that are read at once."""
MOST_VERTICES: Final = 500
"""Of an outline that is sent to an API: some refuse more, all get slow."""
QUERY_CONFORMANCE: Final = "item-search#query"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundItem:
    """An item as the catalogue wrote it; nothing in it is checked yet."""

    content: dict[str, Any]
    base: str
    """URL or path that its relative hrefs start from."""
    href: str | None
    """The item's own URL or path, where it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a STAC API is asked for. Static catalogues give everything; the caller filters both alike."""

    collections: tuple[str, ...]
    area: MultiPolygon
    start: datetime
    end: datetime
    """STAC's intervals are closed, so items of this very instant come too."""
    max_cloud_cover_percent: float | None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A source that can be asked for items."""

    source: str
    """As the request calls it, for errors."""
    href: str
    page_items: int = PAGE_ITEMS

    def items(self, queries: Sequence[Query]) -> list[FoundItem]:
        """At least the items that match one of the queries, every page of them.

        Raises:
            SourceUnreachable: It did not answer, also after retries.
            SourceUnusable: What it answers is no STAC.
        """
        if urlsplit(self.href).path.endswith(PARQUET_SUFFIXES):
            return _items_in(self._read_parquet(), self.href)
        io = catalogue_io()
        root = self._read(io, self.href)
        search = _search_link(root, self.href)
        if search is None:
            collections = {name for query in queries for name in query.collections}
            return list(self._walk(io, root, collections))
        with_query = any(QUERY_CONFORMANCE in name for name in root.get("conformsTo", ()))
        return [item for query in queries for item in self._search(io, search, query, with_query=with_query)]

    def _search(self, io: StacApiIO, link: tuple[str, str], query: Query, *, with_query: bool) -> Iterator[FoundItem]:
        url, method = link
        cloud = query.max_cloud_cover_percent if with_query else None
        search = ItemSearch(
            url,
            method=method,
            stac_io=io,
            limit=self.page_items,
            collections=list(query.collections),
            intersects=mapping(outline(query.area)),
            datetime=(query.start, query.end),
            query=None if cloud is None else {"eo:cloud_cover": {"lte": cloud}},
        )
        try:
            for page in search.pages_as_dicts():
                yield from _items_in(page, url)
        except (APIError, json.JSONDecodeError) as error:
            raise self._translated(error, url) from error

    def _walk(self, io: StacApiIO, root: dict[str, Any], collections: set[str]) -> Iterator[FoundItem]:
        """Breadth first, the documents of one level at once; a document that is linked twice is read once."""
        seen = {self.href}
        level = [(self.href, root)]
        with ThreadPoolExecutor(WALKERS) as pool:
            while level:
                hrefs = []
                for href, document in level:
                    yield from _items_in(document, href)
                    hrefs += _links_of(document, href, collections)
                hrefs = [href for href in dict.fromkeys(hrefs) if href not in seen]
                seen.update(hrefs)
                level = list(zip(hrefs, pool.map(lambda href: self._read(io, href), hrefs), strict=True))

    def _read(self, io: StacApiIO, href: str) -> dict[str, Any]:
        try:
            document = io.read_json(href)
        except (APIError, OSError, ValueError) as error:
            raise self._translated(error, href) from error
        if not isinstance(document, dict) or "type" not in document:
            raise SourceUnusable(self.source, f"{href} is no STAC document: it has no type")
        return document

    def _read_parquet(self) -> dict[str, Any]:
        if not is_url(self.href):
            return self._read_parquet_file(self.href)
        with NamedTemporaryFile(suffix=".parquet") as copy:
            try:
                response = session().get(self.href, timeout=TIMEOUT_S)
            except requests.RequestException as error:
                raise SourceUnreachable(self.source, self.href, str(error)) from error
            if not response.ok:
                raise SourceUnusable(self.source, f"{self.href} answers {response.status_code}")
            copy.write(response.content)
            copy.flush()
            return self._read_parquet_file(copy.name)

    def _read_parquet_file(self, path: str) -> dict[str, Any]:
        async def read() -> dict[str, Any]:
            content: dict[str, Any] = await rustac.read(path, format="geoparquet")
            return content

        try:
            return asyncio.run(read())
        except rustac.RustacError as error:
            raise SourceUnusable(self.source, f"{self.href} cannot be read as stac-geoparquet: {error}") from error

    def _translated(self, error: Exception, href: str) -> SourceUnreachable | SourceUnusable:
        status = getattr(error, "status_code", None)
        if isinstance(error, APIError) and (status is None or status >= 500):  # noqa: PLR2004  server errors of HTTP
            return SourceUnreachable(self.source, href, str(error))
        answer = f"answers {status}" if status else "cannot be read"
        return SourceUnusable(self.source, f"{href} {answer}: {str(error)[:300]}")


def outline(area: MultiPolygon) -> BaseGeometry:
    """The area, or where that has very many vertices a box around it, one on each side of the prime meridian.

    Two boxes, since an area at the antimeridian has a part at either end of the world.
    """
    if get_num_coordinates(area) <= MOST_VERTICES:
        return area
    west = [part for part in area.geoms if part.centroid.x < 0]
    east = [part for part in area.geoms if part.centroid.x >= 0]
    boxes: BaseGeometry = unary_union([box(*MultiPolygon(half).bounds) for half in (west, east) if half])
    return boxes


def _search_link(root: dict[str, Any], href: str) -> tuple[str, str] | None:
    """URL and method of an API's item search; None for a static catalogue."""
    links = [link for link in root.get("links", ()) if link.get("rel") == "search"]
    if not links:
        return None
    methods = {link.get("method", "GET"): link["href"] for link in links}
    method = "POST" if "POST" in methods else "GET"
    return absolute(methods[method], href), method


def _items_in(document: dict[str, Any], href: str) -> list[FoundItem]:
    """The items that a document is or holds."""
    kind = document.get("type")
    if kind == "FeatureCollection":
        items = [(item, _self_link(item)) for item in document.get("features", ())]
        return [FoundItem(content=item, base=own or href, href=own) for item, own in items]
    return [FoundItem(content=document, base=href, href=href)] if kind == "Feature" else []


def _self_link(item: dict[str, Any]) -> str | None:
    """Where the item itself is, if it says so in full."""
    hrefs = (link["href"] for link in item.get("links", ()) if link.get("rel") == "self")
    return next((href for href in hrefs if urlsplit(href).scheme or Path(href).is_absolute()), None)


def _links_of(document: dict[str, Any], href: str, collections: set[str]) -> list[str]:
    """Further documents: children, items unless of collections that nobody asked for, pages of an API's listing."""
    relations = {"FeatureCollection": {"next"}, "Catalog": {"child", "item"}, "Collection": {"child"}}
    wanted = relations.get(document["type"], set())
    if document["type"] == "Collection" and document.get("id") in collections:
        wanted = {"child", "item"}
    return [absolute(link["href"], href) for link in document.get("links", ()) if link.get("rel") in wanted]
