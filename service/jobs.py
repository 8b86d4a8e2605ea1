"""Jobs over HTTP: listed, looked at and dismissed (OGC API - Processes, job list and dismiss)."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from contract.errors import JobNotFound
from contract.ledger import JobFilter, Ledger
from contract.request import JobState, JobStatus
from service.access import Caller, Reader, Submitter
from service.addresses import JSON, Addresses, Link, Urls
from service.execution import PROCESS_ID
from service.ids import JobId, Mark
from service.intervals import PATTERN, interval
from service.parts import InUse
from service.problems import Refused
from service.queries import LONGEST_PAGE, once
from service.responses import refusals
from service.statuses import CODES, JobList, StatusCode, StatusInfo, status_info

router = APIRouter(tags=["jobs"])


class JobQuery(BaseModel):
    """Which jobs to list."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True)

    type: list[Literal["process"]] = []
    """Kind of job; there is one."""
    process_id: list[str] = Field(default=[], alias="processID")
    """Process that made it; there is one."""
    status: list[StatusCode] = []
    """States to list; all where it is left out."""
    datetime: Annotated[str, Field(pattern=PATTERN, examples=["2024-06-01T00:00:00Z/.."])] | None = None
    """When jobs were created: an instant, or two with a slash between, ".." for open."""
    min_duration: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Seconds that a job has run at least."""
    max_duration: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Seconds that a job has run at most."""
    run: Mark | None = None
    """Jobs of this run of a schedule."""
    limit: int = Field(default=20, ge=1, le=LONGEST_PAGE)
    """Most jobs of one page."""
    after: Mark | None = None
    """Where the page begins: below this job. Comes with the link to the next page."""


@router.get(
    "/jobs",
    operation_id="listJobs",
    dependencies=[Depends(once("type", "processID", "status"))],
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 404, 422),
)
def list_jobs(
    query: Annotated[JobQuery, Query()], request: Request, caller: Reader, parts: InUse, urls: Urls
) -> JobList:
    """The caller's jobs, newest first, in pages."""
    if query.after is not None:
        status_for(caller, parts.ledger, query.after)
    chosen = query.process_id in ([], [PROCESS_ID]) or PROCESS_ID in query.process_id
    found = parts.ledger.jobs(limit=query.limit + 1, after=query.after, where=_filter(query, caller)) if chosen else ()
    page, now = found[: query.limit], datetime.now(UTC)
    links = [Link(href=str(_same(request, urls)), rel="self", type=JSON)]
    if len(found) > query.limit:
        links.append(Link(href=_same(request, urls, after=page[-1].job_id), rel="next", type=JSON))
    return JobList(jobs=tuple(status_info(status, urls, now) for status in page), links=tuple(links))


@router.get(
    "/jobs/{job_id}",
    operation_id="getStatus",
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 404),
)
def get_status(job_id: JobId, caller: Reader, parts: InUse, urls: Urls) -> StatusInfo:
    """How far a job is: its state, blocks done, and how long it may still take."""
    return shown(parts.ledger, status_for(caller, parts.ledger, job_id), urls)


@router.delete(
    "/jobs/{job_id}",
    operation_id="dismiss",
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 404, 409),
)
def dismiss(job_id: JobId, caller: Submitter, parts: InUse, urls: Urls) -> StatusInfo:
    """Dismiss a job that is not over. No block is finished afterwards; what is being worked stops within a batch of chips.

    A job that was dismissed before stays so. One that ended otherwise keeps its results: the answer is 409.
    """
    status_for(caller, parts.ledger, job_id)
    parts.ledger.dismiss(job_id)
    status = parts.ledger.status(job_id)
    if status.state is not JobState.DISMISSED:
        detail = f"job {job_id} is {status.state.value} already; there is nothing to dismiss"
        raise Refused(409, detail, kind="job-is-over", field="path.job_id", value=job_id)
    return status_info(status, urls, datetime.now(UTC))


def shown(ledger: Ledger, status: JobStatus, urls: Addresses) -> StatusInfo:
    """The status of one job, with its place in the queue while it waits."""
    position = ledger.position(status.job_id) if status.state is JobState.ACCEPTED else None
    return status_info(status, urls, datetime.now(UTC), position)


def status_for(caller: Caller, ledger: Ledger, job_id: str) -> JobStatus:
    """The job's status, if it is the caller's.

    Raises:
        JobNotFound: There is no such job, or it is somebody else's.
    """
    status = ledger.status(job_id)
    if not caller.sees(status.owner):
        raise JobNotFound(job_id)
    return status


def _filter(query: JobQuery, caller: Caller) -> JobFilter:
    span = interval(query.datetime, "query.datetime")
    states = tuple(state for state, code in CODES.items() if code in query.status)
    return JobFilter(
        owner=caller.listed_owner,
        states=states,
        since=span.start,
        until=None if span.end is None else _after(span.end),
        min_s=query.min_duration,
        max_s=query.max_duration,
        run_id=query.run,
    )


def _after(instant: datetime) -> datetime | None:
    """The filter leaves its end out, and a span includes it. None past the end of the calendar."""
    try:
        return instant + timedelta(microseconds=1)
    except OverflowError:
        return None


def _same(request: Request, urls: Addresses, **changed: str) -> str:
    """This list's own address, with some parameters changed."""
    return f"{urls.root}{request.url.path}?{request.url.include_query_params(**changed).query}".rstrip("?")
