"""Sender: messages for the steps that the ledger says are due."""

import logging
from collections.abc import Mapping
from typing import Final

from celery import Celery
from kombu.exceptions import ChannelError, OperationalError

from contract.dispatch import Dispatch
from contract.ledger import Ledger
from contract.logs import event
from contract.messages import arguments, task_name
from contract.settings import Settings
from contract.steps import Step
from contract.submission import Queue

_LOG: Final = logging.getLogger(__name__)


class Sender:
    """Sends steps, and no more of each queue than workers can soon take. What cannot be sent stays due."""

    def __init__(self, app: Celery, ledger: Ledger, dispatch: Dispatch, settings: Settings) -> None:
        self._app, self._ledger, self._dispatch, self._settings = app, ledger, dispatch, settings

    def send(self) -> Mapping[Queue, int]:
        """Number of messages that were sent now, for each queue; none while Redis is away."""
        sent = dict.fromkeys(Queue, 0)
        try:
            for queue in Queue:
                sent[queue] = self._fill(queue)
        except OperationalError as error:
            event(_LOG, "redis away", level=logging.WARNING, reason=str(error))
        return sent

    def _fill(self, queue: Queue) -> int:
        # The bound is on what lies in Redis: right also after it forgot everything, and when steps wait for so long that
        # they are due again.
        room = self._settings.in_flight - self._waiting(queue)
        steps = self._dispatch.due(queue, limit=room, resend_s=self._settings.resend_s) if room > 0 else ()
        urgency = {job_id: self._ledger.status(job_id).priority for job_id in {step.job_id for step in steps}}
        for step in steps:
            self._send(step, queue, urgency[step.job_id])
        if steps:
            self._dispatch.sent(steps)
        return len(steps)

    def _send(self, step: Step, queue: Queue, priority: int) -> None:
        name, route = task_name(step.kind), {"queue": queue.value, "priority": priority}
        self._app.send_task(name, arguments(step), ignore_result=True, **route)

    def _waiting(self, queue: Queue) -> int:
        """Number of messages in the queue that no worker has taken."""
        with self._app.connection_for_write() as connection:
            try:
                return int(connection.default_channel.queue_declare(queue=queue.value, passive=True).message_count)
            except ChannelError:  # an empty queue is none in Redis
                return 0
