"""Schedules over HTTP: regions of any size, mapped again and again."""

from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import Annotated, Final, Literal, Self

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict
from starlette.concurrency import run_in_threadpool

from contract.errors import ScheduleNotFound
from contract.record import Record
from contract.request import MapOptions
from contract.scene import Area
from contract.schedules import CatchUp, Run, RunState, Schedule, ScheduleRequest, Span
from contract.submission import DEFAULT_PRIORITY, Priority, Queue
from service.access import Caller, Manager, Reader
from service.addresses import JSON, Addresses, Link, Urls
from service.areas import GivenArea, measured
from service.bodies import body_of, described
from service.cells import cells_in
from service.execution import Execution, Inputs, Instant, JobOptions, Rules, request_of
from service.ids import Mark, ScheduleId
from service.message import Message
from service.parts import InUse, Parts
from service.problems import Refused
from service.queries import LONGEST_PAGE
from service.responses import refusals

NEXT_TIMES: Final = 3
"""Nominal times to come that are shown."""
_EXAMPLE: Final[JsonDict] = {
    "title": "Trentino, monthly",
    "area": {"bbox": [10.4, 45.7, 11.9, 46.5]},
    "cron": "0 6 1 * *",
    "window_days": 30,
    "source": "planetary-computer",
    "bundle": "spectral-rules",
    "only_when_new_scenes": True,
}
router = APIRouter(tags=["schedules"])


class GivenSpan(Record):
    """A half-open span of time."""

    start: Instant
    end: Instant


class NewSchedule(Message):
    """What is to be mapped, when, and how."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    title: str = Field(max_length=200)
    area: GivenArea
    """It is cut into jobs on a grid of 100 km in each UTM zone: as many as the server allows, 1000 unless it is told otherwise."""
    cron: str = Field(max_length=100, examples=["0 6 1 * *"])
    """Minute, hour, day of month, month, day of week, in UTC."""
    window_days: float | None = Field(default=None, ge=0.01, le=3660)
    """Each run maps from so many days before its nominal time up to it. Either this or `span`."""
    span: GivenSpan | None = None
    """Each run maps this."""
    source: str
    """Name of a source of this server."""
    bundle: str
    """Name of a bundle of this server; see /bundles."""
    options: JobOptions = JobOptions()
    only_when_new_scenes: bool = False
    """Leave a run out when it would see the very scenes that the last one saw."""
    catch_up: CatchUp = CatchUp.LATEST
    """What becomes of nominal times that pass while the server is down: "none", "latest" or "all" of them are run."""
    priority: Priority = DEFAULT_PRIORITY
    """0 is the most urgent."""
    queue: Literal[Queue.BLOCKS_CPU, Queue.BLOCKS_GPU] | None = None
    """Kind of worker; the server's choice where it is left out."""


class ScheduleInfo(Record):
    """A schedule."""

    id: str
    title: str
    cron: str
    window_days: float | None = None
    span: Span | None = None
    source: str
    bundle: str
    options: MapOptions
    only_when_new_scenes: bool
    catch_up: CatchUp
    priority: int
    queue: Queue
    created: AwareDatetime
    paused: bool
    next: tuple[AwareDatetime, ...]
    """Nominal times to come; none while it is paused."""
    area: Area
    links: tuple[Link, ...]

    @classmethod
    def of(cls, schedule: Schedule, urls: Addresses, now: datetime) -> Self:
        """As it is shown."""
        request = schedule.request
        own = urls.of(f"/schedules/{schedule.id}")
        return cls(
            id=schedule.id,
            title=request.title,
            cron=request.cron,
            window_days=request.window_days,
            span=request.span,
            source=request.source,
            bundle=request.bundle,
            options=request.options,
            only_when_new_scenes=request.only_when_new_scenes,
            catch_up=request.catch_up,
            priority=request.priority,
            queue=request.blocks_queue,
            created=schedule.created,
            paused=schedule.paused,
            next=() if schedule.paused else tuple(islice(request.times(now), NEXT_TIMES)),
            area=request.area,
            links=(
                Link(href=own, rel="self", type=JSON),
                Link(href=f"{own}/runs", rel="item", type=JSON, title="Runs"),
            ),
        )


