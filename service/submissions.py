"""Submissions, each on disk before it is answered, and many of them in one commit.

A commit waits for the disk, some milliseconds however little is in it. So one thread writes for all: while one commit is
under way, those that come meanwhile wait together for the next.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Full, Queue
from threading import Thread
from typing import Final

from contract.batch import Submission, submit_all
from contract.database import Database
from contract.errors import LandsigmaError
from contract.request import JobStatus
from service.problems import Refused
from service.sender import Sender

BATCH: Final = 64
"""Most submissions of one commit: the last of them waits for the rest."""
WAITING: Final = 2000
"""Most that wait; beyond, callers are told to come back."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    submission: Submission
    answer: asyncio.Future[JobStatus]

    def settle(self, outcome: JobStatus | Exception) -> None:
        """Answer, in the loop that waits for it."""
        self.answer.get_loop().call_soon_threadsafe(_settle, self.answer, outcome)


class Submissions:
    """Takes submissions from the event loop, and commits them in a thread."""

    def __init__(self, database: Database, sender: Sender) -> None:
        self._database, self._sender = database, sender
        self._waiting: Queue[_Waiting | None] = Queue(WAITING)
        self._writer = Thread(target=self._write, name="submissions", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    def stop(self) -> None:
        """Write what waits, then end."""
        self._waiting.put(None)
        self._writer.join()

    async def submit(self, submission: Submission) -> JobStatus:
        """The status of the accepted job, which is on disk.

        Raises:
            LimitReached: Its owner has too many jobs.
            IdempotencyConflict: Its idempotency key is that of another request.
            LedgerUnusable: The database cannot be written.
            Refused: Too many wait already.
        """
        waiting = _Waiting(submission, asyncio.get_running_loop().create_future())
        try:
            self._waiting.put_nowait(waiting)
        except Full:
            detail = f"{WAITING} submissions wait to be written; come back in a second"
            raise Refused(503, detail, kind="busy", limit=WAITING, headers={"Retry-After": "1"}) from None
        return await waiting.answer

    def _write(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while len(batch) < BATCH and not self._waiting.empty():
                more = self._waiting.get()
                if more is None:
                    self._waiting.put(None)  # for the outer loop
                    break
                batch.append(more)
            self._commit(batch)

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        outcomes: Sequence[JobStatus | Exception]
        try:
            outcomes = submit_all(self._database, [waiting.submission for waiting in batch])
        except LandsigmaError as error:
            outcomes = [error] * len(batch)
        except Exception as error:  # the thread must go on for those who come next
            _logger.exception("submissions could not be written")
            outcomes = [error] * len(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.settle(outcome)
            if isinstance(outcome, JobStatus):
                self._sender.send(outcome.job_id, waiting.submission.terms.priority)


def _settle(answer: asyncio.Future[JobStatus], outcome: JobStatus | Exception) -> None:
    if answer.cancelled():
        return
    if isinstance(outcome, JobStatus):
        answer.set_result(outcome)
    else:
        answer.set_exception(outcome)
