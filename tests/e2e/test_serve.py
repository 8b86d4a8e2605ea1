"""`landsigma serve`: a job over HTTP, parts that are killed meanwhile, and an end without anything left behind."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import rasterio

from contract.request import MapOptions, MapResult
from service.client import Client
from service.downloads import fetch
from service.remote import Order
from tests.e2e.conftest import COMMAND, ROOT
from tests.fleet import broker, free_port, wait_until

PATIENCE_S = 180.0
SOON_S = 30.0
"""A stop takes a few seconds; more where the machine is busy."""
START, END = "2021-04-01", "2021-10-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A process of the command line, and what it says."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def said(self) -> str:
        return self.log.read_text()

    def says(self, words: str) -> None:
        def is_there() -> bool:
            assert self.process.poll() is None, self.said()
            return words in self.said()

        wait_until(is_there, f"it did not say {words!r}: {self.said()}", patience_s=PATIENCE_S)

    def part(self, word: str) -> psutil.Process:
        """The child whose command has this word."""
        children = psutil.Process(self.process.pid).children()
        (found,) = (child for child in children if word in " ".join(child.cmdline()))
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status."""
        self.process.send_signal(number)
        return self.process.wait(SOON_S)


Start = Callable[..., Service]


@pytest.fixture
def start(demo: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts commands that know the generated scenes, and kills them after the test."""
    environment = {
        "LANDSIGMA_DATA_DIR": str(tmp_path / "data"),
        "LANDSIGMA_SOURCES": json.dumps({"demo": str(demo / "catalog.json")}),
        "LANDSIGMA_RESEND_S": "2",
        "LANDSIGMA_SWEEP_S": "0.5",
        "LANDSIGMA_LEASE_S": "6",
        "LANDSIGMA_RENEW_S": "1",
        "LANDSIGMA_MODEL_THREADS": "1",
    }
    with ExitStack() as running:

        def begin(*arguments: str, **further: str) -> Service:
            path = tmp_path / f"{len(list(tmp_path.glob('*.log')))}.log"
            with path.open("wb") as log:
                process = subprocess.Popen(
                    [*COMMAND, *arguments], cwd=ROOT, env=os.environ | environment | further, stdout=log, stderr=log
                )
            running.callback(process.wait)
            running.callback(process.kill)
            return Service(process=process, log=path)

        yield begin


def address_in(said: str) -> str:
    return next(word.rstrip(";") for word in said.split() if word.startswith("http://"))


def order_of(demo: Path) -> Order:
    return Order(
        area=json.loads((demo / "aoi.geojson").read_text()),
        start=f"{START}T00:00:00Z",
        end=f"{END}T00:00:00Z",
        source="demo",
        bundle="spectral-rules",
        options=MapOptions(block_px=64),
    )


def pixels(folder: Path) -> dict[str, np.ndarray]:
    """Every band of every raster of a job."""
    arrays = {}
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as raster:
            arrays[path.name] = raster.read()
    return arrays


def test_a_job_over_http_gives_the_pixels_of_the_command_line_whatever_is_killed_meanwhile(
    start: Start, demo: Path, finished: Path, tmp_path: Path
) -> None:
    server = start("serve", "--port", "0")
    server.says("landsigma listens on ")
    address = address_in(server.said().partition("landsigma listens on ")[2])
    with Client(address, patience_s=PATIENCE_S) as client:
        job_id = client.submit(order_of(demo)).job_id
        wait_until(lambda: client.job(job_id).blocks_done > 1, "no block was done", patience_s=PATIENCE_S)
        for part in [server.part(word) for word in ("--queues", "redis-server", "--no-worker")]:
            part.kill()
        ended = client.wait(job_id, lambda _: None)
        assert ended.status == "successful", (ended, server.said())
        assert ended.blocks_total is not None
        assert ended.blocks_total > 20
        fetch(client, job_id, tmp_path / "out", lambda _: None)
        link = client.links(job_id).files["landcover.tif"]
    mapped, expected = pixels(tmp_path / "out"), pixels(finished)
    assert mapped.keys() == expected.keys()
    for name, bands in expected.items():
        assert np.array_equal(mapped[name], bands), name
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(f"/vsicurl/{link}") as raster:
        assert np.array_equal(raster.read(), expected["landcover.tif"])

    second = start("serve", "--port", "0")
    assert second.process.wait(SOON_S) == 1
    assert f"a server runs on {tmp_path / 'data'} already, as process {server.process.pid}" in second.said()

    parts = psutil.Process(server.process.pid).children(recursive=True)
    assert len(parts) >= 5  # Redis, API, worker and the process that works, beat
    assert server.stop() == 0
    assert not psutil.wait_procs(parts, timeout=SOON_S)[1]


def test_a_server_that_is_killed_leaves_no_process_behind(start: Start) -> None:
    server = start("serve", "--port", "0")
    server.says("landsigma listens on ")
    parts = psutil.Process(server.process.pid).children(recursive=True)
    server.process.kill()
    assert not psutil.wait_procs(parts, timeout=SOON_S)[1]


def test_api_worker_and_beat_run_apart(start: Start, demo: Path) -> None:
    port = free_port()
    with broker() as redis:
        apart = {"LANDSIGMA_BROKER_URL": redis.url, "LANDSIGMA_PORT": str(port)}
        worker = start("worker", "--queues", "plan,blocks.cpu", **apart)
        services = [start("serve", "--no-worker", **apart), start("beat", **apart), worker]
        worker.says("worker ready")
        with Client(f"http://127.0.0.1:{port}", patience_s=PATIENCE_S) as client:
            wait_until(lambda: client.ask("GET", "/ready").is_success, "it is not ready", patience_s=PATIENCE_S)
            job_id = client.submit(order_of(demo)).job_id
            assert client.wait(job_id, lambda _: None).status == "successful"
            report = MapResult.model_validate_json(client.read(job_id, "report.json"))
        assert report.blocks > 20
        assert [service.stop(signal.SIGINT if service is services[0] else signal.SIGTERM) for service in services] == [
            0,
            0,
            0,
        ]
