"""Results of finished jobs as one document: links, or values where they are asked for."""

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field, RootModel

from service.addresses import Addresses
from service.files import Reader, published_for
from service.jobs import JobId, Urls
from service.message import Message
from service.responses import refusals
from service.storage import Published, Results

VALUES_BYTES: Final = 16 << 20
"""Most that one document carries as values; what is beyond stays a link."""
router = APIRouter(tags=["results"])


class OutputLink(Message):
    """An output, by reference."""

    href: str
    type: str
    """Media type."""
    title: str


class OutputValue(Message):
    """An output, by value."""

    value: Any
    """JSON as it is, the rest in base64."""
    media_type: str = Field(alias="mediaType")
    encoding: str | None = None
    """"base64", or missing."""


class ResultsDocument(RootModel[dict[str, OutputLink | OutputValue]]):
    """Every output of a job, by name."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "landcover": {
                        "href": "https://maps.example.org/jobs/3f0c2a9be1f64d0f9d0f4f3a3a4b6c11/files/landcover.tif",
                        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                        "title": "landcover.tif",
                    }
                }
            ]
        }
    )


_NOTHING: Final[Mapping[str, OutputValue]] = {}


@router.get(
    "/jobs/{job_id}/results",
    operation_id="getResults",
    response_model=ResultsDocument,
    responses=refusals(400, 401, 403, 404),
)
def get_results(
    job_id: JobId,
    request: Request,
    caller: Reader,
    urls: Urls,
    prefer: Annotated[str, Header(examples=["return=representation"])] = "",
) -> JSONResponse:
    """Every output of a finished job as a link; with `Prefer: return=representation`, as values.

    Values are limited to 16 MiB together, smallest first: what is beyond stays a link.
    """
    results: Results = request.app.state.parts.results
    published = published_for(caller, results, job_id)
    by_value = "return=representation" in prefer.replace(" ", "").lower()
    inline = _inline(results, job_id, published) if by_value else {}
    document = document_of(published, job_id, urls, inline)
    headers = {"Preference-Applied": "return=representation"} if by_value else {}
    return JSONResponse(document.model_dump(by_alias=True, exclude_none=True), headers=headers)


def document_of(
    published: Published, job_id: str, urls: Addresses, inline: Mapping[str, OutputValue] = _NOTHING
) -> ResultsDocument:
    """Every output as a link, but those of the files in `inline` as these values."""
    return ResultsDocument(
        {
            output: inline.get(name) or _link(name, published.types[name], job_id, urls)
            for output, name in published.outputs.items()
        }
    )


def _inline(results: Results, job_id: str, published: Published) -> dict[str, OutputValue]:
    sizes = {name: results.blob(job_id, name).size_bytes for name in published.types}
    room, values = VALUES_BYTES, {}
    for name in sorted(sizes, key=lambda name: sizes[name]):
        room -= sizes[name]
        if room >= 0:
            values[name] = _value(results.read(job_id, name), published.types[name])
    return values


def _value(content: bytes, media_type: str) -> OutputValue:
    if "json" in media_type:
        return OutputValue(value=json.loads(content), media_type=media_type)
    return OutputValue(value=b64encode(content).decode(), media_type=media_type, encoding="base64")


def _link(name: str, media_type: str, job_id: str, urls: Addresses) -> OutputLink:
    return OutputLink(href=urls.file(job_id, name), type=media_type, title=name)
