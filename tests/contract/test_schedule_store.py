"""Schedules and their runs, on SQLite and on PostgreSQL."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from contract.database import Database
from contract.dispatch import Dispatch
from contract.errors import RunNotFound, ScheduleNotFound
from contract.ledger import JobFilter, Ledger
from contract.request import JobState
from contract.schedule_store import ScheduleStore
from contract.schedules import CatchUp, Run, RunJob, RunState, Schedule, ScheduleRequest
from contract.submission import Limits, Queue, Terms
from tests.contract.conftest import Clock
from tests.contract.examples import AREA, PLAN, REQUEST, WINDOWS, complete_all, result, together

DAY = timedelta(days=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""When the clock starts, and a nominal time of `DAILY`."""
DAILY = ScheduleRequest(
    title="Vaud", area=AREA, cron="0 12 * * *", window_days=30, source="earth-search", bundle="rules", priority=2
)
JOBS = tuple(RunJob(title=f"cell {number}", request=REQUEST) for number in range(3))


@pytest.fixture
def store(database: Database) -> ScheduleStore:
    return ScheduleStore(database)


def daily(store: ScheduleStore, catch_up: CatchUp = CatchUp.LATEST) -> Schedule:
    return store.create(DAILY.model_copy(update={"catch_up": catch_up}), owner="key-1")


def opened(store: ScheduleStore, schedule: Schedule, nominal: datetime = NOON + DAY) -> Run:
    run = store.open_run(schedule.id, nominal)
    assert run is not None
    return run


def due_days(store: ScheduleStore, limit: int = 99) -> list[int]:
    """Days after `NOON` of the nominal times that are due."""
    return [(due.nominal - NOON).days for due in store.due(grace_s=300, limit=limit)]


# --- schedules ------------------------------------------------------------------------------------------------------


def test_a_schedule_is_read_back(store: ScheduleStore, clock: Clock) -> None:
    schedule = daily(store)
    assert store.schedule(schedule.id) == schedule
    assert (schedule.owner, schedule.created, schedule.active_since) == ("key-1", clock.now, clock.now)
    assert not schedule.paused


def test_schedules_are_listed_newest_first_and_by_owner(store: ScheduleStore, clock: Clock) -> None:
    first = store.create(DAILY, owner="key-1")
    clock.advance(1)
    second = store.create(DAILY, owner="key-2")
    assert store.schedules() == (second, first)
    assert store.schedules(owner="key-1") == (first,)


def test_a_paused_schedule_goes_on_from_when_it_is_resumed(store: ScheduleStore, clock: Clock) -> None:
    schedule = daily(store, CatchUp.ALL)
    assert store.pause(schedule.id)
    assert not store.pause(schedule.id)
    assert store.schedule(schedule.id).paused
    clock.now = NOON + 3.5 * DAY
    assert due_days(store) == []
    assert store.open_run(schedule.id, NOON + DAY) is None
    assert store.resume(schedule.id)
    assert not store.resume(schedule.id)
    assert due_days(store) == []
    clock.now = NOON + 4 * DAY
    assert due_days(store) == [4]


def test_a_deleted_schedule_is_not_there_and_its_jobs_are(store: ScheduleStore, ledger: Ledger, clock: Clock) -> None:
    schedule = daily(store)
    run = opened(store, schedule)
    job_ids = store.add_jobs(run.id, JOBS)
    store.delete(schedule.id)
    clock.now = NOON + 5 * DAY
    assert store.schedules() == store.due(grace_s=300, limit=9) == ()
    assert {status.job_id for status in ledger.jobs(limit=9, where=JobFilter(run_id=run.id))} == set(job_ids)
    asks = (store.schedule, store.pause, store.resume, store.delete, store.last_digest)
    for ask in (*asks, lambda gone: store.open_run(gone, NOON), lambda gone: store.runs(gone, limit=9)):
        for gone in (schedule.id, "nowhere"):
            with pytest.raises(ScheduleNotFound, match=f"there is no schedule '{gone}'"):
                ask(gone)


# --- what is due ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("catch_up", CatchUp)
def test_a_nominal_time_is_due_when_it_comes_until_it_has_its_run(
    store: ScheduleStore, clock: Clock, catch_up: CatchUp
) -> None:
    schedule = daily(store, catch_up)
    clock.now = NOON + DAY - timedelta(seconds=1)
    assert due_days(store) == []
    for late_s in (0, 299):
        clock.now = NOON + DAY + timedelta(seconds=late_s)
        [due] = store.due(grace_s=300, limit=9)
        assert (due.schedule, due.nominal) == (schedule, NOON + DAY)
    store.open_run(schedule.id, due.nominal)
    assert due_days(store) == []
    clock.now = NOON + 2 * DAY
    assert due_days(store) == [2]


