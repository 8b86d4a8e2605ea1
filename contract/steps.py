"""The steps of a job, and the right of one worker at a time to work each."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from contract.database import Database
from contract.errors import JobNotFound, LeaseLost
from contract.grid import Window
from contract.request import BlockReport, JobState
from contract.tables import BlockRow, JobRow, Worked


class StepKind(StrEnum):
    """The three kinds of work in a job, in their order."""

    PLAN = "plan"
    BLOCK = "block"
    FINISH = "finish"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One message's worth of work."""

    job_id: str
    kind: StepKind
    index: int = 0
    """Of the block; 0 for the other kinds."""

    def __str__(self) -> str:
        return f"block {self.index}" if self.kind is StepKind.BLOCK else self.kind.value


@dataclass(frozen=True, slots=True, kw_only=True)
class StepClaim:
    """The right to work one step."""

    job_id: str
    kind: StepKind
    attempt: int
    """Grows with every claim of the step, from 1. Whoever holds a lower number than the ledger is fenced out."""
    owner: str
    """The worker."""
    expires: datetime
    """From then on others may take the step over (UTC). Until someone does, the claim stays good."""
    failures: int = 0
    """Times that the step was given back before, with an error that may pass."""
    expiries: int = 0
    """Times that the step was taken over from a worker that never came back."""

    @property
    def step(self) -> Step:
        """What it is the right to."""
        return Step(job_id=self.job_id, kind=self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(StepClaim):
    """The right to work one block."""

    kind: StepKind = StepKind.BLOCK
    index: int
    window: Window

    @property
    def step(self) -> Step:
        """What it is the right to."""
        return Step(job_id=self.job_id, kind=self.kind, index=self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What went wrong with a step so far."""

    step: Step
    failures: int
    """Times that it was given back with an error that may pass."""
    expiries: int
    """Times that it was taken over from a worker that never came back."""
    error: str | None
    """Why it was last given back."""
    retry_at: datetime | None
    """When it is tried next; None when it is not waiting for that."""


C = TypeVar("C", bound=StepClaim)


class Steps:
    """Claims on the steps of jobs.

    Whatever changes a job holds the job's row for its transaction, so changes of one job happen one after the other and
    each method below is atomic. Processes may die between two methods, and may call any of them twice.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_blocks(self, job_id: str) -> tuple[int, ...]:
        """Indices of the blocks that are not done, in order. None in a planned, running job: it waits to be finished."""
        query = select(BlockRow.position).where(BlockRow.job_id == job_id, BlockRow.rank.is_(None))
        with self._reading(job_id) as session:
            return tuple(session.scalars(query.order_by(BlockRow.position)))

    def block_reports(self, job_id: str) -> tuple[BlockReport, ...]:
        """Reports of the blocks that are done, by index."""
        query = select(BlockRow.report).where(BlockRow.job_id == job_id).order_by(BlockRow.position)
        with self._reading(job_id) as session:
            return tuple(report for report in session.scalars(query) if report is not None)

    def attempts(self, job_id: str) -> tuple[Attempts, ...]:
        """The current step of the job and its blocks by index, as far as any failed or lost its worker."""
        troubled = or_(BlockRow.failures > 0, BlockRow.expiries > 0)
        query = select(BlockRow).where(BlockRow.job_id == job_id, troubled).order_by(BlockRow.position)
        with self._reading(job_id) as session:
            job = session.get_one(JobRow, job_id)
            own = [_attempts(Step(job_id=job_id, kind=current(job)), job)] if job.failures or job.expiries else []
            blocks = [
                _attempts(Step(job_id=job_id, kind=StepKind.BLOCK, index=block.position), block)
                for block in session.scalars(query)
            ]
        return (*own, *blocks)

    # --- claims -----------------------------------------------------------------------------------------------------

    def claim(self, job_id: str, index: int, *, owner: str, lease_s: float) -> Claim | None:
        """The block, for `lease_s` seconds.

        None when it is done, leased by another owner or waits to be tried again, or when the job is not running. An owner
        that claims its own block again, as after a restart, fences its former self out.

        Raises:
            ValueError: The job has no such block.
        """
        with self._changing(job_id) as (session, job):
            block = session.get(BlockRow, (job_id, index))
            if block is None:
                raise ValueError(f"job {job_id} has no block {index}; it has {job.blocks_total}")
            if block.rank is not None or job.state is not JobState.RUNNING:
                return None
            expires = self._take(block, job, owner=owner, lease_s=lease_s)
            if expires is None:
                return None
            return Claim(
                job_id=job_id,
                index=index,
                window=Window(row=block.first_row, col=block.first_col, height=block.height, width=block.width),
                attempt=block.attempt,
                owner=owner,
                expires=expires,
                failures=block.failures,
                expiries=block.expiries,
            )

    def claim_plan(self, job_id: str, *, owner: str, lease_s: float) -> StepClaim | None:
        """The job's plan, for `lease_s` seconds; the job is running from now on.

        None when there is a plan, when it is leased by another owner or waits to be tried again, or when the job is over.
        """
        return self._claim_own(job_id, StepKind.PLAN, owner=owner, lease_s=lease_s)

    def claim_finish(self, job_id: str, *, owner: str, lease_s: float) -> StepClaim | None:
        """The last step of a job without open blocks, for `lease_s` seconds.

        None when a block is open, when it is leased by another owner or waits to be tried again, or when the job is over.
        """
        return self._claim_own(job_id, StepKind.FINISH, owner=owner, lease_s=lease_s)

    def renew(self, claim: C, *, lease_s: float) -> C:
        """The claim, good for `lease_s` seconds from now.

        Raises:
            LeaseLost: Another claim took the step over, this one was released, the job is no longer running, or the plan
                or the finish that it is for is done.
        """
        with self._changing(claim.job_id) as (session, job):
            row = _held(session, job, claim)
            if row is None or job.state is not JobState.RUNNING:
                raise LeaseLost(claim.job_id, str(claim.step))
            row.lease_expires = self._database.now() + timedelta(seconds=lease_s)
            return replace(claim, expires=row.lease_expires)

    def complete(self, claim: Claim, report: BlockReport) -> int:
        """Number of blocks that were still open right after this one: exactly one block of a job gets 0.

        The same claim again gets the same answer and changes nothing.

        Raises:
            LeaseLost: Another claim took the block over, this one was released, or the job is no longer running.
        """
        with self._changing(claim.job_id) as (session, job):
            block = _held(session, job, claim)
            if not isinstance(block, BlockRow) or job.blocks_total is None:
                raise LeaseLost(claim.job_id, str(claim.step))
            if block.rank is None:
                if job.state is not JobState.RUNNING:
                    raise LeaseLost(claim.job_id, str(claim.step))
                job.blocks_done += 1
                job.read_s += report.read_s
                job.inference_s += report.inference_s
                job.mapped_px += report.mapped_px
                job.provider = report.provider
                block.rank, block.report = job.blocks_done, report
                block.sent_at = None
            return job.blocks_total - block.rank

    def release(self, claim: StepClaim, *, error: str, retry_after_s: float | None = None) -> None:
        """Give the step back undone, and keep why. Nothing happens when it is no longer this claim's, or done.

        Args:
            claim: What is given back.
            error: Why.
            retry_after_s: Count a failure, and let nobody have the step before so many seconds. None: the step is free at
                once and nothing is counted, as when a worker is asked to stop.
        """
        with self._changing(claim.job_id) as (session, job):
            row = _held(session, job, claim)
            if row is None or (isinstance(row, BlockRow) and row.rank is not None):
                return
            row.drop_lease()
            row.error = storable(error)
            if retry_after_s is not None:
                row.failures += 1
                job.retries += 1
                row.retry_at = self._database.now() + timedelta(seconds=retry_after_s)

    def _claim_own(self, job_id: str, kind: StepKind, *, owner: str, lease_s: float) -> StepClaim | None:
        with self._changing(job_id) as (_, job):
            if job.state.is_final or current(job) is not kind:
                return None
            expires = self._take(job, job, owner=owner, lease_s=lease_s)
            if expires is None:
                return None
            if job.state is JobState.ACCEPTED:
                job.state, job.started = JobState.RUNNING, self._database.now()
            return StepClaim(
                job_id=job_id,
                kind=kind,
                attempt=job.attempt,
                owner=owner,
                expires=expires,
                failures=job.failures,
                expiries=job.expiries,
            )

    def _take(self, row: Worked, job: JobRow, *, owner: str, lease_s: float) -> datetime | None:
        """Until when the step is the owner's; None when it may not have it."""
        now = self._database.now()
        held = row.lease_owner != owner and row.lease_expires is not None and row.lease_expires > now
        if held or (row.retry_at is not None and row.retry_at > now):
            return None
        if row.lease_owner is not None:
            row.expiries += 1
            job.lost_leases += 1
        expires = now + timedelta(seconds=lease_s)
        row.attempt += 1
        row.lease_owner, row.lease_expires, row.retry_at = owner, expires, None
        return expires

    # --- the pattern of every change --------------------------------------------------------------------------------

    @contextmanager
    def _reading(self, job_id: str) -> Iterator[Session]:
        """A session that reads about a job that exists."""
        with self._database.reading() as session:
            if session.get(JobRow, job_id) is None:
                raise JobNotFound(job_id)
            yield session

    @contextmanager
    def _changing(self, job_id: str) -> Iterator[tuple[Session, JobRow]]:
        """A transaction that alone may change the job, and the job's row."""
        with self._database.writing() as session:
            # FOR UPDATE is PostgreSQL's; SQLite has one writer at a time anyway.
            job = session.get(JobRow, job_id, with_for_update=True)
            if job is None:
                raise JobNotFound(job_id)
            yield session, job


def current(job: JobRow) -> StepKind:
    """The step that the job is at."""
    if job.blocks_total is None:
        return StepKind.PLAN
    return StepKind.BLOCK if job.blocks_done < job.blocks_total else StepKind.FINISH


def storable(message: str) -> str:
    """The message without what no database takes (NUL, lone surrogates): a failure must not fail to be recorded."""
    return message.replace("\0", "").encode(errors="backslashreplace").decode()


def _held(session: Session, job: JobRow, claim: StepClaim) -> Worked | None:
    """The row of the step, as long as it is this claim's."""
    row = session.get_one(BlockRow, (claim.job_id, claim.index)) if isinstance(claim, Claim) else job
    return row if (row.attempt, row.lease_owner) == (claim.attempt, claim.owner) else None


def _attempts(step: Step, row: Worked) -> Attempts:
    return Attempts(step=step, failures=row.failures, expiries=row.expiries, error=row.error, retry_at=row.retry_at)
