"""Signed links: addresses that open the files of one job or one run for some time, without a key.

The signature stands in the path, before the names of the files, so everything below opens alike: what a raster's reader
asks for beside it (`.aux.xml`), and what a mosaic or a STAC collection refers to by relative paths. QGIS and GDAL need no
more than the address.

    /links/<job or run>.<expiry>.<signature>/<folder>/<file>
"""

import json
import re
import time
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AwareDatetime, Field
from starlette.concurrency import run_in_threadpool

from contract.errors import JobNotFound, RunNotFound
from contract.record import Record
from contract.schedules import Run
from service.access import Caller, Reader
from service.addresses import JSON, Addresses, Urls
from service.bodies import body_of, described
from service.files import FILE_ANSWERS, published_for, serve_file
from service.ids import FolderId, JobId, RunId
from service.parts import InUse, Parts
from service.problems import Refused
from service.responses import refusals
from service.signing import link_refused
from service.storage import COLLECTION_NAME, Results

_MOSAIC: Final = re.compile(r"[A-Za-z0-9_-]{1,100}\.vrt")
_MOSAIC_TYPE: Final = "application/xml"
router = APIRouter(tags=["links"])


class LinkTerms(Record):
    """How long a link is to open."""

    seconds: int | None = Field(default=None, ge=1)
    """At most as long as the server allows; that long where it is left out."""


class SignedLinks(Record):
    """Addresses that open without a key."""

    expires: AwareDatetime
    """From then on they open nothing."""
    files: dict[str, str]
    """Address of each file, by name. QGIS opens those of rasters and mosaics as they are."""


Body = Annotated[LinkTerms, Depends(body_of(LinkTerms))]
_BODY: Final = described(LinkTerms, an_hour={"seconds": 3600}, as_long_as_allowed={})
_REFUSALS: Final = refusals(400, 401, 403, 404, 422)


@router.post(
    "/jobs/{job_id}/links",
    operation_id="makeLinks",
    status_code=201,
    responses=_REFUSALS,
    openapi_extra=_BODY,
)
async def make_links(job_id: JobId, caller: Reader, terms: Body, parts: InUse, urls: Urls) -> SignedLinks:
    """Make links to every file of a finished job, for programs that send no key: QGIS, GDAL, a browser."""
    published = await run_in_threadpool(published_for, caller, parts.results, job_id)
    return _links(parts, urls, terms, job_id, tuple(published.types))


@router.post(
    "/runs/{run_id}/links",
    operation_id="makeRunLinks",
    status_code=201,
    responses=_REFUSALS,
    openapi_extra=_BODY,
)
async def make_run_links(run_id: RunId, caller: Reader, terms: Body, parts: InUse, urls: Urls) -> SignedLinks:
    """Make links to the mosaics and the STAC collection of a schedule's run, and with them to the files of its jobs."""
    names = await run_in_threadpool(_mosaics_for, caller, parts, run_id)
    return _links(parts, urls, terms, run_id, (*names, COLLECTION_NAME))


@router.get("/links/{token}/{folder}/{name}", operation_id="openLink", response_class=Response, responses=FILE_ANSWERS)
@router.head("/links/{token}/{folder}/{name}", operation_id="headLink", response_class=Response, responses=FILE_ANSWERS)
async def open_link(token: str, folder: FolderId, name: str, request: Request, parts: InUse) -> Response:
    """A file behind a signed link. Serves ranges."""
    subject = parts.signer.subject(token, time.time())
    media_type = await run_in_threadpool(_type_of, parts, subject, folder, name)
    return await serve_file(request, parts.results, folder, name, media_type)


def _links(parts: Parts, urls: Addresses, terms: LinkTerms, subject: str, names: tuple[str, ...]) -> SignedLinks:
    longest_s = int(parts.settings.link_s)
    if terms.seconds is not None and terms.seconds > longest_s:
        detail = f"a link opens for at most {longest_s} s here; {terms.seconds} s were asked for"
        raise Refused(422, detail, kind="link-too-long", field="body.seconds", value=terms.seconds, limit=longest_s)
    expires_s = int(time.time()) + (terms.seconds or longest_s)
    root = f"/links/{parts.signer.token(subject, expires_s)}/{subject}"
    files = {name: urls.of(f"{root}/{name}") for name in names}
    return SignedLinks(expires=datetime.fromtimestamp(expires_s, UTC), files=files)


def _mosaics_for(caller: Caller, parts: Parts, run_id: str) -> tuple[str, ...]:
    """Names of the mosaics of a run, if it is the caller's.

    Raises:
        RunNotFound: There is no such run, or it is somebody else's.
        Refused: It has published nothing, or nothing yet.
    """
    run = parts.schedules.run(run_id)
    if not caller.sees(parts.schedules.schedule(run.schedule_id).owner):
        raise RunNotFound(run_id)
    return mosaics_of(parts.results, run)


def mosaics_of(results: Results, run: Run) -> tuple[str, ...]:
    """Names of the mosaics that a run published.

    Raises:
        Refused: It has published nothing, or nothing yet.
    """
    try:
        collection = json.loads(results.read(run.id, COLLECTION_NAME))
    except Refused:
        detail = f"run {run.id} is {run.state.value}; its mosaics are there soon after it succeeded, also in part"
        raise Refused(404, detail, kind="no-mosaics", field="path.run_id", value=run.state.value) from None
    return tuple(asset["href"].removeprefix("./") for asset in collection["assets"].values())


def _type_of(parts: Parts, subject: str, folder: str, name: str) -> str:
    """Media type of a file that the subject's links open: those in its folder and, of a run, in those of its jobs.

    Raises:
        Refused: The link is for another folder, or there is no such file.
    """
    if folder == subject and name == COLLECTION_NAME:
        return JSON
    if folder == subject and _MOSAIC.fullmatch(name):
        return _MOSAIC_TYPE
    if folder != subject and _run_of(parts, folder) != subject:
        raise link_refused(f"does not open {folder!r}")
    types = parts.results.published(folder).types
    if name not in types:
        raise Refused(404, f"there is no {name!r} behind this link", kind="no-such-file", field="path.name", value=name)
    return types[name]


def _run_of(parts: Parts, job_id: str) -> str | None:
    try:
        return parts.ledger.status(job_id).run_id
    except JobNotFound:
        return None
