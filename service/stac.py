"""Finished jobs as a STAC API: collections, items, search."""

from typing import Annotated, Any, Final

import shapely
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from shapely.geometry.base import BaseGeometry

from service.access import Caller, Reader
from service.addresses import GEOJSON, JSON, Addresses, Link, Urls
from service.areas import BoundingBox, outline
from service.bodies import body_of, described
from service.catalogue import Criteria, Page
from service.ids import JobId, Mark
from service.intervals import PATTERN, interval
from service.jobs import status_for
from service.parts import InUse, Parts
from service.problems import Refused
from service.queries import LONGEST_PAGE, once
from service.responses import refusals
from service.stac_records import COLLECTION, Collection, CollectionList, ItemCollection, Search

router = APIRouter(tags=["maps"])
CollectionId = Annotated[str, Path(examples=[COLLECTION])]
_NUMBER: Final = r"-?[0-9]{1,3}(\.[0-9]{1,15})?"
_ITEM: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "A STAC item.", "content": {GEOJSON: {"schema": {"type": "object"}}}}
}
_ITEMS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {GEOJSON: {"schema": {"$ref": "#/components/schemas/ItemCollection"}}}}
}


class ItemsQuery(BaseModel):
    """Which items of a collection to list."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    bbox: Annotated[str, Field(pattern=rf"^{_NUMBER}(,{_NUMBER}){{3}}(,{_NUMBER},{_NUMBER})?$")] | None = Field(
        default=None, examples=["11,46,12,47"]
    )
    """West, south, east, north in degrees, with commas between."""
    datetime: Annotated[str, Field(pattern=PATTERN, examples=["2024-06-01T00:00:00Z/.."])] | None = None
    """An instant, or two with a slash between, ".." for open."""
    limit: int = Field(default=10, ge=1, le=10_000)
    """Most items of a page; no page has more than 1000."""
    token: Mark | None = None
    """Where the page begins. Comes with the link to the next page."""

    def search(self) -> Search:
        """The same as it is asked for by POST."""
        return Search(bbox=_numbers(self.bbox), datetime=self.datetime, limit=self.limit, token=self.token)


class SearchQuery(ItemsQuery):
    """Which maps to find."""

    ids: Annotated[str, Field(pattern=r"^[A-Za-z0-9_,-]{1,4000}$")] | None = None
    """Ids of items, with commas between."""
    collections: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.,-]{1,4000}$")] | None = None
    """Ids of collections, with commas between."""

    def search(self) -> Search:
        """The same as it is asked for by POST."""
        more = {
            "ids": self.ids and [name for name in self.ids.split(",") if 0 < len(name) <= 64],  # noqa: PLR2004
            "collections": self.collections and self.collections.split(","),
        }
        return super().search().model_copy(update=more)


@router.get(
    "/collections", operation_id="getCollections", response_model_exclude_none=True, responses=refusals(401, 403)
)
def get_collections(urls: Urls, _caller: Reader) -> CollectionList:
    """The collections of this server: the caller's maps are one."""
    return CollectionList(
        collections=(_collection(urls),),
        links=(
            Link(href=urls.of("/collections"), rel="self", type=JSON),
            Link(href=urls.of("/"), rel="root", type=JSON),
        ),
    )


@router.get(
    "/collections/{collection_id}",
    operation_id="getCollection",
    response_model_exclude_none=True,
    responses=refusals(401, 403, 404),
)
def get_collection(collection_id: CollectionId, urls: Urls, _caller: Reader) -> Collection:
    """One collection."""
    _check(collection_id)
    return _collection(urls)


@router.get(
    "/collections/{collection_id}/items",
    operation_id="getItems",
    dependencies=[Depends(once())],
    response_class=JSONResponse,
    responses=_ITEMS | refusals(400, 401, 403, 404, 422),
)
def get_items(
    collection_id: CollectionId,
    query: Annotated[ItemsQuery, Query()],
    request: Request,
    caller: Reader,
    parts: InUse,
    urls: Urls,
) -> JSONResponse:
    """The caller's maps, newest first, in pages."""
    _check(collection_id)
    return _items(query.search(), request, caller, parts, urls)


@router.get(
    "/collections/{collection_id}/items/{job_id}",
    operation_id="getItem",
    response_class=JSONResponse,
    responses=_ITEM | refusals(400, 401, 403, 404),
)
def get_item(collection_id: CollectionId, job_id: JobId, caller: Reader, parts: InUse, urls: Urls) -> JSONResponse:
    """The map of one job."""
    _check(collection_id)
    status_for(caller, parts.ledger, job_id)
    parts.results.published(job_id)
    return JSONResponse(parts.catalogue.item(job_id, urls), media_type=GEOJSON)


