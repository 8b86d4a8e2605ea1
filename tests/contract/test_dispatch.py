"""What is due to be sent, on SQLite and on PostgreSQL."""

from itertools import chain
from pathlib import Path

import pytest

from contract.database import Database
from contract.dispatch import Dispatch
from contract.ledger import Ledger
from contract.steps import Step, StepKind
from contract.submission import Queue, Terms
from tests.contract.conftest import Clock
from tests.contract.examples import (
    PLAN,
    REPORT,
    REQUEST,
    WINDOWS,
    claimed,
    complete_all,
    lookups,
    planned,
    result,
    together,
)

RESEND_S = 30.0


@pytest.fixture
def dispatch(database: Database) -> Dispatch:
    return Dispatch(database)


def due(dispatch: Dispatch, queue: Queue = Queue.BLOCKS_CPU, limit: int = 99) -> list[Step]:
    return list(dispatch.due(queue, limit=limit, resend_s=RESEND_S))


def due_indices(dispatch: Dispatch) -> list[int]:
    return [step.index for step in due(dispatch)]


def plan_of(job_id: str) -> Step:
    return Step(job_id=job_id, kind=StepKind.PLAN)


def finish_of(job_id: str) -> Step:
    return Step(job_id=job_id, kind=StepKind.FINISH)


def block_of(job_id: str, index: int) -> Step:
    return Step(job_id=job_id, kind=StepKind.BLOCK, index=index)


def with_blocks(ledger: Ledger, terms: Terms, count: int = 2) -> str:
    job_id = ledger.submit(REQUEST, terms=terms)
    ledger.start(job_id)
    ledger.record_plan(job_id, PLAN, WINDOWS[:count])
    return job_id


# --- what is due ----------------------------------------------------------------------------------------------------


def test_a_job_is_due_with_the_step_that_it_is_at(ledger: Ledger, dispatch: Dispatch) -> None:
    job_id = ledger.submit(REQUEST)
    assert due(dispatch, Queue.PLAN) == [plan_of(job_id)]
    assert due(dispatch) == []
    ledger.start(job_id)
    ledger.record_plan(job_id, PLAN, WINDOWS)
    assert due(dispatch, Queue.PLAN) == []
    assert due(dispatch) == [block_of(job_id, index) for index in range(6)]
    complete_all(ledger, job_id)
    assert due(dispatch, Queue.PLAN) == [finish_of(job_id)]
    assert due(dispatch) == []
    ledger.succeed(job_id, result(job_id))
    assert due(dispatch, Queue.PLAN) == []


def test_blocks_wait_in_the_queue_that_their_job_asked_for(ledger: Ledger, dispatch: Dispatch) -> None:
    with_blocks(ledger, Terms(blocks_queue=Queue.BLOCKS_GPU))
    assert due(dispatch, Queue.BLOCKS_CPU) == []
    assert len(due(dispatch, Queue.BLOCKS_GPU)) == 2


def test_the_most_urgent_come_first_then_the_oldest_then_the_first_blocks(
    ledger: Ledger, dispatch: Dispatch, clock: Clock
) -> None:
    jobs = []
    for priority in (5, 7, 5, 0):
        jobs.append(with_blocks(ledger, Terms(priority=priority)))
        clock.advance(1)
    plans = []
    for priority in (5, 7, 5, 0):
        plans.append(ledger.submit(REQUEST, terms=Terms(priority=priority)))
        clock.advance(1)
    in_order = [block_of(jobs[job], index) for job in (3, 0, 2, 1) for index in (0, 1)]
    assert due(dispatch) == in_order
    assert due(dispatch, limit=3) == in_order[:3]
    assert due(dispatch, Queue.PLAN) == [plan_of(plans[job]) for job in (3, 0, 2, 1)]


def test_what_was_sent_is_due_again_after_a_while(ledger: Ledger, dispatch: Dispatch, clock: Clock) -> None:
    job_id, waiting = planned(ledger), ledger.submit(REQUEST)
    dispatch.sent([block_of(job_id, 0), block_of(job_id, 4), plan_of(waiting)])
    clock.advance(RESEND_S - 1)
    assert due_indices(dispatch) == [1, 2, 3, 5]
    assert due(dispatch, Queue.PLAN) == []
    clock.advance(1)
    assert due_indices(dispatch) == [0, 1, 2, 3, 4, 5]
    assert due(dispatch, Queue.PLAN) == [plan_of(waiting)]


