"""Many submissions in one commit."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.batch import Submission, submit_all
from contract.database import Database
from contract.errors import IdempotencyConflict, LedgerUnusable, LimitReached
from contract.ledger import Ledger
from contract.request import JobStatus
from contract.submission import Limits, Terms
from service.sender import NoSender
from service.submissions import Submissions
from tests.contract.examples import REQUEST


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as opened:
        yield opened


def submission(
    key: str | None = None, *, owner: str = "a", at_once: int | None = None, bundle: str = REQUEST.bundle
) -> Submission:
    request = REQUEST.model_copy(update={"bundle": bundle})
    return Submission(
        request=request, terms=Terms(owner=owner, idempotency_key=key), limits=Limits(jobs_at_once=at_once)
    )


def test_each_submission_is_answered_for_itself(database: Database) -> None:
    outcomes = submit_all(
        database,
        [
            submission("k"),
            submission("k"),
            submission("k", bundle="y"),
            submission("k", owner="b"),
            *[submission(owner="c", at_once=2) for _ in range(3)],
        ],
    )
    first, again, conflict, others, *limited = outcomes
    assert isinstance(first, JobStatus)
    assert first == again
    assert isinstance(conflict, IdempotencyConflict)
    assert isinstance(others, JobStatus)
    assert others.job_id != first.job_id
    assert [type(outcome) for outcome in limited] == [JobStatus, JobStatus, LimitReached]
    ledger = Ledger(database)
    assert {status.job_id for status in ledger.jobs(limit=10)} == {
        outcome.job_id for outcome in outcomes if isinstance(outcome, JobStatus)
    }
    for outcome in outcomes:
        if isinstance(outcome, JobStatus):
            assert ledger.status(outcome.job_id) == outcome
            assert ledger.job(outcome.job_id).request == REQUEST


def test_a_batch_that_does_not_fit_on_the_disk_is_refused_for_that_and_leaves_nothing(database: Database) -> None:
    with database.engine.connect() as connection:  # the limit is of a connection, which is used again
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # SQLite takes it as "no more than now"
    with pytest.raises(LedgerUnusable, match="disk is full"):
        submit_all(database, [submission(str(number)) for number in range(60)])
    assert Ledger(database).jobs(limit=99) == ()


def test_a_batch_is_one_commit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    writings = []
    writing = database.writing
    monkeypatch.setattr(database, "writing", lambda: writings.append(1) or writing())
    submit_all(database, [submission(owner=str(number)) for number in range(50)])
    assert len(writings) == 1


def test_submissions_that_come_together_share_commits(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    writings = []
    writing = database.writing
    monkeypatch.setattr(database, "writing", lambda: writings.append(1) or writing())

    async def all_at_once() -> list[JobStatus]:
        submissions = Submissions(database, NoSender())
        submissions.start()
        try:
            return await asyncio.gather(*(submissions.submit(submission()) for _ in range(200)))
        finally:
            await asyncio.to_thread(submissions.stop)

    statuses = asyncio.run(all_at_once())
    assert len({status.job_id for status in statuses}) == 200
    assert len(Ledger(database).jobs(limit=1000)) == 200
    assert len(writings) < 20


def test_an_answered_submission_outlives_its_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    script = f"""
import os
from contract.batch import Submission, submit_all
from contract.database import Database
from contract.request import MapRequest
from contract.submission import Limits, Terms
request = MapRequest.model_validate_json({REQUEST.model_dump_json()!r})
(status,) = submit_all(Database.open({url!r}), [Submission(request=request, terms=Terms(), limits=Limits())])
os.write(1, status.job_id.encode())
os.kill(os.getpid(), 9)
"""
    dead = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    with Ledger.open(url) as ledger:
        assert ledger.job(dead.stdout.decode()).request == REQUEST
