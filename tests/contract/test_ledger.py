"""The ledger of jobs, on SQLite and on PostgreSQL."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import text

from contract.database import Database
from contract.errors import JobNotFound, LeaseLost
from contract.ledger import JobFilter, Ledger
from contract.request import JobState, Plan
from contract.steps import Claim
from tests.contract.conftest import Clock
from tests.contract.examples import (
    BUNDLE,
    GRID,
    PLAN,
    REPORT,
    REQUEST,
    SPAWNED,
    WINDOWS,
    claimed,
    complete_all,
    direct,
    lookups,
    planned,
    result,
    together,
)

# --- jobs -----------------------------------------------------------------------------------------------------------


def test_a_submitted_job_is_accepted_and_read_back(ledger: Ledger, clock: Clock) -> None:
    job_id = ledger.submit(REQUEST)
    job = ledger.job(job_id)
    assert (job.id, job.request, job.plan, job.result) == (job_id, REQUEST, None, None)
    assert job.status == ledger.status(job_id)
    assert (job.status.state, job.status.created, job.status.started) == (JobState.ACCEPTED, clock.now, None)
    assert (job.status.blocks_done, job.status.blocks_total, job.status.message) == (0, None, "")


def test_a_job_outlives_the_ledger_that_took_it(url: str) -> None:
    with Ledger.open(url) as ledger:
        job_id = ledger.submit(REQUEST)
    with Ledger.open(url) as ledger:
        assert ledger.job(job_id).request == REQUEST


def test_ids_differ_and_fit_into_urls(ledger: Ledger) -> None:
    ids = {ledger.submit(REQUEST) for _ in range(20)}
    assert len(ids) == 20
    assert all(job_id.isalnum() and job_id.isascii() for job_id in ids)


def test_the_same_id_and_request_again_change_nothing(ledger: Ledger, clock: Clock) -> None:
    assert ledger.submit(REQUEST, job_id="vaud-2024") == "vaud-2024"
    before = ledger.status("vaud-2024")
    clock.advance(10)
    assert ledger.submit(REQUEST, job_id="vaud-2024") == "vaud-2024"
    assert ledger.jobs(limit=9) == (before,)


def test_the_same_id_for_another_request_is_refused(ledger: Ledger) -> None:
    ledger.submit(REQUEST, job_id="vaud-2024")
    with pytest.raises(ValueError, match="'vaud-2024' belongs to another request"):
        ledger.submit(REQUEST.model_copy(update={"bundle": "other"}), job_id="vaud-2024")
    assert ledger.job("vaud-2024").request == REQUEST


@pytest.mark.parametrize("job_id", ["", "a/b", "a b", "..", "ä", "a\n", "x" * 65])
def test_an_id_that_no_url_or_folder_would_take_is_refused(ledger: Ledger, job_id: str) -> None:
    with pytest.raises(ValueError, match="must be 1 to 64 letters"):
        ledger.submit(REQUEST, job_id=job_id)


def test_an_unknown_job_is_named(ledger: Ledger) -> None:
    reads = (ledger.job, ledger.status, ledger.plan, ledger.open_blocks, ledger.block_reports)
    for ask in (*reads, ledger.start, ledger.dismiss):
        with pytest.raises(JobNotFound, match="there is no job 'nowhere'"):
            ask("nowhere")


def test_jobs_are_listed_newest_first_in_pages(ledger: Ledger, clock: Clock) -> None:
    ids = []
    for number in range(7):
        ids.append(ledger.submit(REQUEST))
        clock.advance(1 if number % 2 else 0)  # pairs share an instant
    first = ledger.jobs(limit=3)
    second = ledger.jobs(limit=3, after=first[-1].job_id)
    third = ledger.jobs(limit=3, after=second[-1].job_id)
    listed = [status.job_id for status in (*first, *second, *third)]
    assert [len(first), len(second), len(third)] == [3, 3, 1]
    assert sorted(listed) == sorted(ids)
    assert [set(listed[:1]), set(listed[1:3]), set(listed[3:5]), set(listed[5:])] == [
        {ids[6]},
        {ids[4], ids[5]},
        {ids[2], ids[3]},
        {ids[0], ids[1]},
    ]


def test_jobs_are_listed_by_state(ledger: Ledger) -> None:
    accepted, running, failed = (ledger.submit(REQUEST) for _ in range(3))
    ledger.start(running)
    ledger.fail(failed, "no scenes")
    open_states = {JobState.ACCEPTED, JobState.RUNNING}
    assert {status.job_id for status in ledger.jobs(limit=9, where=JobFilter(states=open_states))} == {
        accepted,
        running,
    }
    assert [status.job_id for status in ledger.jobs(limit=9, where=JobFilter(states=[JobState.FAILED]))] == [failed]


def test_a_page_after_an_unknown_job_is_refused(ledger: Ledger) -> None:
    with pytest.raises(JobNotFound):
        ledger.jobs(limit=3, after="nowhere")


@pytest.mark.parametrize(("states", "index"), [((), "jobs_by_age"), ((JobState.ACCEPTED,), "jobs_by_state")])
def test_a_page_is_read_through_an_index(tmp_path: Path, states: tuple[JobState, ...], index: str) -> None:
    """Neither every job is read nor any sorted, by SQLite's own account of the query that the ledger sends."""
    with Database.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as database:
        [[step]] = lookups(database.engine, lambda: Ledger(database).jobs(limit=2, where=JobFilter(states=states)))
    assert f"USING INDEX {index}" in step


