"""Leases of plan and finish, what is tried again, and what a job leaves behind, on SQLite and on PostgreSQL."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from contract.errors import JobNotFound, LeaseLost
from contract.ledger import Ledger
from contract.request import JobState
from contract.steps import Attempts, Claim, Step, StepClaim, StepKind
from tests.contract.conftest import Clock
from tests.contract.examples import (
    PLAN,
    REPORT,
    REQUEST,
    WINDOWS,
    claimed,
    complete_all,
    planned,
    result,
    together,
)

Take = Callable[[str, float], StepClaim | None]
"""Claims a step for a worker and so many seconds."""


def at_plan(ledger: Ledger) -> tuple[str, Take]:
    job_id = ledger.submit(REQUEST)
    return job_id, lambda owner, lease_s: ledger.claim_plan(job_id, owner=owner, lease_s=lease_s)


def at_block(ledger: Ledger) -> tuple[str, Take]:
    job_id = planned(ledger)
    return job_id, lambda owner, lease_s: ledger.claim(job_id, 2, owner=owner, lease_s=lease_s)


def at_finish(ledger: Ledger) -> tuple[str, Take]:
    job_id = planned(ledger)
    complete_all(ledger, job_id)
    return job_id, lambda owner, lease_s: ledger.claim_finish(job_id, owner=owner, lease_s=lease_s)


EVERY_STEP = pytest.mark.parametrize("at", [at_plan, at_block, at_finish])
At = Callable[[Ledger], tuple[str, Take]]


def won(take: Take, owner: str = "one", lease_s: float = 60) -> StepClaim:
    claim = take(owner, lease_s)
    assert claim is not None
    return claim


# --- leases, of every kind of step ----------------------------------------------------------------------------------


@EVERY_STEP
def test_a_claim_is_of_its_step_and_lasts_as_long_as_asked(ledger: Ledger, clock: Clock, at: At) -> None:
    job_id, take = at(ledger)
    claim = won(take, "one", 90)
    kinds = {at_plan: StepKind.PLAN, at_block: StepKind.BLOCK, at_finish: StepKind.FINISH}
    assert claim.step == Step(job_id=job_id, kind=kinds[at], index=2 if at is at_block else 0)
    assert (claim.owner, claim.expires) == ("one", clock.now + timedelta(seconds=90))
    assert (claim.failures, claim.expiries) == (0, 0)


@EVERY_STEP
def test_a_leased_step_is_nobody_elses_until_its_lease_ends(ledger: Ledger, clock: Clock, at: At) -> None:
    _, take = at(ledger)
    won(take, "one", 60)
    clock.advance(59)
    assert take("two", 60) is None
    clock.advance(1)
    assert won(take, "two").expiries == 1


@EVERY_STEP
def test_a_renewed_step_stays_its_owners(ledger: Ledger, clock: Clock, at: At) -> None:
    _, take = at(ledger)
    claim = won(take, "one", 60)
    clock.advance(50)
    renewed = ledger.renew(claim, lease_s=60)
    assert type(renewed) is type(claim)
    assert renewed.expires == clock.now + timedelta(seconds=60)
    clock.advance(50)
    assert take("two", 60) is None


@EVERY_STEP
def test_a_worker_whose_step_was_taken_over_is_told_so_and_can_give_nothing_back(
    ledger: Ledger, clock: Clock, at: At
) -> None:
    job_id, take = at(ledger)
    late = won(take, "one", 60)
    clock.advance(60)
    heir = won(take, "two", 60)
    assert heir.attempt > late.attempt
    with pytest.raises(LeaseLost, match=f"{late.step} of job {job_id}"):
        ledger.renew(late, lease_s=60)
    ledger.release(late, error="late", retry_after_s=5)
    assert take("three", 60) is None
    ledger.renew(heir, lease_s=60)


@EVERY_STEP
def test_a_worker_of_a_dismissed_job_loses_its_step(ledger: Ledger, at: At) -> None:
    job_id, take = at(ledger)
    claim = won(take)
    ledger.dismiss(job_id)
    with pytest.raises(LeaseLost):
        ledger.renew(claim, lease_s=60)
    ledger.release(claim, error="dismissed")
    assert take("two", 60) is None


# --- trying again, of every kind of step ----------------------------------------------------------------------------


@EVERY_STEP
def test_a_failed_step_is_nobodys_before_its_time(ledger: Ledger, clock: Clock, at: At) -> None:
    _, take = at(ledger)
    ledger.release(won(take, "one"), error="timed out", retry_after_s=20)
    clock.advance(19)
    assert take("one", 60) is None
    assert take("two", 60) is None
    clock.advance(1)
    again = won(take, "two")
    assert (again.failures, again.expiries) == (1, 0)


@EVERY_STEP
def test_a_step_given_back_by_a_worker_that_stops_is_free_at_once_and_not_counted(ledger: Ledger, at: At) -> None:
    job_id, take = at(ledger)
    ledger.release(won(take, "one"), error="stopped")
    again = won(take, "two")
    assert (again.failures, again.expiries) == (0, 0)
    assert ledger.attempts(job_id) == ()


@EVERY_STEP
def test_failures_and_expiries_are_counted_and_read_back(ledger: Ledger, clock: Clock, at: At) -> None:
    job_id, take = at(ledger)
    ledger.release(won(take, "one"), error="timed out\x00", retry_after_s=5)
    clock.advance(5)
    won(take, "two", 60)
    clock.advance(60)
    third = won(take, "three")
    ledger.release(third, error="timed out again", retry_after_s=40)
    retry_at = clock.now + timedelta(seconds=40)
    assert ledger.attempts(job_id) == (
        Attempts(step=third.step, failures=2, expiries=1, error="timed out again", retry_at=retry_at),
    )
    status = ledger.status(job_id)
    assert (status.retries, status.lost_leases) == (2, 1)
    assert (ledger.totals().retries, ledger.totals().expiries) == (2, 1)


@EVERY_STEP
def test_a_retry_time_is_over_with_the_next_claim(ledger: Ledger, clock: Clock, at: At) -> None:
    job_id, take = at(ledger)
    ledger.release(won(take), error="timed out", retry_after_s=5)
    clock.advance(5)
    won(take)
    assert [attempts.retry_at for attempts in ledger.attempts(job_id)] == [None]


# --- from step to step ----------------------------------------------------------------------------------------------


def test_claiming_the_plan_starts_the_job(ledger: Ledger, clock: Clock) -> None:
    job_id = ledger.submit(REQUEST)
    clock.advance(7)
    assert ledger.claim_plan(job_id, owner="one", lease_s=60) is not None
    status = ledger.status(job_id)
    assert (status.state, status.started) == (JobState.RUNNING, clock.now)


def test_each_step_is_claimed_in_its_turn_alone(ledger: Ledger) -> None:
    job_id = ledger.submit(REQUEST)
    assert ledger.claim_finish(job_id, owner="one", lease_s=60) is None
    plan = ledger.claim_plan(job_id, owner="one", lease_s=60)
    assert plan is not None
    ledger.record_plan(job_id, PLAN, WINDOWS)
    assert ledger.claim_plan(job_id, owner="two", lease_s=60) is None
    assert ledger.claim_finish(job_id, owner="two", lease_s=60) is None
    complete_all(ledger, job_id)
    assert ledger.claim_plan(job_id, owner="two", lease_s=60) is None
    assert ledger.claim_finish(job_id, owner="two", lease_s=60) is not None
    ledger.succeed(job_id, result(job_id))
    assert ledger.claim_finish(job_id, owner="two", lease_s=60) is None


def test_a_step_that_is_done_is_no_longer_its_workers(ledger: Ledger) -> None:
    job_id = ledger.submit(REQUEST)
    plan = ledger.claim_plan(job_id, owner="one", lease_s=60)
    assert plan is not None
    ledger.record_plan(job_id, PLAN, WINDOWS[:1])
    with pytest.raises(LeaseLost, match=f"plan of job {job_id}"):
        ledger.renew(plan, lease_s=60)
    complete_all(ledger, job_id)
    finish = ledger.claim_finish(job_id, owner="one", lease_s=60)
    assert finish is not None
    with pytest.raises(LeaseLost):
        ledger.renew(plan, lease_s=60)
    ledger.release(plan, error="late")
    assert ledger.claim_finish(job_id, owner="two", lease_s=60) is None
    ledger.succeed(job_id, result(job_id))
    with pytest.raises(LeaseLost):
        ledger.renew(finish, lease_s=60)


def test_each_step_begins_without_the_failures_of_the_one_before(ledger: Ledger, clock: Clock) -> None:
    job_id = ledger.submit(REQUEST)
    plan = ledger.claim_plan(job_id, owner="one", lease_s=60)
    assert plan is not None
    ledger.release(plan, error="timed out", retry_after_s=5)
    clock.advance(5)
    ledger.record_plan(job_id, PLAN, WINDOWS[:1])
    assert ledger.attempts(job_id) == ()
    complete_all(ledger, job_id)
    finish = ledger.claim_finish(job_id, owner="one", lease_s=60)
    assert finish is not None
    assert (finish.failures, finish.expiries) == (0, 0)
    assert ledger.status(job_id).retries == 1


def test_attempts_come_by_block(ledger: Ledger) -> None:
    job_id = planned(ledger)
    for index in (4, 1):
        ledger.release(claimed(ledger, job_id, index), error=f"of {index}", retry_after_s=5)
    claimed(ledger, job_id, 3)
    assert [(attempts.step.index, attempts.error) for attempts in ledger.attempts(job_id)] == [(1, "of 1"), (4, "of 4")]


def test_an_unknown_job_has_no_steps(ledger: Ledger) -> None:
    for take in (ledger.claim_plan, ledger.claim_finish):
        with pytest.raises(JobNotFound):
            take("nowhere", owner="one", lease_s=60)
    with pytest.raises(JobNotFound):
        ledger.attempts("nowhere")


def claim_plans(url: str, job_ids: list[str]) -> list[str]:
    """Jobs whose plan this process won."""
    with Ledger.open(url) as ledger:
        return [job_id for job_id in job_ids if ledger.claim_plan(job_id, owner=str(id(ledger)), lease_s=3600)]


def test_three_processes_win_every_plan_exactly_once(ledger: Ledger, url: str) -> None:
    job_ids = [ledger.submit(REQUEST) for _ in range(60)]
    with together(3) as pool:
        won_by = pool.starmap(claim_plans, [(url, job_ids)] * 3, chunksize=1)
    assert sorted(job_id for ids in won_by for job_id in ids) == sorted(job_ids)


# --- what is left behind --------------------------------------------------------------------------------------------


def test_a_job_without_success_is_cleaned_once(ledger: Ledger, clock: Clock) -> None:
    dismissed, failed, running = planned(ledger), planned(ledger), planned(ledger)
    ledger.dismiss(dismissed)
    clock.advance(1)
    ledger.fail(failed, "no scenes")
    assert ledger.to_clean(limit=9) == (dismissed, failed)
    assert ledger.to_clean(limit=1) == (dismissed,)
    ledger.cleaned(dismissed)
    assert ledger.to_clean(limit=9) == (failed,)
    assert ledger.status(running).state is JobState.RUNNING


def test_a_job_that_succeeded_is_cleaned_when_its_finishers_lease_is_over(ledger: Ledger, clock: Clock) -> None:
    job_id = planned(ledger)
    complete_all(ledger, job_id)
    assert ledger.claim_finish(job_id, owner="one", lease_s=60) is not None
    ledger.succeed(job_id, result(job_id))
    clock.advance(59)
    assert ledger.to_clean(limit=9) == ()
    clock.advance(1)
    assert ledger.to_clean(limit=9) == (job_id,)
    ledger.cleaned(job_id)
    assert ledger.to_clean(limit=9) == ()


@EVERY_STEP
def test_a_job_is_cleaned_when_its_last_lease_is_over(ledger: Ledger, clock: Clock, at: At) -> None:
    job_id, take = at(ledger)
    won(take, "one", 60)
    ledger.dismiss(job_id)
    clock.advance(59)
    assert ledger.to_clean(limit=9) == ()
    clock.advance(1)
    assert ledger.to_clean(limit=9) == (job_id,)


@EVERY_STEP
def test_a_worker_that_gives_back_lets_a_dismissed_job_be_cleaned(ledger: Ledger, at: At) -> None:
    job_id, take = at(ledger)
    claim = won(take, "one", 3600)
    ledger.dismiss(job_id)
    ledger.release(claim, error="dismissed")
    assert ledger.to_clean(limit=9) == (job_id,)


def test_a_finished_block_holds_no_lease(ledger: Ledger) -> None:
    job_id = planned(ledger)
    claim = claimed(ledger, job_id, 0, lease_s=3600)
    assert isinstance(claim, Claim)
    ledger.complete(claim, REPORT)
    ledger.dismiss(job_id)
    assert ledger.to_clean(limit=9) == (job_id,)
