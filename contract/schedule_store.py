"""Schedules and their runs in SQL."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from uuid import uuid4

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from contract.acceptance import insert, new_job
from contract.database import Database
from contract.errors import RunNotFound, ScheduleNotFound
from contract.ledger import SUCCESSES
from contract.request import JobState
from contract.schedules import CatchUp, DueRun, Run, RunJob, RunState, Schedule, ScheduleRequest
from contract.steps import storable
from contract.submission import Terms
from contract.tables import JobRow, RunRow, ScheduleRow


class ScheduleStore:
    """The schedules of one database.

    Raises:
        ScheduleNotFound: From every method that is given the id of a schedule that is not there.
        RunNotFound: From every method that is given the id of a run that is not there.
        LedgerUnusable: From every method, when the database cannot be reached or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- schedules --------------------------------------------------------------------------------------------------

    def create(self, request: ScheduleRequest, *, owner: str) -> Schedule:
        """A new schedule; its first nominal time is the next one."""
        now = self._database.now()
        row = ScheduleRow(
            schedule_id=uuid4().hex, owner=owner, request=request, created=now, active_since=now, paused=False
        )
        with self._database.writing() as session:
            session.add(row)
            session.flush()
            return _schedule(row)

    def schedule(self, schedule_id: str) -> Schedule:
        """The schedule of an id."""
        with self._database.reading() as session:
            return _schedule(_found(session, schedule_id))

    def schedules(self, *, owner: str | None = None) -> tuple[Schedule, ...]:
        """Every schedule, or every one of an owner, newest first."""
        with self._database.reading() as session:
            return tuple(map(_schedule, _present(session, owner)))

    def pause(self, schedule_id: str) -> bool:
        """True when the schedule is paused by this call: no run is opened until it is resumed."""
        with self._database.writing() as session:
            row = _found(session, schedule_id)
            changed, row.paused = not row.paused, True
            return changed

    def resume(self, schedule_id: str) -> bool:
        """True when the schedule is resumed by this call. Nominal times of the pause are past and gone."""
        with self._database.writing() as session:
            row = _found(session, schedule_id)
            changed = row.paused
            if changed:
                row.paused, row.active_since = False, self._database.now()
            return changed

    def delete(self, schedule_id: str) -> None:
        """Open no more runs of the schedule, and know it no more. Its jobs stay what they are."""
        with self._database.writing() as session:
            _found(session, schedule_id).deleted = self._database.now()

    # --- runs -------------------------------------------------------------------------------------------------------

    def due(self, *, grace_s: float, limit: int) -> tuple[DueRun, ...]:
        """At most `limit` nominal times that have come and have no run, of every schedule that is not paused.

        What is due of those that passed while nobody asked is up to the schedule's catch-up policy: none, the latest of
        them, or all. A nominal time that came within the last `grace_s` seconds did not pass.
        """
        now = self._database.now()
        with self._database.reading() as session:
            schedules = [_schedule(row) for row in _present(session) if not row.paused]
            latest = select(RunRow.schedule_id, func.max(RunRow.nominal)).group_by(RunRow.schedule_id)
            last_runs = dict(session.execute(latest).all())
        every = (
            DueRun(schedule=schedule, nominal=nominal)
            for schedule in schedules
            for nominal in _due_times(
                schedule.request,
                since=max(schedule.active_since, last_runs.get(schedule.id, schedule.active_since)),
                now=now,
                grace=timedelta(seconds=grace_s),
            )
        )
        return tuple(islice(every, limit))

    def open_run(self, schedule_id: str, nominal: datetime) -> Run | None:
        """The new run of a nominal time; None when there is one already, or when the schedule is paused."""
        run_id = f"{schedule_id}-{nominal.astimezone(UTC):%Y%m%dT%H%M%SZ}"
        row = RunRow(run_id=run_id, schedule_id=schedule_id, nominal=nominal, opened=self._database.now())
        try:
            with self._database.writing() as session:
                if _found(session, schedule_id).paused:
                    return None
                session.add(row)
                session.flush()
                return _run(row, ())
        except IntegrityError:
            return None

    def unsubmitted(self, *, older_than_s: float, limit: int) -> tuple[Run, ...]:
        """Runs that were opened so long ago and came no further: whoever opened them died. Anyone may go on with them."""
        before = self._database.now() - timedelta(seconds=older_than_s)
        query = select(RunRow).where(RunRow.outcome.is_(None), RunRow.opened <= before).order_by(RunRow.opened)
        with self._database.reading() as session:
            return tuple(_run(row, ()) for row in session.scalars(query.limit(limit)))

    def add_jobs(self, run_id: str, jobs: Sequence[RunJob], *, scene_digest: str | None = None) -> tuple[str, ...]:
        """Ids of the run's jobs, all submitted by this call, or by the first call that there was.

        Raises:
            ValueError: There are no jobs; such a run is skipped or failed.
        """
        if not jobs:
            raise ValueError(f"run {run_id} was given no jobs; skip it, or fail it")
        with self._changing_run(run_id) as (session, run):
            if run.outcome is None:
                run.outcome, run.scene_digest = RunState.RUNNING, scene_digest
                schedule = session.get_one(ScheduleRow, run.schedule_id)
                for number, job in enumerate(jobs):
                    terms = Terms(
                        owner=schedule.owner,
                        title=job.title,
                        priority=schedule.request.priority,
                        blocks_queue=schedule.request.blocks_queue,
                    )
                    row = new_job(f"{run_id}-{number:04d}", terms, self._database.now())
                    row.run_id = run_id
                    insert(session, row, job.request, terms)
            return tuple(session.scalars(select(JobRow.job_id).where(JobRow.run_id == run_id).order_by(JobRow.job_id)))

    def skip_run(self, run_id: str, *, message: str, scene_digest: str | None = None) -> bool:
        """True when it is decided by this call that the run maps nothing, since nothing is new."""
        return self._decide(run_id, RunState.SKIPPED, message, scene_digest)

    def fail_run(self, run_id: str, *, message: str) -> bool:
        """True when it is decided by this call that the run cannot have jobs."""
        return self._decide(run_id, RunState.FAILED, message, None)

    def last_digest(self, schedule_id: str) -> str | None:
        """Digest of the scenes of the newest run that has one."""
        known = RunRow.schedule_id == schedule_id, RunRow.scene_digest.is_not(None)
        with self._database.reading() as session:
            _found(session, schedule_id)
            return session.scalar(select(RunRow.scene_digest).where(*known).order_by(RunRow.nominal.desc()).limit(1))

    def run(self, run_id: str) -> Run:
        """The run of an id."""
        with self._database.reading() as session:
            return next(_with_jobs(session, [_run_row(session, run_id)]))

    def runs(self, schedule_id: str, *, limit: int, after: str | None = None) -> tuple[Run, ...]:
        """At most `limit` runs of a schedule, latest nominal time first: from the top, or below the run `after`."""
        query = select(RunRow).where(RunRow.schedule_id == schedule_id)
        with self._database.reading() as session:
            _found(session, schedule_id)
            if after is not None:
                query = query.where(RunRow.nominal < _run_row(session, after).nominal)
            rows = session.scalars(query.order_by(RunRow.nominal.desc()).limit(limit)).all()
            return tuple(_with_jobs(session, rows))

    @contextmanager
    def _changing_run(self, run_id: str) -> Iterator[tuple[Session, RunRow]]:
        """A transaction that alone may change the run, and the run's row."""
        with self._database.writing() as session:
            run = session.get(RunRow, run_id, with_for_update=True)
            if run is None:
                raise RunNotFound(run_id)
            yield session, run

    def _decide(self, run_id: str, outcome: RunState, message: str, scene_digest: str | None) -> bool:
        with self._changing_run(run_id) as (_, run):
            if run.outcome is not None:
                return False
            run.outcome, run.message, run.scene_digest = outcome, storable(message), scene_digest
            return True


