"""The client: what it asks, what it fetches, and what it does when a server is away or says something odd."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.errors import DownloadDamaged, JobUnsuccessful, OutputNotWritable, ServerRefused, ServerUnreachable
from contract.request import MapOptions
from landsigma.jobs import area_of, successful
from service import client as client_module
from service.client import Client
from service.downloads import fetch
from service.remote import Order
from tests.commands import Landsigma
from tests.service.serving import Server, bounds
from workers.demo.scene import DemoScene

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = "spectral-rules"


def nobody(_: object) -> None:
    """Looks away."""


def order_of(scene: DemoScene, **changed: Any) -> Order:
    return Order(
        area={"bbox": list(bounds(scene))}, start=scene.start, end=scene.end, source="demo", bundle=BUNDLE, **changed
    )


def published(server: Server, job_id: str) -> dict[str, bytes]:
    folder = Path(server.settings.storage_url) / job_id
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def talking(answer: Callable[[httpx.Request], httpx.Response], *, patience_s: float = 0) -> Client:
    """A client of a server that answers like this."""
    return Client("http://server", patience_s=patience_s, transport=httpx.MockTransport(answer))


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_a_job_is_submitted_seen_and_fetched(other: Server, scene: DemoScene, tmp_path: Path) -> None:
    with Client(other.address) as client:
        job = client.submit(order_of(scene, title="mine", priority=2, options=MapOptions(block_px=128)))
        assert (job.status, job.title) == ("accepted", "mine")
        other.work(job.job_id)
        looks = []
        ended = client.wait(job.job_id, looks.append, every_s=0.01)
        assert ended == client.job(job.job_id) == looks[-1]
        successful(ended)
        report = json.loads(client.read(job.job_id, "report.json"))
        assert report["request"]["options"]["block_px"] == 128
        paths = fetch(client, job.job_id, tmp_path / "out", nobody)
    assert {path.name: path.read_bytes() for path in paths} == published(other, job.job_id)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in paths}


def test_the_same_key_gets_the_same_job(other: Server, scene: DemoScene) -> None:
    with Client(other.address) as client:
        first, again = (client.submit(order_of(scene), once="march") for _ in range(2))
        assert first.job_id == again.job_id
        with pytest.raises(ServerRefused, match=r"\(409\).*march"):
            client.submit(order_of(scene, title="another", options=MapOptions(block_px=128)), once="march")


def test_jobs_are_listed_over_pages(other: Server, scene: DemoScene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAGE", 2)
    with Client(other.address) as client:
        ids = [client.submit(order_of(scene)).job_id for _ in range(5)]
        client.dismiss(ids[1])
        assert [job.job_id for job in client.jobs()] == ids[::-1]
        assert [job.job_id for job in client.jobs(statuses=["dismissed"])] == [ids[1]]


def test_a_dismissed_job_is_over_without_a_map(other: Server, scene: DemoScene) -> None:
    with Client(other.address) as client:
        job_id = client.submit(order_of(scene)).job_id
        assert client.dismiss(job_id).is_over
        with pytest.raises(JobUnsuccessful, match=f"{job_id} is dismissed"):
            successful(client.wait(job_id, nobody))


def test_a_refusal_is_in_the_words_of_the_server(other: Server, scene: DemoScene) -> None:
    with Client(other.address) as client:
        with pytest.raises(ServerRefused, match=r"\(422\).*no source 'elsewhere'"):
            client.submit(order_of(scene).model_copy(update={"source": "elsewhere"}))
        with pytest.raises(ServerRefused, match=r"\(404\)"):
            client.job("../bundles")


def test_schedules_are_made_paused_resumed_and_forgotten(other: Server, scene: DemoScene) -> None:
    wanted = {
        "title": "monthly",
        "area": {"bbox": list(bounds(scene))},
        "cron": "0 6 1 * *",
        "window_days": 30,
        "source": "demo",
        "bundle": BUNDLE,
    }
    with Client(other.address) as client:
        made = client.create_schedule(wanted)
        assert [entry.id for entry in client.schedules()] == [made.id]
        assert client.pause(made.id).paused
        assert not client.resume(made.id).paused
        assert list(client.runs(made.id)) == []
        client.delete_schedule(made.id)
        assert client.schedules() == ()


# --- downloads ------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every file that is streamed, with the byte that it is asked from."""
    calls: list[tuple[str, int]] = []
    stream = Client.stream

    def recorded(self: Client, job_id: str, name: str, start: int) -> object:
        calls.append((name, start))
        return stream(self, job_id, name, start)

    monkeypatch.setattr(Client, "stream", recorded)
    return calls


