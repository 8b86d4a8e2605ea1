"""Schedules over HTTP, and the links to what their runs published."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import requests

from contract.database import Database
from contract.keys import KeyStore, Scope
from contract.ledger import Ledger
from contract.schedule_store import ScheduleStore
from service.cells import cells_in
from service.shelves import SHIPPED
from tests.service.serving import Server, bounds, serving, settings_for
from tests.service.test_links import opened_by_gdal, raw_get, status
from workers.aoi import geometry_of, read_aoi
from workers.demo.scene import DemoScene
from workers.folder import JobFolder
from workers.queue.ticks import submit_run, tick
from workers.reading import SceneReader
from workers.region import cut_region
from workers.worker import Worker


@pytest.fixture
def server(tmp_path: Path, scene: DemoScene) -> Iterator[Server]:
    with serving(settings_for(tmp_path, sources={"demo": str(scene.catalogue)})) as running:
        yield running


def asked(scene: DemoScene, **changed: object) -> dict[str, Any]:
    """What is posted to have the scene mapped at noon."""
    body = {
        "title": "region",
        "area": {"bbox": list(bounds(scene))},
        "cron": "0 12 * * *",
        "span": {"start": f"{scene.start:%Y-%m-%d}", "end": f"{scene.end:%Y-%m-%d}"},
        "source": "demo",
        "bundle": "spectral-rules",
    } | changed
    return {name: value for name, value in body.items() if value is not None}


def test_a_schedule_is_made_shown_paused_resumed_and_deleted(server: Server, scene: DemoScene) -> None:
    made = server.post("/schedules", asked(scene))
    assert made.status_code == 201, made.text
    path = f"/schedules/{made.json()['id']}"
    assert made.headers["Location"] == f"{server.address}{path}"
    shown = server.get(path).json()
    assert shown == made.json()
    times = [datetime.fromisoformat(time) for time in shown["next"]]
    assert [(time.hour, time.minute) for time in times] == [(12, 0)] * 3
    assert datetime.now(UTC) < times[0] < times[1] < times[2]
    paused = server.post(f"{path}/pause", None).json()
    assert (paused["paused"], paused["next"]) == (True, [])
    assert server.post(f"{path}/resume", None).json()["paused"] is False
    assert [one["id"] for one in server.get("/schedules").json()["schedules"]] == [shown["id"]]
    assert server.get(f"{path}/runs").json()["runs"] == []
    assert requests.delete(f"{server.address}{path}", timeout=10).status_code == 204
    assert server.get(path).status_code == 404
    assert server.get("/schedules").json()["schedules"] == []


@pytest.mark.parametrize(
    ("changed", "code", "field"),
    [
        ({"cron": "0 12 * *"}, 422, "cron"),
        ({"cron": "0 12 30 2 *"}, 422, "cron"),
        ({"cron": "@daily"}, 422, "cron"),
        ({"span": None}, 422, "schedule"),
        ({"window_days": 30}, 422, "schedule"),
        ({"span": {"start": "2021-10-01", "end": "2021-04-01"}}, 422, "span"),
        ({"source": "https://example.org/stac"}, 422, "source"),
        ({"bundle": "../models/spectral-rules"}, 422, "bundle"),
        ({"options": {"outputs": ["height"]}}, 422, "outputs"),
        ({"options": {"crs": "/etc/passwd"}}, 400, "body.options.crs"),
        ({"area": {"bbox": [1, 2, 1, 2]}}, 422, "inputs.area"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_mapped_is_refused_when_it_is_asked_for(
    changed: dict[str, object], code: int, field: str, server: Server, scene: DemoScene
) -> None:
    refused = server.post("/schedules", asked(scene, **changed))
    assert (refused.status_code, refused.json()["field"]) == (code, field), refused.text
    assert server.get("/schedules").json()["schedules"] == []


def test_a_region_may_be_larger_than_a_job(tmp_path: Path, scene: DemoScene) -> None:
    settings = settings_for(tmp_path, sources={"demo": str(scene.catalogue)}, max_area_km2=10)
    with serving(settings) as server:
        assert server.post("/schedules", asked(scene, area={"bbox": [5, 45, 15, 50]})).status_code == 201


GERMANY = [
    *([6.0, 50.0], [6.2, 51.8], [7.1, 53.6], [8.6, 53.9], [8.3, 54.9], [9.9, 54.8], [11.0, 54.3], [13.4, 54.6]),
    *([14.3, 53.7], [14.7, 51.9], [15.0, 51.0], [12.2, 50.2], [13.8, 48.6], [12.9, 47.6], [10.4, 47.4], [7.6, 47.6]),
    *([8.2, 49.0], [6.4, 49.4], [6.0, 50.0]),
]
"""Roughly."""
THE_EU = [
    *([-9.5, 36.9], [-9.3, 43.2], [-1.8, 43.4], [-4.8, 48.5], [2.5, 51.1], [8.0, 54.0], [8.2, 57.1], [11.0, 59.0]),
    *([12.0, 64.0], [20.0, 69.0], [28.0, 70.0], [31.5, 62.9], [27.5, 57.5], [23.5, 54.0], [22.5, 49.0], [29.5, 45.5]),
    *([27.5, 42.0], [26.5, 35.0], [21.5, 36.7], [15.0, 36.5], [8.3, 38.9], [3.5, 42.3], [-2.0, 36.7], [-9.5, 36.9]),
]
"""Roughly, with some sea."""


@pytest.mark.parametrize(("outline", "at_least"), [(GERMANY, 60), (THE_EU, 700)], ids=["Germany", "the EU"])
def test_a_country_or_the_whole_eu_is_one_schedule(
    outline: list[list[float]], at_least: int, tmp_path: Path, scene: DemoScene
) -> None:
    area = {"type": "Polygon", "coordinates": [outline]}
    with serving(settings_for(tmp_path, sources={"demo": str(scene.catalogue)})) as server:
        assert server.post("/schedules", asked(scene, area=area)).status_code == 201
    with serving(
        settings_for(tmp_path, sources={"demo": str(scene.catalogue)}, max_schedule_jobs=at_least - 1)
    ) as server:
        refused = server.post("/schedules", asked(scene, area=area))
    assert (refused.status_code, refused.json()["field"], refused.json()["limit"]) == (422, "area", at_least - 1)


def test_the_whole_earth_is_too_large_for_one_schedule_unless_there_is_no_limit(
    tmp_path: Path, scene: DemoScene
) -> None:
    sources, earth = {"demo": str(scene.catalogue)}, {"bbox": [-180, -90, 180, 90]}
    with serving(settings_for(tmp_path, sources=sources)) as server:
        refused = server.post("/schedules", asked(scene, area=earth)).json()
    assert (refused["field"], refused["limit"]) == ("area", 1000)
    assert 51_000 < refused["value"] < 65_000  # 510 million km2, and a fifth more where zones cut cells
    assert "Cut it into schedules" in refused["detail"]
    with serving(settings_for(tmp_path, sources=sources, max_schedule_jobs=None)) as server:
        assert server.post("/schedules", asked(scene, area=earth)).status_code == 201


@pytest.mark.parametrize(
    "given", ["11.5,49.2,15.2,50.4", "5,43,17,48.5", "178.9,-17.9,-179.2,-16.6", "33.9,-4.7,36.9,5"]
)
def test_jobs_are_counted_as_workers_cut_them(given: str) -> None:
    area = read_aoi(given, max_area_km2=1e9).area()
    assert cells_in(geometry_of(area)) == pytest.approx(len(cut_region(area, resolution_m=10)), rel=0.1)


def test_owners_see_their_own_schedules_and_are_told_of_no_others(server: Server, scene: DemoScene) -> None:
    with Database.open(server.settings.database_url.get_secret_value()) as database:
        ours, theirs, admin = (
            {"Authorization": f"Bearer {KeyStore(database).create('test', scopes=scopes).token}"}
            for scopes in ([Scope.READ, Scope.MANAGE_SCHEDULES], [Scope.READ, Scope.MANAGE_SCHEDULES], [Scope.ADMIN])
        )
    path = f"/schedules/{server.post('/schedules', asked(scene), **ours).json()['id']}"
    for verb, below in (("GET", ""), ("GET", "/runs"), ("POST", "/pause"), ("POST", "/resume"), ("DELETE", "")):
        answer = requests.request(verb, f"{server.address}{path}{below}", headers=theirs, timeout=10)
        assert answer.status_code == 404, (verb, below)
    seen = [len(server.get("/schedules", headers=caller).json()["schedules"]) for caller in (ours, theirs, admin)]
    assert seen == [1, 0, 1]
    assert server.get(path, headers=ours).json()["paused"] is False


def test_a_run_opens_by_a_link_with_the_mosaics_collection_and_jobs_behind_it(
    server: Server, scene: DemoScene, tmp_path: Path
) -> None:
    schedule_id = server.post("/schedules", asked(scene)).json()["id"]
    results = Path(server.settings.storage_url)
    with Database.open(server.settings.database_url.get_secret_value()) as database:
        store = ScheduleStore(database)
        worker = Worker(
            name="test",
            ledger=Ledger(database),
            folder_of=lambda name: JobFolder(results / name),
            shelves=(SHIPPED,),
            reader=SceneReader(),
            sources=server.settings.sources,
        )
        run = store.open_run(schedule_id, datetime(2021, 10, 2, 12, tzinfo=UTC))
        assert run is not None
        submit_run(worker, store, run)
        early = server.post(f"/runs/{run.id}/links", {})
        assert (early.status_code, early.json()["value"]) == (404, "running")
        (job_id,) = store.run(run.id).job_ids
        server.work(job_id)
        tick(worker, database, server.settings)
    (shown,) = server.get(f"/schedules/{schedule_id}/runs").json()["runs"]
    assert (shown["state"], shown["jobs"]) == ("successful", [job_id])
    assert [job["jobID"] for job in server.get(f"/jobs?run={run.id}").json()["jobs"]] == [job_id]
    made = server.post(f"/runs/{run.id}/links", {"seconds": 600})
    assert made.status_code == 201, made.text
    files = made.json()["files"]
    assert {"landcover.vrt", "variance.vrt", "quality.vrt", "collection.json"} <= set(files)
    with rasterio.open(results / job_id / "landcover.tif") as job:
        expected = job.read(1)
    np.testing.assert_array_equal(opened_by_gdal(f"/vsicurl/{files['landcover.vrt']}", tmp_path)[0], expected)
    collection = pystac.Collection.from_file(files["collection.json"])
    (item,) = collection.get_items()
    assert item.id == job_id
    assert status(item.assets["landcover"].get_absolute_href()) == 200
    other = server.submit({"inputs": asked_job(scene)})
    server.work(other)
    root = files["collection.json"].rsplit("/", 2)[0]
    assert status(f"{root}/{other}/item.json") == 403, "a job that is not of the run"
    for name in ("ledger.sqlite", "..%2f..%2fledger.sqlite", "%2e%2e", ".landsigma", "item.json", "x.vrt"):
        assert raw_get(server, f"/links/{root.rsplit('/', 1)[1]}/{run.id}/{name}", {})[0] == 404, name


def asked_job(scene: DemoScene) -> dict[str, object]:
    """Inputs of a job of its own."""
    return {
        "area": {"bbox": list(bounds(scene))},
        "start": f"{scene.start:%Y-%m-%d}",
        "end": f"{scene.end:%Y-%m-%d}",
        "source": "demo",
        "bundle": "spectral-rules",
    }
