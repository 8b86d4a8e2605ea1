"""A message is worked once; whatever goes wrong is settled in the ledger, and the worker goes on."""

import threading
import time
from collections.abc import Callable

import pytest

from contract.errors import LedgerUnusable, SourceUnreachable
from contract.ledger import Ledger
from contract.request import JobState, MapRequest
from contract.steps import StepClaim
from workers.folder import JobFolder
from workers.queue import attempts
from workers.queue.hands import Hands


@pytest.fixture
def job_id(hands: Hands, request_: MapRequest) -> str:
    return hands.ledger.submit(request_)


@pytest.fixture
def planned(hands: Hands, job_id: str) -> str:
    attempts.plan(hands, job_id)
    return job_id


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_plan_blocks_and_finish_lead_to_the_map(hands: Hands, planned: str) -> None:
    for index in hands.ledger.open_blocks(planned):
        attempts.block(hands, planned, index)
    attempts.finish(hands, planned)
    assert hands.ledger.status(planned).state is JobState.SUCCESSFUL
    folder = hands.worker.folder_of(planned)
    assert folder.is_complete
    assert not folder.work.exists()


def test_messages_that_come_twice_change_nothing(hands: Hands, planned: str) -> None:
    attempts.plan(hands, planned)
    every = hands.ledger.open_blocks(planned)
    for index in (*every, *every):
        attempts.block(hands, planned, index)
    assert [report.attempt for report in hands.ledger.block_reports(planned)] == [1] * len(every)
    for _ in range(2):
        attempts.finish(hands, planned)
    assert hands.ledger.status(planned).state is JobState.SUCCESSFUL


def test_a_message_that_comes_too_early_or_of_no_job_changes_nothing(hands: Hands, job_id: str) -> None:
    attempts.finish(hands, job_id)
    attempts.plan(hands, "unheard-of")
    assert hands.ledger.status(job_id).state is JobState.ACCEPTED


def test_a_source_that_does_not_answer_is_asked_again_until_the_last_attempt(
    hands: Hands, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "plan_job", raising(SourceUnreachable("demo", "http://x", "silence")))
    for failures in (1, 2):
        attempts.plan(hands, job_id)
        assert hands.ledger.status(job_id).retries == failures
        assert hands.ledger.status(job_id).state is JobState.RUNNING
        _wait_for_retry(hands, job_id)
    attempts.plan(hands, job_id)
    status = hands.ledger.status(job_id)
    assert status.state is JobState.FAILED
    assert "plan failed 3 times" in status.message
    assert "silence" in status.message


def test_a_programmers_mistake_fails_the_job_after_the_last_attempt_and_not_the_worker(
    hands: Hands, planned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "work_claims", raising(ZeroDivisionError("by nought")))
    for _ in range(3):
        attempts.block(hands, planned, 0)
        _wait_for_retry(hands, planned)
    assert "block 0 failed 3 times, at last: ZeroDivisionError: by nought" in hands.ledger.status(planned).message


def test_a_source_that_is_not_configured_fails_the_job_at_once(hands: Hands, request_: MapRequest) -> None:
    job_id = hands.ledger.submit(request_.model_copy(update={"source": "http://169.254.169.254/"}))
    attempts.plan(hands, job_id)
    status = hands.ledger.status(job_id)
    assert status.state is JobState.FAILED
    assert "the sources here are demo" in status.message