def test_a_job_whose_message_its_submitter_sends_is_due_after_a_while(
    ledger: Ledger, dispatch: Dispatch, clock: Clock
) -> None:
    job_id = ledger.submit(REQUEST, sent_at=clock.now)
    assert due(dispatch, Queue.PLAN) == []
    clock.advance(RESEND_S)
    assert due(dispatch, Queue.PLAN) == [plan_of(job_id)]


def test_what_is_leased_is_due_when_the_lease_is_over(ledger: Ledger, dispatch: Dispatch, clock: Clock) -> None:
    job_id, waiting = planned(ledger), ledger.submit(REQUEST)
    dispatch.sent([block_of(job_id, 0)])
    claimed(ledger, job_id, 0, lease_s=90)
    ledger.claim_plan(waiting, owner="one", lease_s=90)
    clock.advance(89)
    assert due_indices(dispatch) == [1, 2, 3, 4, 5]
    assert due(dispatch, Queue.PLAN) == []
    clock.advance(1)
    assert due_indices(dispatch) == [0, 1, 2, 3, 4, 5]
    assert due(dispatch, Queue.PLAN) == [plan_of(waiting)]


def test_what_failed_is_due_at_its_time_to_be_tried_again(ledger: Ledger, dispatch: Dispatch, clock: Clock) -> None:
    job_id = planned(ledger)
    dispatch.sent([block_of(job_id, 0)])
    ledger.release(claimed(ledger, job_id, 0), error="timed out", retry_after_s=10)
    clock.advance(9)
    assert due_indices(dispatch) == [1, 2, 3, 4, 5]
    clock.advance(1)
    assert due_indices(dispatch) == [0, 1, 2, 3, 4, 5]


def test_what_a_stopping_worker_gave_back_is_due_at_once(ledger: Ledger, dispatch: Dispatch) -> None:
    job_id = planned(ledger)
    dispatch.sent([block_of(job_id, 0)])
    ledger.release(claimed(ledger, job_id, 0), error="stopped")
    assert due_indices(dispatch) == [0, 1, 2, 3, 4, 5]


def test_what_is_done_is_not_due(ledger: Ledger, dispatch: Dispatch, clock: Clock) -> None:
    job_id = planned(ledger)
    dispatch.sent([block_of(job_id, 3)])
    ledger.complete(claimed(ledger, job_id, 3), REPORT)
    clock.advance(3600)
    assert due_indices(dispatch) == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("end", ["fail", "dismiss"])
def test_nothing_of_a_job_that_ended_is_due(ledger: Ledger, dispatch: Dispatch, clock: Clock, end: str) -> None:
    job_id, waiting = planned(ledger), ledger.submit(REQUEST)
    dispatch.sent([block_of(job_id, 0), plan_of(waiting)])
    for ended in (job_id, waiting):
        ledger.fail(ended, "no scenes") if end == "fail" else ledger.dismiss(ended)
    clock.advance(3600)
    assert due(dispatch) == due(dispatch, Queue.PLAN) == []
    assert dispatch.in_flight(Queue.BLOCKS_CPU, resend_s=1e6) == dispatch.in_flight(Queue.PLAN, resend_s=1e6) == 0


# --- what is under way ----------------------------------------------------------------------------------------------


def test_what_is_sent_and_not_done_is_in_flight(ledger: Ledger, dispatch: Dispatch) -> None:
    job_id = planned(ledger)
    dispatch.sent(due(dispatch, limit=4))
    assert dispatch.in_flight(Queue.BLOCKS_CPU, resend_s=RESEND_S) == 4
    ledger.complete(claimed(ledger, job_id, 0), REPORT)
    assert dispatch.in_flight(Queue.BLOCKS_CPU, resend_s=RESEND_S) == 3
    ledger.release(claimed(ledger, job_id, 1), error="timed out", retry_after_s=10)
    assert dispatch.in_flight(Queue.BLOCKS_CPU, resend_s=RESEND_S) == 2
    assert dispatch.in_flight(Queue.BLOCKS_GPU, resend_s=RESEND_S) == 0
    assert dispatch.in_flight(Queue.PLAN, resend_s=RESEND_S) == 0


def test_what_is_worked_is_in_flight_however_long_ago_it_was_sent(
    ledger: Ledger, dispatch: Dispatch, clock: Clock
) -> None:
    job_id, waiting = planned(ledger), ledger.submit(REQUEST)
    dispatch.sent([block_of(job_id, 0), block_of(job_id, 1), plan_of(waiting)])
    claimed(ledger, job_id, 0, lease_s=3600)
    ledger.claim_plan(waiting, owner="one", lease_s=3600)
    clock.advance(RESEND_S)
    assert dispatch.in_flight(Queue.BLOCKS_CPU, resend_s=RESEND_S) == 1
    assert dispatch.in_flight(Queue.PLAN, resend_s=RESEND_S) == 1


