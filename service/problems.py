"""Every refusal as a problem document (RFC 9457) that names the field, the value and the limit."""

import logging
import math
import re
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ConfigDict
from starlette.exceptions import HTTPException

from contract.errors import (
    AccessError,
    AoiError,
    BundleError,
    IdempotencyConflict,
    JobNotFound,
    KeyNotFound,
    LandsigmaError,
    LedgerUnusable,
    LimitReached,
    OutputNotWritable,
    RunNotFound,
    ScheduleNotFound,
    SourceError,
)
from service.message import Message

MEDIA_TYPE: Final = "application/problem+json"
OGC: Final = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0/"
_OWN: Final = "urn:x-landsigma:problem:"
_RETRY_S: Final = 5
_SHOWN_CHARACTERS: Final = 200
_STATUSES: Final[tuple[tuple[type[LandsigmaError], int], ...]] = (
    (JobNotFound, 404),
    (ScheduleNotFound, 404),
    (RunNotFound, 404),
    (KeyNotFound, 404),
    (IdempotencyConflict, 409),
    (LimitReached, 429),
    (LedgerUnusable, 503),
    (OutputNotWritable, 503),
    (AoiError, 422),
    (SourceError, 422),
    (BundleError, 422),
    (AccessError, 401),
)
_logger = logging.getLogger(__name__)


class Fault(Message):
    """One thing in a request that does not fit."""

    field: str
    """Where, as "body.inputs.start" or "query.limit"."""
    detail: str
    value: str | None = None
    """What was found there, abridged."""


class Problem(Message):
    """Why a request was refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": f"{_OWN}aoi-too-large",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "the area covers 61,234.5 km2; one job maps at most 10,000.0 km2. Cut it into parts",
                    "instance": "/processes/land-cover/execution",
                    "field": "inputs.area",
                    "value": 61234.5,
                    "limit": 10000.0,
                }
            ]
        }
    )

    type: str
    """URI of the kind of problem."""
    title: str
    status: int
    detail: str
    """What was found, what is needed and what to do."""
    instance: str
    """Path of the request."""
    field: str | None = None
    """What of the request it is about."""
    value: float | str | None = None
    """What was found there."""
    limit: float | str | None = None
    """What is allowed there."""
    position: int | None = None
    """Where in the queue the job would have come, from 1."""
    errors: tuple[Fault, ...] | None = None
    """Everything that does not fit the API's description."""


class Refused(Exception):  # noqa: N818  named for what was found, as contract.errors
    """A request that is answered with a problem."""

    def __init__(  # noqa: PLR0913  each is one member of the problem
        self,
        status: int,
        detail: str,
        *,
        kind: str,
        field: str | None = None,
        value: float | str | None = None,
        limit: float | str | None = None,
        position: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.kind, self.headers = status, detail, kind, headers
        self.field, self.value, self.limit, self.position = field, value, limit, position


def answer_problems(app: FastAPI) -> None:
    """Let an application say all its refusals as problems."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(LandsigmaError, _failed)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _broken)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)  # noqa: S101  Starlette calls it with nothing else
    return _response(request, error)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, LandsigmaError)  # noqa: S101  Starlette calls it with nothing else
    return _response(request, refusal_of(error))


def refusal_of(error: LandsigmaError) -> Refused:
    """What to answer where this error comes up."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    kind = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # What is in it (paths, hosts) is the operator's.
        _logger.error("%s", error)
        detail = "the server cannot do this now; try again, and tell its operator if it stays so"
        return Refused(status, detail, kind=kind, headers={"Retry-After": str(_RETRY_S)})
    about: dict[str, Any]
    match error:
        case JobNotFound():
            about = {"value": error.job_id}
            kind = f"{OGC}no-such-job"
        case LimitReached():
            about = {"field": error.what, "value": error.value, "limit": error.limit, "position": error.position}
            about["headers"] = {"Retry-After": str(math.ceil(error.retry_after_s))}
        case IdempotencyConflict():
            about = {"field": "header.Idempotency-Key", "value": error.key}
        case AoiError():
            about = {"field": "inputs.area"}
        case _:
            about = {"headers": {"WWW-Authenticate": "Bearer"}} if status == HTTPStatus.UNAUTHORIZED else {}
    return Refused(status, str(error), kind=kind, **about)


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  Starlette calls it with nothing else
    faults = tuple(_fault(entry) for entry in error.errors())
    first = faults[0]
    problem = _problem(
        request,
        Refused(400, f"{first.field}: {first.detail}", kind="request-malformed", field=first.field, value=first.value),
        faults,
    )
    return _json(problem, {})


async def _plain(request: Request, error: Exception) -> JSONResponse:
    """Of the framework: no such path, no such method, body too large."""
    assert isinstance(error, HTTPException)  # noqa: S101  Starlette calls it with nothing else
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": _methods_at(request)}
    detail = {
        404: f"there is nothing at {request.url.path}; the landing page at / links what there is",
        405: f"{request.method} is not allowed here; use {headers.get('Allow')}",
    }.get(error.status_code, str(error.detail))
    return _response(request, Refused(error.status_code, detail, kind="about:blank", headers=headers))


def _methods_at(request: Request) -> str:
    """Every method of a path. Starlette's own answer names those of the first route alone."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    methods = {
        method.upper()
        for template, operations in paths.items()
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), request.url.path)
        for method in operations
    }
    return ", ".join(sorted(methods))


async def _broken(request: Request, error: Exception) -> JSONResponse:
    _logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    detail = "something went wrong in the server; it is in its log"
    return _response(request, Refused(500, detail, kind="about:blank"))


def _fault(entry: dict[str, Any]) -> Fault:
    field = ".".join(str(part) for part in entry["loc"])
    missing = entry["type"] in {"missing", "json_invalid"}
    value = None if missing else str(entry.get("input"))[:_SHOWN_CHARACTERS]
    return Fault(field=field, detail=entry["msg"], value=value)


def _response(request: Request, refused: Refused) -> JSONResponse:
    return _json(_problem(request, refused, None), refused.headers or {})


def _problem(request: Request, refused: Refused, faults: tuple[Fault, ...] | None) -> Problem:
    kind = refused.kind
    return Problem(
        type=kind if ":" in kind else f"{_OWN}{kind}",
        title=HTTPStatus(refused.status).phrase,
        status=refused.status,
        detail=refused.detail,
        instance=request.url.path,
        field=refused.field,
        value=refused.value,
        limit=refused.limit,
        position=refused.position,
        errors=faults,
    )


def _json(problem: Problem, headers: dict[str, str]) -> JSONResponse:
    content = problem.model_dump(mode="json", exclude_none=True)
    return JSONResponse(content, problem.status, headers, MEDIA_TYPE)
