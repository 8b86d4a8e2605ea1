"""Subscribers are told of every move of their jobs once."""

import json
import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import trustme

from contract.callbacks import CallbackStore
from contract.database import Database
from contract.ledger import Ledger
from contract.request import JobState
from contract.submission import Callbacks, Terms
from service.addresses import Addresses
from service.callbacks import TRIES, Courier, client
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


class Hook(HTTPServer):
    """A subscriber with a certificate, and the paths that it was called at."""

    def __init__(self, issuer: trustme.CA) -> None:
        super().__init__(("127.0.0.1", 0), Listener)
        self.heard: list[str] = []
        self.connections = 0
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert("127.0.0.1").configure_cert(self._tls)

    def get_request(self) -> tuple[ssl.SSLSocket, tuple[str, int]]:
        plain, address = self.socket.accept()
        self.connections += 1
        try:
            return self._tls.wrap_socket(plain, server_side=True), address
        except OSError:
            plain.close()
            raise


class Listener(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.heard.append(self.path)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def listening(issuer: trustme.CA) -> Iterator[Hook]:
    with Hook(issuer) as hook:
        thread = threading.Thread(target=hook.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hook
        finally:
            hook.shutdown()
            thread.join()


@pytest.mark.parametrize("trusted", [True, False])
def test_only_a_subscriber_whose_certificate_is_trusted_is_told(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    trusted: bool,
) -> None:
    issuer = trustme.CA()
    (issuer if trusted else trustme.CA()).cert_pem.write_to_path(tmp_path / "trusted.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    ledger = Ledger(database)
    with listening(issuer) as hook, client() as http, caplog.at_level(logging.INFO, "service.callbacks"):
        uri = f"https://127.0.0.1:{hook.server_port}/failed"
        ledger.dismiss(ledger.submit(REQUEST, terms=Terms(callbacks=Callbacks(failed_uri=uri))))
        courier = Courier(
            CallbackStore(database), ledger, Results(str(tmp_path), ledger), Addresses("https://maps.example.org"), http
        )
        assert courier.tell() == 1
        assert courier.tell() == 0
    assert hook.heard == (["/failed"] if trusted else [])
    assert hook.connections == (1 if trusted else TRIES)
    [(name, fields)] = [(record.getMessage(), vars(record)["landsigma_fields"]) for record in caplog.records]
    assert name == ("callback" if trusted else "callback failed")
    assert trusted or "certificate verify failed" in fields["reason"]