# --- times ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def _machine_in_chile(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/Santiago")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_machine_in_chile")
def test_times_are_utc_whatever_zone_clock_and_machine_are_in(url: str) -> None:
    noon_in_india = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with Ledger.open(url, clock=lambda: noon_in_india) as ledger:
        job_id = planned(ledger)
        claimed(ledger, job_id, 0)
        ledger.dismiss(job_id)
        status = ledger.status(job_id)
    for instant in (status.created, status.started, status.finished):
        assert instant is not None
        assert instant.utcoffset() == timedelta(0)
        assert instant.replace(tzinfo=None) == datetime(2026, 3, 1, 6, 30)  # noqa: DTZ001  the wall clock of UTC


def test_a_clock_without_a_zone_is_refused(url: str) -> None:
    with (
        Ledger.open(url, clock=lambda: datetime(2026, 3, 1, 12)) as ledger,  # noqa: DTZ001  that is the point
        pytest.raises(Exception, match="has no time zone"),
    ):
        ledger.submit(REQUEST)


# --- states ---------------------------------------------------------------------------------------------------------


def test_a_started_job_is_running_since_its_first_start(ledger: Ledger, clock: Clock) -> None:
    job_id = ledger.submit(REQUEST)
    clock.advance(5)
    started = clock.now
    assert ledger.start(job_id)
    clock.advance(5)
    assert ledger.start(job_id)
    assert (ledger.status(job_id).state, ledger.status(job_id).started) == (JobState.RUNNING, started)


@pytest.mark.parametrize("state", [JobState.SUCCESSFUL, JobState.SUCCESSFUL_WITH_GAPS])
def test_a_job_succeeds_with_its_result(ledger: Ledger, clock: Clock, state: JobState) -> None:
    job_id = planned(ledger)
    complete_all(ledger, job_id)
    clock.advance(60)
    assert ledger.succeed(job_id, result(job_id, state))
    job = ledger.job(job_id)
    assert (job.status.state, job.status.finished) == (state, clock.now)
    assert job.result is not None
    assert job.result.model_dump_json() == result(job_id, state).model_dump_json()


def test_a_job_with_an_open_block_cannot_succeed(ledger: Ledger) -> None:
    job_id = planned(ledger)
    ledger.complete(claimed(ledger, job_id, 0), REPORT)
    with pytest.raises(ValueError, match="with 1 blocks of 6"):
        ledger.succeed(job_id, result(job_id))
    assert ledger.status(job_id).state is JobState.RUNNING


def test_a_job_without_a_plan_cannot_succeed(ledger: Ledger) -> None:
    job_id = ledger.submit(REQUEST)
    ledger.start(job_id)
    with pytest.raises(ValueError, match="with 0 blocks of None"):
        ledger.succeed(job_id, result(job_id))


def test_a_failure_is_kept_whatever_its_message_holds(ledger: Ledger) -> None:
    job_id = ledger.submit(REQUEST)
    assert ledger.fail(job_id, "cannot read \udcff.tif: \x00 é")
    assert (ledger.status(job_id).state, ledger.status(job_id).message) == (
        JobState.FAILED,
        "cannot read \\udcff.tif:  é",
    )


