"""Results of finished jobs over HTTP: links, or values where they are asked for."""

import json
from base64 import b64encode
from typing import Annotated, Final

from fastapi import APIRouter, Header
from fastapi.responses import JSONResponse

from service.access import Reader
from service.addresses import Urls
from service.documents import OutputValue, ResultsDocument, document_of
from service.files import published_for
from service.ids import JobId
from service.parts import InUse
from service.responses import refusals
from service.storage import Published, Results

VALUES_BYTES: Final = 16 << 20
"""Most that one document carries as values; what is beyond stays a link."""
router = APIRouter(tags=["results"])


@router.get(
    "/jobs/{job_id}/results",
    operation_id="getResults",
    response_model=ResultsDocument,
    responses=refusals(400, 401, 403, 404),
)
def get_results(
    job_id: JobId,
    caller: Reader,
    parts: InUse,
    urls: Urls,
    prefer: Annotated[str, Header(examples=["return=representation"])] = "",
) -> JSONResponse:
    """Every output of a finished job as a link; with `Prefer: return=representation`, as values.

    Values are limited to 16 MiB together, smallest first: what is beyond stays a link.
    """
    published = published_for(caller, parts.results, job_id)
    by_value = "return=representation" in prefer.replace(" ", "").lower()
    inline = _inline(parts.results, job_id, published) if by_value else {}
    document = document_of(published, job_id, urls, inline)
    headers = {"Preference-Applied": "return=representation"} if by_value else {}
    return JSONResponse(document.model_dump(by_alias=True, exclude_none=True), headers=headers)


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
