"""Searches of maps, and what answers them (STAC API 1.0, item search)."""

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from service.addresses import Link
from service.areas import Geometry, Number
from service.ids import Mark
from service.intervals import PATTERN
from service.message import Message

STAC_VERSION: Final = "1.1.0"
COLLECTION: Final = "land-cover"
_API: Final = "https://api.stacspec.org/v1.0.0/"
STAC_CONFORMANCE: Final = (
    f"{_API}core",
    f"{_API}collections",
    f"{_API}ogcapi-features",
    f"{_API}item-search",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
)


class Search(Message):
    """Which maps to find. All that is given must fit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"bbox": [11.0, 46.0, 12.0, 47.0], "datetime": "2024-06-01T00:00:00Z/..", "limit": 10}]
        }
    )

    bbox: Annotated[list[Number], Field(min_length=4, max_length=6)] | None = None
    """West, south, east, north in degrees; over the antimeridian where west > east."""
    intersects: Geometry | None = None
    """GeoJSON polygon, in place of `bbox`."""
    datetime: Annotated[str, Field(pattern=PATTERN)] | None = None
    """An instant, or two with a slash between, ".." for open."""
    ids: list[Mark] | None = None
    collections: list[str] | None = None
    limit: int = Field(default=10, ge=1, le=10_000)
    """Most items of a page; no page has more than 1000."""
    token: Mark | None = None
    """Where the page begins. Comes with the link to the next page."""


class ItemCollection(Message):
    """Items that were found, newest first."""

    type: Literal["FeatureCollection"] = "FeatureCollection"
    features: tuple[dict[str, Any], ...]
    """STAC items."""
    number_returned: int = Field(alias="numberReturned")
    links: tuple[Link, ...]


class Extent(Message):
    """Where and when; the whole world and all time, since maps may be of any place."""

    spatial: dict[str, list[list[float]]] = Field(default={"bbox": [[-180, -90, 180, 90]]})
    temporal: dict[str, list[list[str | None]]] = Field(default={"interval": [["2014-04-03T00:00:00Z", None]]})
    """Sentinel-1A was launched in April 2014."""


class Collection(Message):
    """A STAC collection."""

    type: Literal["Collection"] = "Collection"
    id: str
    stac_version: str = STAC_VERSION
    title: str
    description: str
    license: str = "other"
    keywords: tuple[str, ...] = ("land cover", "uncertainty", "sentinel-1", "sentinel-2")
    extent: Extent = Extent()
    links: tuple[Link, ...]


class CollectionList(Message):
    """The collections of this server."""

    collections: tuple[Collection, ...]
    links: tuple[Link, ...]
