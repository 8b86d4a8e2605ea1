"""Jobs and their blocks in SQL: the only truth about a job's state.

Whatever changes a job holds the job's row for its transaction, so changes of one job happen one after the other and
each method below is atomic. Processes may die between two methods, and may call any of them twice.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

from sqlalchemy import Engine, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from contract.errors import JobNotFound, LeaseLost
from contract.grid import Window
from contract.request import BlockReport, JobState, JobStatus, MapRequest, MapResult, Plan
from contract.tables import BlockRow, JobDocuments, JobRow, open_database, writing

_JOB_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to work one block."""

    job_id: str
    index: int
    window: Window
    attempt: int
    """1 for the first claim of the block. Whoever holds a lower number than the ledger is fenced out."""
    owner: str
    expires: datetime
    """From then on others may take the block over (UTC). Until someone does, the claim stays good."""


def _now() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """The jobs of one database, SQLite or PostgreSQL. Threads may share it; processes open their own.

    Raises:
        JobNotFound: From every method that is given the id of a job that was never submitted.
        LedgerUnusable: From every method, when the database cannot be reached or written.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    @classmethod
    def open(cls, url: str, *, clock: Callable[[], datetime] = _now) -> Self:
        """The ledger at `sqlite:///path` or `postgresql+psycopg://...`, made or migrated where it needs to be.

        Raises:
            LedgerUnusable: The database cannot be reached or written, or a newer landsigma wrote it.
        """
        return cls(open_database(url), clock)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- jobs -------------------------------------------------------------------------------------------------------

    def submit(self, request: MapRequest, *, job_id: str | None = None) -> str:
        """The id of the accepted job, on disk when this returns. The same id and request again change nothing.

        Raises:
            ValueError: The id is that of another request, or is not made of 1 to 64 letters, digits, "_" and "-".
        """
        job_id = uuid4().hex if job_id is None else job_id
        if not _JOB_ID.fullmatch(job_id):
            raise ValueError(f"job id {job_id!r} must be 1 to 64 letters, digits, '_' or '-'")
        try:
            with self._writing() as session:
                session.add(JobRow(job_id=job_id, state=JobState.ACCEPTED, created=self._clock()))
                session.flush()  # the job before what refers to it
                session.add(JobDocuments(job_id=job_id, request=request))
        except IntegrityError as error:
            if self.job(job_id).request != request:
                raise ValueError(f"job id {job_id!r} belongs to another request") from error
        return job_id

    def job(self, job_id: str) -> Job:
        """The job with its documents."""
        query = select(JobRow, JobDocuments).join(JobDocuments).where(JobRow.job_id == job_id)
        with Session(self._engine) as session:
            found = session.execute(query).one_or_none()
        if found is None:
            raise JobNotFound(job_id)
        row, documents = found
        return Job(
            id=job_id, request=documents.request, status=_status(row), plan=documents.plan, result=documents.result
        )

    def status(self, job_id: str) -> JobStatus:
        """How far the job is; reads one small row."""
        with Session(self._engine) as session:
            row = session.get(JobRow, job_id)
        if row is None:
            raise JobNotFound(job_id)
        return _status(row)

    def jobs(self, *, limit: int, after: str | None = None, states: Collection[JobState] = ()) -> tuple[JobStatus, ...]:
        """At most `limit` jobs, newest first: of any state or of `states`, from the top or below the job `after`."""
        query = select(JobRow).order_by(JobRow.created.desc(), JobRow.job_id.desc()).limit(limit)
        if states:
            query = query.where(JobRow.state.in_(states))
        if after is not None:
            query = query.where(tuple_(JobRow.created, JobRow.job_id) < (self.status(after).created, after))
        with Session(self._engine) as session:
            return tuple(_status(row) for row in session.scalars(query))

    def start(self, job_id: str) -> bool:
        """True when the job is running, from now or before; False when it is final."""
        with self._changing(job_id) as (_, job):
            if job.state is JobState.ACCEPTED:
                job.state, job.started = JobState.RUNNING, self._clock()
            return not job.state.is_final

    def succeed(self, job_id: str, result: MapResult) -> bool:
        """True when the job is finished by this call, with `result.state`; False when it was final before.

        Raises:
            ValueError: A block is open, or the job is not planned.
        """
        with self._changing(job_id) as (session, job):
            if job.blocks_done != job.blocks_total and not job.state.is_final:
                raise ValueError(f"job {job_id} cannot succeed with {job.blocks_done} blocks of {job.blocks_total}")
            ended = self._end(job, result.state)
            if ended:
                session.execute(update(JobDocuments).where(JobDocuments.job_id == job_id).values(result=result))
            return ended

    def fail(self, job_id: str, message: str) -> bool:
        """True when the job is failed by this call; False when it was final before, and stays what it was."""
        with self._changing(job_id) as (_, job):
            return self._end(job, JobState.FAILED, message)

    def dismiss(self, job_id: str) -> bool:
        """True when the job is dismissed by this call; False when it was final before. No block completes after it."""
        with self._changing(job_id) as (_, job):
            return self._end(job, JobState.DISMISSED)

    # --- the plan ---------------------------------------------------------------------------------------------------

    def record_plan(self, job_id: str, plan: Plan, windows: Sequence[Window]) -> bool:
        """True when this call recorded plan and blocks; False when there was a plan, which stands."""
        with self._changing(job_id) as (session, job):
            if job.blocks_total is not None:
                return False
            job.blocks_total = len(windows)
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
        with Session(self._engine) as session:
            plans = session.scalars(select(JobDocuments.plan).where(JobDocuments.job_id == job_id)).all()
        if not plans:
            raise JobNotFound(job_id)
        return plans[0]

    # --- blocks -----------------------------------------------------------------------------------------------------

    def open_blocks(self, job_id: str) -> tuple[int, ...]:
        """Indices of the blocks that are not done, in order. None in a planned, running job: it waits to be finished."""
        self.status(job_id)  # a job that does not exist has no open block either
        query = select(BlockRow.position).where(BlockRow.job_id == job_id, BlockRow.rank.is_(None))
        with Session(self._engine) as session:
            return tuple(session.scalars(query.order_by(BlockRow.position)))

    def claim(self, job_id: str, index: int, *, owner: str, lease_s: float) -> Claim | None:
        """The block, for `lease_s` seconds; None when it is done or leased by another owner, or the job is not running.

        An owner that claims its own block again, as after a restart, fences its former self out.

        Raises:
            ValueError: The job has no such block.
        """
        now = self._clock()
        with self._changing(job_id) as (session, job):
            block = session.get(BlockRow, (job_id, index))
            if block is None:
                raise ValueError(f"job {job_id} has no block {index}; it has {job.blocks_total}")
            leased = block.owner != owner and block.expires is not None and block.expires > now
            if leased or block.rank is not None or job.state is not JobState.RUNNING:
                return None
            block.attempt += 1
            block.owner, block.expires = owner, now + timedelta(seconds=lease_s)
            return Claim(
                job_id=job_id,
                index=index,
                window=Window(row=block.first_row, col=block.first_col, height=block.height, width=block.width),
                attempt=block.attempt,
                owner=owner,
                expires=block.expires,
            )

    def renew(self, claim: Claim, *, lease_s: float) -> Claim:
        """The claim, good for `lease_s` seconds from now.

        Raises:
            LeaseLost: Another claim took the block over, this one was released, or the job is no longer running.
        """
        with self._changing(claim.job_id) as (session, job):
            block = _claimed(session, claim)
            if block is None or job.state is not JobState.RUNNING:
                raise LeaseLost(claim.job_id, claim.index)
            block.expires = self._clock() + timedelta(seconds=lease_s)
            return replace(claim, expires=block.expires)

    def complete(self, claim: Claim, report: BlockReport) -> int:
        """Number of blocks that were still open right after this one: exactly one block of a job gets 0.

        The same claim again gets the same answer and changes nothing.

        Raises:
            LeaseLost: Another claim took the block over, this one was released, or the job is no longer running.
        """
        with self._changing(claim.job_id) as (session, job):
            block = _claimed(session, claim)
            if block is None or job.blocks_total is None:
                raise LeaseLost(claim.job_id, claim.index)
            if block.rank is None:
                if job.state is not JobState.RUNNING:
                    raise LeaseLost(claim.job_id, claim.index)
                job.blocks_done += 1
                block.rank, block.report = job.blocks_done, report
            return job.blocks_total - block.rank

    def release(self, claim: Claim, *, error: str) -> None:
        """Give the block back undone, and keep why. Nothing happens when it is no longer this claim's, or done."""
        with self._changing(claim.job_id) as (session, _):
            block = _claimed(session, claim)
            if block is not None and block.rank is None:
                block.owner, block.expires, block.error = None, None, _storable(error)

    def block_reports(self, job_id: str) -> tuple[BlockReport, ...]:
        """Reports of the blocks that are done, by index."""
        self.status(job_id)
        query = select(BlockRow.report).where(BlockRow.job_id == job_id).order_by(BlockRow.position)
        with Session(self._engine) as session:
            return tuple(report for report in session.scalars(query) if report is not None)

    # --- the pattern of every change --------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with writing(self._engine) as connection, Session(connection) as session:
            yield session
            session.flush()

    @contextmanager
    def _changing(self, job_id: str) -> Iterator[tuple[Session, JobRow]]:
        """A transaction that alone may change the job, and the job's row."""
        with self._writing() as session:
            # FOR UPDATE is PostgreSQL's; SQLite has one writer at a time anyway.
            job = session.get(JobRow, job_id, with_for_update=True)
            if job is None:
                raise JobNotFound(job_id)
            yield session, job

    def _end(self, job: JobRow, state: JobState, message: str = "") -> bool:
        if job.state.is_final:
            return False
        job.state, job.finished, job.message = state, self._clock(), _storable(message)
        return True


def _status(row: JobRow) -> JobStatus:
    return JobStatus.model_validate(row, from_attributes=True)


def _claimed(session: Session, claim: Claim) -> BlockRow | None:
    """The block, as long as it is this claim's."""
    block = session.get_one(BlockRow, (claim.job_id, claim.index))
    return block if (block.attempt, block.owner) == (claim.attempt, claim.owner) else None


def _storable(message: str) -> str:
    """The message without what no database takes (NUL, lone surrogates): a failure must not fail to be recorded."""
    return message.replace("\0", "").encode(errors="backslashreplace").decode()