@pytest.mark.parametrize("final", [JobState.SUCCESSFUL, JobState.FAILED, JobState.DISMISSED])
def test_a_final_state_is_never_left(ledger: Ledger, clock: Clock, final: JobState) -> None:
    job_id = planned(ledger)
    complete_all(ledger, job_id)
    to_final = {
        JobState.SUCCESSFUL: lambda: ledger.succeed(job_id, result(job_id)),
        JobState.FAILED: lambda: ledger.fail(job_id, "first"),
        JobState.DISMISSED: lambda: ledger.dismiss(job_id),
    }
    assert to_final[final]()
    before = ledger.job(job_id)
    clock.advance(60)
    assert not ledger.start(job_id)
    assert not ledger.succeed(job_id, result(job_id, JobState.SUCCESSFUL_WITH_GAPS))
    assert not ledger.fail(job_id, "late")
    assert not ledger.dismiss(job_id)
    after = ledger.job(job_id)
    assert after.status == before.status
    assert (after.result is None) == (final is not JobState.SUCCESSFUL)


# --- the plan -------------------------------------------------------------------------------------------------------


def test_the_plan_is_read_back_with_its_nan_nodata(ledger: Ledger) -> None:
    job_id = planned(ledger)
    plan = ledger.plan(job_id)
    assert plan is not None
    # Compared as JSON, since NaN differs from itself.
    assert plan.model_dump_json() == PLAN.model_dump_json()
    assert ledger.job(job_id).plan is not None


def test_the_first_plan_stands(ledger: Ledger) -> None:
    job_id = planned(ledger)
    assert not ledger.record_plan(job_id, Plan(bundle=BUNDLE, grid=GRID, scenes=()), WINDOWS[:1])
    plan = ledger.plan(job_id)
    assert plan is not None
    assert len(plan.scenes) == 3
    assert ledger.open_blocks(job_id) == tuple(range(6))


def test_a_planned_job_has_its_blocks_open_in_order(ledger: Ledger) -> None:
    job_id = ledger.submit(REQUEST)
    assert ledger.plan(job_id) is None
    assert ledger.record_plan(job_id, PLAN, WINDOWS)
    assert ledger.open_blocks(job_id) == tuple(range(6))
    assert ledger.status(job_id).blocks_total == 6


# --- claims ---------------------------------------------------------------------------------------------------------


def test_a_claim_carries_its_window_and_end(ledger: Ledger, clock: Clock) -> None:
    job_id = planned(ledger)
    assert ledger.claim(job_id, 4, owner="one", lease_s=90) == Claim(
        job_id=job_id,
        index=4,
        window=WINDOWS[4],
        attempt=1,
        owner="one",
        expires=clock.now + timedelta(seconds=90),
    )


def test_a_leased_block_is_nobody_elses(ledger: Ledger, clock: Clock) -> None:
    job_id = planned(ledger)
    claimed(ledger, job_id, 0, "one", lease_s=60)
    clock.advance(59)
    assert ledger.claim(job_id, 0, owner="two", lease_s=60) is None
    assert ledger.claim(job_id, 1, owner="two", lease_s=60) is not None


def test_an_expired_lease_is_taken_over_and_the_late_worker_fenced_out(ledger: Ledger, clock: Clock) -> None:
    job_id = planned(ledger)
    late = claimed(ledger, job_id, 0, "one", lease_s=60)
    clock.advance(60)
    heir = claimed(ledger, job_id, 0, "two", lease_s=60)
    assert heir.attempt == 2
    with pytest.raises(LeaseLost):
        ledger.complete(late, REPORT)
    with pytest.raises(LeaseLost):
        ledger.renew(late, lease_s=60)
    ledger.release(late, error="too late to give it back")
    assert ledger.claim(job_id, 0, owner="three", lease_s=60) is None
    assert ledger.complete(heir, REPORT) == 5
    with pytest.raises(LeaseLost):
        ledger.complete(late, REPORT)
    assert ledger.status(job_id).blocks_done == 1


def test_an_expired_lease_that_nobody_took_is_still_good(ledger: Ledger, clock: Clock) -> None:
    job_id = planned(ledger)
    claim = claimed(ledger, job_id, 0, lease_s=60)
    clock.advance(3600)
    assert ledger.complete(claim, REPORT) == 5


