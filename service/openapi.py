"""The description of the API: made by FastAPI, completed here, and served as OpenAPI 3.0, which OGC's standards name."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service.execution import Execution
from service.keys import HEADER
from service.links import LinkTerms
from service.problems import Problem
from service.schedules import NewSchedule
from service.stac_records import ItemCollection, Search

DESCRIPTION: Final = """\
Give it an area and a span of time; get back a land-cover map and how far to trust each pixel of it.

Submit a job at `/processes/land-cover/execution`, look at it at the `Location` of the answer, and read its Cloud-Optimized
GeoTIFFs from `/jobs/{job_id}/results`, also by ranges (GDAL's `/vsicurl/`). Finished maps are a STAC API at `/search`.

Refusals are problem documents (RFC 9457). 400 is a request that does not fit this description; 422 is one that fits and
cannot be done, with the field, the value and the limit.
"""
TAGS: Final = [
    {"name": "service", "description": "Landing page, standards and this description."},
    {"name": "processes", "description": "What can be done (OGC API - Processes): describe, estimate, submit."},
    {"name": "jobs", "description": "How far jobs are; dismiss them."},
    {"name": "results", "description": "What finished jobs gave, whole or in ranges."},
    {"name": "maps", "description": "Finished jobs as a STAC API."},
    {"name": "links", "description": "Addresses that open results without a key, for some time."},
    {"name": "schedules", "description": "Regions of any size, mapped again and again."},
    {"name": "bundles", "description": "Models that a job may name, with their cards."},
    {"name": "operation", "description": "For whoever runs the server."},
]
_OWN_MODELS: Final = (Execution, Search, ItemCollection, Problem, LinkTerms, NewSchedule)
"""Models that FastAPI does not see: bodies are read by `service.bodies`, and problems are written by `service.problems`."""
_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, `lsk_...`."},
    "header": {"type": "apiKey", "in": "header", "name": HEADER, "description": "The same key in a header of its own."},
}
_UNUSED: Final = ("HTTPValidationError", "ValidationError")
_METHODS: Final = ("get", "head", "post", "put", "patch", "delete")


def describe(app: FastAPI) -> None:
    """Let the application describe itself in full."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way


def _completed(app: FastAPI) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
        license_info=app.license_info,
    )
    schema.setdefault("components", {})["securitySchemes"] = _SECURITY
    schema["security"] = [
        {"bearer": []},
        {"header": []},
        {},
    ]  # a server without keys asks programs on its machine for none
    components = schema["components"].setdefault("schemas", {})
    _, own = models_json_schema(
        [(model, "validation") for model in _OWN_MODELS], ref_template="#/components/schemas/{model}"
    )
    components.update(own["$defs"])
    for operation in _operations(schema):
        # FastAPI's own answer to what does not fit is never given here.
        if _UNUSED[0] in str(operation["responses"].get("422", "")):
            del operation["responses"]["422"]
    for name in _UNUSED:
        components.pop(name, None)
    return schema


def _operations(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [path[method] for path in schema["paths"].values() for method in _METHODS if method in path]


def as_oas30(schema: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI 3.1 description in the words of 3.0.3."""
    converted: dict[str, Any] = _older(schema)
    converted["openapi"] = "3.0.3"
    converted["info"].pop("summary", None)
    converted["info"]["license"].pop("identifier", None)
    return converted


def _older(node: Any) -> Any:
    if isinstance(node, list):
        return [_older(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    return _older_keywords({key: _older_entry(key, value) for key, value in node.items()})


def _older_entry(key: str, value: Any) -> Any:
    """Examples of bodies are nobody's schema."""
    return value if key == "example" or (key == "examples" and isinstance(value, dict)) else _older(value)


def _older_keywords(node: dict[str, Any]) -> dict[str, Any]:
    """JSON schema 2020-12 as OpenAPI 3.0 can say it. What it cannot say is left out: it then allows more."""
    if isinstance(options := node.get("anyOf"), list):
        kept = [option for option in options if option.get("type") != "null"]
        if len(kept) < len(options):
            node = {key: value for key, value in node.items() if key != "anyOf"} | {"nullable": True}
            node |= kept[0] if len(kept) == 1 and "$ref" not in kept[0] else {"anyOf": kept}
    if "const" in node:
        node["enum"] = [node.pop("const")]
    if "prefixItems" in node:
        node["items"] = {"anyOf": node.pop("prefixItems")}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(node.get(exclusive), int | float) and not isinstance(node.get(exclusive), bool):
            node[bound], node[exclusive] = node[exclusive], True
    if isinstance(examples := node.get("examples"), list):
        del node["examples"]
        node.setdefault("example", examples[0])
    if "$ref" in node and len(node) > 1 and isinstance(node["$ref"], str):
        node = {"allOf": [{"$ref": node.pop("$ref")}], **node}
    node.pop("propertyNames", None)
    return node
