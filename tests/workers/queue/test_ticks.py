"""Ticks: each nominal time is run once, whoever ticks how often and dies where."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pystac
import pytest
import rasterio

from contract.database import Database
from contract.errors import SourceUnreachable
from contract.ledger import Ledger
from contract.request import MapOptions
from contract.schedule_store import ScheduleStore
from contract.schedules import CatchUp, Run, RunState, Schedule, ScheduleRequest, Span
from contract.settings import Settings
from tests.bundles import write_identity_bundle
from tests.contract.conftest import Clock
from workers.aoi import read_aoi
from workers.demo.scene import DemoScene, make_demo_scene
from workers.folder import JobFolder
from workers.queue import ticks
from workers.queue.ticks import ABANDONED_S, GIVE_UP, tick
from workers.reading import SceneReader
from workers.run import run_job
from workers.worker import Worker

DAY_S = 86_400.0
HOURLY, DAILY = "0 * * * *", "0 6 * * *"


class Desk:
    """A database with a clock, a worker, and what ticks need of them."""

    def __init__(self, folder: Path, scene: DemoScene) -> None:
        self.clock = Clock(datetime(2021, 7, 1, 12, tzinfo=UTC))
        self.settings = Settings(data_dir=folder)
        self.scene = scene
        self.catalogue = folder / "catalogue.json"
        self.show(9)
        write_identity_bundle(folder / "bundles" / "identity")
        self.database = Database.open(self.settings.database_url.get_secret_value(), clock=self.clock)
        self.ledger, self.store = Ledger(self.database), ScheduleStore(self.database)
        self.worker = Worker(
            name="test",
            ledger=self.ledger,
            folder_of=lambda name: JobFolder(folder / "results" / name),
            shelves=(folder / "bundles",),
            reader=SceneReader(),
            sources={"demo": str(self.catalogue)},
        )

    def show(self, count: int) -> None:
        """Let the source have so many of the scene's acquisitions, oldest first."""
        items = [json.loads(path.read_text()) for path in self.scene.catalogue.parent.rglob("*.json")]
        items = [item for item in items if item.get("type") == "Feature"]
        for item in items:
            for asset in item["assets"].values():
                asset["href"] = str(next(self.scene.catalogue.parent.rglob(Path(asset["href"]).name)))
        items.sort(key=lambda item: item["properties"]["datetime"])
        self.catalogue.write_text(json.dumps({"type": "FeatureCollection", "features": items[:count]}))

    def schedule(self, **changed: object) -> Schedule:
        asked = {
            "title": "region",
            "area": read_aoi(str(self.scene.aoi), max_area_km2=1e4).area(),
            "cron": DAILY,
            "span": Span(start=self.scene.start, end=self.scene.end),
            "source": "demo",
            "bundle": "identity",
            "options": MapOptions(block_px=128),
        }
        return self.store.create(ScheduleRequest(**(asked | changed)), owner="key-1")

    def tick(self) -> None:
        tick(self.worker, self.database, self.settings)

    def runs(self, schedule: Schedule) -> list[Run]:
        return list(self.store.runs(schedule.id, limit=100))

    def work(self, run: Run) -> None:
        """Do the jobs of a run as workers would."""
        for job_id in run.job_ids:
            folder = self.worker.folder_of(job_id)
            folder.prepare()
            run_job(self.worker, job_id)
            folder.clean()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> DemoScene:
    return make_demo_scene(tmp_path_factory.mktemp("scene"), shape=(256, 288))


@pytest.fixture
def desk(tmp_path: Path, scene: DemoScene) -> Iterator[Desk]:
    desk = Desk(tmp_path, scene)
    with desk.database:
        yield desk


def test_nothing_happens_before_the_time_and_one_run_after_it(desk: Desk) -> None:
    schedule = desk.schedule()
    desk.tick()
    assert desk.runs(schedule) == []
    desk.clock.advance(18 * 3600)
    desk.tick()
    (run,) = desk.runs(schedule)
    assert (run.nominal, run.state) == (datetime(2021, 7, 2, 6, tzinfo=UTC), RunState.RUNNING)
    (job_id,) = run.job_ids
    job = desk.ledger.job(job_id)
    assert (job.status.owner, job.status.run_id, job.request.source) == ("key-1", run.id, "demo")
    assert job.status.title == "region 32N-0600-5300"
    assert job.request.options == MapOptions(block_px=128, crs="EPSG:32632")


