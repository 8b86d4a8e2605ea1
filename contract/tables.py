"""The tables of jobs, keys and schedules."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar
from zlib import compress, decompress

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Double,
    Enum,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from contract.record import Record
from contract.request import BlockReport, JobState, MapRequest, MapResult, Plan
from contract.schedules import RunState, ScheduleRequest
from contract.submission import Callbacks, Limits, Queue

SCHEMA: Final = "0003"
"""The newest revision in `contract/migrations/versions`: what the tables below look like."""

R = TypeVar("R", bound=Record)


def _word(words: type[StrEnum]) -> Enum:
    """One of a few words, stored as it is written."""
    return Enum(words, native_enum=False, length=32, values_callable=lambda members: [word.value for word in members])


class UtcDateTime(TypeDecorator[datetime]):
    """An instant. SQLite forgets time zones, so everything is stored as UTC and read as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  fixed by SQLAlchemy
        """The instant in UTC."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"instant {value.isoformat()} has no time zone")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The instant, aware, in UTC."""
        return value and (value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC))


class RecordJson(TypeDecorator[R]):
    """A record as JSON. Text, not JSONB: SQL never looks inside, and pydantic writes and reads it."""

    impl = Text
    cache_ok = True

    def __init__(self, record: type[R]) -> None:
        super().__init__()
        self.record = record

    def process_bind_param(self, value: R | None, dialect: Dialect) -> Any:  # noqa: ARG002  fixed by SQLAlchemy
        """JSON of the record."""
        return None if value is None else value.model_dump_json()

    def process_result_value(self, value: Any, dialect: Dialect) -> R | None:  # noqa: ARG002  fixed by SQLAlchemy
        """The record."""
        return None if value is None else self.record.model_validate_json(value)


class CompressedRecord(RecordJson[R]):
    """A record as zlib-compressed JSON, for those that list every scene: 2000 of them are 12 MB, and below 1 MB here."""

    impl = LargeBinary  # type: ignore[assignment]  # SQLAlchemy lets it differ
    cache_ok = True

    def process_bind_param(self, value: R | None, dialect: Dialect) -> bytes | None:
        """Compressed JSON of the record."""
        json = super().process_bind_param(value, dialect)
        return json and compress(json.encode())

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> R | None:
        """The record."""
        return super().process_result_value(value and decompress(value), dialect)


class Base(DeclarativeBase):
    """Every table of the ledger; columns take their types from the annotations."""

    type_annotation_map: ClassVar = {datetime: UtcDateTime, str: Text}


def _part(name: str, condition: str, *columns: str, unique: bool = False) -> Index:
    """An index of the rows for which the condition holds; queries must say it in the same words."""
    return Index(name, *columns, unique=unique, sqlite_where=text(condition), postgresql_where=text(condition))


class Worked:
    """Columns of what a worker may hold: a block, or the plan or finish step of a job."""

    attempt: Mapped[int] = mapped_column(default=0)
    """Grows with every claim: the fencing token."""
    lease_owner: Mapped[str | None]
    """The worker that holds it; None when it is free."""
    lease_expires: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    """When a message of it was last sent; None when none is under way."""
    retry_at: Mapped[datetime | None]
    """Nobody gets it before, since it failed."""
    failures: Mapped[int] = mapped_column(default=0)
    """Times it was given back with an error that may pass."""
    expiries: Mapped[int] = mapped_column(default=0)
    """Times it was claimed from a worker that never came back."""
    error: Mapped[str | None]
    """Why it was last given back."""

    def drop_lease(self) -> None:
        """Make it free: nobody's, and without a message under way."""
        self.lease_owner = self.lease_expires = self.sent_at = None


