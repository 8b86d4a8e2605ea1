"""Jobs and their steps in SQL: the only truth about a job's state."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from contract.acceptance import check_limits, insert, new_job, status_of, submitted, waiting_ahead
from contract.database import Closing, Database, utc_now
from contract.errors import JobNotFound
from contract.grid import Window
from contract.request import JobState, JobStatus, MapRequest, MapResult, Plan
from contract.steps import Steps, storable
from contract.submission import Callbacks, Limits, Terms
from contract.tables import BlockRow, JobDocuments, JobRow

SUCCESSES: Final = frozenset({JobState.SUCCESSFUL, JobState.SUCCESSFUL_WITH_GAPS})
"""States of a job that has results."""
_JOB_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CENTURY_S: Final = 100 * 365.25 * 86_400
_NO_TERMS: Final = Terms()
_NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything about a job but its blocks."""

    id: str
    request: MapRequest
    status: JobStatus
    plan: Plan | None
    """None until the job is planned."""
    result: MapResult | None
    """None unless the job succeeded."""
    callbacks: Callbacks


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs to list; None and empty choose all."""

    owner: str | None = None
    states: Collection[JobState] = ()
    since: datetime | None = None
    """Created then or later."""
    until: datetime | None = None
    """Created before."""
    min_s: float | None = None
    """Running for so long at least, or had been when it ended."""
    max_s: float | None = None
    """Running for so long at most, or had been when it ended."""
    run_id: str | None = None
    """Jobs of this run of a schedule."""


_EVERY_JOB: Final = JobFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts over every job that there ever was. All but `jobs` only grow."""

    jobs: Mapping[JobState, int]
    """Jobs in each state, those without any included."""
    blocks_done: int
    retries: int
    expiries: int
    """Steps that were taken over from a worker that never came back."""
    read_s: float
    """Reading and compositing of blocks that are done."""
    inference_s: float
    mapped_px: int
    providers: Mapping[str, int]
    """Blocks that are done by ONNX Runtime execution provider: that of the latest block counts for its whole job."""


