"""The ledger's tables, and how a database comes to have them."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar
from zlib import compress, decompress

from sqlalchemy import (
    Connection,
    DateTime,
    Dialect,
    Engine,
    Enum,
    ExceptionContext,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from contract.errors import LedgerUnusable
from contract.record import Record
from contract.request import BlockReport, JobState, MapRequest, MapResult, Plan

if TYPE_CHECKING:
    from alembic.config import Config

SCHEMA: Final = "0001"
"""The newest revision in `contract/migrations/versions`: what the tables below look like."""

_WAIT_S: Final = 30.0
"""How long a writer waits for another; a transaction of the ledger takes milliseconds."""
_MIGRATION_LOCK: Final = 0x6C616E64
"""Key of PostgreSQL's advisory lock; any number that no one else in the database uses."""

R = TypeVar("R", bound=Record)


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


class JobRow(Base):
    """How far a job is. Small: listed often, and rewritten with every block."""

    __tablename__ = "jobs"

    job_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[JobState] = mapped_column(
        Enum(JobState, native_enum=False, length=32, values_callable=lambda states: [state.value for state in states])
    )
    created: Mapped[datetime]
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]
    blocks_done: Mapped[int] = mapped_column(default=0)
    """Counted in the transaction that completes a block, so that progress is read from this row alone."""
    blocks_total: Mapped[int | None]
    message: Mapped[str] = mapped_column(default="")

    __table_args__ = (
        Index("jobs_by_age", "created", "job_id"),
        Index("jobs_by_state", "state", "created", "job_id"),
    )


class JobDocuments(Base):
    """What a job's row would drag along; each column is written once and read as a whole."""

    __tablename__ = "documents"

    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.job_id), primary_key=True)
    request: Mapped[MapRequest] = mapped_column(RecordJson(MapRequest))
    plan: Mapped[Plan | None] = mapped_column(CompressedRecord(Plan))
    result: Mapped[MapResult | None] = mapped_column(CompressedRecord(MapResult))


class BlockRow(Base):
    """One block of a planned job: free (no owner), leased (until `expires`) or done (with a rank)."""

    __tablename__ = "blocks"

    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.job_id), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    first_row: Mapped[int]
    first_col: Mapped[int]
    height: Mapped[int]
    width: Mapped[int]
    attempt: Mapped[int] = mapped_column(default=0)
    """Grows with every claim: the fencing token."""
    owner: Mapped[str | None]
    expires: Mapped[datetime | None]
    rank: Mapped[int | None]
    """The how manieth of its job's blocks this one was to be completed, from 1."""
    report: Mapped[BlockReport | None] = mapped_column(RecordJson(BlockReport), deferred=True)
    error: Mapped[str | None]
    """Why it was last given back."""


def open_database(url: str) -> Engine:
    """An engine on a database whose tables are those above; they are made or migrated where they are not.

    Raises:
        LedgerUnusable: The database cannot be reached or written, or a newer landsigma wrote it.
    """
    engine = _sqlite(url) if make_url(url).get_backend_name() == "sqlite" else create_engine(url, pool_pre_ping=True)
    event.listen(engine, "handle_error", _translated, retval=True)
    try:
        _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write."""
    with engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            # Takes the write lock now. A transaction that first reads and then writes is refused, without waiting,
            # when another process wrote in between.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _WAIT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # no implicit BEGIN; `writing` says it
    try:
        connection.execute("PRAGMA journal_mode = WAL")  # readers and the writer do not wait for each other
        connection.execute("PRAGMA synchronous = FULL")  # NORMAL may forget the last commits when the power fails
        connection.execute("PRAGMA foreign_keys = ON")  # off by default
    except sqlite3.Error:
        connection.close()  # the pool does not know it yet
        raise


def _translated(context: ExceptionContext) -> Exception | None:
    """Refusals of the database itself (unreachable, read-only, full, no database) as the error that users know."""
    error = context.sqlalchemy_exception
    refused = isinstance(error, OperationalError) or type(error) is DatabaseError
    if not refused or context.engine is None:  # there is none while the pool tries whether a connection still lives
        return None
    return LedgerUnusable(_place(context.engine), str(context.original_exception).strip())


def _place(engine: Engine) -> str:
    if engine.dialect.name == "sqlite":
        return str(engine.url.database)
    return engine.url.render_as_string(hide_password=True)


def _migrate(engine: Engine) -> None:
    if _schema(engine) == SCHEMA:
        return
    # Takes 0.1 s to import, which a ledger that is up to date does not pay.
    from alembic import command  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = migrations()
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            reason = f"its schema is {_schema(engine)}, newer than this landsigma's {SCHEMA}; update landsigma"
            raise LedgerUnusable(_place(engine), reason) from error


def _schema(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return version


def migrations() -> "Config":
    """Alembic's configuration: it needs no file.

    A new revision starts as
    `python -c 'from alembic import command; from contract.tables import migrations; command.revision(migrations(), "what changes", rev_id="0002")'`.
    """
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "contract:migrations")
    return config