def test_a_restarted_owner_takes_its_block_up_again_and_fences_its_former_self_out(ledger: Ledger) -> None:
    job_id = planned(ledger)
    before = claimed(ledger, job_id, 0, "one", lease_s=3600)
    after = claimed(ledger, job_id, 0, "one", lease_s=3600)
    with pytest.raises(LeaseLost):
        ledger.complete(before, REPORT)
    assert ledger.complete(after, REPORT) == 5


def test_a_renewed_lease_lasts_from_now(ledger: Ledger, clock: Clock) -> None:
    job_id = planned(ledger)
    claim = claimed(ledger, job_id, 0, "one", lease_s=60)
    clock.advance(50)
    assert ledger.renew(claim, lease_s=60).expires == clock.now + timedelta(seconds=60)
    clock.advance(50)
    assert ledger.claim(job_id, 0, owner="two", lease_s=60) is None


def test_a_released_block_is_free_at_once(ledger: Ledger, url: str) -> None:
    job_id = planned(ledger)
    claim = claimed(ledger, job_id, 0, "one", lease_s=3600)
    ledger.release(claim, error="out of memory")
    with pytest.raises(LeaseLost):
        ledger.complete(claim, REPORT)
    assert claimed(ledger, job_id, 0, "two").attempt == 2
    with direct(url).connect() as connection:
        assert connection.scalar(text("SELECT error FROM blocks WHERE position = 0")) == "out of memory"


def test_a_done_block_is_not_claimed_or_released(ledger: Ledger, clock: Clock) -> None:
    job_id = planned(ledger)
    claim = claimed(ledger, job_id, 0)
    ledger.complete(claim, REPORT)
    ledger.release(claim, error="after the fact", retry_after_s=5)
    assert ledger.complete(claim, REPORT) == 5
    assert ledger.attempts(job_id) == ()
    clock.advance(3600)
    assert ledger.claim(job_id, 0, owner="one", lease_s=60) is None
    assert ledger.claim(job_id, 0, owner="two", lease_s=60) is None


def test_only_a_running_job_gives_blocks(ledger: Ledger) -> None:
    job_id = ledger.submit(REQUEST)
    ledger.record_plan(job_id, PLAN, WINDOWS)
    assert ledger.claim(job_id, 0, owner="one", lease_s=60) is None
    ledger.start(job_id)
    assert ledger.claim(job_id, 0, owner="one", lease_s=60) is not None
    ledger.dismiss(job_id)
    assert ledger.claim(job_id, 1, owner="one", lease_s=60) is None


def test_a_block_that_is_not_there_is_the_programmers_mistake(ledger: Ledger) -> None:
    job_id = planned(ledger)
    with pytest.raises(ValueError, match="has no block 6; it has 6"):
        ledger.claim(job_id, 6, owner="one", lease_s=60)


# --- completion -----------------------------------------------------------------------------------------------------


def test_completions_count_down_and_only_the_last_gets_zero(ledger: Ledger) -> None:
    job_id = planned(ledger)
    order = (3, 0, 5, 1, 4, 2)
    assert [ledger.complete(claimed(ledger, job_id, index), REPORT) for index in order] == [5, 4, 3, 2, 1, 0]
    assert ledger.open_blocks(job_id) == ()
    assert ledger.status(job_id).blocks_done == 6


def test_the_same_completion_again_gets_the_same_answer(ledger: Ledger) -> None:
    job_id = planned(ledger, WINDOWS[:2])
    first, last = claimed(ledger, job_id, 0), claimed(ledger, job_id, 1)
    assert [ledger.complete(claim, REPORT) for claim in (first, first, last, last, first)] == [1, 1, 0, 0, 1]
    assert ledger.status(job_id).blocks_done == 2
    assert len(ledger.block_reports(job_id)) == 2


def test_an_unfinished_last_step_shows_as_a_running_job_without_open_blocks(ledger: Ledger) -> None:
    job_id = planned(ledger)
    complete_all(ledger, job_id)
    status = ledger.status(job_id)
    assert (status.state, status.blocks_done, status.blocks_total) == (JobState.RUNNING, 6, 6)
    assert ledger.open_blocks(job_id) == ()