def test_double_ticks_are_harmless(desk: Desk) -> None:
    schedule = desk.schedule()
    desk.clock.advance(DAY_S)
    for _ in range(3):
        desk.tick()
    assert len(desk.runs(schedule)) == 1
    assert len(desk.ledger.jobs(limit=10)) == 1


def test_a_window_ends_at_the_nominal_time(desk: Desk) -> None:
    schedule = desk.schedule(span=None, window_days=30)
    desk.clock.advance(DAY_S)
    desk.tick()
    request = desk.ledger.job(desk.runs(schedule)[0].job_ids[0]).request
    assert request.end == datetime(2021, 7, 2, 6, tzinfo=UTC)
    assert request.end - request.start == timedelta(days=30)


@pytest.mark.parametrize(("policy", "runs"), [(CatchUp.NONE, 0), (CatchUp.LATEST, 1), (CatchUp.ALL, 5)])
def test_times_that_passed_unseen_are_caught_up_as_the_schedule_says(policy: CatchUp, runs: int, desk: Desk) -> None:
    schedule = desk.schedule(cron=HOURLY, catch_up=policy)
    desk.clock.advance(5 * 3600 + 1800)
    desk.tick()
    assert len(desk.runs(schedule)) == runs


def test_a_paused_schedule_opens_no_run_and_a_resumed_one_none_of_the_pause(desk: Desk) -> None:
    schedule = desk.schedule(cron=HOURLY, catch_up=CatchUp.ALL)
    desk.store.pause(schedule.id)
    desk.clock.advance(10 * 3600)
    desk.tick()
    assert desk.runs(schedule) == []
    desk.store.resume(schedule.id)
    desk.tick()
    assert desk.runs(schedule) == []
    desk.clock.advance(3600)
    desk.tick()
    assert len(desk.runs(schedule)) == 1


@pytest.mark.parametrize("deadly", ["_cells", "_scenes"])
def test_a_tick_that_dies_half_way_is_completed_by_a_later_one(
    deadly: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = desk.schedule(only_when_new_scenes=True)
    desk.clock.advance(DAY_S)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ticks, deadly, die)
        with pytest.raises(KeyboardInterrupt):
            desk.tick()
    (run,) = desk.runs(schedule)
    assert (run.state, run.job_ids) == (RunState.OPENED, ())
    desk.tick()
    assert desk.runs(schedule)[0].state is RunState.OPENED, "another tick may still be at it"
    desk.clock.advance(ABANDONED_S)
    desk.tick()
    (completed,) = desk.runs(schedule)
    assert (completed.id, completed.state, len(completed.job_ids)) == (run.id, RunState.RUNNING, 1)