def _present(session: Session, owner: str | None = None) -> Iterable[ScheduleRow]:
    query = select(ScheduleRow).where(ScheduleRow.deleted.is_(None)).order_by(ScheduleRow.created.desc())
    return session.scalars(query if owner is None else query.where(ScheduleRow.owner == owner))


def _found(session: Session, schedule_id: str) -> ScheduleRow:
    row = session.get(ScheduleRow, schedule_id)
    if row is None or row.deleted is not None:
        raise ScheduleNotFound(schedule_id)
    return row


def _run_row(session: Session, run_id: str) -> RunRow:
    row = session.get(RunRow, run_id)
    if row is None:
        raise RunNotFound(run_id)
    return row


def _due_times(request: ScheduleRequest, *, since: datetime, now: datetime, grace: timedelta) -> Iterator[datetime]:
    """Nominal times after `since` up to `now`, as far as the policy wants them."""
    if request.catch_up is CatchUp.LATEST:
        latest = request.latest_time(now)
        return iter([latest] if latest > since else [])
    first = max(since, now - grace) if request.catch_up is CatchUp.NONE else since
    return takewhile(lambda nominal: nominal <= now, request.times(first))


def _with_jobs(session: Session, rows: Sequence[RunRow]) -> Iterator[Run]:
    query = select(JobRow.run_id, JobRow.job_id, JobRow.state).where(JobRow.run_id.in_([row.run_id for row in rows]))
    jobs: defaultdict[str, list[tuple[str, JobState]]] = defaultdict(list)
    for run_id, job_id, state in session.execute(query.order_by(JobRow.job_id)):
        jobs[str(run_id)].append((job_id, state))
    return (_run(row, jobs[row.run_id]) for row in rows)


def _run(row: RunRow, jobs: Sequence[tuple[str, JobState]]) -> Run:
    return Run(
        id=row.run_id,
        schedule_id=row.schedule_id,
        nominal=row.nominal,
        opened=row.opened,
        state=_state(row.outcome, [state for _, state in jobs]),
        message=row.message,
        scene_digest=row.scene_digest,
        job_ids=tuple(job_id for job_id, _ in jobs),
    )


def _state(outcome: RunState | None, jobs: Collection[JobState]) -> RunState:
    if outcome is not RunState.RUNNING:
        return outcome or RunState.OPENED
    if not all(state.is_final for state in jobs):
        return RunState.RUNNING
    if SUCCESSES.issuperset(jobs):
        return RunState.SUCCESSFUL
    if SUCCESSES.intersection(jobs):
        return RunState.INCOMPLETE
    return RunState.DISMISSED if set(jobs) == {JobState.DISMISSED} else RunState.FAILED


def _schedule(row: ScheduleRow) -> Schedule:
    return Schedule(
        id=row.schedule_id,
        owner=row.owner,
        request=row.request,
        created=row.created,
        active_since=row.active_since,
        paused=row.paused,
    )