@pytest.mark.parametrize(
    ("catch_up", "hours_late", "days"),
    [
        (CatchUp.NONE, 1, []),
        (CatchUp.NONE, 0, [4]),
        (CatchUp.LATEST, 1, [4]),
        (CatchUp.ALL, 1, [2, 3, 4]),
    ],
)
def test_what_passed_unseen_is_caught_up_with_by_policy(
    store: ScheduleStore, clock: Clock, catch_up: CatchUp, hours_late: float, days: list[int]
) -> None:
    schedule = daily(store, catch_up)
    opened(store, schedule, NOON + DAY)
    clock.now = NOON + 4 * DAY + timedelta(hours=hours_late)
    assert due_days(store) == days
    for due in store.due(grace_s=300, limit=9):
        opened(store, schedule, due.nominal)
    assert due_days(store) == []


def test_no_more_is_due_at_a_time_than_asked_for(store: ScheduleStore, clock: Clock) -> None:
    daily(store, CatchUp.ALL)
    daily(store, CatchUp.ALL)
    clock.now = NOON + 4 * DAY
    assert sorted(due_days(store)) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert len(due_days(store, limit=5)) == 5


# --- runs -----------------------------------------------------------------------------------------------------------


def test_a_nominal_time_has_one_run(store: ScheduleStore, clock: Clock) -> None:
    schedule, other = daily(store), daily(store)
    run = opened(store, schedule)
    assert (run.schedule_id, run.nominal, run.opened) == (schedule.id, NOON + DAY, clock.now)
    assert (run.state, run.job_ids) == (RunState.OPENED, ())
    assert store.open_run(schedule.id, NOON + DAY) is None
    assert store.open_run(schedule.id, (NOON + DAY).astimezone(tz=None)) is None
    assert store.run(run.id) == run
    opened(store, other)


def test_the_id_of_a_run_fits_into_urls_and_folders(store: ScheduleStore) -> None:
    run = opened(store, daily(store))
    [job_id, *_] = store.add_jobs(run.id, JOBS)
    for name in (run.id, job_id):
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)


def test_a_run_gets_its_jobs_once(store: ScheduleStore, ledger: Ledger, database: Database) -> None:
    run = opened(store, daily(store))
    job_ids = store.add_jobs(run.id, JOBS, scene_digest="abc")
    assert len(job_ids) == 3
    assert store.add_jobs(run.id, JOBS[:1], scene_digest="other") == job_ids
    assert store.run(run.id).job_ids == job_ids
    assert store.run(run.id).scene_digest == "abc"
    job = ledger.job(job_ids[1])
    assert job.request == REQUEST
    assert (job.status.title, job.status.owner, job.status.priority) == ("cell 1", "key-1", 2)
    assert job.status.run_id == run.id
    assert len(Dispatch(database).due(Queue.PLAN, limit=9, resend_s=30)) == 3


def test_a_run_that_was_decided_stays_so(store: ScheduleStore) -> None:
    schedule = daily(store)
    skipped, failed, running = (opened(store, schedule, NOON + number * DAY) for number in (1, 2, 3))
    assert store.skip_run(skipped.id, message="no new scenes", scene_digest="abc")
    assert store.fail_run(failed.id, message="the source is\0 unknown")
    store.add_jobs(running.id, JOBS)
    for run in (skipped, failed, running):
        assert not store.skip_run(run.id, message="late")
        assert not store.fail_run(run.id, message="late")
    assert store.add_jobs(skipped.id, JOBS) == store.add_jobs(failed.id, JOBS) == ()
    found = store.run(skipped.id), store.run(failed.id), store.run(running.id)
    assert [run.state for run in found] == [RunState.SKIPPED, RunState.FAILED, RunState.RUNNING]
    assert [run.message for run in found] == ["no new scenes", "the source is unknown", ""]


def test_a_run_without_jobs_is_the_programmers_mistake(store: ScheduleStore) -> None:
    with pytest.raises(ValueError, match="was given no jobs"):
        store.add_jobs(opened(store, daily(store)).id, [])


def test_an_unknown_run_is_named(store: ScheduleStore) -> None:
    schedule = daily(store)
    asks = (
        store.run,
        lambda run_id: store.add_jobs(run_id, JOBS),
        lambda run_id: store.skip_run(run_id, message=""),
        lambda run_id: store.runs(schedule.id, limit=9, after=run_id),
    )
    for ask in asks:
        with pytest.raises(RunNotFound, match="there is no run 'nowhere'"):
            ask("nowhere")


def end(ledger: Ledger, job_id: str, state: JobState) -> None:
    if state is JobState.DISMISSED:
        ledger.dismiss(job_id)
    elif state is JobState.FAILED:
        ledger.fail(job_id, "no scenes")
    elif state.is_final:
        ledger.start(job_id)
        ledger.record_plan(job_id, PLAN, WINDOWS[:1])
        complete_all(ledger, job_id)
        ledger.succeed(job_id, result(job_id, state))


