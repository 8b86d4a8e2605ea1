"""Tells subscribers that their jobs moved (18-062r2, callback)."""

import logging
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Final

import httpx

from contract.callbacks import CallbackStore, Move
from contract.errors import LandsigmaError
from contract.ledger import SUCCESSES, Ledger
from contract.logs import event
from contract.request import JobState
from service.addresses import JSON, Addresses
from service.documents import document_of
from service.problems import Refused
from service.statuses import status_info
from service.storage import Results

TRIES: Final = 3
TIMEOUT_S: Final = 10.0
_AT_ONCE: Final = 20
_logger = logging.getLogger(__name__)


def client() -> httpx.Client:
    """Calls what was checked when the job was submitted, and nothing that it points to."""
    return httpx.Client(
        timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, transport=httpx.HTTPTransport(retries=TRIES - 1)
    )


class Courier:
    """Looks for moves of jobs from time to time, and tells each once."""

    def __init__(
        self, store: CallbackStore, ledger: Ledger, results: Results, urls: Addresses, http: httpx.Client
    ) -> None:
        self._store, self._ledger, self._results, self._urls, self._http = store, ledger, results, urls, http
        self._stopped = Event()
        self._thread: Thread | None = None

    def start(self, every_s: float) -> None:
        """Begin to look."""
        self._thread = Thread(target=self._look, args=(every_s,), name="callbacks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the call at hand."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self._http.close()

    def tell(self) -> int:
        """Number of moves that were told now, well or in vain."""
        taken = [move for move in self._store.moves(limit=_AT_ONCE) if self._store.take(move)]
        for move in taken:
            uri = _uri_of(move)
            if uri is not None:
                self._call(uri, move)
        return len(taken)

    def _look(self, every_s: float) -> None:
        while not self._stopped.wait(every_s):
            try:
                self.tell()
            except LandsigmaError as error:
                _logger.warning("callbacks wait: %s", error)

    def _call(self, uri: str, move: Move) -> None:
        try:
            answer = self._http.post(uri, content=self._message(move), headers={"Content-Type": JSON})
        except (httpx.HTTPError, Refused) as error:
            event(_logger, "callback failed", level=logging.WARNING, job=move.job_id, reason=str(error))
        else:
            event(_logger, "callback", job=move.job_id, state=move.state.value, status=answer.status_code)

    def _message(self, move: Move) -> str:
        """Results of a success, else the status."""
        if move.state in SUCCESSES:
            return document_of(self._results.published(move.job_id), move.job_id, self._urls).model_dump_json(
                by_alias=True, exclude_none=True
            )
        status = self._ledger.status(move.job_id)
        return status_info(status, self._urls, datetime.now(UTC)).model_dump_json(by_alias=True, exclude_none=True)


def _uri_of(move: Move) -> str | None:
    if move.state in SUCCESSES:
        return move.callbacks.success_uri
    return move.callbacks.in_progress_uri if move.state is JobState.RUNNING else move.callbacks.failed_uri
