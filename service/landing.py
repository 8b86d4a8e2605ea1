"""The landing page, what the API conforms to, and its description."""

from html import escape
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import Field

from service.addresses import GEOJSON, HTML, JSON, OPENAPI, RELATION, Addresses, Link, Urls
from service.message import Message
from service.openapi import as_oas30
from service.responses import content, refusals
from service.stac_records import STAC_CONFORMANCE, STAC_VERSION

router = APIRouter(tags=["service"])
_OGC: Final = "http://www.opengis.net/spec/"
CONFORMANCE: Final = (
    f"{_OGC}ogcapi-common-1/1.0/conf/core",
    f"{_OGC}ogcapi-common-1/1.0/conf/landing-page",
    f"{_OGC}ogcapi-common-1/1.0/conf/json",
    f"{_OGC}ogcapi-common-1/1.0/conf/oas30",
    *(
        f"{_OGC}ogcapi-processes-1/1.0/conf/{name}"
        for name in ("core", "ogc-process-description", "json", "html", "oas30", "job-list", "callback", "dismiss")
    ),
    *STAC_CONFORMANCE,
)
_TITLE: Final = "landsigma"
_TEXT: Final = "Land-cover maps with honest per-pixel uncertainty from Sentinel-1 and Sentinel-2."


class LandingPage(Message):
    """Where everything is: a landing page of OGC API and a root catalogue of STAC at once."""

    type: str = "Catalog"
    id: str = _TITLE
    stac_version: str = STAC_VERSION
    title: str = _TITLE
    description: str = _TEXT
    conforms_to: tuple[str, ...] = Field(default=CONFORMANCE, alias="conformsTo")
    links: tuple[Link, ...]


class Conformance(Message):
    """What the API conforms to."""

    conforms_to: tuple[str, ...] = Field(default=CONFORMANCE, alias="conformsTo")


@router.get(
    "/",
    operation_id="getLandingPage",
    response_model=LandingPage,
    responses=content(HTML, {"type": "string"}) | refusals(),
)
def landing_page(request: Request, urls: Urls) -> Response:
    """Links to everything there is; a page for people where `Accept` prefers HTML."""
    page = LandingPage(links=_links(urls))
    if _prefers_html(request.headers.get("accept", "")):
        return HTMLResponse(_html(page))
    return JSONResponse(page.model_dump(by_alias=True, exclude_none=True))


@router.get("/conformance", operation_id="getConformance")
def conformance() -> Conformance:
    """What the API conforms to."""
    return Conformance()


@router.get(
    "/api",
    operation_id="getApi",
    response_class=Response,
    responses=content(OPENAPI, {"type": "object"}),
)
def api(request: Request) -> Response:
    """This description, OpenAPI 3.0."""
    return JSONResponse(_described(request), media_type=OPENAPI)


def _described(request: Request) -> dict[str, Any]:
    schema: dict[str, Any] = request.app.openapi()
    return as_oas30(schema)


def _links(urls: Addresses) -> tuple[Link, ...]:
    own = urls.of("/")
    return (
        Link(href=own, rel="self", type=JSON, title="This page"),
        Link(href=own, rel="root", type=JSON, title="This page"),
        Link(href=own, rel="alternate", type=HTML, title="This page for people"),
        Link(href=urls.of("/api"), rel="service-desc", type=OPENAPI, title="Description of the API"),
        Link(href=urls.of("/conformance"), rel="conformance", type=JSON, title="Standards"),
        Link(href=urls.of("/conformance"), rel=f"{RELATION}conformance", type=JSON, title="Standards"),
        Link(href=urls.of("/processes"), rel=f"{RELATION}processes", type=JSON, title="What can be done"),
        Link(href=urls.of("/jobs"), rel=f"{RELATION}job-list", type=JSON, title="Jobs"),
        Link(href=urls.of("/bundles"), rel="related", type=JSON, title="Models, with their cards"),
        Link(href=urls.of("/collections"), rel="data", type=JSON, title="Maps, as STAC collections"),
        Link(href=urls.of("/collections/land-cover"), rel="child", type=JSON, title="Maps"),
        Link(href=urls.of("/search"), rel="search", type=GEOJSON, title="Search maps", method="GET"),
        Link(href=urls.of("/search"), rel="search", type=GEOJSON, title="Search maps", method="POST"),
    )


def _prefers_html(accept: str) -> bool:
    """Browsers name HTML first, and programs JSON or anything."""
    first = accept.partition(",")[0].partition(";")[0].strip()
    return first == HTML


def _html(page: LandingPage) -> str:
    rows = "\n".join(
        f'<li><a href="{escape(link.href)}">{escape(link.title or link.href)}</a></li>'
        for link in page.links
        if link.rel not in {"self", "root", "alternate"} and link.method != "POST" and "opengis" not in link.rel
    )
    extra = "\n".join(
        f'<li><a href="{escape(link.href)}">{escape(link.title or link.href)}</a></li>'
        for link in page.links
        if link.rel.startswith(RELATION) and not link.rel.endswith("conformance")
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(page.title)}</title></head>\n"
        f"<body><h1>{escape(page.title)}</h1>\n<p>{escape(page.description)}</p>\n<ul>\n{extra}\n{rows}\n</ul></body></html>\n"
    )
