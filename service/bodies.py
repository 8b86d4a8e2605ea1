"""JSON bodies of requests, taken at their word: "5" is no number, and 5 no string."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from service.parts import InUse, Parts
from service.problems import Refused

M = TypeVar("M", bound=BaseModel)


def body_of(model: type[M]) -> Callable[[Request, Parts], Awaitable[M]]:
    """A dependency that gives the body as this model.

    It is read where it stands among a route's parameters: whoever calls stands before it.

    FastAPI would read JSON first and check Python objects afterwards, which is slower and tells fewer types apart.
    """

    async def body(request: Request, parts: InUse) -> M:
        content = await _read(request, parts.settings.max_body_bytes)
        try:
            return model.model_validate_json(content, strict=True)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False)
            raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from error

    return body


async def _read(request: Request, limit_bytes: int) -> bytes:
    """The body, of which no more is kept than is allowed.

    Raises:
        Refused: It is larger.
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > limit_bytes:
            detail = f"the body is larger than the {limit_bytes:,} bytes that this server reads; simplify the area"
            raise Refused(413, detail, kind="body-too-large", field="body", limit=limit_bytes)
    return bytes(content)


def described(model: type[BaseModel], **examples: object) -> dict[str, Any]:
    """What the API's description says of that body; see `service.openapi`."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    shown = {name: {"value": value} for name, value in examples.items()}
    content = {"application/json": {"schema": schema, "examples": shown}}
    return {"requestBody": {"required": True, "content": content}}
