"""Jobs, listed, looked at and dismissed."""

from datetime import UTC, datetime, timedelta

import pytest

from contract.ledger import Ledger
from contract.submission import Terms
from tests.service.serving import Server, order
from workers.demo.scene import DemoScene


def listed(server: Server, query: str) -> list[str]:
    answer = server.get(f"/jobs{query}")
    assert answer.status_code == 200, answer.text
    return [job["jobID"] for job in answer.json()["jobs"]]


@pytest.mark.parametrize(
    "path",
    ["/jobs/%00", "/jobs/%00/files/x", "/jobs/%00/results/x", "/jobs?run=%00", "/jobs?after=%00", "/links/x/%00/x"],
)
def test_what_is_no_id_is_refused_before_the_ledger_is_asked(server: Server, path: str) -> None:
    """PostgreSQL takes no text with a NUL."""
    assert server.get(path).status_code == 400


def test_pages_show_every_job_once_newest_first(other: Server, scene: DemoScene) -> None:
    submitted = [other.submit(order(scene)) for _ in range(7)]
    seen, url = [], f"{other.address}/jobs?limit=3"
    while url:
        page = other.get(url.removeprefix(other.address)).json()
        seen += [job["jobID"] for job in page["jobs"]]
        url = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert seen == submitted[::-1]


def test_filters_choose_by_state_and_time(other: Server, scene: DemoScene) -> None:
    first, second = other.submit(order(scene)), other.submit(order(scene))
    other.work(first)
    created = other.get(f"/jobs/{second}").json()["created"]
    assert listed(other, "?status=successful") == [first]
    assert listed(other, "?status=accepted&status=running") == [second]
    assert listed(other, "?status=failed") == []
    assert listed(other, f"?datetime={created}") == [second]
    assert listed(other, f"?datetime={created}/..") == [second]
    assert listed(other, "?datetime=../2020-01-01T00:00:00Z") == []
    assert listed(other, "?processID=land-cover&type=process") == [second, first]
    assert listed(other, "?processID=other") == []
    assert listed(other, "?minDuration=10000") == []
    assert listed(other, "?minDuration=0&maxDuration=10000") == [first]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?limit=0", 400),
        ("?limit=1001", 400),
        ("?status=odd", 400),
        ("?limit=1&limit=2", 400),
        ("?datetime=2024-13-45", 422),
        ("?datetime=2024-02-01/2024-01-01", 422),
        ("?after=nobody", 404),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused(server: Server, query: str, status: int) -> None:
    answer = server.get(f"/jobs{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_status_counts_the_queue_before_it(other: Server, scene: DemoScene) -> None:
    other.submit(order(scene))
    patient, urgent = other.submit(order(scene)), other.submit(order(scene, priority=0))
    assert other.get(f"/jobs/{urgent}").json()["queuePosition"] == 1
    assert other.get(f"/jobs/{patient}").json()["queuePosition"] == 3


def test_a_finished_job_is_at_100_percent_and_links_its_results(server: Server, finished: str) -> None:
    status = server.get(f"/jobs/{finished}").json()
    assert (status["status"], status["progress"], status["blocksDone"]) == ("successful", 100, status["blocksTotal"])
    links = {link["rel"]: link["href"] for link in status["links"]}
    assert server.get(links["http://www.opengis.net/def/rel/ogc/1.0/results"].removeprefix(server.address)).ok
    assert server.get(links["item"].removeprefix(server.address)).json()["id"] == finished


def test_a_dismissed_job_stays_dismissed(other: Server, scene: DemoScene) -> None:
    job_id = other.submit(order(scene))
    for _ in range(2):
        answer = other.delete(f"/jobs/{job_id}")
        assert (answer.status_code, answer.json()["status"]) == (200, "dismissed")
    with Ledger.open(other.settings.database_url.get_secret_value()) as ledger:
        assert not ledger.start(job_id)


def test_a_job_that_is_over_is_not_dismissed(server: Server, finished: str) -> None:
    answer = server.delete(f"/jobs/{finished}")
    assert answer.status_code == 409
    assert server.get(f"/jobs/{finished}").json()["status"] == "successful"


def test_nobody_sees_or_dismisses_a_job_that_there_is_not(server: Server) -> None:
    for answer in (server.get("/jobs/nobody"), server.delete("/jobs/nobody"), server.get("/jobs/nobody/results")):
        assert answer.status_code == 404
        assert answer.json()["type"].endswith("/no-such-job")


def test_the_time_left_follows_the_pace_so_far() -> None:
    from contract.request import JobState, JobStatus  # noqa: PLC0415
    from service.addresses import Addresses  # noqa: PLC0415
    from service.statuses import status_info  # noqa: PLC0415

    begun = datetime(2024, 6, 1, tzinfo=UTC)
    status = JobStatus(
        job_id="a",
        state=JobState.RUNNING,
        created=begun,
        started=begun,
        blocks_done=3,
        blocks_total=12,
        owner=Terms().owner,
    )
    info = status_info(status, Addresses("http://x"), begun + timedelta(seconds=60))
    assert (info.remaining_seconds, info.progress) == (180, 25)
    assert info.message == "3 of 12 blocks done; about 3 min left"
