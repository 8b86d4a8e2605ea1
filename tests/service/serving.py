"""The API on a port of its own, and a worker beside it that runs when a test says so."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import uvicorn

from contract.ledger import Ledger
from contract.request import MapResult
from contract.settings import Settings
from service.app import create_app
from service.shelves import SHIPPED
from workers.demo.scene import DemoScene
from workers.reading import SceneReader
from workers.run import run_job
from workers.storage import open_storage
from workers.worker import Worker

HOST = "127.0.0.1"
START_S = 20.0
EXECUTION = "/processes/land-cover/execution"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running API."""

    address: str
    settings: Settings

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(f"{self.address}{path}", timeout=30, **options)

    def post(self, path: str, body: object, **headers: str) -> requests.Response:
        return requests.post(f"{self.address}{path}", json=body, headers=headers, timeout=30)

    def head(self, path: str) -> requests.Response:
        return requests.head(f"{self.address}{path}", timeout=30)

    def delete(self, path: str) -> requests.Response:
        return requests.delete(f"{self.address}{path}", timeout=30)

    def submit(self, body: object) -> str:
        """The id of the accepted job."""
        answer = self.post(EXECUTION, body)
        assert answer.status_code == 201, answer.text
        job_id: str = answer.json()["jobID"]
        return job_id

    def work(self, job_id: str) -> MapResult:
        """Do the job as a worker would."""
        folder = open_storage(self.settings.storage_url, scratch=self.settings.data_dir / "scratch")(job_id)
        folder.prepare()
        with Ledger.open(self.settings.database_url.get_secret_value()) as ledger:
            worker = Worker(
                name="test",
                ledger=ledger,
                folder_of=lambda _: folder,
                shelves=(SHIPPED,),
                reader=SceneReader(),
                sources=self.settings.sources,
            )
            result = run_job(worker, job_id)
        folder.clean()
        return result


@contextmanager
def serving(settings: Settings) -> Iterator[Server]:
    """The API with these settings, until the block is left."""
    config = uvicorn.Config(create_app(settings), log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + START_S
        while not server.started:
            if time.monotonic() > deadline or not thread.is_alive():
                raise TimeoutError("the API did not start")
            time.sleep(0.02)
        try:
            yield Server(address=f"http://{HOST}:{listener.getsockname()[1]}", settings=settings)
        finally:
            server.should_exit = True
            thread.join(START_S)


def settings_for(folder: Path, **changed: Any) -> Settings:
    """Settings of a server without keys, limits and broker."""
    return Settings(data_dir=folder, max_jobs_at_once=None, max_jobs_per_hour=None, **changed)


def order(scene: DemoScene, **inputs: object) -> dict[str, Any]:
    """What is posted to have the scene mapped."""
    west, south, east, north = bounds(scene)
    asked = {
        "area": {"bbox": [west, south, east, north]},
        "start": scene.start.isoformat(),
        "end": scene.end.isoformat(),
        "source": "demo",
        "bundle": "spectral-rules",
    }
    return {"inputs": asked | inputs}


def bounds(scene: DemoScene) -> tuple[float, float, float, float]:
    """West, south, east, north of the scene's area in degrees."""
    import json  # noqa: PLC0415

    document = json.loads(scene.aoi.read_text())
    geometry = document.get("geometry") or document["features"][0]["geometry"]
    ring = geometry["coordinates"][0]
    while not isinstance(ring[0][0], float):
        ring = ring[0]
    xs, ys = [place[0] for place in ring], [place[1] for place in ring]
    return min(xs), min(ys), max(xs), max(ys)
