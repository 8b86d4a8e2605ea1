"""A small generated landscape, and `landsigma map` on it in this process or in one of its own."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contract.ledger import Ledger
from contract.request import MapOptions, MapRequest, MapResult
from tests.bundles import write_identity_bundle
from workers.aoi import read_aoi
from workers.demo.scene import make_demo_scene
from workers.folder import JobFolder
from workers.reading import SceneReader
from workers.run import run_in_folder
from workers.worker import Worker

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "landsigma")
SAVANNA_BBOX = "33.002,-15.447,33.035,-15.379"
"""Inside the one savanna scene, on all sides."""
FLOAT32_DB = 1e-5
"""What the logarithm of a power may be off in single precision, down to -40 dB."""


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a generated scene, not square, with catalog.json and aoi.geojson."""
    folder = tmp_path_factory.mktemp("demo")
    make_demo_scene(folder, seed=7, shape=(420, 540))
    return folder


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that gives its input back, with chips smaller than most maps."""
    folder = tmp_path_factory.mktemp("identity")
    write_identity_bundle(folder, chip_px=64)
    return folder


@pytest.fixture(scope="session")
def finished(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a job left: the generated scene, mapped with the bundle that is shipped. Not to be written to."""
    out = tmp_path_factory.mktemp("finished") / "out"
    span = {"start": "2021-04-01", "end": "2021-10-01"}
    map_into(request_for(str(demo / "aoi.geojson"), demo / "catalog.json", "spectral-rules", **span), out)
    return out


def request_for(
    aoi: str, source: Path | str, bundle: Path | str, *, start: str, end: str, options: MapOptions | None = None
) -> MapRequest:
    """A request, with dates as YYYY-MM-DD."""
    return MapRequest(
        area=read_aoi(aoi, max_area_km2=1e6).area(),
        start=datetime.fromisoformat(start).replace(tzinfo=UTC),
        end=datetime.fromisoformat(end).replace(tzinfo=UTC),
        source=str(source),
        bundle=str(bundle),
        options=options or MapOptions(),
    )


def map_into(request: MapRequest, out: Path, *, resume: bool = False, reader: SceneReader | None = None) -> MapResult:
    """Run the job in this process."""
    folder = JobFolder(out)

    def make_worker(ledger: Ledger) -> Worker:
        return Worker(
            name="test",
            ledger=ledger,
            folder_of=lambda _: folder,
            shelves=(ROOT / "deploy" / "models",),
            reader=reader or SceneReader(),
        )

    return run_in_folder(request, folder, make_worker, resume=resume)


Landsigma = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def landsigma() -> Iterator[Landsigma]:
    """Starts the command line in a process of its own, which does not outlive the test."""
    with ExitStack() as processes:

        def start(*arguments: str | Path) -> "subprocess.Popen[str]":
            command = [*COMMAND, *map(str, arguments)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
            processes.enter_context(process)
            processes.callback(process.kill)  # before the block of the process waits for its end
            return process

        yield start
