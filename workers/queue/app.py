"""The Celery application: its configuration, and the tasks that a message can name."""

from datetime import timedelta

from celery import Celery

from contract.messages import SWEEP, TICK, celery_options, task_name
from contract.settings import Settings
from contract.steps import StepKind
from contract.submission import Queue
from workers.queue import attempts
from workers.queue.hands import HandsOf


def make_app(settings: Settings) -> Celery:
    """An application that can send, and tell the time to send; see `add_tasks` for one that can work."""
    app = Celery("landsigma", set_as_current=False)
    app.conf.update(celery_options(settings))
    # One that nobody took up by then is worth nothing: the next one does the same. The most urgent priority.
    route = {"queue": Queue.PLAN.value, "priority": 0, "expires": 2 * settings.sweep_s}
    every = timedelta(seconds=settings.sweep_s)
    app.conf.beat_schedule = {name: {"task": name, "schedule": every, "options": route} for name in (SWEEP, TICK)}
    return app


def add_tasks(app: Celery, hands_of: HandsOf) -> None:
    """Let an application work what it is sent, with the hands of whichever process gets the message."""

    def plan(job_id: str) -> None:
        attempts.plan(hands_of(), job_id)

    def block(job_id: str, index: int) -> None:
        attempts.block(hands_of(), job_id, index)

    def finish(job_id: str) -> None:
        attempts.finish(hands_of(), job_id)

    def sweep() -> None:
        attempts.sweep(hands_of())

    def tick() -> None:
        attempts.tick(hands_of())

    app.task(plan, name=task_name(StepKind.PLAN))
    app.task(block, name=task_name(StepKind.BLOCK))
    app.task(finish, name=task_name(StepKind.FINISH))
    app.task(sweep, name=SWEEP)
    app.task(tick, name=TICK)
