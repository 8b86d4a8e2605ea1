"""A generated scene, a running API that reads it, and a job that it finished."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.serving import Server, order, serving, settings_for
from workers.demo.scene import DemoScene, make_demo_scene


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> DemoScene:
    return make_demo_scene(tmp_path_factory.mktemp("scene"), shape=(256, 320))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, scene: DemoScene) -> Iterator[Server]:
    """An API that tests share: each makes jobs of its own."""
    settings = settings_for(tmp_path_factory.mktemp("data"), sources={"demo": str(scene.catalogue)})
    with serving(settings) as running:
        yield running


@pytest.fixture(scope="session")
def finished(server: Server, scene: DemoScene) -> str:
    """Id of a finished job."""
    job_id = server.submit(order(scene, title="finished", options={"outputs": ["probabilities"]}))
    server.work(job_id)
    return job_id


@pytest.fixture
def other(tmp_path: Path, scene: DemoScene) -> Iterator[Server]:
    """An API of one test's own, without any job."""
    with serving(settings_for(tmp_path, sources={"demo": str(scene.catalogue)}, max_area_km2=50)) as running:
        yield running