def part_of(out: Path, server: Server, job_id: str, name: str) -> Path:
    """Where a download of the file is gathered."""
    report = json.loads(published(server, job_id)["report.json"])
    (digest,) = (entry["sha256"] for entry in report["artifacts"] if entry["name"] == name)
    out.mkdir()
    return out / f".{name}.{digest[:16]}.part"


def test_a_download_that_broke_off_is_gone_on_with(
    server: Server, finished: str, tmp_path: Path, asked: list[tuple[str, int]]
) -> None:
    whole = published(server, finished)["landcover.tif"]
    part_of(tmp_path / "out", server, finished, "landcover.tif").write_bytes(whole[:1000])
    with Client(server.address) as client:
        fetch(client, finished, tmp_path / "out", nobody)
    assert ("landcover.tif", 1000) in asked
    assert (tmp_path / "out" / "landcover.tif").read_bytes() == whole


def test_what_is_there_is_not_fetched_again(
    server: Server, finished: str, tmp_path: Path, asked: list[tuple[str, int]]
) -> None:
    with Client(server.address) as client:
        fetch(client, finished, tmp_path, nobody)
        asked.clear()
        (tmp_path / "variance.tif").write_bytes(b"something else")
        fetch(client, finished, tmp_path, nobody)
    assert asked == [("variance.tif", 0)]


def test_a_damaged_part_is_thrown_away(
    server: Server, finished: str, tmp_path: Path, asked: list[tuple[str, int]]
) -> None:
    whole = published(server, finished)["landcover.tif"]
    part_of(tmp_path / "out", server, finished, "landcover.tif").write_bytes(b"x" * 1000)
    with Client(server.address) as client:
        fetch(client, finished, tmp_path / "out", nobody)
    assert [start for name, start in asked if name == "landcover.tif"] == [1000, 0]
    assert (tmp_path / "out" / "landcover.tif").read_bytes() == whole


def test_a_file_that_is_not_what_the_report_says_gets_no_name(other: Server, scene: DemoScene, tmp_path: Path) -> None:
    with Client(other.address) as client:
        job_id = client.submit(order_of(scene)).job_id
        other.work(job_id)
        path = Path(other.settings.storage_url) / job_id / "quality.tif"
        path.write_bytes(bytes(path.stat().st_size))
        with pytest.raises(DownloadDamaged, match=r"quality\.tif came damaged: its sha256"):
            fetch(client, job_id, tmp_path, nobody)
    assert not (tmp_path / "quality.tif").exists()
    assert not (tmp_path / "report.json").exists()


def test_progress_ends_at_the_size_of_all_files(server: Server, finished: str, tmp_path: Path) -> None:
    seen: list[Any] = []
    with Client(server.address) as client:
        fetch(client, finished, tmp_path, seen.append)
    done = [entry.done_bytes for entry in seen]
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert done == sorted(done)
    assert done[-1] == seen[-1].total_bytes == sum(entry["size_bytes"] for entry in report["artifacts"])


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", ".bashrc", "..", "a/b", ""])
def test_a_server_does_not_choose_where_files_are_written(name: str, tmp_path: Path) -> None:
    artifact = {"name": name, "media_type": "text/plain", "sha256": "0" * 64, "size_bytes": 1}
    client = talking(lambda _: httpx.Response(200, json={"artifacts": [artifact]}))
    with pytest.raises(DownloadDamaged, match="is no file name"):
        fetch(client, "job", tmp_path / "out", nobody)
    assert not list(tmp_path.iterdir())