class ScheduleList(Record):
    """Schedules, newest first."""

    schedules: tuple[ScheduleInfo, ...]
    links: tuple[Link, ...]


class RunInfo(Record):
    """What came of one nominal time of a schedule."""

    id: str
    nominal: AwareDatetime
    state: RunState
    message: str
    jobs: tuple[str, ...]
    """Ids, by cell of the region."""
    links: tuple[Link, ...]

    @classmethod
    def of(cls, run: Run, urls: Addresses) -> Self:
        """As it is shown."""
        jobs = Link(href=urls.of("/jobs", run=run.id), rel="item", type=JSON, title="Jobs")
        return cls(
            id=run.id,
            nominal=run.nominal,
            state=run.state,
            message=run.message,
            jobs=run.job_ids,
            links=(jobs,) if run.job_ids else (),
        )


class RunList(Record):
    """Runs of a schedule, latest nominal time first."""

    runs: tuple[RunInfo, ...]
    links: tuple[Link, ...]
    """`next` where there are more."""


Body = Annotated[NewSchedule, Depends(body_of(NewSchedule))]
_BODY: Final = described(NewSchedule, monthly=_EXAMPLE)
_REFUSALS: Final = refusals(400, 401, 403, 404)


@router.post(
    "/schedules",
    operation_id="createSchedule",
    status_code=201,
    response_model_exclude_none=True,
    responses=refusals(400, 401, 403, 413, 422),
    openapi_extra=_BODY,
)
async def create_schedule(caller: Manager, given: Body, parts: InUse, response: Response, urls: Urls) -> ScheduleInfo:
    """Map a region at the times of a cron expression. The first run is at the next of them."""
    asked = await run_in_threadpool(_asked, given, parts)
    schedule = await run_in_threadpool(lambda: parts.schedules.create(asked, owner=caller.owner))
    response.headers["Location"] = urls.of(f"/schedules/{schedule.id}")
    return ScheduleInfo.of(schedule, urls, parts.database.now())


@router.get("/schedules", operation_id="listSchedules", response_model_exclude_none=True, responses=refusals(401, 403))
def list_schedules(caller: Reader, parts: InUse, urls: Urls) -> ScheduleList:
    """The caller's schedules, newest first."""
    found, now = parts.schedules.schedules(owner=caller.listed_owner), parts.database.now()
    links = (Link(href=urls.of("/schedules"), rel="self", type=JSON),)
    return ScheduleList(schedules=tuple(ScheduleInfo.of(one, urls, now) for one in found), links=links)


@router.get(
    "/schedules/{schedule_id}",
    operation_id="getSchedule",
    response_model_exclude_none=True,
    responses=_REFUSALS,
)
def get_schedule(schedule_id: ScheduleId, caller: Reader, parts: InUse, urls: Urls) -> ScheduleInfo:
    """One schedule, with its next nominal times."""
    return ScheduleInfo.of(schedule_for(caller, parts, schedule_id), urls, parts.database.now())


@router.post(
    "/schedules/{schedule_id}/pause",
    operation_id="pauseSchedule",
    response_model_exclude_none=True,
    responses=_REFUSALS,
)
def pause_schedule(schedule_id: ScheduleId, caller: Manager, parts: InUse, urls: Urls) -> ScheduleInfo:
    """Open no run until the schedule is resumed. Jobs that are under way go on."""
    return _changed(parts.schedules.pause, schedule_for(caller, parts, schedule_id), parts, urls)


@router.post(
    "/schedules/{schedule_id}/resume",
    operation_id="resumeSchedule",
    response_model_exclude_none=True,
    responses=_REFUSALS,
)
def resume_schedule(schedule_id: ScheduleId, caller: Manager, parts: InUse, urls: Urls) -> ScheduleInfo:
    """Open runs again. Nominal times of the pause are past and gone."""
    return _changed(parts.schedules.resume, schedule_for(caller, parts, schedule_id), parts, urls)


