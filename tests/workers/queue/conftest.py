"""A ledger with a planned job, Redis, and hands that work in the process of a test."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from contract.request import MapOptions, MapRequest
from contract.settings import Settings
from tests.bundles import write_identity_bundle
from tests.e2e.conftest import request_for
from tests.fleet import Broker, broker
from workers.demo.scene import make_demo_scene
from workers.queue.app import make_app
from workers.queue.hands import Hands, open_hands


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a generated scene with catalog.json and aoi.geojson."""
    folder = tmp_path_factory.mktemp("scene")
    make_demo_scene(folder, seed=5, shape=(256, 320))
    return folder


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    write_identity_bundle(folder / "identity", chip_px=64)
    return folder


@pytest.fixture(scope="session")
def request_(scene: Path) -> MapRequest:
    """A job of a few blocks, of a source and a bundle by name."""
    area, options = str(scene / "aoi.geojson"), MapOptions(block_px=128)
    return request_for(area, "demo", "identity", start="2021-04-01", end="2021-10-01", options=options)


@pytest.fixture(scope="module")
def redis() -> Iterator[Broker]:
    with broker() as private:
        yield private


@pytest.fixture
def settings(scene: Path, shelf: Path, redis: Broker, tmp_path: Path) -> Settings:
    redis.client.flushall()
    return Settings(
        data_dir=tmp_path,
        broker_url=SecretStr(redis.url),
        bundle_dirs=(shelf,),
        sources={"demo": str(scene / "catalog.json")},
        lease_s=1.0,
        renew_s=0.2,
        retry_base_s=0.01,
        max_attempts=3,
        in_flight=4,
    )


@pytest.fixture
def leaving() -> threading.Event:
    return threading.Event()


@pytest.fixture
def hands(settings: Settings, leaving: threading.Event) -> Iterator[Hands]:
    app = make_app(settings)
    made = open_hands(settings, app, 1, leaving)
    yield made
    made.database.close()
    app.close()