def test_a_connection_that_breaks_again_and_again_delivers_in_the_end(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40
    artifact = {
        "name": "map.tif",
        "media_type": "image/tiff",
        "sha256": sha256(content).hexdigest(),
        "size_bytes": len(content),
    }
    ranges = []

    class Breaking(httpx.SyncByteStream):
        def __init__(self, start: int) -> None:
            self.start = start

        def __iter__(self) -> Any:
            yield content[self.start : self.start + 4096]
            if self.start + 4096 < len(content):
                raise httpx.ReadError("broken off")

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("report.json"):
            return httpx.Response(200, json={"artifacts": [artifact]})
        if request.url.path.endswith(".json"):
            return httpx.Response(200, json={})
        ranges.append(request.headers.get("Range"))
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        return httpx.Response(206 if start else 200, stream=Breaking(start))

    fetch(talking(answer), "job", tmp_path, nobody)
    assert (tmp_path / "map.tif").read_bytes() == content
    assert ranges == [None, "bytes=4096-", "bytes=8192-"]


def test_a_server_that_knows_no_ranges_sends_the_whole_file_once(tmp_path: Path) -> None:
    content = bytes(range(256))
    digest = sha256(content).hexdigest()
    artifact = {"name": "map.tif", "media_type": "image/tiff", "sha256": digest, "size_bytes": len(content)}
    (tmp_path / f".map.tif.{digest[:16]}.part").write_bytes(content[:100])
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path.endswith(".json"):
            return httpx.Response(200, json={"artifacts": [artifact]})
        return httpx.Response(200, stream=httpx.ByteStream(content))

    fetch(talking(answer), "job", tmp_path, nobody)
    assert (tmp_path / "map.tif").read_bytes() == content
    assert asked.count("/jobs/job/files/map.tif") == 1


def test_a_folder_that_cannot_be_written_is_named(server: Server, finished: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Client(server.address) as client, pytest.raises(OutputNotWritable, match="file/out"):
        fetch(client, finished, tmp_path / "file" / "out", nobody)


# --- servers that are away, or odd ----------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_named() -> None:
    with (
        Client("http://127.0.0.1:9", patience_s=0) as client,
        pytest.raises(ServerUnreachable, match=r"no answer from http://127\.0\.0\.1:9.*landsigma serve"),
    ):
        client.job("any")


@pytest.mark.parametrize("address", ["localhost:8080", "ftp://server", "http://", "nonsense"])
def test_an_address_that_is_none_is_said_to_be_unreachable(address: str) -> None:
    with pytest.raises(ServerUnreachable, match="no answer from"), Client(address, patience_s=0) as client:
        client.job("any")


def test_a_server_that_starts_again_is_waited_for() -> None:
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"here again")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answering, bind_and_activate=False) as server:
        server.server_bind()  # without listening: refused
        address = f"http://127.0.0.1:{server.server_address[1]}"

        def come_back() -> None:
            time.sleep(0.5)
            server.server_activate()
            server.handle_request()

        thread = threading.Thread(target=come_back)
        thread.start()
        with Client(address, patience_s=30) as client:
            assert client.ask("GET", "/").text == "here again"
        thread.join()


def test_a_proxy_without_its_server_is_asked_again_and_a_refusal_is_not() -> None:
    statuses = [503, 502, 504, 200]
    client = talking(lambda _: httpx.Response(statuses.pop(0), json={}), patience_s=30)
    assert client.ask("GET", "/").status_code == 200
    refusals = [httpx.Response(404, json={"detail": "gone"}), httpx.Response(200)]
    client = talking(lambda _: refusals.pop(0), patience_s=30)
    with pytest.raises(ServerRefused, match="gone"):
        client.ask("GET", "/")
    assert len(refusals) == 1


