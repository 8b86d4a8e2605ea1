"""One tick of the schedules: open the runs whose time has come, submit their jobs, publish what is over.

Any number of ticks may happen at a time, and each may die anywhere: a nominal time has one run, a run gets its jobs all at
once and only once, and the next tick goes on with what it finds half-way.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from hashlib import sha256
from itertools import islice
from typing import Final

from contract.database import Database
from contract.errors import AoiEmpty, LandsigmaError, LedgerUnusable, NoScenes, OutputNotWritable, SourceUnreachable
from contract.logs import bound, event
from contract.request import MapRequest
from contract.schedule_store import ScheduleStore
from contract.schedules import Run, RunJob, RunState, Schedule
from contract.settings import Settings
from workers.collection import is_published, publish_run, publish_schedule
from workers.plan import bands_to_read
from workers.region import Cell, cut_region
from workers.sources import find_scenes
from workers.worker import Worker

MOST_RUNS: Final = 20
"""Runs that one tick opens or takes up."""
ABANDONED_S: Final = 900.0
"""A run that was opened so long ago and has no jobs yet is taken up by whoever finds it: searches take minutes at most."""
GIVE_UP: Final = timedelta(days=1)
"""A run that cannot be submitted for so long, since a source does not answer, has failed."""
LATEST_RUNS: Final = 3
"""Runs of each schedule that are looked at for something to publish."""
PAGE_RUNS: Final = 50
"""Runs that are read at a time."""
_TITLE_CHARACTERS: Final = 200
_MAY_PASS: Final = (SourceUnreachable, LedgerUnusable, OutputNotWritable)
_MAPPED: Final = {RunState.RUNNING, RunState.SUCCESSFUL}
"""States of a run whose scenes need not be mapped again."""
_SHOWN: Final = {RunState.SUCCESSFUL, RunState.INCOMPLETE}
"""States of a run that is over and has maps."""

_LOG: Final = logging.getLogger(__name__)


def tick(worker: Worker, database: Database, settings: Settings) -> None:
    """Do what is due now for every schedule. What goes wrong with one of them does not touch the others.

    Raises:
        LedgerUnusable: The database cannot be reached or written.
    """
    store = ScheduleStore(database)
    due = store.due(grace_s=settings.catch_up_grace_s, limit=MOST_RUNS)
    opened = (store.open_run(one.schedule.id, one.nominal) for one in due)
    for run in (*opened, *store.unsubmitted(older_than_s=ABANDONED_S, limit=MOST_RUNS)):
        if run is not None:
            with bound(run=run.id):
                _submit(worker, store, run, waited=database.now() - run.opened)
    for schedule in store.schedules():
        with bound(schedule=schedule.id):
            _publish(worker, store, schedule)


def submit_run(worker: Worker, store: ScheduleStore, run: Run) -> None:
    """Give a run its jobs, or say why it has none.

    Raises:
        LandsigmaError: It cannot be done.
    """
    schedule = store.schedule(run.schedule_id)
    cells = _cells(worker, schedule)
    jobs = [RunJob(title=_title(schedule, cell), request=_request(schedule, run, cell)) for cell in cells]
    if schedule.request.only_when_new_scenes:
        _add_new(worker, store, run, jobs)
    else:
        store.add_jobs(run.id, jobs)


def _add_new(worker: Worker, store: ScheduleStore, run: Run, jobs: Sequence[RunJob]) -> None:
    """Submit the jobs that see any scene, unless together they see what was mapped already."""
    seen = [(job, _scenes(worker, job.request)) for job in jobs]
    digest = sha256("\n".join(sorted({name for _, names in seen for name in names})).encode()).hexdigest()
    with_scenes = [job for job, names in seen if names]
    if not with_scenes:
        store.skip_run(run.id, message="the source has no scene of the region in this span", scene_digest=digest)
    elif digest == _last_mapped(store, run.schedule_id):
        store.skip_run(run.id, message="the source has the scenes that were mapped already", scene_digest=digest)
    else:
        store.add_jobs(run.id, with_scenes, scene_digest=digest)


def _submit(worker: Worker, store: ScheduleStore, run: Run, *, waited: timedelta) -> None:
    try:
        submit_run(worker, store, run)
    except LandsigmaError as error:
        if isinstance(error, _MAY_PASS) and waited < GIVE_UP:
            event(_LOG, "run waits", level=logging.WARNING, reason=str(error))
            return
        event(_LOG, "run failed", level=logging.ERROR, reason=str(error))
        store.fail_run(run.id, message=str(error))
    else:
        event(_LOG, "run decided", state=store.run(run.id).state.value)


def _cells(worker: Worker, schedule: Schedule) -> tuple[Cell, ...]:
    request = schedule.request
    manifest = worker.bundle(request.bundle).manifest
    cells = cut_region(request.area, resolution_m=manifest.resolution_m, crs=request.options.crs)
    if not cells:
        raise AoiEmpty(f"without a pixel centre of {manifest.resolution_m:g} m inside")
    return cells


def _title(schedule: Schedule, cell: Cell) -> str:
    room = _TITLE_CHARACTERS - len(cell.id) - 1
    return f"{schedule.request.title[:room]} {cell.id}"


def _request(schedule: Schedule, run: Run, cell: Cell) -> MapRequest:
    request, span = schedule.request, schedule.request.span_at(run.nominal)
    return MapRequest(
        area=cell.area,
        start=span.start,
        end=span.end,
        source=request.source,
        bundle=request.bundle,
        options=request.options.model_copy(update={"crs": cell.crs}),
    )


def _scenes(worker: Worker, request: MapRequest) -> tuple[str, ...]:
    """Ids of the scenes that a job would see."""
    bands = bands_to_read(request, worker.bundle(request.bundle).manifest)
    try:
        return tuple(scene.id for scene in find_scenes(worker.resolved(request), bands=bands).scenes)
    except NoScenes:
        return ()


def _last_mapped(store: ScheduleStore, schedule_id: str) -> str | None:
    """Digest of the scenes of the last run whose jobs all succeeded or may yet; None where there is none."""
    runs = _runs(store, schedule_id)
    return next((run.scene_digest for run in runs if run.scene_digest and run.state in _MAPPED), None)


def _runs(store: ScheduleStore, schedule_id: str) -> Iterator[Run]:
    """Every run of a schedule, latest first, read as far as they are looked at."""
    last = None
    while page := store.runs(schedule_id, limit=PAGE_RUNS, after=last):
        yield from page
        last = page[-1].id


def _publish(worker: Worker, store: ScheduleStore, schedule: Schedule) -> None:
    latest = islice((run for run in _runs(store, schedule.id) if run.state in _SHOWN), LATEST_RUNS)
    try:
        fresh = [run for run in latest if not is_published(worker, run.id)]
        for run in reversed(fresh):
            publish_run(worker, schedule, run)
            event(_LOG, "run published", run=run.id)
        if fresh:
            shown = [run for run in _runs(store, schedule.id) if run.state in _SHOWN and is_published(worker, run.id)]
            publish_schedule(worker, schedule, shown)
    except LandsigmaError as error:
        event(_LOG, "not published", level=logging.ERROR, reason=str(error))