def test_reports_come_by_index(ledger: Ledger) -> None:
    job_id = planned(ledger)
    for index in (4, 1):
        report = REPORT.model_copy(update={"aoi_px": index})
        ledger.complete(claimed(ledger, job_id, index), report)
    assert [report.aoi_px for report in ledger.block_reports(job_id)] == [1, 4]
    assert ledger.block_reports(job_id)[0] == REPORT.model_copy(update={"aoi_px": 1})


def test_a_dismissed_job_takes_no_more_blocks(ledger: Ledger) -> None:
    job_id = planned(ledger)
    done, claim = claimed(ledger, job_id, 0), claimed(ledger, job_id, 1)
    ledger.complete(done, REPORT)
    assert ledger.dismiss(job_id)
    with pytest.raises(LeaseLost):
        ledger.complete(claim, REPORT)
    with pytest.raises(LeaseLost):
        ledger.renew(claim, lease_s=60)
    ledger.release(claim, error="dismissed")
    assert ledger.complete(done, REPORT) == 5
    assert ledger.status(job_id).blocks_done == 1


# --- many at a time -------------------------------------------------------------------------------------------------


def claim_all(url: str, job_id: str, blocks: int) -> list[int]:
    """Indices that this process won."""
    with Ledger.open(url) as ledger:
        claims = [ledger.claim(job_id, index, owner=str(os.getpid()), lease_s=3600) for index in range(blocks)]
    return [claim.index for claim in claims if claim is not None]


def work_all(url: str, job_id: str) -> list[int]:
    """Answers to this process's completions."""
    with Ledger.open(url) as ledger:
        claims = (
            ledger.claim(job_id, index, owner=str(os.getpid()), lease_s=3600) for index in ledger.open_blocks(job_id)
        )
        return [ledger.complete(claim, REPORT) for claim in claims if claim is not None]


def submit_one(url: str) -> str:
    with Ledger.open(url) as ledger:
        return ledger.submit(REQUEST, job_id="the-same")


def test_four_processes_win_every_block_exactly_once(ledger: Ledger, url: str) -> None:
    job_id = planned(ledger, WINDOWS[:1] * 200)
    with together(4) as pool:
        won = pool.starmap(claim_all, [(url, job_id, 200)] * 4, chunksize=1)
    assert sorted(index for indices in won for index in indices) == list(range(200))


def test_four_processes_completing_see_every_count_exactly_once(ledger: Ledger, url: str) -> None:
    job_id = planned(ledger, WINDOWS[:1] * 200)
    with together(4) as pool:
        answers = pool.starmap(work_all, [(url, job_id)] * 4, chunksize=1)
    assert sorted(left for given in answers for left in given) == list(range(200))
    assert ledger.status(job_id).blocks_done == len(ledger.block_reports(job_id)) == 200


def test_four_processes_may_make_the_ledger_and_submit_at_once(url: str) -> None:
    with together(4) as pool:
        assert pool.map(submit_one, [url] * 4, chunksize=1) == ["the-same"] * 4
    with Ledger.open(url) as ledger:
        assert len(ledger.jobs(limit=9)) == 1


def test_threads_share_a_ledger(ledger: Ledger) -> None:
    job_id = planned(ledger, WINDOWS[:1] * 40)
    answers: list[int] = []

    def work(owner: str) -> None:
        for index in range(40):
            claim = ledger.claim(job_id, index, owner=owner, lease_s=3600)
            if claim is not None:
                answers.append(ledger.complete(claim, REPORT))

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(40))


def test_a_killed_worker_loses_only_the_block_it_held(ledger: Ledger, url: str, clock: Clock) -> None:
    job_id = planned(ledger, WINDOWS[:1] * 500)
    worker = SPAWNED.Process(target=work_all, args=(url, job_id))
    worker.start()
    while ledger.status(job_id).blocks_done < 20:
        assert worker.is_alive()
        time.sleep(0.001)
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.join()
    done = ledger.status(job_id).blocks_done
    assert 20 <= done < 500
    assert len(ledger.block_reports(job_id)) == done == 500 - len(ledger.open_blocks(job_id))
    if url.startswith("sqlite"):
        with direct(url).connect() as connection:
            assert connection.scalar(text("PRAGMA integrity_check")) == "ok"
    clock.now = datetime.now(UTC) + timedelta(hours=2)  # the worker's clock was the real one
    complete_all(ledger, job_id)
    assert ledger.succeed(job_id, result(job_id))
