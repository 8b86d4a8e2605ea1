"""Messages to workers: ids of jobs to be planned. Whatever is not sent here, the sweeper sends: the ledger has it all."""

import logging
from queue import Full, Queue
from threading import Thread
from typing import Final, Protocol

from celery import Celery
from kombu.exceptions import OperationalError

from contract import submission
from contract.messages import arguments, celery_options, task_name
from contract.settings import Settings
from contract.steps import Step, StepKind

WAITING: Final = 1000
_logger = logging.getLogger(__name__)


class Sender(Protocol):
    """Tells workers of accepted jobs, without letting anybody wait."""

    sends: bool
    """Messages go out at all."""

    def start(self) -> None:
        """Begin to send."""

    def stop(self) -> None:
        """Send what waits, then end."""

    def send(self, job_id: str, priority: int) -> None:
        """Say that a job is to be planned."""

    def answers(self) -> bool:
        """Messages can be sent now."""


class CelerySender:
    """Sends from a thread of its own: a broker that is away delays nobody."""

    sends = True

    def __init__(self, settings: Settings) -> None:
        self._celery = Celery("landsigma")
        self._celery.conf.update(celery_options(settings))
        self._waiting: Queue[tuple[str, int] | None] = Queue(WAITING)
        self._thread = Thread(target=self._send_all, name="sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, then end."""
        self._waiting.put(None)
        self._thread.join()
        self._celery.close()

    def send(self, job_id: str, priority: int) -> None:
        """Say that a job is to be planned; dropped where too many wait."""
        try:
            self._waiting.put_nowait((job_id, priority))
        except Full:
            _logger.warning("the broker is slow; job %s is left to the sweeper", job_id)

    def answers(self) -> bool:
        """The broker takes a connection."""
        try:
            with self._celery.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=1)
        except (OperationalError, OSError):
            return False
        return True

    def _send_all(self) -> None:
        while (message := self._waiting.get()) is not None:
            job_id, priority = message
            step = Step(job_id=job_id, kind=StepKind.PLAN)
            try:
                self._celery.send_task(
                    task_name(StepKind.PLAN), args=arguments(step), queue=submission.Queue.PLAN.value, priority=priority
                )
            except (OperationalError, OSError) as error:
                _logger.warning("job %s is left to the sweeper: %s", job_id, error)


class NoSender:
    """Without a broker: the sweeper, wherever it runs, finds accepted jobs in the ledger."""

    sends = False

    def start(self) -> None:
        """There is nothing to begin."""

    def stop(self) -> None:
        """There is nothing to end."""

    def send(self, job_id: str, priority: int) -> None:
        """Leave it to the sweeper."""

    def answers(self) -> bool:
        """There is nobody to answer."""
        return False