def test_two_ticks_that_submit_one_run_give_it_its_jobs_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes when the first has searched, and is about to submit."""
    schedule = desk.schedule()
    desk.clock.advance(DAY_S)
    add_jobs: Callable[..., object] = ScheduleStore.add_jobs

    def twice(store: ScheduleStore, run_id: str, jobs: list[object], **more: object) -> object:
        first = add_jobs(store, run_id, jobs, **more)
        assert add_jobs(store, run_id, jobs, **more) == first
        return first

    monkeypatch.setattr(ScheduleStore, "add_jobs", twice)
    desk.tick()
    assert len(desk.ledger.jobs(limit=10)) == len(desk.runs(schedule)[0].job_ids) == 1


def test_only_new_scenes_make_a_run_where_the_schedule_says_so(desk: Desk) -> None:
    schedule = desk.schedule(only_when_new_scenes=True)
    states = []
    for count in (4, 4, 6):
        desk.show(count)
        desk.clock.advance(DAY_S)
        desk.tick()
        states.append(desk.runs(schedule)[0].state)
    assert states == [RunState.RUNNING, RunState.SKIPPED, RunState.RUNNING]
    skipped = desk.runs(schedule)[1]
    assert "mapped already" in skipped.message
    assert skipped.scene_digest == desk.runs(schedule)[2].scene_digest


def test_scenes_whose_run_failed_are_mapped_again(desk: Desk) -> None:
    schedule = desk.schedule(only_when_new_scenes=True)
    desk.clock.advance(DAY_S)
    desk.tick()
    desk.clock.advance(DAY_S)
    desk.tick()  # skipped: the first may yet succeed
    first = desk.runs(schedule)[1]
    desk.ledger.fail(first.job_ids[0], "test")
    desk.clock.advance(DAY_S)
    desk.tick()
    assert [run.state for run in desk.runs(schedule)] == [RunState.RUNNING, RunState.SKIPPED, RunState.FAILED]


def test_a_region_without_scenes_is_skipped_with_the_reason(desk: Desk) -> None:
    schedule = desk.schedule(only_when_new_scenes=True)
    desk.show(0)
    desk.clock.advance(DAY_S)
    desk.tick()
    (run,) = desk.runs(schedule)
    assert (run.state, run.job_ids) == (RunState.SKIPPED, ())
    assert "no scene" in run.message


def test_one_schedule_that_cannot_be_does_not_hold_the_others_up(desk: Desk) -> None:
    broken = [desk.schedule(source="unknown", only_when_new_scenes=True), desk.schedule(bundle="unknown")]
    good = desk.schedule()
    broken.append(desk.schedule(options=MapOptions(crs="EPSG:4326")))
    desk.clock.advance(DAY_S)
    desk.tick()
    for schedule in broken:
        (run,) = desk.runs(schedule)
        assert run.state is RunState.FAILED
        assert run.message
    assert desk.runs(good)[0].state is RunState.RUNNING


def test_a_source_that_is_away_is_waited_for_and_given_up_after_a_day(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = desk.schedule(only_when_new_scenes=True)

    def away(*_: object, **__: object) -> None:
        raise SourceUnreachable("demo", "https://example.org", "timed out")

    with monkeypatch.context() as patch:
        patch.setattr(ticks, "find_scenes", away)
        desk.clock.advance(DAY_S)
        desk.tick()
        assert desk.runs(schedule)[0].state is RunState.OPENED
        desk.store.pause(schedule.id)  # no other run meanwhile
        desk.clock.advance(GIVE_UP.total_seconds())
        desk.tick()
    (run,) = desk.runs(schedule)
    assert run.state is RunState.FAILED
    assert "did not answer" in run.message


def test_a_run_that_is_over_is_published_as_one_collection_and_one_mosaic(desk: Desk) -> None:
    schedule = desk.schedule()
    desk.clock.advance(DAY_S)
    desk.tick()
    (run,) = desk.runs(schedule)
    folder = desk.worker.folder_of(run.id).root
    desk.tick()
    assert not folder.exists(), "it is not over"
    desk.work(run)
    desk.tick()
    collection = pystac.Collection.from_file(str(folder / "collection.json"))
    assert [item.id for item in collection.get_items()] == list(run.job_ids)
    assert {"landcover", "variance", "quality"} <= set(collection.assets)
    for name, asset in collection.assets.items():
        with (
            rasterio.open(asset.get_absolute_href()) as mosaic,
            rasterio.open(desk.worker.folder_of(run.job_ids[0]).root / f"{name}.tif") as job,
        ):
            assert mosaic.read().tobytes() == job.read().tobytes()
    assert collection.extent.temporal.intervals[0][0] == desk.scene.start
    assert not (folder / ".landsigma").exists()
    series = pystac.Collection.from_file(str(desk.worker.folder_of(schedule.id).root / "collection.json"))
    assert [child.id for child in series.get_children()] == [collection.id]
    with rasterio.open(series.assets["landcover"].get_absolute_href()) as mosaic:
        assert mosaic.crs.to_string() == "EPSG:32632"
    changed = (folder / "collection.json").stat().st_mtime_ns
    desk.tick()
    assert (folder / "collection.json").stat().st_mtime_ns == changed