def test_a_worker_that_is_asked_to_end_gives_its_block_back_at_once(
    hands: Hands, planned: str, leaving: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = attempts.work_claims

    def slow(worker: attempts.Worker, *rest: object) -> None:
        leaving.set()
        assert worker.stop.wait(5)
        begun(worker, *rest)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(attempts, "work_claims", slow)
    attempts.block(hands, planned, 0)
    assert hands.ledger.status(planned).retries == 0
    assert hands.ledger.attempts(planned) == ()
    assert 0 in hands.ledger.open_blocks(planned)
    assert hands.ledger.claim(planned, 0, owner="another", lease_s=1) is not None


def test_a_dismissed_jobs_block_ends_and_its_folder_goes(
    hands: Hands, planned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = attempts.work_claims

    def dismissed(worker: attempts.Worker, *rest: object) -> None:
        hands.ledger.dismiss(planned)
        assert worker.stop.wait(5)
        begun(worker, *rest)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(attempts, "work_claims", dismissed)
    folder = hands.worker.folder_of(planned)
    folder.prepare()
    attempts.block(hands, planned, 0)
    assert hands.ledger.status(planned).state is JobState.DISMISSED
    attempts.sweep(hands)
    assert not folder.root.exists()
    assert hands.ledger.to_clean(limit=10) == ()


def test_a_block_that_takes_its_workers_down_fails_the_job(hands: Hands, planned: str) -> None:
    for number in range(3):
        assert hands.ledger.claim(planned, 0, owner=f"dead-{number}", lease_s=0) is not None
    attempts.block(hands, planned, 0)
    status = hands.ledger.status(planned)
    assert status.state is JobState.FAILED
    assert "block 0 was begun 3 times by workers that never came back" in status.message


def test_a_ledger_that_is_away_costs_the_message_and_nothing_else(
    hands: Hands, planned: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Ledger, "claim", raising(LedgerUnusable("db", "gone")))
    attempts.block(hands, planned, 0)
    assert "message dropped" in caplog.messages
    monkeypatch.undo()
    attempts.block(hands, planned, 0)
    assert hands.ledger.status(planned).blocks_done == 1


def test_a_finisher_that_lost_its_lease_publishes_nothing(
    hands: Hands, planned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in hands.ledger.open_blocks(planned):
        attempts.block(hands, planned, index)
    finish_job = attempts.finish_job

    def overtaken(worker: attempts.Worker, job_id: str, *, claim: StepClaim) -> None:
        hands.ledger.release(claim, error="slow")
        assert hands.ledger.claim_finish(job_id, owner="heir", lease_s=60) is not None
        finish_job(worker, job_id, claim=claim)

    monkeypatch.setattr(attempts, "finish_job", overtaken)
    attempts.finish(hands, planned)
    assert hands.ledger.status(planned).state is JobState.RUNNING
    assert not list(hands.worker.folder_of(planned).root.glob("*.tif"))


def test_what_a_finisher_left_that_was_killed_before_it_cleaned_up_is_swept(
    hands: Hands, planned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in hands.ledger.open_blocks(planned):
        attempts.block(hands, planned, index)
    with monkeypatch.context() as patch:
        patch.setattr(JobFolder, "clean", raising(SystemExit()))
        with pytest.raises(SystemExit):
            attempts.finish(hands, planned)
    folder = hands.worker.folder_of(planned)
    assert hands.ledger.status(planned).state is JobState.SUCCESSFUL
    assert folder.work.exists()
    published = sorted(folder.root.glob("*.*"))
    time.sleep(hands.settings.lease_s)
    attempts.sweep(hands)
    assert not folder.work.exists()
    assert sorted(folder.root.glob("*.*")) == [path for path in published if path != folder.work]
    assert folder.is_complete
    assert hands.ledger.to_clean(limit=10) == ()


def test_a_finisher_that_cleaned_up_leaves_nothing_to_the_sweep(hands: Hands, planned: str) -> None:
    for index in hands.ledger.open_blocks(planned):
        attempts.block(hands, planned, index)
    attempts.finish(hands, planned)
    time.sleep(hands.settings.lease_s)
    assert hands.ledger.to_clean(limit=10) == ()


def test_a_product_of_a_dismissed_job_goes_with_it(hands: Hands, planned: str) -> None:
    folder = JobFolder(hands.worker.folder_of(planned).root)
    folder.prepare()
    (folder.root / "landcover.tif").write_bytes(b"published too late")
    hands.ledger.dismiss(planned)
    attempts.sweep(hands)
    assert not folder.root.exists()


def _wait_for_retry(hands: Hands, job_id: str) -> None:
    for attempt in hands.ledger.attempts(job_id):
        if attempt.retry_at is not None:
            threading.Event().wait(max(0.0, (attempt.retry_at - hands.database.now()).total_seconds()) + 0.001)