@router.delete(
    "/schedules/{schedule_id}",
    operation_id="deleteSchedule",
    status_code=204,
    response_class=Response,
    responses=_REFUSALS,
)
def delete_schedule(schedule_id: ScheduleId, caller: Manager, parts: InUse) -> Response:
    """Forget a schedule. Its jobs and their results stay."""
    schedule_for(caller, parts, schedule_id)
    parts.schedules.delete(schedule_id)
    return Response(status_code=204)


@router.get(
    "/schedules/{schedule_id}/runs",
    operation_id="listRuns",
    response_model_exclude_none=True,
    responses=_REFUSALS,
)
def list_runs(
    schedule_id: ScheduleId,
    caller: Reader,
    parts: InUse,
    urls: Urls,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = 20,
    after: Annotated[Mark | None, Query()] = None,
) -> RunList:
    """What came of a schedule's nominal times, latest first, in pages."""
    schedule_for(caller, parts, schedule_id)
    found = parts.schedules.runs(schedule_id, limit=limit + 1, after=after)
    own = f"/schedules/{schedule_id}/runs"
    links = [Link(href=urls.of(own, limit=limit, after=after), rel="self", type=JSON)]
    if len(found) > limit:
        links.append(Link(href=urls.of(own, limit=limit, after=found[limit - 1].id), rel="next", type=JSON))
    return RunList(runs=tuple(RunInfo.of(run, urls) for run in found[:limit]), links=tuple(links))


def schedule_for(caller: Caller, parts: Parts, schedule_id: str) -> Schedule:
    """The schedule, if it is the caller's.

    Raises:
        ScheduleNotFound: There is no such schedule, or it is somebody else's.
    """
    schedule = parts.schedules.schedule(schedule_id)
    if not caller.sees(schedule.owner):
        raise ScheduleNotFound(schedule_id)
    return schedule


def _changed(change: Callable[[str], bool], schedule: Schedule, parts: Parts, urls: Addresses) -> ScheduleInfo:
    change(schedule.id)
    return ScheduleInfo.of(parts.schedules.schedule(schedule.id), urls, parts.database.now())


def _check_jobs(jobs: int, limit: int | None) -> None:
    if limit is not None and jobs > limit:
        detail = (
            f"the area makes about {jobs:,} jobs of 100 km; a schedule makes at most {limit:,}. Cut it into schedules"
        )
        raise Refused(422, detail, kind="schedule-too-large", field="area", value=jobs, limit=limit)


def _asked(given: NewSchedule, parts: Parts) -> ScheduleRequest:
    """What is asked for, with source, bundle and options checked as those of a job are.

    Raises:
        AoiError: The area cannot be mapped.
        Refused: There is no such source, bundle or output, the cron expression never comes round, the span is empty, or
            there is not one kind of span; or the area makes more jobs than are allowed.
    """
    area = measured(given.area, limit_km2=None)
    _check_jobs(cells_in(area.geometry), parts.settings.max_schedule_jobs)
    wanted = given.model_dump(include={"title", "cron", "window_days", "only_when_new_scenes", "catch_up", "priority"})
    try:
        asked = ScheduleRequest(
            **wanted,
            area=area.record(),
            span=given.span and Span(start=given.span.start, end=given.span.end),
            source=given.source,
            bundle=given.bundle,
            blocks_queue=given.queue or parts.settings.blocks_queue,
        )
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, fault["loc"])) or error.title.removesuffix("Request").lower()
        detail = fault["msg"].removeprefix("Value error, ")
        raise Refused(422, detail, kind="schedule-invalid", field=field) from error
    span = asked.span_at(parts.database.now())
    inputs = Inputs.model_construct(
        area=given.area,
        start=span.start,
        end=span.end,
        source=given.source,
        bundle=given.bundle,
        options=given.options,
    )
    try:
        request = request_of(Execution.model_construct(inputs=inputs), area, parts.shelves, Rules.of(parts.settings))
    except Refused as refused:
        refused.field = refused.field and refused.field.removeprefix("inputs.")
        raise
    return asked.model_copy(update={"options": request.options})