@pytest.mark.parametrize(
    ("jobs", "state"),
    [
        ((JobState.ACCEPTED, JobState.FAILED), RunState.RUNNING),
        ((JobState.SUCCESSFUL, JobState.SUCCESSFUL_WITH_GAPS), RunState.SUCCESSFUL),
        ((JobState.SUCCESSFUL, JobState.FAILED), RunState.INCOMPLETE),
        ((JobState.SUCCESSFUL, JobState.DISMISSED), RunState.INCOMPLETE),
        ((JobState.FAILED, JobState.DISMISSED), RunState.FAILED),
        ((JobState.DISMISSED, JobState.DISMISSED), RunState.DISMISSED),
    ],
    ids=lambda value: value.value if isinstance(value, RunState) else None,
)
def test_the_state_of_a_run_follows_from_its_jobs(
    store: ScheduleStore, ledger: Ledger, jobs: tuple[JobState, ...], state: RunState
) -> None:
    run = opened(store, daily(store))
    for job_id, final in zip(store.add_jobs(run.id, JOBS[:2]), jobs, strict=True):
        end(ledger, job_id, final)
    assert store.run(run.id).state is state


def test_history_comes_in_pages_latest_nominal_time_first(store: ScheduleStore) -> None:
    schedule, other = daily(store), daily(store)
    opened(store, other)
    runs = [opened(store, schedule, NOON + number * DAY) for number in (3, 1, 2)]
    job_ids = store.add_jobs(runs[2].id, JOBS)
    page = store.runs(schedule.id, limit=2)
    assert [run.id for run in page] == [runs[0].id, runs[2].id]
    assert [run.job_ids for run in page] == [(), job_ids]
    assert [run.id for run in store.runs(schedule.id, limit=2, after=page[-1].id)] == [runs[1].id]


def test_a_run_that_came_no_further_is_found_again(store: ScheduleStore, clock: Clock) -> None:
    schedule = daily(store)
    lost, fine, skipped = (opened(store, schedule, NOON + number * DAY) for number in (1, 2, 3))
    store.add_jobs(fine.id, JOBS)
    store.skip_run(skipped.id, message="")
    clock.advance(60)
    young = opened(store, schedule, NOON + 4 * DAY)
    assert store.unsubmitted(older_than_s=60, limit=9) == (lost,)
    assert store.unsubmitted(older_than_s=0, limit=9) == (lost, young)
    assert store.unsubmitted(older_than_s=0, limit=1) == (lost,)


def test_the_last_digest_is_that_of_the_newest_run_that_has_one(store: ScheduleStore) -> None:
    schedule = daily(store)
    assert store.last_digest(schedule.id) is None
    first, second, third = (opened(store, schedule, NOON + number * DAY) for number in (1, 2, 3))
    store.skip_run(second.id, message="", scene_digest="second")
    store.add_jobs(first.id, JOBS, scene_digest="first")
    store.fail_run(third.id, message="")
    assert store.last_digest(schedule.id) == "second"


def test_jobs_of_schedules_are_not_held_against_their_owner(store: ScheduleStore, ledger: Ledger) -> None:
    store.add_jobs(opened(store, daily(store)).id, JOBS)
    ledger.submit(REQUEST, terms=Terms(owner="key-1"), limits=Limits(jobs_at_once=1, jobs_per_hour=1))


# --- many at a time -------------------------------------------------------------------------------------------------


def add_many(url: str, run_id: str) -> tuple[str, ...]:
    with Database.open(url) as database:
        return ScheduleStore(database).add_jobs(run_id, JOBS * 40)


def test_four_processes_that_go_on_with_one_run_submit_its_jobs_once(
    store: ScheduleStore, ledger: Ledger, url: str
) -> None:
    run = opened(store, daily(store))
    with together(4) as pool:
        answers = pool.starmap(add_many, [(url, run.id)] * 4, chunksize=1)
    assert len(set(answers)) == 1
    assert len(ledger.jobs(limit=999)) == 120


def tick(url: str, now: datetime) -> list[str]:
    """Jobs of the runs that this process opened or went on with."""
    with Database.open(url, clock=lambda: now) as database:
        store, job_ids = ScheduleStore(database), []
        for due in store.due(grace_s=300, limit=99):
            run = store.open_run(due.schedule.id, due.nominal)
            if run is not None:
                job_ids.extend(store.add_jobs(run.id, JOBS))
        for run in store.unsubmitted(older_than_s=0, limit=99):
            job_ids.extend(store.add_jobs(run.id, JOBS))
    return job_ids


def test_four_processes_that_tick_at_once_open_each_run_once(store: ScheduleStore, ledger: Ledger, url: str) -> None:
    schedules = [daily(store, CatchUp.ALL) for _ in range(3)]
    with together(4) as pool:
        pool.starmap(tick, [(url, NOON + 5 * DAY)] * 4, chunksize=1)
    for schedule in schedules:
        runs = store.runs(schedule.id, limit=99)
        assert [(run.nominal - NOON).days for run in runs] == [5, 4, 3, 2, 1]
        assert all(len(run.job_ids) == 3 for run in runs)
    assert len(ledger.jobs(limit=99)) == 45
