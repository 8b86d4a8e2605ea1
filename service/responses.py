"""How the API's description shows refusals."""

from http import HTTPStatus
from typing import Any, Final

from service.problems import MEDIA_TYPE

_MEANINGS: Final = {
    400: "The request does not fit this description; `errors` lists where.",
    401: "A key is needed, or the one that was presented opens nothing.",
    403: "The key lacks a scope.",
    404: "There is no such thing, or it is somebody else's.",
    409: "It contradicts what is there already.",
    413: "The body is larger than the server reads.",
    416: "The range lies outside of the file.",
    422: "The request fits this description, and cannot be done; `field`, `value` and `limit` say why.",
    429: "A limit is reached; `Retry-After` says when to come back, `position` where in the queue the job would have been.",
    503: "The server cannot do it now; `Retry-After` says when to come back.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problem documents for these statuses; every operation may also be answered 503."""
    return {status: _refusal(status) for status in (*statuses, 503)}


def content(media_type: str, schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """A good answer that is no JSON document of FastAPI's making."""
    return {200: {"content": {media_type: {"schema": schema}}}}


def _refusal(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    entry: dict[str, Any] = {
        "description": f"{HTTPStatus(status).phrase}. {_MEANINGS[status]}",
        "content": {MEDIA_TYPE: {"schema": schema}},
    }
    if status in {429, 503}:
        seconds = {"schema": {"type": "integer"}, "description": "Seconds to wait."}
        entry["headers"] = {"Retry-After": seconds}
    return entry
