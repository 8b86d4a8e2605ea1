"""What a job was planned with is what finishes it, and no work is thrown away on the way."""

import json
import shutil
from pathlib import Path

import pytest

from contract.errors import BundleInvalid, BundleNotFound, JobEnded, JobFolderInUse
from contract.ledger import Ledger
from contract.request import JobState, MapOptions, MapRequest
from tests.e2e.conftest import map_into, request_for
from workers.block import work_blocks
from workers.finish import finish_job
from workers.folder import JobFolder
from workers.plan import plan_job
from workers.reading import SceneReader
from workers.worker import Worker


@pytest.fixture
def bundle(identity: Path, tmp_path: Path) -> Path:
    """A copy of the identity bundle, to be changed."""
    return Path(shutil.copytree(identity, tmp_path / "bundle"))


@pytest.fixture
def request_(demo: Path, bundle: Path) -> MapRequest:
    area, source = str(demo / "aoi.geojson"), demo / "catalog.json"
    return request_for(area, source, bundle, start="2021-04-01", end="2021-10-01", options=MapOptions(block_px=128))


def worker_in(folder: JobFolder, ledger: Ledger, name: str = "one") -> Worker:
    return Worker(name=name, ledger=ledger, folder_of=lambda _: folder, shelves=(), reader=SceneReader())


def begin(request: MapRequest, out: Path) -> None:
    """Leave a job of which two blocks are done."""
    folder = JobFolder(out)
    folder.prepare()
    with Ledger.open(folder.ledger_url) as ledger:
        worker, job_id = worker_in(folder, ledger), ledger.submit(request)
        ledger.start(job_id)
        plan_job(worker, job_id)
        work_blocks(worker, job_id, ledger.open_blocks(job_id)[:2])


def done(out: Path) -> int:
    with Ledger.open(JobFolder(out).ledger_url) as ledger:
        return ledger.jobs(limit=1)[0].blocks_done


def test_a_bundle_that_changed_is_refused_and_blocks_are_kept(
    request_: MapRequest, bundle: Path, tmp_path: Path
) -> None:
    begin(request_, tmp_path / "out")
    manifest = bundle / "manifest.json"
    before = manifest.read_text()
    manifest.write_text(json.dumps(json.loads(before) | {"version": "2"}))
    with pytest.raises(BundleInvalid, match="planned with identity 1"):
        map_into(request_, tmp_path / "out", resume=True)
    assert done(tmp_path / "out") == 2
    manifest.write_text(before)
    assert map_into(request_, tmp_path / "out", resume=True).bundle.version == "1"


def test_a_bundle_that_is_away_for_a_while_costs_no_block(request_: MapRequest, bundle: Path, tmp_path: Path) -> None:
    begin(request_, tmp_path / "out")
    bundle.rename(tmp_path / "away")
    with pytest.raises(BundleNotFound):
        map_into(request_, tmp_path / "out", resume=True)
    assert done(tmp_path / "out") == 2


def test_a_worker_that_lost_its_lease_leaves_its_heirs_block_alone(request_: MapRequest, tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "out")
    folder.prepare()
    with Ledger.open(folder.ledger_url) as ledger:
        job_id = ledger.submit(request_)
        ledger.start(job_id)
        plan_job(worker_in(folder, ledger), job_id)
        late = ledger.claim(job_id, 0, owner="late", lease_s=0)
        assert late is not None
        work_blocks(worker_in(folder, ledger, "heir"), job_id, [0])
        heirs = {path.name: path.stat().st_mtime_ns for path in folder.block(0, 2).iterdir()}
        work_blocks(worker_in(folder, ledger, "late"), job_id, [0])
        assert {path.name: path.stat().st_mtime_ns for path in folder.block(0, 2).iterdir()} == heirs
        assert ledger.block_reports(job_id)[0].attempt == 2


def test_a_dismissed_job_publishes_nothing(request_: MapRequest, tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "out")
    folder.prepare()
    with Ledger.open(folder.ledger_url) as ledger:
        worker, job_id = worker_in(folder, ledger), ledger.submit(request_)
        ledger.start(job_id)
        plan_job(worker, job_id)
        work_blocks(worker, job_id, ledger.open_blocks(job_id))
        ledger.dismiss(job_id)
        with pytest.raises(JobEnded, match="dismissed"):
            finish_job(worker, job_id)
        assert ledger.status(job_id).state is JobState.DISMISSED
    assert [path.name for path in folder.root.iterdir()] == [".landsigma"]


def test_planning_blocks_and_finishing_twice_changes_nothing(request_: MapRequest, tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "out")
    folder.prepare()
    with Ledger.open(folder.ledger_url) as ledger:
        worker, job_id = worker_in(folder, ledger), ledger.submit(request_)
        ledger.start(job_id)
        assert plan_job(worker, job_id) == plan_job(worker, job_id)
        every = ledger.open_blocks(job_id)
        for _ in range(2):
            work_blocks(worker, job_id, every)
        reports = ledger.block_reports(job_id)
        assert [report.attempt for report in reports] == [1] * len(every)
        assert finish_job(worker, job_id) == finish_job(worker, job_id)


def test_a_folder_with_files_of_ones_own_is_left_alone(request_: MapRequest, tmp_path: Path) -> None:
    mine = tmp_path / "out" / "landcover.tif"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(JobFolderInUse, match="choose an empty folder"):
        map_into(request_, mine.parent)
    assert mine.read_text() == "mine"
