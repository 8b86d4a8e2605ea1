"""The processes that run for as long as the service does: workers and the beat."""

import logging
import os
from collections.abc import Sequence
from functools import cache
from multiprocessing import RawValue
from typing import Final

from celery.apps.beat import Beat
from celery.signals import setup_logging, worker_ready, worker_shutting_down

from contract.logs import configure_logs, event
from contract.messages import SWEEP
from contract.settings import Settings
from contract.submission import Queue
from workers.queue.app import add_tasks, make_app
from workers.queue.hands import Hands, open_hands

_LOG: Final = logging.getLogger(__name__)


class Leaving:
    """A flag that a process and those forked from it share.

    Without a lock, unlike an event of `multiprocessing`: a process that is killed while it looks would keep it.
    """

    def __init__(self) -> None:
        self._value: Final = RawValue("b", 0)

    def set(self) -> None:
        """Ask every process to leave what it is at."""
        self._value.value = 1

    def is_set(self) -> bool:
        """Whether somebody did."""
        return bool(self._value.value)


def run_worker(settings: Settings, *, queues: Sequence[Queue], processes: int = 1) -> int:
    """Work messages of these queues until a signal comes; the exit status.

    SIGTERM or SIGINT: steps are left after the batches in the model, except for one that is being published, and given back.
    Queues come in the order of precedence. A GPU takes one process, so a worker on its queue works in this one: start one
    for each GPU, with CUDA_VISIBLE_DEVICES. Other workers fork: a step that brings its process down leaves the rest running.
    """
    configure_logs(settings.log_format, settings.log_level)
    app, leaving = make_app(settings), Leaving()
    on_gpu = Queue.BLOCKS_GPU in queues
    count = 1 if on_gpu else processes
    threads = settings.model_threads or max(1, len(os.sched_getaffinity(0)) // count)

    @cache
    def hands_of() -> Hands:  # first called in the process that works, after the fork
        return open_hands(settings, app, threads, leaving)

    add_tasks(app, hands_of)

    def leave(**_: object) -> None:
        leaving.set()

    def look(**_: object) -> None:
        event(_LOG, "worker ready", queues=",".join(queue.value for queue in queues), processes=count)
        app.send_task(SWEEP, queue=Queue.PLAN.value, priority=0)

    setup_logging.connect(_keep_logs, weak=False)
    worker_shutting_down.connect(leave, weak=False)
    worker_ready.connect(look, weak=False)
    worker = app.Worker(
        queues=[queue.value for queue in queues],
        concurrency=count,
        pool="solo" if on_gpu else "prefork",
        # Workers need not know of each other: the ledger knows of all.
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def run_beat(settings: Settings) -> None:
    """Say every few seconds that it is time to sweep and to look at schedules, until a signal comes."""
    configure_logs(settings.log_format, settings.log_level)
    setup_logging.connect(_keep_logs, weak=False)
    # Kept in memory: what is late is told by the ledger, not by when the beat last ran.
    Beat(app=make_app(settings), scheduler="celery.beat:Scheduler", quiet=True).run()


def _keep_logs(**_: object) -> None:
    """Keeps Celery from setting up logging by being there."""