def test_the_plan_is_no_longer_in_flight_when_blocks_are(ledger: Ledger, dispatch: Dispatch, clock: Clock) -> None:
    job_id = ledger.submit(REQUEST, sent_at=clock.now)
    assert dispatch.in_flight(Queue.PLAN, resend_s=RESEND_S) == 1
    ledger.claim_plan(job_id, owner="one", lease_s=60)
    ledger.record_plan(job_id, PLAN, WINDOWS)
    assert dispatch.in_flight(Queue.PLAN, resend_s=RESEND_S) == 0


def test_news_of_a_sent_step_may_come_late(ledger: Ledger, dispatch: Dispatch) -> None:
    """The worker may be done before the sender has noted that it sent."""
    job_id = ledger.submit(REQUEST)
    late = due(dispatch, Queue.PLAN)
    ledger.start(job_id)
    ledger.record_plan(job_id, PLAN, WINDOWS)
    dispatch.sent(late)
    assert dispatch.in_flight(Queue.PLAN, resend_s=RESEND_S) == 0
    late = due(dispatch)
    complete_all(ledger, job_id)
    dispatch.sent(late)
    assert dispatch.in_flight(Queue.BLOCKS_CPU, resend_s=RESEND_S) == 0
    assert due(dispatch, Queue.PLAN) == [finish_of(job_id)]
    late = due(dispatch, Queue.PLAN)
    ledger.succeed(job_id, result(job_id))
    dispatch.sent(late)
    assert dispatch.in_flight(Queue.PLAN, resend_s=RESEND_S) == 0


def test_due_and_in_flight_together_are_every_step_that_a_worker_could_take(
    ledger: Ledger, dispatch: Dispatch, clock: Clock
) -> None:
    job_id = planned(ledger)
    for number in range(40):
        queued = due(dispatch, limit=2)
        dispatch.sent(queued)
        if queued and number % 3:
            claimed(ledger, job_id, queued[0].index, owner=str(number), lease_s=40)
        assert len(due(dispatch)) + dispatch.in_flight(Queue.BLOCKS_CPU, resend_s=RESEND_S) == 6
        clock.advance(7)


# --- many at a time -------------------------------------------------------------------------------------------------


def send_and_work(url: str, rounds: int) -> int:
    """Blocks that this process completed, while it sends what is due as every other does."""
    done = 0
    with Database.open(url) as database:
        ledger, dispatch = Ledger(database), Dispatch(database)
        for _ in range(rounds):
            steps = dispatch.due(Queue.BLOCKS_CPU, limit=8, resend_s=0)
            dispatch.sent(reversed(steps))
            for step in steps:
                claim = ledger.claim(step.job_id, step.index, owner=str(id(database)), lease_s=3600)
                if claim is not None:
                    ledger.complete(claim, REPORT)
                    done += 1
    return done


def test_processes_that_send_and_work_the_same_steps_do_not_stand_in_each_others_way(ledger: Ledger, url: str) -> None:
    jobs = [with_blocks(ledger, Terms(priority=number % 3), count=6) for number in range(10)]
    with together(4) as pool:
        done = pool.starmap(send_and_work, [(url, 30)] * 4, chunksize=1)
    assert sum(done) == 60
    assert not list(chain.from_iterable(ledger.open_blocks(job_id) for job_id in jobs))


# --- cost -----------------------------------------------------------------------------------------------------------


def test_what_is_due_is_read_in_order_through_indices(tmp_path: Path) -> None:
    """Nothing is sorted and no block that is done is looked at, by SQLite's own account of the queries."""
    with Database.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as database:
        dispatch = Dispatch(database)

        def ask() -> None:
            for queue in (Queue.PLAN, Queue.BLOCKS_CPU):
                dispatch.due(queue, limit=9, resend_s=RESEND_S)
                dispatch.in_flight(queue, resend_s=RESEND_S)

        plans = lookups(database.engine, ask)
    indices = [[step.partition(" INDEX ")[2].split(" ")[0] for step in plan] for plan in plans]
    assert indices[0] == ["jobs_open"]
    assert indices[1] == ["jobs_sent"]
    assert indices[2] == ["jobs_open", "blocks_open"]
    assert indices[3][0] == "blocks_sent"
