"""A whole job in one process: plan, block and finish, the same three functions that queued workers call one by one."""

from collections.abc import Callable
from pathlib import Path

from contract.errors import JobEnded, JobFolderInUse, LandsigmaError
from contract.ledger import Job, Ledger
from contract.request import MapRequest, MapResult
from workers.aoi import geometry_of
from workers.block import work_blocks
from workers.finish import finish_job
from workers.folder import JobFolder
from workers.grid import project_area
from workers.plan import plan_job
from workers.worker import Worker


def run_job(worker: Worker, job_id: str) -> MapResult:
    """Take a job from wherever it is to its end.

    Raises:
        LandsigmaError: The job cannot go on. Where it could not even be planned, it has failed; else it can be resumed.
    """
    ledger = worker.ledger
    if not ledger.start(job_id):
        return _ended(ledger.job(job_id))
    request = ledger.job(job_id).request
    try:
        worker.model(worker.bundle(request.bundle))  # refused before the catalogue is searched
        plan = plan_job(worker, job_id)
    except LandsigmaError as error:
        if ledger.plan(job_id) is None:
            ledger.fail(job_id, str(error))
        raise
    area = project_area(geometry_of(request.area), plan.grid.crs).area
    worker.watcher.planned(plan, ledger.status(job_id), round(area / plan.grid.resolution_m**2))
    work_blocks(worker, job_id, ledger.open_blocks(job_id))
    worker.watcher.finishing()
    return finish_job(worker, job_id)


def _ended(job: Job) -> MapResult:
    if job.result is None:
        raise JobEnded(job.id, job.status.state.value)
    return job.result


def run_in_folder(
    request: MapRequest, folder: JobFolder, make_worker: Callable[[Ledger], Worker], *, resume: bool
) -> MapResult:
    """Map into a folder that holds this one job; go on with what is there where `resume` allows it.

    Raises:
        JobFolderInUse: The folder holds another job, or this one and `resume` was not given.
        LandsigmaError: The job cannot be done.
    """
    finished = folder.report
    if finished is not None:
        return _published(finished, request, folder, resume=resume)
    if folder.is_foreign:
        raise JobFolderInUse(str(folder.root), "it holds files of another kind; choose an empty folder for --out")
    if folder.is_used and not resume:
        raise JobFolderInUse(
            str(folder.root), "it holds an unfinished job; go on with --resume, or choose another --out"
        )
    folder.prepare()
    with folder.locked():
        try:
            with Ledger.open(folder.ledger_url) as ledger:
                result = run_job(make_worker(ledger), _job_id(ledger, request, folder))
        except JobFolderInUse:
            raise
        except LandsigmaError:
            if not folder.has_blocks:
                folder.clean()  # there is nothing to go on with
            raise
        folder.clean()
    return result


def _job_id(ledger: Ledger, request: MapRequest, folder: JobFolder) -> str:
    """The folder's job, submitted now if there is none."""
    known = ledger.jobs(limit=1)
    if not known:
        return ledger.submit(request)
    job_id = known[0].job_id
    _require_same(ledger.job(job_id).request, request, folder.root)
    return job_id


def _published(finished: MapResult, request: MapRequest, folder: JobFolder, *, resume: bool) -> MapResult:
    if not resume:
        raise JobFolderInUse(str(folder.root), "its job is finished; choose another --out")
    _require_same(finished.request, request, folder.root)
    folder.clean()
    return finished


def _require_same(known: MapRequest, request: MapRequest, folder: Path) -> None:
    asked, there = request.model_dump(), known.model_dump()
    different = [name for name in asked if asked[name] != there[name]]
    if different:
        raise JobFolderInUse(
            str(folder), f"that job differs in {', '.join(different)}; repeat its options, or choose another --out"
        )
