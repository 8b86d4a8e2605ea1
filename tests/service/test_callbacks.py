"""Subscribers are told of every move of their jobs once."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contract.callbacks import CallbackStore
from contract.database import Database
from contract.ledger import Ledger
from contract.request import JobState
from contract.submission import Callbacks, Terms
from service.addresses import Addresses
from service.callbacks import Courier
from service.storage import Results
from tests.contract.examples import REQUEST, complete_all, planned, result

CALLBACKS = Callbacks(
    success_uri="https://hook.example.org/done",
    in_progress_uri="https://hook.example.org/moves",
    failed_uri="https://hook.example.org/failed",
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as opened:
        yield opened


class Subscriber:
    """Two servers' couriers, and what they sent."""

    def __init__(self, database: Database, folder: Path, status: int = 200) -> None:
        self.heard: list[tuple[str, dict[str, object]]] = []
        self.status = status
        ledger = Ledger(database)
        self.couriers = [
            Courier(
                CallbackStore(database),
                ledger,
                Results(str(folder), ledger),
                Addresses("https://maps.example.org"),
                httpx.Client(transport=httpx.MockTransport(self._hear)),
            )
            for _ in range(2)
        ]

    def _hear(self, request: httpx.Request) -> httpx.Response:
        self.heard.append((request.url.path, json.loads(request.content)))
        return httpx.Response(self.status, headers={"Location": "http://127.0.0.1/"})

    def look(self) -> list[tuple[str, dict[str, object]]]:
        """What all servers sent that looked now, twice."""
        self.heard.clear()
        for courier in self.couriers * 2:
            courier.tell()
        return list(self.heard)


def test_every_move_is_told_once(database: Database, tmp_path: Path) -> None:
    ledger, subscriber = Ledger(database), Subscriber(database, tmp_path)
    job_id = ledger.submit(REQUEST, terms=Terms(callbacks=CALLBACKS))
    ledger.submit(REQUEST)  # nobody asks to be told of this one
    assert subscriber.look() == []
    ledger.start(job_id)
    ((path, status),) = subscriber.look()
    assert (path, status["jobID"], status["status"]) == ("/moves", job_id, "running")
    ledger.fail(job_id, "no scene")
    ((path, status),) = subscriber.look()
    assert (path, status["status"], status["message"]) == ("/failed", "failed", "no scene")
    assert subscriber.look() == []


def test_a_success_is_told_with_its_results(database: Database, tmp_path: Path) -> None:
    ledger, subscriber = Ledger(database), Subscriber(database, tmp_path)
    job_id = planned(ledger)
    assert ledger.job(job_id).callbacks == Callbacks()
    told = ledger.submit(REQUEST, terms=Terms(callbacks=CALLBACKS))
    ledger.start(told)
    job = ledger.job(job_id)
    assert job.plan is not None
    ledger.record_plan(told, job.plan, [])
    complete_all(ledger, told)
    ledger.succeed(told, result(told))
    ((path, document),) = subscriber.look()
    assert path == "/done"
    assert {entry["href"] for entry in document.values()} == {
        f"https://maps.example.org/jobs/{told}/files/{artifact.name}" for artifact in (*result(told).artifacts,)
    } | {
        f"https://maps.example.org/jobs/{told}/files/{name}" for name in ("item.json", "report.json", "collection.json")
    }


@pytest.mark.parametrize("status", [302, 500])
def test_a_subscriber_that_does_not_listen_is_not_followed_or_asked_again(
    database: Database, tmp_path: Path, status: int
) -> None:
    ledger, subscriber = Ledger(database), Subscriber(database, tmp_path, status)
    job_id = ledger.submit(REQUEST, terms=Terms(callbacks=CALLBACKS))
    ledger.dismiss(job_id)
    assert len(subscriber.look()) == 1
    assert subscriber.look() == []


def test_a_job_without_moves_is_in_no_list(database: Database) -> None:
    ledger = Ledger(database)
    ledger.submit(REQUEST, terms=Terms(callbacks=CALLBACKS))
    assert CallbackStore(database).moves(limit=10) == ()
    assert ledger.totals().jobs[JobState.ACCEPTED] == 1