@router.get(
    "/search",
    operation_id="getSearch",
    dependencies=[Depends(once())],
    response_class=JSONResponse,
    responses=_ITEMS | refusals(400, 401, 403, 404, 422),
)
def get_search(
    query: Annotated[SearchQuery, Query()], request: Request, caller: Reader, parts: InUse, urls: Urls
) -> JSONResponse:
    """Find maps by place, time and id."""
    return _items(query.search(), request, caller, parts, urls)


@router.post(
    "/search",
    operation_id="postSearch",
    response_class=JSONResponse,
    responses=_ITEMS | refusals(400, 401, 403, 404, 413, 422),
    openapi_extra=described(Search, near={"bbox": [11.0, 46.0, 12.0, 47.0], "limit": 10}),
)
def post_search(
    caller: Reader, search: Annotated[Search, Depends(body_of(Search))], request: Request, parts: InUse, urls: Urls
) -> JSONResponse:
    """Find maps by place, time and id; the place may be a polygon."""
    return _items(search, request, caller, parts, urls)


def _items(search: Search, request: Request, caller: Caller, parts: Parts, urls: Addresses) -> JSONResponse:
    page = _find(search, caller, parts, urls)
    found = ItemCollection(
        features=page.items, number_returned=len(page.items), links=_links(request, urls, page, search)
    )
    return JSONResponse(found.model_dump(mode="json", by_alias=True, exclude_none=True), media_type=GEOJSON)


def _find(search: Search, caller: Caller, parts: Parts, urls: Addresses) -> Page:
    criteria = Criteria(
        where=_place(search),
        when=interval(search.datetime, "datetime"),
        ids=None if search.ids is None else tuple(search.ids),
    )
    if search.token is not None:
        status_for(caller, parts.ledger, search.token)
    if search.collections is not None and COLLECTION not in search.collections:
        return Page(items=(), after=None)
    return parts.catalogue.search(criteria, caller, urls, limit=min(search.limit, LONGEST_PAGE), after=search.token)


def _place(search: Search) -> BaseGeometry | None:
    if search.bbox is not None and search.intersects is not None:
        raise Refused(422, "give bbox or intersects, not both", kind="search-ambiguous", field="intersects")
    if search.intersects is not None:
        return outline(search.intersects)
    if search.bbox is None:
        return None
    flat = search.bbox if len(search.bbox) == 4 else [search.bbox[index] for index in (0, 1, 3, 4)]  # noqa: PLR2004
    if len(search.bbox) == 5 or flat[1] > flat[3]:  # noqa: PLR2004  neither flat nor with heights
        detail = f"bbox {search.bbox} must be west, south, east, north, with south below north"
        raise Refused(422, detail, kind="bbox-invalid", field="bbox", value=str(search.bbox))
    west, south, east, north = flat
    if west == east or south == north:  # a line or a point, which encloses nothing and can still be met
        return shapely.box(west, south, east, north)
    return outline(BoundingBox(bbox=flat))


def _numbers(given: str | None) -> list[float] | None:
    return None if given is None else [float(number) for number in given.split(",")]


def _links(request: Request, urls: Addresses, page: Page, search: Search) -> tuple[Link, ...]:
    here = f"{urls.root}{request.url.path}"
    query = f"?{request.url.query}" if request.url.query else ""
    links = [Link(href=f"{here}{query}", rel="self", type=GEOJSON), Link(href=urls.of("/"), rel="root", type=JSON)]
    if page.after is None:
        return tuple(links)
    if request.method == "GET":
        onward = request.url.include_query_params(token=page.after).query
        return *links, Link(href=f"{here}?{onward}", rel="next", type=GEOJSON, method="GET")
    body = search.model_dump(mode="json", exclude_none=True) | {"token": page.after}
    return *links, Link(href=here, rel="next", type=GEOJSON, method="POST", body=body)


def _collection(urls: Addresses) -> Collection:
    own = urls.of(f"/collections/{COLLECTION}")
    return Collection(
        id=COLLECTION,
        title="Land cover",
        description="Land cover and its variance, one item for each finished job of the caller's.",
        links=(
            Link(href=own, rel="self", type=JSON),
            Link(href=urls.of("/"), rel="root", type=JSON),
            Link(href=urls.of("/"), rel="parent", type=JSON),
            Link(href=f"{own}/items", rel="items", type=GEOJSON),
            Link(
                href="https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice",
                rel="license",
                type="application/pdf",
                title="Terms of Copernicus Sentinel data",
            ),
        ),
    )


def _check(collection_id: str) -> None:
    if collection_id != COLLECTION:
        detail = f"there is no collection {collection_id!r}; there is {COLLECTION!r}"
        raise Refused(404, detail, kind="no-such-collection", field="path.collection_id", value=collection_id)
