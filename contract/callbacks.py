"""Whom to tell that a job moved. Each move is told by one process, however many look."""

from dataclasses import dataclass

from sqlalchemy import delete, select, update

from contract.database import Database
from contract.request import JobState
from contract.submission import Callbacks
from contract.tables import CallbackRow, JobDocuments, JobRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A job is where its subscriber does not know it to be."""

    job_id: str
    told: JobState
    """What the subscriber was told last."""
    state: JobState
    """Where it is."""
    callbacks: Callbacks


class CallbackStore:
    """Moves that are to be told, of all jobs of one database.

    Raises:
        LedgerUnusable: From every method, when the database cannot be reached or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def moves(self, *, limit: int) -> tuple[Move, ...]:
        """At most `limit` moves that were not told."""
        query = (
            select(JobRow.job_id, CallbackRow.told, JobRow.state, JobDocuments.callbacks)
            .join(CallbackRow, CallbackRow.job_id == JobRow.job_id)
            .join(JobDocuments, JobDocuments.job_id == JobRow.job_id)
            .where(CallbackRow.told != JobRow.state)
            .limit(limit)
        )
        with self._database.reading() as session:
            return tuple(
                Move(job_id=job_id, told=told, state=state, callbacks=callbacks)
                for job_id, told, state, callbacks in session.execute(query)
            )

    def take(self, move: Move) -> bool:
        """True for the one caller that is to tell it."""
        same = CallbackRow.job_id == move.job_id, CallbackRow.told == move.told
        change = delete(CallbackRow) if move.state.is_final else update(CallbackRow).values(told=move.state)
        with self._database.writing() as session:
            # Counted by the rows that come back: drivers differ in what they count.
            return session.scalar(change.where(*same).returning(CallbackRow.job_id)) is not None
