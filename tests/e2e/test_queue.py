"""Jobs through a real Redis and real worker processes, some of which are killed."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from contract.database import Database
from contract.ledger import Ledger
from contract.request import JobState, MapOptions, MapRequest
from contract.settings import Settings
from contract.submission import Queue, Terms
from tests.e2e.conftest import request_for
from tests.fleet import STOP_S, Broker, Fleet, broker, wait_until
from tests.storm import ride_out
from workers.storage import open_storage

PATIENCE_S = 200.0


@pytest.fixture
def redis() -> Iterator[Broker]:
    with broker() as private:
        yield private


@pytest.fixture
def settings(demo: Path, identity: Path, tmp_path: Path, redis: Broker) -> Settings:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "identity").symlink_to(identity)
    return Settings(
        data_dir=tmp_path,
        broker_url=SecretStr(redis.url),
        bundle_dirs=(tmp_path / "shelf",),
        sources={"demo": str(demo / "catalog.json")},
        lease_s=60,
        renew_s=1,
        resend_s=2,
        sweep_s=0.5,
        model_threads=1,
        log_format="json",
    )


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    with Database.open(settings.database_url.get_secret_value()) as database:
        yield Ledger(database)


@pytest.fixture
def fleet(settings: Settings, tmp_path: Path, ledger: Ledger) -> Iterator[Fleet]:  # noqa: ARG001  the ledger is made first
    (tmp_path / "logs").mkdir()
    with Fleet(settings=settings, logs=tmp_path / "logs") as processes:
        yield processes


@pytest.fixture
def request_(demo: Path) -> MapRequest:
    area, options = str(demo / "aoi.geojson"), MapOptions(block_px=128)
    return request_for(area, "demo", "identity", start="2021-04-01", end="2021-10-01", options=options)


def state_of(ledger: Ledger, job_id: str) -> JobState:
    return ledger.status(job_id).state


def test_a_small_storm_loses_nothing_and_changes_nothing(tmp_path: Path) -> None:
    counts = ride_out(tmp_path, seed=3, jobs=2, kill_every_s=6.0, patience_s=PATIENCE_S)
    assert counts["blocks"] > 20
    assert counts["Redis emptied"] == counts["API killed"] == 1


def test_a_worker_whose_message_could_not_be_acknowledged_goes_on_when_redis_is_back(
    fleet: Fleet, ledger: Ledger, request_: MapRequest, redis: Broker
) -> None:
    job_id = ledger.submit(request_)
    fleet.beat()
    fleet.worker()
    wait_until(lambda: ledger.status(job_id).blocks_done > 1, "no block was done", patience_s=PATIENCE_S)
    redis.kill()
    wait_until(lambda: "Couldn't ack" in fleet.said(), "no step ended while Redis was away")
    redis.start()
    wait_until(lambda: state_of(ledger, job_id).is_final, "the job did not end", patience_s=PATIENCE_S)
    assert state_of(ledger, job_id) is JobState.SUCCESSFUL


def test_a_process_has_one_message_at_a_time(fleet: Fleet, ledger: Ledger, request_: MapRequest, redis: Broker) -> None:
    job_id = ledger.submit(request_)
    fleet.beat()
    fleet.worker()
    taken = []

    def ended() -> bool:
        with redis.client as client:
            taken.append(client.hlen("unacked"))
        return state_of(ledger, job_id).is_final

    wait_until(ended, "the job did not end", patience_s=PATIENCE_S)
    assert max(taken) == 1


def test_a_worker_that_is_stopped_gives_its_block_back_and_another_goes_on(
    fleet: Fleet, ledger: Ledger, request_: MapRequest
) -> None:
    job_id = ledger.submit(request_)
    fleet.beat()
    first = fleet.worker()
    wait_until(lambda: ledger.status(job_id).blocks_done > 1, "no block was done", patience_s=PATIENCE_S)
    first.terminate()
    assert first.wait(STOP_S) == 0
    assert state_of(ledger, job_id) is JobState.RUNNING
    fleet.worker()
    # Within the lease of 60 s: what the first one was at is free at once.
    wait_until(lambda: state_of(ledger, job_id).is_final, "the job did not end", patience_s=50)
    status = ledger.status(job_id)
    assert (status.state, status.lost_leases, status.retries) == (JobState.SUCCESSFUL, 0, 0)


def test_a_dismissed_job_frees_its_worker_and_leaves_nothing(
    fleet: Fleet, ledger: Ledger, request_: MapRequest, settings: Settings
) -> None:
    job_id = ledger.submit(request_)
    fleet.beat()
    fleet.worker()
    wait_until(lambda: ledger.status(job_id).blocks_done > 0, "no block was done", patience_s=PATIENCE_S)
    folder = open_storage(settings.storage_url, scratch=settings.data_dir)(job_id)
    assert folder.root.exists()
    ledger.dismiss(job_id)
    wait_until(lambda: not ledger.to_clean(limit=1) and not folder.root.exists(), "its folder stays")
    assert state_of(ledger, job_id) is JobState.DISMISSED


def test_blocks_for_a_gpu_are_worked_where_one_is_said_to_be_in_one_process(
    fleet: Fleet, ledger: Ledger, request_: MapRequest
) -> None:
    job_id = ledger.submit(request_, terms=Terms(blocks_queue=Queue.BLOCKS_GPU))
    fleet.beat()
    fleet.worker()
    wait_until(lambda: ledger.status(job_id).blocks_total is not None, "it was not planned", patience_s=PATIENCE_S)
    time.sleep(2)
    assert ledger.status(job_id).blocks_done == 0
    on_gpu = fleet.worker("Queue.BLOCKS_GPU", processes=4)
    wait_until(lambda: ledger.status(job_id).blocks_done > 0, "no block was done", patience_s=PATIENCE_S)
    assert not psutil.Process(on_gpu.pid).children()
    wait_until(lambda: state_of(ledger, job_id).is_final, "the job did not end", patience_s=PATIENCE_S)
    assert state_of(ledger, job_id) is JobState.SUCCESSFUL
    assert fleet.said().count('"event": "worker ready"') == 2
