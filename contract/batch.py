"""Many submissions in one commit: the disk is waited for once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import uuid4

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from contract.acceptance import check_limits, documents, new_job, status_of, submitted
from contract.database import Database
from contract.errors import IdempotencyConflict, LandsigmaError, LimitReached
from contract.ledger import Ledger
from contract.request import JobState, JobStatus, MapRequest
from contract.submission import Limits, Terms
from contract.tables import Base, JobRow

_NO_LIMITS: Final = Limits()
_REFUSALS: Final = (IdempotencyConflict, LimitReached)
"""Of one submission; whatever else goes wrong is about all of a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What `Ledger.submit` is given, for a new job."""

    request: MapRequest
    terms: Terms
    limits: Limits
    sent_at: datetime | None = None
    """When its first message is sent by whoever submits it; None leaves that to whoever asks what is due."""


def submit_all(database: Database, submissions: Sequence[Submission]) -> tuple[JobStatus | LandsigmaError, ...]:
    """For each submission the status of its job, on disk when this returns, or why it is refused; see `Ledger.submit`.

    One that is refused does not touch the others.

    Raises:
        LedgerUnusable: The database cannot be reached or written; none is accepted.
    """
    try:
        return _together(database, submissions)
    except IntegrityError:  # another process used one of the idempotency keys between our look and our write
        return tuple(_alone(Ledger(database), one) for one in submissions)


def _together(database: Database, submissions: Sequence[Submission]) -> tuple[JobStatus | LandsigmaError, ...]:
    with database.writing() as session:
        # In one order everywhere, so that two processes never wait for each other: neither for these locks, nor for the
        # index of keys, where whoever comes second with a key waits until the first has committed.
        for owner in sorted({one.terms.owner for one in submissions if one.limits != _NO_LIMITS}):
            database.lock(session, owner)
        batch = _Batch(session, database.now())
        outcomes = {number: batch.outcome(one) for number, one in sorted(enumerate(submissions), key=_place)}
        batch.write()
    return tuple(outcomes[number] for number in range(len(submissions)))


def _place(numbered: tuple[int, Submission]) -> tuple[str, str]:
    _, submission = numbered
    return submission.terms.owner, submission.terms.idempotency_key or ""


def _alone(ledger: Ledger, one: Submission) -> JobStatus | LandsigmaError:
    try:
        return ledger.status(ledger.submit(one.request, terms=one.terms, limits=one.limits, sent_at=one.sent_at))
    except LandsigmaError as error:
        return error


class _Batch:
    """Jobs that one transaction accepts. Their rows are written together, which takes a third of the time."""

    def __init__(self, session: Session, now: datetime) -> None:
        self._session, self._now = session, now
        self._documents: list[Base] = []

    def outcome(self, one: Submission) -> JobStatus | LandsigmaError:
        """The status of its job, or why there is none."""
        job_id = uuid4().hex
        try:
            if one.terms.idempotency_key is not None:
                self.write()
                known = submitted(self._session, one.request, job_id, one.terms)
                if known is not None:
                    return status_of(self._session.get_one(JobRow, known))
            # Asks the database, into which the session then puts the jobs that it was given so far.
            check_limits(self._session, one.terms, one.limits, self._now)
        except _REFUSALS as error:  # a database that fails, fails the whole batch
            return error
        job = new_job(job_id, one.terms, self._now)
        job.sent_at = one.sent_at
        self._session.add(job)
        self._documents += documents(job_id, one.request, one.terms)
        return _accepted(job)

    def write(self) -> None:
        """Put what was accepted so far into the database, jobs before what refers to them."""
        self._session.flush()
        self._session.add_all(self._documents)
        self._session.flush()
        self._documents.clear()


def _accepted(job: JobRow) -> JobStatus:
    """Of a row that the database has not seen yet, which lacks the columns that have defaults."""
    return JobStatus(
        job_id=job.job_id,
        state=JobState.ACCEPTED,
        created=job.created,
        owner=job.owner,
        title=job.title,
        priority=job.priority,
    )
