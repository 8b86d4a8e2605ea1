"""Which steps wait to be sent as messages. The ledger decides; what carries the messages may forget them all."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from contract.database import Database
from contract.request import JobState
from contract.steps import Step, StepKind, current
from contract.submission import Queue
from contract.tables import BlockRow, JobRow, Worked


class Dispatch:
    """What is to be sent, of all jobs of one database.

    Raises:
        LedgerUnusable: From every method, when the database cannot be reached or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, queue: Queue, *, limit: int, resend_s: float) -> tuple[Step, ...]:
        """At most `limit` steps that a worker could take and that wait for a message: the most urgent, then the oldest job's.

        A step waits for a message when none was sent, or none within the last `resend_s` seconds, nobody holds it, and the
        time has come to try it again. Sending one twice is harmless: only one worker gets it.
        """
        now = self._database.now()
        cutoff = now - timedelta(seconds=resend_s)
        order = JobRow.priority, JobRow.created, JobRow.job_id
        with self._database.reading() as session:
            if queue is Queue.PLAN:
                query = select(JobRow).where(_at_own_step(), *_waiting(JobRow, now, cutoff))
                jobs = session.scalars(query.order_by(*order).limit(limit))
                return tuple(Step(job_id=job.job_id, kind=current(job)) for job in jobs)
            blocks = select(BlockRow.job_id, BlockRow.position).select_from(JobRow).join(BlockRow)
            blocks = blocks.where(*_blocks_in(queue), *_waiting(BlockRow, now, cutoff))
            rows = session.execute(blocks.order_by(*order, BlockRow.position).limit(limit))
            return tuple(Step(job_id=job_id, kind=StepKind.BLOCK, index=position) for job_id, position in rows)

    def sent(self, steps: Iterable[Step]) -> None:
        """Note that a message of each of these steps was sent just now."""
        of_jobs: defaultdict[str, list[Step]] = defaultdict(list)
        for step in steps:
            of_jobs[step.job_id].append(step)
        with self._database.writing() as session:
            now = self._database.now()
            # Held as by every other change of theirs, always in the same order: so nobody waits in a circle.
            query = select(JobRow).where(JobRow.job_id.in_(of_jobs)).order_by(JobRow.job_id).with_for_update()
            for job in session.scalars(query).all():
                kinds = {step.kind for step in of_jobs[job.job_id]}
                if current(job) in kinds - {StepKind.BLOCK} and not job.state.is_final:
                    job.sent_at = now
                indices = [step.index for step in of_jobs[job.job_id] if step.kind is StepKind.BLOCK]
                if indices and job.state is JobState.RUNNING:
                    these = BlockRow.job_id == job.job_id, BlockRow.position.in_(indices), BlockRow.rank.is_(None)
                    session.execute(update(BlockRow).where(*these).values(sent_at=now))

    def in_flight(self, queue: Queue, *, resend_s: float) -> int:
        """Number of steps that were sent and are not due again: waiting in the queue, or being worked."""
        now = self._database.now()
        cutoff = now - timedelta(seconds=resend_s)
        with self._database.reading() as session:
            if queue is Queue.PLAN:
                return _count(session, _under_way(JobRow, now, cutoff))
            # Looked up for each block, and not joined: few blocks are under way of all that there are.
            of_job = select(JobRow.blocks_queue).where(JobRow.job_id == BlockRow.job_id).scalar_subquery()
            return _count(session, _under_way(BlockRow, now, cutoff), of_job == queue)


def _count(session: Session, *conditions: ColumnElement[bool]) -> int:
    return session.scalars(select(func.count()).where(*conditions)).one()


def _blocks_in(queue: Queue) -> tuple[ColumnElement[bool], ...]:
    """Open blocks of running jobs whose blocks go to the queue."""
    # Started, not "running": SQLite, which counts nothing, would go by state, and sort every block that waits.
    running = JobRow.finished.is_(None) & JobRow.started.is_not(None)
    return running, JobRow.blocks_queue == queue, BlockRow.rank.is_(None)


def _at_own_step() -> ColumnElement[bool]:
    """The job is at its plan or at its finish."""
    ours = or_(JobRow.blocks_total.is_(None), JobRow.blocks_done == JobRow.blocks_total)
    return JobRow.finished.is_(None) & ours


def _waiting(row: type[Worked], now: datetime, cutoff: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        or_(row.sent_at.is_(None), row.sent_at <= cutoff),
        or_(row.lease_expires.is_(None), row.lease_expires <= now),
        or_(row.retry_at.is_(None), row.retry_at <= now),
    )


def _under_way(row: type[Worked], now: datetime, cutoff: datetime) -> ColumnElement[bool]:
    return row.sent_at.is_not(None) & or_(row.sent_at > cutoff, row.lease_expires > now)
