"""How far jobs are, in OGC's words (18-062r2, statusInfo)."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import AwareDatetime, ConfigDict, Field
from pydantic.alias_generators import to_camel

from contract.ledger import SUCCESSES
from contract.request import JobState, JobStatus
from service.addresses import GEOJSON, JSON, RELATION, Addresses, Link
from service.execution import PROCESS_ID
from service.message import Message


class StatusCode(StrEnum):
    """Where a job is, as OGC has it."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    DISMISSED = "dismissed"


CODES: Final = {
    JobState.ACCEPTED: StatusCode.ACCEPTED,
    JobState.RUNNING: StatusCode.RUNNING,
    JobState.SUCCESSFUL: StatusCode.SUCCESSFUL,
    JobState.SUCCESSFUL_WITH_GAPS: StatusCode.SUCCESSFUL,
    JobState.FAILED: StatusCode.FAILED,
    JobState.DISMISSED: StatusCode.DISMISSED,
}
_GAPS: Final = "finished with gaps: some assets could not be read; the report counts the pixels"
_EXAMPLE: Final[dict[str, Any]] = {
    "processID": PROCESS_ID,
    "type": "process",
    "jobID": "3f0c2a9be1f64d0f9d0f4f3a3a4b6c11",
    "status": "running",
    "message": "3 of 12 blocks done; about 4 min left",
    "created": "2024-09-02T08:00:00Z",
    "started": "2024-09-02T08:00:03Z",
    "updated": "2024-09-02T08:01:20Z",
    "progress": 25,
    "title": "Villnoess, summer 2024",
    "priority": 5,
    "blocksDone": 3,
    "blocksTotal": 12,
    "remainingSeconds": 231.0,
    "retries": 0,
    "lostLeases": 0,
    "links": [{"href": "https://maps.example.org/jobs/3f0c2a9be1f64d0f9d0f4f3a3a4b6c11", "rel": "self", "type": JSON}],
}


class StatusInfo(Message):
    """How far a job is."""

    model_config = ConfigDict(alias_generator=to_camel, json_schema_extra={"examples": [_EXAMPLE]})

    process_id: str = Field(alias="processID")
    type: Literal["process"] = "process"
    job_id: str = Field(alias="jobID")
    status: StatusCode
    message: str
    created: AwareDatetime
    started: AwareDatetime | None = None
    finished: AwareDatetime | None = None
    updated: AwareDatetime
    """Latest of these instants."""
    progress: int
    """Percent of the blocks that are done."""
    title: str
    priority: int
    """0 is the most urgent."""
    blocks_done: int
    blocks_total: int | None = None
    """Missing until the job is planned."""
    remaining_seconds: float | None = None
    """Until all blocks are done, at the pace so far; missing while there is none."""
    queue_position: int | None = None
    """1: next to be planned. Missing in lists, and once the job runs."""
    run_id: str | None = None
    """The run of a schedule that it belongs to."""
    retries: int
    """Times that a step failed and was tried again."""
    lost_leases: int
    """Times that a worker took a step and never came back."""
    links: tuple[Link, ...]


class JobList(Message):
    """Jobs, newest first."""

    jobs: tuple[StatusInfo, ...]
    links: tuple[Link, ...]
    """`next` where there are more."""


def status_info(status: JobStatus, urls: Addresses, now: datetime, position: int | None = None) -> StatusInfo:
    """The status as it is shown."""
    remaining_s = status.remaining_s(now)
    return StatusInfo(
        process_id=PROCESS_ID,
        job_id=status.job_id,
        status=CODES[status.state],
        message=_message(status, remaining_s, position),
        created=status.created,
        started=status.started,
        finished=status.finished,
        updated=status.finished or status.started or status.created,
        progress=_progress(status),
        title=status.title,
        priority=status.priority,
        blocks_done=status.blocks_done,
        blocks_total=status.blocks_total,
        remaining_seconds=None if remaining_s is None else round(remaining_s, 1),
        queue_position=position,
        run_id=status.run_id,
        retries=status.retries,
        lost_leases=status.lost_leases,
        links=_links(status, urls),
    )


def _progress(status: JobStatus) -> int:
    if status.state in SUCCESSES:
        return 100
    return 100 * status.blocks_done // status.blocks_total if status.blocks_total else 0


def _message(status: JobStatus, remaining_s: float | None, position: int | None) -> str:
    if status.state is JobState.SUCCESSFUL_WITH_GAPS:
        return status.message or _GAPS
    if status.state is JobState.ACCEPTED:
        return f"waits, number {position} in the queue" if position else "waits to be planned"
    if status.state is JobState.RUNNING and status.blocks_total is not None:
        left = "" if remaining_s is None else f"; about {_duration(remaining_s)} left"
        return f"{status.blocks_done} of {status.blocks_total} blocks done{left}"
    return status.message or {JobState.RUNNING: "is being planned"}.get(status.state, status.state.value)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"  # noqa: PLR2004  two minutes


def _links(status: JobStatus, urls: Addresses) -> tuple[Link, ...]:
    own = urls.job(status.job_id)
    links = [Link(href=own, rel="self", type=JSON), Link(href=urls.of("/jobs"), rel="up", type=JSON)]
    if status.state in SUCCESSES:
        item = urls.of(f"/collections/{PROCESS_ID}/items/{status.job_id}")
        links.append(Link(href=f"{own}/results", rel=f"{RELATION}results", type=JSON))
        links.append(Link(href=item, rel="item", type=GEOJSON, title="STAC item"))
    return tuple(links)
