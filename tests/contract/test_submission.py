"""Who may submit what, and how jobs are found again, on SQLite and on PostgreSQL."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from contract.batch import Submission, submit_all
from contract.database import Database
from contract.errors import IdempotencyConflict, LandsigmaError, LimitReached
from contract.ledger import JobFilter, Ledger
from contract.request import JobState, JobStatus
from contract.submission import LOCAL, Callbacks, Limits, Queue, Terms
from tests.contract.conftest import Clock
from tests.contract.examples import REPORT, REQUEST, claimed, complete_all, lookups, planned, result, together

OTHER = REQUEST.model_copy(update={"bundle": "other"})


def listed(ledger: Ledger, where: JobFilter, limit: int = 99) -> list[str]:
    return [status.job_id for status in ledger.jobs(limit=limit, where=where)]


# --- terms ----------------------------------------------------------------------------------------------------------


def test_terms_are_read_back(ledger: Ledger) -> None:
    callbacks = Callbacks(success_uri="https://example.org/done")
    terms = Terms(owner="key-1", title="Vaud", priority=2, blocks_queue=Queue.BLOCKS_GPU, callbacks=callbacks)
    job = ledger.job(ledger.submit(REQUEST, terms=terms))
    assert (job.status.owner, job.status.title, job.status.priority) == ("key-1", "Vaud", 2)
    assert job.callbacks == callbacks


def test_a_title_is_kept_without_what_no_database_takes(ledger: Ledger) -> None:
    job_id = ledger.submit(REQUEST, terms=Terms(title="a\0b"))
    [batched] = submit_all(
        ledger._database,  # noqa: SLF001  a ledger is opened with it
        [Submission(request=REQUEST, terms=Terms(title="a\0b"), limits=Limits())],
    )
    assert isinstance(batched, JobStatus)
    assert {ledger.status(one).title for one in (job_id, batched.job_id)} == {"ab"}


def test_a_job_without_terms_is_the_local_owners(ledger: Ledger) -> None:
    assert ledger.status(ledger.submit(REQUEST)).owner == LOCAL


@pytest.mark.parametrize(
    "wrong",
    [{"priority": 10}, {"priority": -1}, {"blocks_queue": "plan"}, {"owner": ""}, {"idempotency_key": "x" * 256}],
)
def test_terms_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Terms.model_validate(wrong)


# --- the same submission again --------------------------------------------------------------------------------------


def test_the_same_key_and_request_give_the_same_job(ledger: Ledger) -> None:
    terms = Terms(owner="key-1", idempotency_key="monday")
    job_id = ledger.submit(REQUEST, terms=terms)
    assert ledger.submit(REQUEST, terms=terms) == job_id
    assert listed(ledger, JobFilter()) == [job_id]


def test_the_same_key_with_another_request_is_refused(ledger: Ledger) -> None:
    terms = Terms(owner="key-1", idempotency_key="monday")
    job_id = ledger.submit(REQUEST, terms=terms)
    with pytest.raises(IdempotencyConflict, match=f"'monday' belongs to job {job_id}"):
        ledger.submit(OTHER, terms=terms)


def test_keys_are_each_owners_own(ledger: Ledger) -> None:
    first = ledger.submit(REQUEST, terms=Terms(owner="key-1", idempotency_key="monday"))
    second = ledger.submit(OTHER, terms=Terms(owner="key-2", idempotency_key="monday"))
    assert first != second


def test_jobs_without_a_key_are_as_many_as_are_submitted(ledger: Ledger) -> None:
    assert len({ledger.submit(REQUEST, terms=Terms(owner="key-1")) for _ in range(3)}) == 3


def test_a_submission_that_comes_again_is_not_held_against_its_owner(ledger: Ledger) -> None:
    terms, limits = Terms(idempotency_key="monday"), Limits(jobs_at_once=1, jobs_per_hour=1)
    job_id = ledger.submit(REQUEST, terms=terms, limits=limits)
    assert ledger.submit(REQUEST, terms=terms, limits=limits) == job_id


def submit_keyed(url: str, limits: Limits) -> str:
    with Ledger.open(url) as ledger:
        return ledger.submit(REQUEST, terms=Terms(owner="key-1", idempotency_key="monday"), limits=limits)


@pytest.mark.parametrize("limits", [Limits(), Limits(jobs_at_once=1)], ids=["unlimited", "limited"])
def test_four_processes_with_one_key_submit_one_job(ledger: Ledger, url: str, limits: Limits) -> None:
    with together(4) as pool:
        ids = pool.starmap(submit_keyed, [(url, limits)] * 4, chunksize=1)
    assert set(ids) == set(listed(ledger, JobFilter()))
    assert len(set(ids)) == 1


def submit_in_batches(url: str, step: int) -> list[JobStatus | LandsigmaError]:
    """What came of many batches with the same keys, in this order or the other way round."""
    with Database.open(url) as database:
        batches = [[f"{batch}-{number}" for number in range(8)][::step] for batch in range(20)]
        return [
            outcome
            for keys in batches
            for outcome in submit_all(
                database,
                [
                    Submission(request=REQUEST, terms=Terms(owner="key-1", idempotency_key=key), limits=Limits())
                    for key in keys
                ],
            )
        ]


def test_processes_that_batch_the_same_keys_in_opposite_orders_submit_each_once(ledger: Ledger, url: str) -> None:
    with together(4) as pool:
        outcomes = pool.starmap(submit_in_batches, [(url, step) for step in (1, -1, 1, -1)], chunksize=1)
    ids = [{outcome.job_id for outcome in batch if isinstance(outcome, JobStatus)} for batch in outcomes]
    assert [len(batch) for batch in ids] == [160] * 4, outcomes
    assert set.union(*ids) == set(listed(ledger, JobFilter(), limit=999))
    assert len(set.union(*ids)) == 160


# --- limits ---------------------------------------------------------------------------------------------------------


def test_an_owner_has_so_many_jobs_at_once(ledger: Ledger) -> None:
    limits = Limits(jobs_at_once=2)
    first, _ = (ledger.submit(REQUEST, terms=Terms(owner="key-1"), limits=limits) for _ in range(2))
    with pytest.raises(LimitReached) as caught:
        ledger.submit(REQUEST, terms=Terms(owner="key-1"), limits=limits)
    refusal = caught.value
    assert (refusal.what, refusal.value, refusal.limit, refusal.position) == ("jobs at once", 2, 2, 3)
    ledger.submit(REQUEST, terms=Terms(owner="key-2"), limits=limits)
    ledger.dismiss(first)
    ledger.submit(REQUEST, terms=Terms(owner="key-1"), limits=limits)


def test_who_has_too_many_jobs_at_once_is_told_when_the_first_may_be_done(ledger: Ledger, clock: Clock) -> None:
    job_id = planned(ledger)
    clock.advance(30)
    ledger.complete(claimed(ledger, job_id, 0), REPORT)
    ledger.complete(claimed(ledger, job_id, 1), REPORT)
    with pytest.raises(LimitReached) as caught:
        ledger.submit(REQUEST, limits=Limits(jobs_at_once=1))
    assert caught.value.retry_after_s == 60  # four of six blocks are left, at 15 s each


def test_an_owner_has_so_many_jobs_within_an_hour_whatever_becomes_of_them(ledger: Ledger, clock: Clock) -> None:
    limits = Limits(jobs_per_hour=2)
    for seconds in (0, 600):
        clock.advance(seconds)
        ledger.dismiss(ledger.submit(REQUEST, limits=limits))
    clock.advance(60)
    with pytest.raises(LimitReached) as caught:
        ledger.submit(REQUEST, limits=limits)
    refusal = caught.value
    assert (refusal.what, refusal.value, refusal.limit, refusal.position) == ("jobs within an hour", 2, 2, 1)
    assert refusal.retry_after_s == 3600 - 660
    clock.advance(refusal.retry_after_s - 1)
    with pytest.raises(LimitReached):
        ledger.submit(REQUEST, limits=limits)
    clock.advance(1)
    ledger.submit(REQUEST, limits=limits)


def test_a_refused_job_is_not_there(ledger: Ledger) -> None:
    ledger.submit(REQUEST, limits=Limits(jobs_at_once=1))
    with pytest.raises(LimitReached):
        ledger.submit(REQUEST, job_id="refused", limits=Limits(jobs_at_once=1))
    assert "refused" not in listed(ledger, JobFilter())


def test_a_refusal_says_where_the_job_would_have_come(ledger: Ledger) -> None:
    for priority in (3, 5, 5, 7):
        ledger.submit(REQUEST, terms=Terms(owner="others", priority=priority))
    ledger.submit(REQUEST, terms=Terms(priority=9))
    with pytest.raises(LimitReached, match="would have been number 4 in the queue"):
        ledger.submit(REQUEST, terms=Terms(priority=5), limits=Limits(jobs_at_once=1))


def submit_many(url: str, count: int, limits: Limits) -> int:
    """Number of jobs that this process was allowed."""
    allowed = 0
    with Ledger.open(url) as ledger:
        for _ in range(count):
            try:
                ledger.submit(REQUEST, terms=Terms(owner="key-1"), limits=limits)
            except LimitReached:
                continue
            allowed += 1
    return allowed


@pytest.mark.parametrize("limits", [Limits(jobs_at_once=10), Limits(jobs_per_hour=10)], ids=["at once", "per hour"])
def test_four_processes_together_are_allowed_no_more_than_the_limit(ledger: Ledger, url: str, limits: Limits) -> None:
    with together(4) as pool:
        allowed = pool.starmap(submit_many, [(url, 10, limits)] * 4, chunksize=1)
    assert sum(allowed) == len(listed(ledger, JobFilter(owner="key-1"))) == 10


# --- finding jobs ---------------------------------------------------------------------------------------------------


def test_jobs_are_listed_by_owner_and_state(ledger: Ledger) -> None:
    mine, failed, others = (ledger.submit(REQUEST, terms=Terms(owner=owner)) for owner in ("key-1", "key-1", "key-2"))
    ledger.fail(failed, "no scenes")
    assert set(listed(ledger, JobFilter(owner="key-1"))) == {mine, failed}
    assert listed(ledger, JobFilter(owner="key-1", states=[JobState.FAILED])) == [failed]
    assert listed(ledger, JobFilter(owner="key-2", states=[JobState.FAILED])) == []
    assert listed(ledger, JobFilter(owner="key-2")) == [others]


def test_jobs_are_listed_by_age_from_the_first_instant_to_before_the_last(ledger: Ledger, clock: Clock) -> None:
    start, ids = clock.now, []
    for _ in range(4):
        ids.append(ledger.submit(REQUEST))
        clock.advance(60)

    def at(minutes: int) -> datetime:
        return start + timedelta(minutes=minutes)

    assert listed(ledger, JobFilter(since=at(1), until=at(3))) == [ids[2], ids[1]]
    assert listed(ledger, JobFilter(since=at(3))) == [ids[3]]
    assert listed(ledger, JobFilter(until=at(1))) == [ids[0]]


def test_jobs_are_listed_by_how_long_they_took_or_have_been_running(ledger: Ledger, clock: Clock) -> None:
    ledger.submit(REQUEST)
    long, short = planned(ledger), planned(ledger)
    clock.advance(60)
    complete_all(ledger, short)
    ledger.succeed(short, result(short))
    clock.advance(60)
    assert listed(ledger, JobFilter(min_s=120)) == [long]
    assert listed(ledger, JobFilter(max_s=60)) == [short]
    assert set(listed(ledger, JobFilter(min_s=60, max_s=120))) == {long, short}
    assert listed(ledger, JobFilter(min_s=121)) == []
    assert listed(ledger, JobFilter(max_s=59)) == []
    assert set(listed(ledger, JobFilter(min_s=0, max_s=float("inf")))) == {long, short}


def test_pages_of_one_owner_hold_its_jobs_alone(ledger: Ledger, clock: Clock) -> None:
    ids = []
    for number in range(6):
        job_id = ledger.submit(REQUEST, terms=Terms(owner=f"key-{number % 2}"))
        ids.append(job_id)
        clock.advance(1)
    where = JobFilter(owner="key-1")
    first = ledger.jobs(limit=2, where=where)
    second = ledger.jobs(limit=2, after=first[-1].job_id, where=where)
    assert [status.job_id for status in (*first, *second)] == [ids[5], ids[3], ids[1]]


@pytest.mark.parametrize(
    ("where", "index"),
    [
        (JobFilter(owner="key-1"), "jobs_by_owner"),
        (JobFilter(owner="key-1", states=[JobState.FAILED]), "jobs_by_owner"),
        (JobFilter(since=datetime.fromisoformat("2026-03-01T00:00Z")), "jobs_by_age"),
        (JobFilter(run_id="run"), "jobs_by_run"),
    ],
)
def test_a_filtered_page_is_read_through_an_index(tmp_path: Path, where: JobFilter, index: str) -> None:
    with Database.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as database:
        [[step]] = lookups(database.engine, lambda: Ledger(database).jobs(limit=2, where=where))
    assert f"USING INDEX {index}" in step


# --- counts ---------------------------------------------------------------------------------------------------------


def test_totals_count_jobs_by_state_and_their_blocks(ledger: Ledger) -> None:
    assert set(ledger.totals().jobs.values()) == {0}
    ledger.submit(REQUEST, terms=Terms(owner="key-1"))
    ledger.fail(ledger.submit(REQUEST, terms=Terms(owner="key-1")), "no scenes")
    complete_all(ledger, planned(ledger))
    totals = ledger.totals()
    assert set(totals.jobs) == set(JobState)
    assert {state: count for state, count in totals.jobs.items() if count} == {
        JobState.ACCEPTED: 1,
        JobState.FAILED: 1,
        JobState.RUNNING: 1,
    }
    assert totals.blocks_done == 6
    assert ledger.totals(owner="key-1").blocks_done == 0
    assert sum(ledger.totals(owner="key-1").jobs.values()) == 2


def test_positions_go_by_priority_then_age(ledger: Ledger, clock: Clock) -> None:
    ids = []
    for priority in (5, 5, 1, 9):
        ids.append(ledger.submit(REQUEST, terms=Terms(priority=priority)))
        clock.advance(1)
    assert [ledger.position(job_id) for job_id in ids] == [2, 3, 1, 4]
    ledger.start(ids[2])
    assert [ledger.position(job_id) for job_id in ids] == [1, 2, None, 3]
    ledger.dismiss(ids[0])
    assert [ledger.position(job_id) for job_id in ids] == [None, 1, None, 2]


@pytest.mark.parametrize(
    ("done", "total", "left"), [(0, 6, None), (2, 6, 120.0), (6, 6, 0.0), (0, None, None)], ids=str
)
def test_what_remains_follows_from_the_pace_so_far(
    clock: Clock, done: int, total: int | None, left: float | None
) -> None:
    started = clock.now
    status = JobStatus(
        job_id="a", state=JobState.RUNNING, created=started, started=started, blocks_done=done, blocks_total=total
    )
    assert status.remaining_s(started + timedelta(seconds=60)) == left