class JobRow(Worked, Base):
    """How far a job is. Small: listed often, and rewritten with every block.

    The columns of `Worked` are those of its current step: of the plan until there is one, of finish once no block is open.
    """

    __tablename__ = "jobs"

    job_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[JobState] = mapped_column(_word(JobState))
    created: Mapped[datetime]
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]
    took_s: Mapped[float | None] = mapped_column(Double)
    """From start to finish; None until both are known."""
    blocks_done: Mapped[int] = mapped_column(default=0)
    """Counted in the transaction that completes a block, so that progress is read from this row alone."""
    blocks_total: Mapped[int | None]
    read_s: Mapped[float] = mapped_column(default=0.0)
    """Of the blocks that are done, as are the next three."""
    inference_s: Mapped[float] = mapped_column(default=0.0)
    mapped_px: Mapped[int] = mapped_column(BigInteger, default=0)
    provider: Mapped[str | None]
    """Execution provider of the latest of them."""
    message: Mapped[str] = mapped_column(default="")
    owner: Mapped[str] = mapped_column(String(64))
    title: Mapped[str]
    priority: Mapped[int]
    blocks_queue: Mapped[Queue] = mapped_column(_word(Queue))
    idempotency_key: Mapped[str | None]
    run_id: Mapped[str | None]
    """The run of a schedule that it belongs to."""
    retries: Mapped[int] = mapped_column(default=0)
    """Failures of all of its steps so far."""
    lost_leases: Mapped[int] = mapped_column(default=0)
    """Expiries of all of its steps so far."""
    unclean_since: Mapped[datetime | None]
    """When it ended; None before, or once its work folder is gone."""

    def begin_step(self) -> None:
        """Be at the next step, which nobody has tried. Attempts go on counting: they fence the former step's worker out."""
        self.drop_lease()
        self.failures = self.expiries = 0
        self.retry_at = self.error = None

    __table_args__ = (
        Index("jobs_by_age", "created", "job_id"),
        Index("jobs_by_state", "state", "created", "job_id"),
        Index("jobs_by_owner", "owner", "created", "job_id"),
        Index("jobs_by_key", "owner", "idempotency_key", unique=True),
        Index("jobs_by_run", "run_id", "created", "job_id"),
        # Said to be unique, as it is by its last column, so that SQLite knows that blocks looked up along it come in order.
        _part("jobs_open", "finished IS NULL", "priority", "created", "job_id", unique=True),
        _part("jobs_open_asked", "finished IS NULL AND run_id IS NULL", "owner"),
        _part("jobs_asked", "run_id IS NULL", "owner", "created"),
        _part("jobs_sent", "sent_at IS NOT NULL", "sent_at"),
        _part("jobs_unclean", "unclean_since IS NOT NULL", "unclean_since"),
    )


class JobDocuments(Base):
    """What a job's row would drag along; each column is written once and read as a whole."""

    __tablename__ = "documents"

    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.job_id), primary_key=True)
    request: Mapped[MapRequest] = mapped_column(RecordJson(MapRequest))
    callbacks: Mapped[Callbacks] = mapped_column(RecordJson(Callbacks))
    plan: Mapped[Plan | None] = mapped_column(CompressedRecord(Plan))
    result: Mapped[MapResult | None] = mapped_column(CompressedRecord(MapResult))


class CallbackRow(Base):
    """A job that somebody wants to be told of. The row goes once they know how it ended."""

    __tablename__ = "callbacks"

    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.job_id), primary_key=True)
    told: Mapped[JobState] = mapped_column(_word(JobState))
    """What they were told last; that it is accepted, they know from the answer to their request."""


class BlockRow(Worked, Base):
    """One block of a planned job: free (no lease), leased or done (with a rank)."""

    __tablename__ = "blocks"

    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.job_id), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    first_row: Mapped[int]
    first_col: Mapped[int]
    height: Mapped[int]
    width: Mapped[int]
    rank: Mapped[int | None]
    """The how manieth of its job's blocks this one was to be completed, from 1."""
    report: Mapped[BlockReport | None] = mapped_column(RecordJson(BlockReport), deferred=True)

    __table_args__ = (
        _part("blocks_open", "rank IS NULL", "job_id", "position"),
        _part("blocks_sent", "sent_at IS NOT NULL", "sent_at"),
    )


class KeyRow(Base):
    """An API key without its secret."""

    __tablename__ = "keys"

    key_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str]
    scopes: Mapped[str]
    """Words, separated by spaces."""
    secret_sha256: Mapped[str] = mapped_column(String(64))
    limits: Mapped[Limits] = mapped_column(RecordJson(Limits))
    created: Mapped[datetime]
    expires: Mapped[datetime | None]
    revoked: Mapped[datetime | None]


class ScheduleRow(Base):
    """A schedule. Deleted ones stay, since the jobs of their runs do."""

    __tablename__ = "schedules"

    schedule_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64), index=True)
    request: Mapped[ScheduleRequest] = mapped_column(RecordJson(ScheduleRequest))
    created: Mapped[datetime]
    active_since: Mapped[datetime]
    """Nominal times up to here are past and gone."""
    paused: Mapped[bool]
    deleted: Mapped[datetime | None]


class RunRow(Base):
    """One nominal time of a schedule."""

    __tablename__ = "runs"

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    schedule_id: Mapped[str] = mapped_column(ForeignKey(ScheduleRow.schedule_id))
    nominal: Mapped[datetime]
    opened: Mapped[datetime]
    outcome: Mapped[RunState | None] = mapped_column(_word(RunState))
    """None until its jobs are submitted or it is decided that there are none; `RUNNING`: ask its jobs."""
    message: Mapped[str] = mapped_column(default="")
    scene_digest: Mapped[str | None]

    __table_args__ = (
        Index("runs_by_schedule", "schedule_id", "nominal", unique=True),
        _part("runs_undecided", "outcome IS NULL", "opened"),
    )