def test_a_schedule_is_not_made_twice_when_no_answer_comes() -> None:
    asked = []

    def silent(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ReadTimeout("no answer")

    with pytest.raises(ServerUnreachable):
        talking(silent, patience_s=30).create_schedule({})
    assert len(asked) == 1


def test_a_key_is_sent_to_its_server_alone() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        links = [{"rel": "next", "href": "http://elsewhere/jobs?after=x&limit=100"}] if len(asked) == 1 else []
        return httpx.Response(200, json={"jobs": [], "links": links})

    assert list(talking(answer).jobs()) == []
    assert asked == ["http://server/jobs?limit=100", "http://server/jobs?after=x&limit=100"]


def test_what_a_newer_server_says_besides_does_not_matter() -> None:
    job = {"jobID": "x", "status": "running", "message": "", "created": "2024-01-01T00:00:00Z", "colour": "red"}
    assert talking(lambda _: httpx.Response(200, json=job)).job("x").status == "running"


# --- commands -------------------------------------------------------------------------------------------------------


def test_jobs_are_commanded(
    other: Server, scene: DemoScene, landsigma: Landsigma, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDSIGMA_SERVER", other.address)
    span = ["--from", "2021-04-01", "--to", "2021-10-01", "--source", "demo", "--bundle", BUNDLE]
    submitted = landsigma("jobs", "submit", scene.aoi, *span, "--title", "mine", "--options", '{"block_px": 128}')
    assert submitted.status == 0, submitted.err
    job_id = submitted.out.strip()
    assert job_id in landsigma("jobs", "list", "--status", "accepted").out
    assert "mine" in landsigma("jobs", "show", job_id).out
    other.work(job_id)
    assert landsigma("jobs", "wait", job_id).status == 0
    fetched = landsigma("jobs", "fetch", job_id, "--out", tmp_path / "out")
    assert fetched.out == f"{tmp_path / 'out'}\n"
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == published(other, job_id)
    address = dict(line.split("\t") for line in landsigma("jobs", "links", job_id).out.splitlines())["landcover.tif"]
    assert httpx.get(address).content == (tmp_path / "out" / "landcover.tif").read_bytes()


def test_a_cancelled_job_ends_in_an_error_of_one_line(
    other: Server, scene: DemoScene, landsigma: Landsigma, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDSIGMA_SERVER", other.address)
    with Client(other.address) as client:
        job_id = client.submit(order_of(scene)).job_id
    assert landsigma("jobs", "cancel", job_id).out == f"job {job_id} is dismissed\n"
    ended = landsigma("jobs", "wait", job_id)
    assert ended.status == 1
    assert ended.err.splitlines()[-1].startswith(f"Error: job {job_id} is dismissed")


def test_schedules_are_commanded(
    other: Server, scene: DemoScene, landsigma: Landsigma, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDSIGMA_SERVER", other.address)
    made = landsigma(
        *("schedules", "create", scene.aoi, "--title", "monthly", "--cron", "0 6 1 * *", "--window-days", "30"),
        *("--source", "demo", "--bundle", BUNDLE),
    )
    assert made.status == 0, made.err
    schedule = made.out.strip()
    assert schedule in landsigma("schedules", "list").out
    assert "paused" in landsigma("schedules", "pause", schedule).out
    assert "paused" not in landsigma("schedules", "resume", schedule).out
    assert "0 6 1 * *" in landsigma("schedules", "show", schedule).out
    assert landsigma("schedules", "history", schedule).status == 0
    assert landsigma("schedules", "delete", schedule).status == 0
    assert schedule not in landsigma("schedules", "list").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--options", '{"block_px": 1}'], ["block_px", "64"]),
        (["--options", "{"], ["JSON"]),
        (["--queue", "fast"], ["--queue", "blocks.gpu"]),
        (["--priority", "10"], ["--priority", "9"]),
    ],
)
def test_wrong_usage_is_said_before_a_server_is_asked(
    arguments: list[str], words: list[str], landsigma: Landsigma
) -> None:
    span = ["--from", "2021-04-01", "--to", "2021-10-01", "--bundle", BUNDLE]
    ended = landsigma("jobs", "submit", "1,2,3,4", *span, *arguments, "--server", "http://127.0.0.1:9")
    assert ended.status == 2
    assert all(word in ended.err.splitlines()[-1] for word in words), ended.err


@pytest.mark.parametrize("given", ["-63.5,-10.2,-63.4,-10.1", " 1, 2 ,3.5,4 "])
def test_a_box_goes_as_it_is(given: str) -> None:
    assert area_of(given) == {"bbox": [float(number) for number in given.split(",")]}


def test_geojson_goes_as_it_is_and_other_formats_are_read_here(tmp_path: Path) -> None:
    ring = [[10.0, 48.0], [10.5, 48.0], [10.5, 48.25], [10.0, 48.0]]
    polygon = {"type": "Polygon", "coordinates": [ring], "name": "kept"}
    (tmp_path / "aoi.geojson").write_text(json.dumps(polygon))
    assert area_of(str(tmp_path / "aoi.geojson")) == area_of(json.dumps(polygon)) == polygon
    read = area_of("POLYGON((10 48, 10.5 48, 10.5 48.25, 10 48))")
    assert read["type"] == "MultiPolygon"
    assert {tuple(place) for place in read["coordinates"][0][0]} == {tuple(place) for place in ring}


def test_a_country_is_not_too_large_to_be_sent() -> None:
    """Schedules cut it into jobs; what is too large for one job, the server says."""
    germany = "POLYGON((6 50, 8.3 54.9, 14.3 53.7, 15 51, 13.8 48.6, 10.4 47.4, 7.6 47.6, 6 50))"
    assert area_of(germany)["type"] == "MultiPolygon"


def test_a_client_needs_no_package_of_the_server_or_of_mapping(server: Server, finished: str, tmp_path: Path) -> None:
    absent = [
        "numpy",
        "rasterio",
        "shapely",
        "pyproj",
        "celery",
        "redis",
        "fastapi",
        "uvicorn",
        "obstore",
        "sqlalchemy",
    ]
    commands = [["jobs", "list"], ["jobs", "fetch", finished, "--out", str(tmp_path / "out")]]
    for command in commands:
        script = (
            f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
            f"sys.argv[1:] = {[*command, '--server', server.address]!r}\n"
            "import landsigma; landsigma.main()"
        )
        ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out" / "landcover.tif").is_file()
