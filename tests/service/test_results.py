"""What finished jobs gave, as a document, as values and as files."""

from base64 import b64decode
from pathlib import Path

import pytest

from contract.ledger import Ledger
from service.storage import Results, StorageUnusable
from tests.buckets import bucket
from tests.service.serving import Server, order, serving, settings_for
from workers.demo.scene import DemoScene


def path_of(server: Server, job_id: str, name: str) -> Path:
    return Path(server.settings.storage_url) / job_id / name


def test_every_published_file_is_linked_and_served_as_it_is(server: Server, finished: str) -> None:
    document = server.get(f"/jobs/{finished}/results").json()
    names = {entry["title"] for entry in document.values()}
    assert names == {path.name for path in path_of(server, finished, "").iterdir() if path.is_file()}
    assert {"landcover", "variance", "quality", "preview", "report", "item", "probabilities"} <= set(document)
    for output, entry in document.items():
        content = path_of(server, finished, entry["title"]).read_bytes()
        assert server.get(entry["href"].removeprefix(server.address)).content == content
        answer = server.get(f"/jobs/{finished}/results/{output}")
        assert answer.content == content
        assert answer.headers["content-type"].replace(" ", "").startswith(entry["type"].replace(" ", ""))


def test_values_come_where_they_are_asked_for(server: Server, finished: str) -> None:
    answer = server.get(f"/jobs/{finished}/results", headers={"Prefer": "return=representation"})
    assert answer.headers["Preference-Applied"] == "return=representation"
    document = answer.json()
    assert document["report"]["value"]["job_id"] == finished
    assert document["landcover"]["encoding"] == "base64"
    assert b64decode(document["landcover"]["value"]) == path_of(server, finished, "landcover.tif").read_bytes()


@pytest.mark.parametrize(
    ("asked", "first", "stop"),
    [("bytes=0-99", 0, 100), ("bytes=100-", 100, None), ("bytes=-50", -50, None), ("bytes=10-10", 10, 11)],
)
def test_a_range_is_those_bytes(server: Server, finished: str, asked: str, first: int, stop: int | None) -> None:
    content = path_of(server, finished, "landcover.tif").read_bytes()
    answer = server.get(f"/jobs/{finished}/files/landcover.tif", headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == content[first:stop]
    begin = first % len(content)
    assert answer.headers["Content-Range"] == f"bytes {begin}-{begin + len(answer.content) - 1}/{len(content)}"


def test_files_and_ranges_of_a_bucket_are_those_of_a_folder(
    server: Server, finished: str, scene: DemoScene, tmp_path: Path
) -> None:
    content = path_of(server, finished, "landcover.tif").read_bytes()
    with (
        bucket("maps") as url,
        serving(settings_for(tmp_path, storage_url=f"{url}/all", sources={"demo": str(scene.catalogue)})) as running,
    ):
        job_id = running.submit(order(scene))
        running.work(job_id)
        assert running.get("/ready").json()["storage"]
        path = f"/jobs/{job_id}/files/landcover.tif"
        whole, part = running.get(path), running.get(path, headers={"Range": "bytes=100-1099"})
    assert (whole.status_code, whole.content) == (200, content)
    assert (part.status_code, part.content) == (206, content[100:1100])
    assert part.headers["Content-Range"] == f"bytes 100-1099/{len(content)}"


@pytest.mark.parametrize("asked", ["bytes=10-5", "bytes=x-", "lines=0-1", "bytes=-", "bytes=0-1,4-5"])
def test_what_is_no_single_range_gets_the_whole_file(server: Server, finished: str, asked: str) -> None:
    answer = server.get(f"/jobs/{finished}/files/landcover.tif", headers={"Range": asked})
    assert answer.status_code == 200
    assert len(answer.content) == path_of(server, finished, "landcover.tif").stat().st_size


def test_a_range_outside_of_the_file_is_refused_with_its_size(server: Server, finished: str) -> None:
    size = path_of(server, finished, "landcover.tif").stat().st_size
    answer = server.get(f"/jobs/{finished}/files/landcover.tif", headers={"Range": f"bytes={size}-"})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{size}"
    assert answer.json()["limit"] == size


def test_a_range_of_another_version_gets_the_whole_file(server: Server, finished: str) -> None:
    path = f"/jobs/{finished}/files/landcover.tif"
    tag = server.get(path).headers["ETag"]
    same = server.get(path, headers={"Range": "bytes=0-9", "If-Range": tag})
    changed = server.get(path, headers={"Range": "bytes=0-9", "If-Range": '"another"'})
    assert (same.status_code, changed.status_code) == (206, 200)
    known = server.get(path, headers={"If-None-Match": tag})
    assert (known.status_code, known.content) == (304, b"")


def test_head_tells_size_and_tag_without_the_bytes(server: Server, finished: str) -> None:
    path = f"/jobs/{finished}/files/landcover.tif"
    head, whole = server.head(path), server.get(path)
    assert head.content == b""
    for name in ("Content-Length", "ETag", "Accept-Ranges", "Last-Modified", "Content-Type"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    "name", ["..%2f..%2fledger.sqlite", "%2e%2e/ledger.sqlite", "%2fetc%2fpasswd", ".landsigma", "nothing.tif", "..\\x"]
)
def test_no_name_leaves_what_the_job_published(server: Server, finished: str, name: str) -> None:
    answer = server.get(f"/jobs/{finished}/files/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_link_out_of_the_results_is_not_followed(server: Server, scene: DemoScene, tmp_path: Path) -> None:
    job_id = server.submit(order(scene))
    server.work(job_id)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path = path_of(server, job_id, "landcover.tif")
    path.unlink()
    path.symlink_to(secret)
    assert server.get(f"/jobs/{job_id}/files/landcover.tif").status_code == 404


def test_a_file_that_cannot_be_read_is_no_file_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "job").write_text("no folder")
    with Ledger.open(server.settings.database_url.get_secret_value()) as ledger:
        results = Results(str(tmp_path), ledger)
        for ask in (results.blob, results.read):
            with pytest.raises(StorageUnusable, match=r"^cannot read job/a\.tif: .*LANDSIGMA_STORAGE_URL"):
                ask("job", "a.tif")


def test_a_job_that_is_not_done_has_no_results_yet(server: Server, scene: DemoScene) -> None:
    job_id = server.submit(order(scene))
    answer = server.get(f"/jobs/{job_id}/results")
    assert answer.status_code == 404
    assert answer.json()["type"].endswith("/result-not-ready")
    server.delete(f"/jobs/{job_id}")
    assert "dismissed" in server.get(f"/jobs/{job_id}/results").json()["detail"]
