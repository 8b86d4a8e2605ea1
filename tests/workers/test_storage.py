"""A job whose results go to a bucket is the same job."""

import hashlib
from dataclasses import replace
from pathlib import Path

import obstore
import pytest
from obstore.store import LocalStore, MemoryStore, ObjectStore, S3Store, from_url

from contract.errors import OutputNotWritable
from contract.ledger import Ledger
from contract.request import JobState
from tests.buckets import bucket
from tests.bundles import write_identity_bundle
from tests.e2e.conftest import request_for
from workers.block import work_blocks
from workers.demo.scene import make_demo_scene
from workers.finish import finish_job
from workers.folder import ITEM_NAME, JobFolder
from workers.plan import plan_job
from workers.reading import SceneReader
from workers.storage import BucketFolder, open_storage
from workers.worker import Worker


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    make_demo_scene(folder, seed=5, shape=(256, 320))
    write_identity_bundle(folder / "identity", chip_px=64)
    return folder


def mapped(scene: Path, folder: JobFolder, ledger_in: Path) -> None:
    """A job, half of its blocks by one machine, half by another, finished by the second."""
    request = request_for(
        str(scene / "aoi.geojson"), scene / "catalog.json", scene / "identity", start="2021-04-01", end="2021-10-01"
    )
    request = request.model_copy(update={"options": request.options.model_copy(update={"block_px": 128})})
    with Ledger.open(f"sqlite:///{ledger_in}") as ledger:
        job_id = ledger.submit(request)
        ledger.start(job_id)
        one = Worker(name="one", ledger=ledger, folder_of=lambda _: folder, shelves=(), reader=SceneReader())
        elsewhere = replace(folder, root=folder.root.parent / "elsewhere" / folder.root.name)
        other = one if type(folder) is JobFolder else replace(one, name="other", folder_of=lambda _: elsewhere)
        plan_job(one, job_id)
        every = ledger.open_blocks(job_id)
        work_blocks(one, job_id, every[::2])
        work_blocks(other, job_id, every[1::2])
        finish_job(other, job_id)
        assert ledger.status(job_id).state is JobState.SUCCESSFUL


@pytest.fixture(scope="module")
def expected(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checksums of the rasters of the same job in a folder."""
    folder = JobFolder(tmp_path_factory.mktemp("plain") / "job")
    mapped(scene, folder, folder.root.parent / "ledger.sqlite")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.root.glob("*.tif")}


def names(store: ObjectStore, prefix: str = "") -> list[str]:
    return sorted(entry["path"] for entries in obstore.list(store, prefix=prefix) for entry in entries)


def rasters(store: ObjectStore, folder: str) -> dict[str, str]:
    """Checksums of the rasters published there."""
    found = [name for name in names(store, folder) if name.count("/") == folder.count("/") + 1]
    return {
        Path(name).name: hashlib.sha256(bytes(obstore.get(store, name).bytes())).hexdigest()
        for name in found
        if name.endswith(".tif")
    }


def test_machines_that_share_a_bucket_alone_make_the_same_map(
    scene: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    store = MemoryStore()
    folder = BucketFolder(root=tmp_path / "scratch" / "job", store=store)
    mapped(scene, folder, tmp_path / "ledger.sqlite")
    assert rasters(store, "job") == expected
    assert f"job/{ITEM_NAME}" in names(store)
    assert not list(folder.root.rglob("*.tif"))


def test_a_bucket_behind_http_has_the_same_map_and_can_be_emptied(
    scene: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    with bucket("maps") as url:
        folder = open_storage(f"{url}/all", scratch=tmp_path / "scratch")("job")
        mapped(scene, folder, tmp_path / "ledger.sqlite")
        store = from_url(url)
        assert rasters(store, "all/job") == expected
        assert f"all/job/{ITEM_NAME}" in names(store)
        folder.clean()
        assert not [name for name in names(store) if ".landsigma" in name]
        folder.discard()
        assert names(store) == []


def test_cleaning_leaves_products_and_discarding_leaves_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "bucket", mkdir=True)
    for name in ("job/item.json", "job/.landsigma/blocks/000000.1/landcover.tif", "job2/item.json"):
        obstore.put(store, name, b"x")
    folder = BucketFolder(root=tmp_path / "scratch" / "job", store=store)
    folder.prepare()
    folder.clean()
    assert names(store) == ["job/item.json", "job2/item.json"]
    assert not folder.root.exists()
    folder.discard()
    assert names(store) == ["job2/item.json"]


def test_the_item_is_published_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = BucketFolder(root=tmp_path / "job", store=MemoryStore())
    staging = folder.empty_staging(1)
    for name in ("variance.tif", ITEM_NAME, "landcover.tif"):
        (staging / name).write_bytes(b"x")
    put, order = obstore.put, []

    def noting(store: ObjectStore, key: str, file: Path) -> None:
        order.append(key)
        put(store, key, file)

    monkeypatch.setattr(obstore, "put", noting)
    folder.publish(1)
    assert order[-1] == f"job/{ITEM_NAME}"
    assert len(order) == 3


def test_a_bucket_that_does_not_answer_is_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    store = S3Store(
        "maps",
        endpoint="http://127.0.0.1:1",
        access_key_id="a",
        secret_access_key="b",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    folder = BucketFolder(root=tmp_path / "job", store=store)
    (folder.empty_staging(1) / "a.tif").write_bytes(b"x")
    with pytest.raises(OutputNotWritable, match=r"job/a\.tif"):
        folder.publish(1)


def test_a_folder_is_a_folder_and_s3_a_bucket(tmp_path: Path) -> None:
    assert open_storage(str(tmp_path), scratch=tmp_path)("j") == JobFolder(tmp_path / "j")
    folder = open_storage("s3://maps/all", scratch=tmp_path / "scratch")("j")
    assert isinstance(folder, BucketFolder)
    assert folder.root == tmp_path / "scratch" / "j"
