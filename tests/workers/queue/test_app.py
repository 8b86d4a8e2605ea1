"""The application trusts no message, keeps no result, and looks every few seconds."""

import os

import pytest
from celery import Celery
from kombu.exceptions import ContentDisallowed
from kombu.serialization import dumps, loads, prepare_accept_content

from contract.messages import SWEEP, TICK, task_name
from contract.settings import Settings
from contract.steps import StepKind
from contract.submission import Queue
from workers.queue.app import add_tasks, make_app
from workers.queue.processes import Leaving

SETTINGS = Settings(sweep_s=7)


@pytest.fixture
def app() -> Celery:
    made = make_app(SETTINGS)
    add_tasks(made, pytest.fail)
    return made


def test_the_three_steps_a_sweep_and_a_tick_can_be_named(app: Celery) -> None:
    ours = {name for name in app.tasks if not name.startswith("celery.")}
    assert ours == {"landsigma.plan", "landsigma.block", "landsigma.finish", SWEEP, TICK}
    assert {task_name(kind) for kind in StepKind} < ours


def test_a_message_that_is_not_json_is_not_read(app: Celery) -> None:
    kind, encoding, body = dumps({"job": 1}, serializer="pickle")
    with pytest.raises(ContentDisallowed):
        loads(body, kind, encoding, accept=prepare_accept_content(app.conf.accept_content))


def test_what_is_unacknowledged_goes_to_another_worker(app: Celery) -> None:
    for name in map(task_name, StepKind):
        assert app.tasks[name].acks_late
        assert app.tasks[name].reject_on_worker_lost
        assert app.tasks[name].ignore_result
    assert app.conf.result_backend is None


def test_sweep_and_tick_come_round_and_do_not_pile_up(app: Celery) -> None:
    schedule = app.conf.beat_schedule
    assert {entry["task"] for entry in schedule.values()} == {SWEEP, TICK}
    for entry in schedule.values():
        assert entry["schedule"].total_seconds() == 7
        assert entry["options"]["expires"] == 14
        assert entry["options"]["queue"] == Queue.PLAN.value


def test_a_flag_is_seen_by_what_was_forked_before_it_was_set() -> None:
    leaving = Leaving()
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        os.read(ready, 1)
        os._exit(7 if leaving.is_set() else 1)
    assert not leaving.is_set()
    leaving.set()
    os.write(told, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
