"""The API, called from another program. Needs nothing of the server's packages."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx

from contract.errors import ServerRefused, ServerUnreachable
from service.remote import Order, RemoteJob, RemoteLinks, RemoteRun, RemoteSchedule

T = TypeVar("T")

DEFAULT_ADDRESS: Final = "http://127.0.0.1:8080"
EXECUTION: Final = "/processes/land-cover/execution"
PATIENCE_S: Final = 60.0
"""A server that is away for so long does not come back soon: restarts take seconds."""
LOOK_S: Final = 1.0
"""Between two looks at a job."""
PAGE: Final = 100
_ANSWER_S: Final = 30.0
_FIRST_WAIT_S: Final = 0.25
_LONGEST_WAIT_S: Final = 5.0
_PASSING: Final = {502, 503, 504}
"""What a server that starts again, or the proxy before it, answers meanwhile."""


class Client:
    """Talks to one server, and to no other: addresses in its answers are shown, not followed.

    Every request may be sent twice without harm, so that one without an answer is.

    Raises:
        ServerRefused: From every method: the server answered that it does not do this.
        ServerUnreachable: From every method: no answer came for as long as the patience lasts.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        key: str | None = None,
        *,
        patience_s: float = PATIENCE_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Connect when first asked.

        Args:
            address: URL of the server's landing page.
            key: API key to present.
            patience_s: How long a server that is away is waited for.
            transport: What carries requests; None for the network.
        """
        self.address: Final = address.rstrip("/")
        self._patience_s = patience_s
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        try:
            self._http = httpx.Client(base_url=self.address, headers=headers, timeout=_ANSWER_S, transport=transport)
        except httpx.InvalidURL as error:
            raise ServerUnreachable(self.address, str(error)) from error

    def submit(self, order: Order, *, once: str | None = None) -> RemoteJob:
        """The accepted job. `once` is an idempotency key: the same again gives the same job."""
        headers = {"Prefer": "respond-async", "Idempotency-Key": once or uuid4().hex}
        return RemoteJob.model_validate(self.ask("POST", EXECUTION, json=order.execution(), headers=headers).json())

    def job(self, job_id: str) -> RemoteJob:
        """How far a job is."""
        return RemoteJob.model_validate(self.ask("GET", _job(job_id)).json())

    def jobs(self, *, statuses: Sequence[str] = ()) -> Iterator[RemoteJob]:
        """The caller's jobs, newest first."""
        for page in self._pages("/jobs", {"status": list(statuses), "limit": PAGE}):
            yield from map(RemoteJob.model_validate, page["jobs"])

    def dismiss(self, job_id: str) -> RemoteJob:
        """Cancel a job."""
        return RemoteJob.model_validate(self.ask("DELETE", _job(job_id)).json())

    def wait(self, job_id: str, seen: Callable[[RemoteJob], None], *, every_s: float = LOOK_S) -> RemoteJob:
        """The job once it is over. `seen` is called at every look."""
        while True:
            job = self.job(job_id)
            seen(job)
            if job.is_over:
                return job
            time.sleep(every_s)

    def read(self, job_id: str, name: str) -> bytes:
        """A small file that a job published."""
        return self.ask("GET", _file(job_id, name)).content

    @contextmanager
    def stream(self, job_id: str, name: str, start: int) -> Iterator[httpx.Response]:
        """A file that a job published, from this byte on where the server does that: 206. Not sent twice."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with self._http.stream("GET", _file(job_id, name), headers=headers) as answer:
            if not answer.is_success:
                answer.read()
            yield _checked(answer)

    def links(self, job_id: str, *, seconds: int | None = None) -> RemoteLinks:
        """Signed links to what a job published."""
        terms = {} if seconds is None else {"seconds": seconds}
        return RemoteLinks.model_validate(self.ask("POST", f"{_job(job_id)}/links", json=terms).json())

    def schedules(self) -> tuple[RemoteSchedule, ...]:
        """The caller's schedules, newest first."""
        return tuple(map(RemoteSchedule.model_validate, self.ask("GET", "/schedules").json()["schedules"]))

    def schedule(self, schedule_id: str) -> RemoteSchedule:
        """One schedule."""
        return RemoteSchedule.model_validate(self.ask("GET", _schedule(schedule_id)).json())

    def create_schedule(self, wanted: Mapping[str, Any]) -> RemoteSchedule:
        """A new schedule, from the body that the API's description tells. Not sent twice: each time makes one."""
        answer = self.insist(lambda: _checked(self._http.post("/schedules", json=wanted)), patience_s=0)
        return RemoteSchedule.model_validate(answer.json())

    def pause(self, schedule_id: str) -> RemoteSchedule:
        """Open no run of it until it is resumed."""
        return RemoteSchedule.model_validate(self.ask("POST", f"{_schedule(schedule_id)}/pause").json())

    def resume(self, schedule_id: str) -> RemoteSchedule:
        """Open runs again."""
        return RemoteSchedule.model_validate(self.ask("POST", f"{_schedule(schedule_id)}/resume").json())

    def delete_schedule(self, schedule_id: str) -> None:
        """Forget it. Its jobs stay."""
        self.ask("DELETE", _schedule(schedule_id))

    def runs(self, schedule_id: str) -> Iterator[RemoteRun]:
        """What came of a schedule, latest nominal time first."""
        for page in self._pages(f"{_schedule(schedule_id)}/runs", {"limit": PAGE}):
            yield from map(RemoteRun.model_validate, page["runs"])

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to a request, sent until there is one."""
        return self.insist(lambda: _checked(self._http.request(method, path, **options)))

    def insist(self, work: Callable[[], T], *, patience_s: float | None = None) -> T:
        """What `work` gives, done again while the server is away."""
        patience_s = self._patience_s if patience_s is None else patience_s
        deadline, wait_s = time.monotonic() + patience_s, _FIRST_WAIT_S
        while True:
            try:
                return work()
            except ServerRefused as error:
                if error.status not in _PASSING or time.monotonic() + wait_s > deadline:
                    raise
            except httpx.TransportError as error:
                if time.monotonic() + wait_s > deadline:
                    raise ServerUnreachable(self.address, str(error) or type(error).__name__) from error
            time.sleep(wait_s)
            wait_s = min(_LONGEST_WAIT_S, 2 * wait_s)

    def _pages(self, path: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        page: dict[str, Any] = self.ask("GET", path, params=query).json()
        while True:
            yield page
            further = [link["href"] for link in page["links"] if link["rel"] == "next"]
            if not further:
                return
            page = self.ask("GET", path, params=httpx.URL(further[0]).params).json()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


def _checked(answer: httpx.Response) -> httpx.Response:
    """The answer, unless it is a refusal.

    Raises:
        ServerRefused: It is one.
    """
    if answer.is_success:
        return answer
    try:
        detail = str(answer.json()["detail"])  # RFC 9457
    except (ValueError, KeyError, TypeError):
        detail = answer.reason_phrase or "no reason given"
    raise ServerRefused(answer.status_code, detail)


def _job(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"


def _file(job_id: str, name: str) -> str:
    return f"{_job(job_id)}/files/{quote(name, safe='')}"


def _schedule(schedule_id: str) -> str:
    return f"/schedules/{quote(schedule_id, safe='')}"
