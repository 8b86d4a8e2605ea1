"""How a job comes into the ledger, and when it does not."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from contract.errors import IdempotencyConflict, LimitReached
from contract.request import JobState, JobStatus, MapRequest
from contract.steps import storable
from contract.submission import Callbacks, Limits, Terms
from contract.tables import Base, CallbackRow, JobDocuments, JobRow

_HOUR: Final = timedelta(hours=1)
_SOON_S: Final = 60.0
"""When to try again where no running job tells how long it will take."""


def new_job(job_id: str, terms: Terms, now: datetime) -> JobRow:
    """The row of a job that is accepted now."""
    return JobRow(
        job_id=job_id,
        state=JobState.ACCEPTED,
        created=now,
        owner=terms.owner,
        title=storable(terms.title),
        priority=terms.priority,
        blocks_queue=terms.blocks_queue,
        idempotency_key=terms.idempotency_key,
    )


def status_of(job: JobRow) -> JobStatus:
    """How far the job of a row is."""
    return JobStatus.model_validate(job, from_attributes=True)


def insert(session: Session, job: JobRow, request: MapRequest, terms: Terms) -> None:
    """Put a new job into the database, with its documents."""
    session.add(job)
    session.flush()  # the job before what refers to it
    session.add_all(documents(job.job_id, request, terms))


def documents(job_id: str, request: MapRequest, terms: Terms) -> Iterator[Base]:
    """What refers to a new job's row."""
    yield JobDocuments(job_id=job_id, request=request, callbacks=terms.callbacks)
    if terms.callbacks != Callbacks():
        yield CallbackRow(job_id=job_id, told=JobState.ACCEPTED)


def submitted(session: Session, request: MapRequest, job_id: str, terms: Terms) -> str | None:
    """The id of the job that this submission repeats; None when it is new."""
    if terms.idempotency_key is not None:
        named = JobRow.owner == terms.owner, JobRow.idempotency_key == terms.idempotency_key
        found = session.execute(
            select(JobRow.job_id, JobDocuments.request).join(JobDocuments).where(*named)
        ).one_or_none()
        if found is not None:
            if found.request != request:
                raise IdempotencyConflict(terms.idempotency_key, found.job_id)
            return str(found.job_id)
    given = session.get(JobDocuments, job_id)
    if given is None:
        return None
    if given.request != request:
        raise ValueError(f"job id {job_id!r} belongs to another request")
    return job_id


def check_limits(session: Session, terms: Terms, limits: Limits, now: datetime) -> None:
    """Refuse a job that is too many for its owner. Holds as long as no other transaction submits for the same owner.

    Raises:
        LimitReached: It is too many.
    """
    ours = JobRow.owner == terms.owner, JobRow.run_id.is_(None)
    if limits.jobs_at_once is not None:
        value = _count(session, *ours, JobRow.finished.is_(None))
        if value >= limits.jobs_at_once:
            retry_after_s = _soonest_end_s(session, ours, now)
            position = _next_position(session, terms)
            raise LimitReached("jobs at once", value, limits.jobs_at_once, retry_after_s, position)
    if limits.jobs_per_hour is not None:
        value = _count(session, *ours, JobRow.created > now - _HOUR)
        if value >= limits.jobs_per_hour:
            # The job that must be an hour old before there is room for one more.
            latest = select(JobRow.created).where(*ours).order_by(JobRow.created.desc())
            blocking = session.scalars(latest.offset(limits.jobs_per_hour - 1).limit(1)).one()
            retry_after_s = (blocking + _HOUR - now).total_seconds()
            position = _next_position(session, terms)
            raise LimitReached("jobs within an hour", value, limits.jobs_per_hour, retry_after_s, position)


def waiting_ahead(session: Session, *conditions: ColumnElement[bool]) -> int:
    """Number of jobs that wait for their plan and fulfil the conditions."""
    return _count(session, JobRow.finished.is_(None), JobRow.state == JobState.ACCEPTED, *conditions)


def _count(session: Session, *conditions: ColumnElement[bool]) -> int:
    return session.scalars(select(func.count()).select_from(JobRow).where(*conditions)).one()


def _soonest_end_s(session: Session, ours: tuple[ColumnElement[bool], ...], now: datetime) -> float:
    jobs = session.scalars(select(JobRow).where(*ours, JobRow.finished.is_(None)))
    left = (status_of(job).remaining_s(now) for job in jobs)
    return min((seconds for seconds in left if seconds is not None), default=_SOON_S)


def _next_position(session: Session, terms: Terms) -> int:
    return waiting_ahead(session, JobRow.priority <= terms.priority) + 1
