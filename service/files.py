"""Published files over HTTP, whole or in ranges (RFC 9110, section 14), as GDAL reads them."""

import re
from email.utils import formatdate, parsedate_to_datetime
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from contract.errors import JobNotFound
from service.access import Caller, Reader
from service.ids import JobId
from service.parts import InUse
from service.problems import Refused
from service.responses import refusals
from service.storage import Blob, NotReady, Published, Results

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
"""One range. Several at once are answered with the whole file, as the RFC allows; GDAL asks for them one by one."""
router = APIRouter(tags=["results"])

_ANY: Final[dict[str, Any]] = {"*/*": {}}
"""Rasters, pictures, JSON: what a job published, and nothing that one schema would say."""
_HEADERS: Final = {
    "Accept-Ranges": {"schema": {"type": "string", "const": "bytes"}, "description": "Ranges can be asked for."},
    "ETag": {"schema": {"type": "string"}, "description": "Changes when the file does."},
    "Last-Modified": {"schema": {"type": "string"}, "description": "When the file was published."},
}
FILE_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The file.", "content": _ANY, "headers": _HEADERS},
    206: {"description": "The range.", "content": _ANY, "headers": _HEADERS},
    304: {"description": "The caller has this file already (`If-None-Match`)."},
    **refusals(400, 401, 403, 404, 416),
}


@router.get("/jobs/{job_id}/files/{name}", operation_id="getFile", response_class=Response, responses=FILE_ANSWERS)
@router.head("/jobs/{job_id}/files/{name}", operation_id="headFile", response_class=Response, responses=FILE_ANSWERS)
async def get_file(job_id: JobId, name: str, request: Request, caller: Reader, parts: InUse) -> Response:
    """A file that a job published, by its name in the job's folder. Serves ranges."""
    published = await run_in_threadpool(published_for, caller, parts.results, job_id)
    if name not in published.types:
        raise _no_such("path.name", name, published)
    return await serve_file(request, parts.results, job_id, name, published.types[name])


@router.get(
    "/jobs/{job_id}/results/{output}", operation_id="getOutput", response_class=Response, responses=FILE_ANSWERS
)
@router.head(
    "/jobs/{job_id}/results/{output}", operation_id="headOutput", response_class=Response, responses=FILE_ANSWERS
)
async def get_output(job_id: JobId, output: str, request: Request, caller: Reader, parts: InUse) -> Response:
    """One output of a job as it is, by its name in the results document. Serves ranges."""
    published = await run_in_threadpool(published_for, caller, parts.results, job_id)
    name = published.outputs.get(output)
    if name is None:
        raise _no_such("path.output", output, published)
    return await serve_file(request, parts.results, job_id, name, published.types[name])


def published_for(caller: Caller, results: Results, job_id: str) -> Published:
    """What the job published, if it is the caller's.

    Raises:
        JobNotFound: There is no such job, or it is somebody else's.
        NotReady: It has no results.
    """
    try:
        published = results.published(job_id)
    except NotReady as refused:
        if not caller.sees(refused.owner):
            raise JobNotFound(job_id) from None
        raise
    if not caller.sees(published.owner):
        raise JobNotFound(job_id)
    return published


async def serve_file(request: Request, results: Results, job_id: str, name: str, media_type: str) -> Response:
    """The file, or the range of it that the request asks for."""
    blob = await run_in_threadpool(results.blob, job_id, name)
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": blob.etag,
        "Last-Modified": formatdate(blob.changed, usegmt=True),
        "Cache-Control": "private, max-age=3600",
        # A published file is shown as what it is, and runs nothing in the name of this server.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
    }
    if blob.etag in request.headers.get("if-none-match", "").split(", "):
        return Response(status_code=304, headers=headers)
    wanted = _wanted(request, blob)
    start, stop = wanted or (0, blob.size_bytes)
    headers["Content-Length"] = str(stop - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size_bytes}"
    status = 206 if wanted else 200
    if request.method == "HEAD" or start == stop:
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(results.stream(blob, start, stop), status, headers, media_type)


def _wanted(request: Request, blob: Blob) -> tuple[int, int] | None:
    """First byte and the one after the last; None for the whole file.

    Raises:
        Refused: The range lies outside of the file.
    """
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None or found.group() == "bytes=-" or not _is_current(request.headers.get("if-range"), blob):
        return None
    first, last = found.groups()
    start = int(first) if first else max(0, blob.size_bytes - int(last))
    stop = min(blob.size_bytes, int(last) + 1) if first and last else blob.size_bytes
    if first and last and int(last) < start:
        return None  # no range at all (RFC 9110, section 14.1.1)
    if start >= blob.size_bytes:
        detail = f"{request.headers['range']} lies outside of the file's {blob.size_bytes} bytes"
        headers = {"Content-Range": f"bytes */{blob.size_bytes}"}
        raise Refused(416, detail, kind="range-outside", field="header.Range", limit=blob.size_bytes, headers=headers)
    return start, stop


def _is_current(validator: str | None, blob: Blob) -> bool:
    """What the caller has the rest of is this very file (RFC 9110, section 13.1.5)."""
    if validator is None or validator == blob.etag:
        return True
    try:
        return int(parsedate_to_datetime(validator).timestamp()) == int(blob.changed)
    except ValueError:
        return False


def _no_such(field: str, value: str, published: Published) -> Refused:
    names = ", ".join(sorted(published.types))
    return Refused(
        404, f"the job published no {value!r}; there are {names}", kind="no-such-result", field=field, value=value
    )
