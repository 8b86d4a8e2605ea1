"""What a job in a folder of its own leaves there when it ends early."""

from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import rasterio

from contract.errors import (
    AoiEmpty,
    BundleNotFound,
    Interrupted,
    JobFolderInUse,
    LandsigmaError,
    LedgerUnusable,
    NoScenes,
)
from contract.ledger import Ledger
from contract.request import BlockReport, MapOptions, MapRequest, MapResult
from landsigma import shelves
from workers.aoi import read_aoi
from workers.demo.scene import DemoScene, make_demo_scene
from workers.folder import JobFolder
from workers.reading import SceneReader
from workers.run import run_in_folder
from workers.worker import NobodyWatches, Watcher, Worker

NOWHERE = "10.40001,48.73,10.40004,48.73003"
"""Inside one pixel, beside its centre."""


class StopsAfterABlock(NobodyWatches):
    """Interrupts the job as soon as its first block is finished."""

    def __init__(self) -> None:
        self.stop = Event()

    def block_done(self, report: BlockReport) -> None:  # noqa: ARG002
        self.stop.set()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> DemoScene:
    return make_demo_scene(tmp_path_factory.mktemp("scene"), shape=(256, 320))


def request_for(scene: DemoScene, **changed: object) -> MapRequest:
    return MapRequest(
        area=read_aoi(str(scene.aoi), max_area_km2=1e4).area(),
        start=scene.start,
        end=scene.end,
        source=str(scene.catalogue),
        bundle="spectral-rules",
        options=MapOptions(block_px=128),
    ).model_copy(update=changed)


def run(
    request: MapRequest,
    folder: JobFolder,
    *,
    resume: bool = False,
    watcher: Watcher | None = None,
    stop: Event | None = None,
    threads: int = 0,
) -> MapResult:
    def make_worker(ledger: Ledger) -> Worker:
        return Worker(
            name="test",
            ledger=ledger,
            folder_of=lambda _: folder,
            shelves=shelves(),
            reader=SceneReader(),
            threads=threads,
            watcher=watcher or NobodyWatches(),
            stop=stop or Event(),
        )

    return run_in_folder(request, folder, make_worker, resume=resume)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"bundle": "unknown"}, BundleNotFound),
        ({"area": read_aoi(NOWHERE, max_area_km2=1).area()}, AoiEmpty),
        ({"end": datetime(2021, 4, 2, tzinfo=UTC)}, NoScenes),
    ],
)
def test_a_job_that_is_refused_leaves_the_folder_free(
    changed: dict[str, object], error: type[LandsigmaError], scene: DemoScene, tmp_path: Path
) -> None:
    with pytest.raises(error):
        run(request_for(scene, **changed), JobFolder(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_ledger_that_cannot_be_made_leaves_the_folder_free(
    scene: DemoScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JobFolder, "ledger_url", f"sqlite:///{tmp_path / 'missing' / 'ledger.sqlite'}")
    with pytest.raises(LedgerUnusable):
        run(request_for(scene), JobFolder(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_broken_ledger_costs_no_finished_block(scene: DemoScene, tmp_path: Path) -> None:
    folder, watcher = JobFolder(tmp_path), StopsAfterABlock()
    with pytest.raises(Interrupted):
        run(request_for(scene), folder, watcher=watcher, stop=watcher.stop)
    (folder.work / "ledger.sqlite").write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    with pytest.raises(LedgerUnusable):
        run(request_for(scene), folder, resume=True)
    assert folder.has_blocks


def test_a_job_stopped_before_its_first_block_can_simply_start_again(scene: DemoScene, tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Interrupted):
        run(request_for(scene), JobFolder(tmp_path), stop=stop)
    assert not list(tmp_path.iterdir())


def test_chips_that_are_in_the_model_at_once_end_where_they_belong(scene: DemoScene, tmp_path: Path) -> None:
    maps = []
    for threads in (1, 3):
        folder = JobFolder(tmp_path / str(threads))
        run(request_for(scene, options=MapOptions()), folder, threads=threads)
        with rasterio.open(folder.root / "landcover.tif") as landcover:
            maps.append(landcover.read(1))
    assert len(np.unique(maps[0])) > 2
    np.testing.assert_array_equal(*maps)


def test_a_job_stopped_later_is_not_lost_by_accident(scene: DemoScene, tmp_path: Path) -> None:
    folder, watcher = JobFolder(tmp_path), StopsAfterABlock()
    with pytest.raises(Interrupted):
        run(request_for(scene), folder, watcher=watcher, stop=watcher.stop)
    with pytest.raises(JobFolderInUse, match="--resume"):
        run(request_for(scene), folder)
    other = request_for(scene, options=MapOptions(block_px=96))
    with pytest.raises(JobFolderInUse, match="differs in options"):
        run(other, folder, resume=True)
    assert folder.has_blocks
    assert run(request_for(scene), folder, resume=True).blocks > 1
    assert not folder.work.exists()