class Ledger(Steps, Closing):
    """The jobs of one database. Threads may share it; processes open their own.

    Raises:
        JobNotFound: From every method that is given the id of a job that was never submitted.
        LedgerUnusable: From every method, when the database cannot be reached or written.
    """

    @classmethod
    def open(cls, url: str, *, clock: Callable[[], datetime] = utc_now) -> Self:
        """The ledger in a database of its own; see `Database.open`.

        Raises:
            LedgerUnusable: The database cannot be reached or written, or a newer landsigma wrote it.
        """
        return cls(Database.open(url, clock=clock))

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # --- submission -------------------------------------------------------------------------------------------------

    def submit(
        self,
        request: MapRequest,
        *,
        job_id: str | None = None,
        terms: Terms = _NO_TERMS,
        limits: Limits = _NO_LIMITS,
        sent_at: datetime | None = None,
    ) -> str:
        """The id of the accepted job, on disk when this returns.

        The same id and request, or the same owner, idempotency key and request, again change nothing.

        Args:
            request: What to map.
            job_id: Its id; None for a new one.
            terms: Who asks for it, and how it is to be treated.
            limits: How many jobs this owner may have. The area is not looked at.
            sent_at: When the caller sends the job's first message itself; None leaves that to whoever asks what is due.

        Raises:
            IdempotencyConflict: The idempotency key is that of another request.
            LimitReached: The owner has too many jobs.
            ValueError: The id is that of another request, or is not made of 1 to 64 letters, digits, "_" and "-".
        """
        job_id = uuid4().hex if job_id is None else job_id
        if not _JOB_ID.fullmatch(job_id):
            raise ValueError(f"job id {job_id!r} must be 1 to 64 letters, digits, '_' or '-'")
        now = self._database.now()
        try:
            with self._database.writing() as session:
                if limits != _NO_LIMITS:
                    self._database.lock(session, terms.owner)
                known = submitted(session, request, job_id, terms)
                if known is not None:
                    return known
                check_limits(session, terms, limits, now)
                job = new_job(job_id, terms, now)
                job.sent_at = sent_at
                insert(session, job, request, terms)
        except IntegrityError:  # somebody submitted it between our look and our write
            with self._database.reading() as session:
                known = submitted(session, request, job_id, terms)
            if known is None:
                raise
            return known
        return job_id

    # --- reading ----------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job:
        """The job with its documents."""
        query = select(JobRow, JobDocuments).join(JobDocuments).where(JobRow.job_id == job_id)
        with self._database.reading() as session:
            found = session.execute(query).one_or_none()
        if found is None:
            raise JobNotFound(job_id)
        row, documents = found
        return Job(
            id=job_id,
            request=documents.request,
            status=status_of(row),
            plan=documents.plan,
            result=documents.result,
            callbacks=documents.callbacks,
        )

    def status(self, job_id: str) -> JobStatus:
        """How far the job is; reads one small row."""
        with self._database.reading() as session:
            row = session.get(JobRow, job_id)
        if row is None:
            raise JobNotFound(job_id)
        return status_of(row)

    def jobs(self, *, limit: int, after: str | None = None, where: JobFilter = _EVERY_JOB) -> tuple[JobStatus, ...]:
        """At most `limit` of the jobs chosen by `where`, newest first: from the top, or below the job `after`."""
        query = select(JobRow).where(*_conditions(where, self._database.now()))
        if after is not None:
            query = query.where(tuple_(JobRow.created, JobRow.job_id) < (self.status(after).created, after))
        query = query.order_by(JobRow.created.desc(), JobRow.job_id.desc()).limit(limit)
        with self._database.reading() as session:
            return tuple(status_of(row) for row in session.scalars(query))

    def totals(self, *, owner: str | None = None) -> Totals:
        """Counts over every job, or over every job of one owner."""
        columns = (
            JobRow.blocks_done,
            JobRow.retries,
            JobRow.lost_leases,
            JobRow.read_s,
            JobRow.inference_s,
            JobRow.mapped_px,
        )
        sums = [func.coalesce(func.sum(column), 0).label(column.key) for column in columns]
        query = select(JobRow.state, JobRow.provider, func.count().label("jobs"), *sums)
        query = query.group_by(JobRow.state, JobRow.provider)
        if owner is not None:
            query = query.where(JobRow.owner == owner)
        with self._database.reading() as session:
            rows = session.execute(query).all()
        providers = {row.provider for row in rows if row.provider is not None}
        return Totals(
            jobs={state: sum(row.jobs for row in rows if row.state is state) for state in JobState},
            blocks_done=sum(row.blocks_done for row in rows),
            retries=sum(row.retries for row in rows),
            expiries=sum(row.lost_leases for row in rows),
            read_s=sum(row.read_s for row in rows),
            inference_s=sum(row.inference_s for row in rows),
            mapped_px=int(sum(row.mapped_px for row in rows)),
            providers={
                name: sum(row.blocks_done for row in rows if row.provider == name) for name in sorted(providers)
            },
        )

    def position(self, job_id: str) -> int | None:
        """The how manieth of the accepted jobs this one is to be planned, from 1; None once it runs or is over."""
        status = self.status(job_id)
        if status.state is not JobState.ACCEPTED:
            return None
        place = tuple_(JobRow.priority, JobRow.created, JobRow.job_id)
        with self._database.reading() as session:
            return waiting_ahead(session, place < (status.priority, status.created, job_id)) + 1

    # --- states -----------------------------------------------------------------------------------------------------

    def start(self, job_id: str) -> bool:
        """True when the job is running, from now or before; False when it is final."""
        with self._changing(job_id) as (_, job):
            if job.state is JobState.ACCEPTED:
                job.state, job.started = JobState.RUNNING, self._database.now()
            return not job.state.is_final

    def succeed(self, job_id: str, result: MapResult) -> bool:
        """True when the job is finished by this call, with `result.state`; False when it was final before.

        Raises:
            ValueError: A block is open, or the job is not planned.
        """
        with self._changing(job_id) as (session, job):
            if job.blocks_done != job.blocks_total and not job.state.is_final:
                raise ValueError(f"job {job_id} cannot succeed with {job.blocks_done} blocks of {job.blocks_total}")
            ended = self._end(session, job, result.state)
            if ended:
                session.execute(update(JobDocuments).where(JobDocuments.job_id == job_id).values(result=result))
            return ended

    def fail(self, job_id: str, message: str) -> bool:
        """True when the job is failed by this call; False when it was final before, and stays what it was."""
        with self._changing(job_id) as (session, job):
            return self._end(session, job, JobState.FAILED, message)

    def dismiss(self, job_id: str) -> bool:
        """True when the job is dismissed by this call; False when it was final before. No block completes after it."""
        with self._changing(job_id) as (session, job):
            return self._end(session, job, JobState.DISMISSED)

    def to_clean(self, *, limit: int) -> tuple[str, ...]:
        """Ids of jobs that ended, whose leases are over, and that are not `cleaned` yet."""
        now = self._database.now()
        held = BlockRow.job_id == JobRow.job_id, BlockRow.rank.is_(None), BlockRow.lease_expires > now
        query = (
            select(JobRow.job_id)
            .where(JobRow.unclean_since.is_not(None), or_(JobRow.lease_expires.is_(None), JobRow.lease_expires <= now))
            .where(~exists().where(*held))
            .order_by(JobRow.unclean_since)
            .limit(limit)
        )
        with self._database.reading() as session:
            return tuple(session.scalars(query))

    def cleaned(self, job_id: str) -> None:
        """Note that nothing of the job is left but its row here and, of a success, its results."""
        with self._changing(job_id) as (_, job):
            job.unclean_since = None

    def _end(self, session: Session, job: JobRow, state: JobState, message: str = "") -> bool:
        if job.state.is_final:
            return False
        now = self._database.now()
        job.state, job.finished, job.message = state, now, storable(message)
        job.took_s = None if job.started is None else (now - job.started).total_seconds()
        job.unclean_since = now
        job.sent_at = None
        sent = BlockRow.job_id == job.job_id, BlockRow.sent_at.is_not(None)
        session.execute(update(BlockRow).where(*sent).values(sent_at=None))
        return True

    # --- the plan ---------------------------------------------------------------------------------------------------

    def record_plan(self, job_id: str, plan: Plan, windows: Sequence[Window]) -> bool:
        """True when this call recorded plan and blocks; False when there was a plan, which stands."""
        with self._changing(job_id) as (session, job):
            if job.blocks_total is not None:
                return False
            job.blocks_total = len(windows)
            job.begin_step()
            session.execute(update(JobDocuments).where(JobDocuments.job_id == job_id).values(plan=plan))
            session.add_all(
                BlockRow(
                    job_id=job_id,
                    position=position,
                    first_row=window.row,
                    first_col=window.col,
                    height=window.height,
                    width=window.width,
                )
                for position, window in enumerate(windows)
            )
            return True

    def plan(self, job_id: str) -> Plan | None:
        """The frozen plan, None before there is one."""
        with self._database.reading() as session:
            plans = session.scalars(select(JobDocuments.plan).where(JobDocuments.job_id == job_id)).all()
        if not plans:
            raise JobNotFound(job_id)
        return plans[0]


def _conditions(where: JobFilter, now: datetime) -> tuple[ColumnElement[bool], ...]:
    conditions = []
    if where.owner is not None:
        conditions.append(JobRow.owner == where.owner)
    if where.states:
        conditions.append(JobRow.state.in_(where.states))
    if where.since is not None:
        conditions.append(JobRow.created >= where.since)
    if where.until is not None:
        conditions.append(JobRow.created < where.until)
    if where.run_id is not None:
        conditions.append(JobRow.run_id == where.run_id)
    running = JobRow.finished.is_(None)
    if where.min_s is not None:
        begun = JobRow.started <= _before(now, where.min_s)
        conditions.append(or_(JobRow.took_s >= where.min_s, and_(running, begun)))
    if where.max_s is not None:
        begun = JobRow.started >= _before(now, where.max_s)
        conditions.append(or_(JobRow.took_s <= where.max_s, and_(running, begun)))
    return tuple(conditions)


def _before(now: datetime, seconds: float) -> datetime:
    """So long ago, a century at most: the calendar does not hold every number that people may ask for."""
    return now - timedelta(seconds=min(seconds, _CENTURY_S))
