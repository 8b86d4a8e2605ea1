"""The database of jobs, keys and schedules: how it is opened, migrated, read and written."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.orm import Session

from contract.errors import LedgerUnusable
from contract.tables import SCHEMA

if TYPE_CHECKING:
    from alembic.config import Config

_WAIT_S: Final = 30.0
"""How long a writer waits for another; a transaction of the ledger takes milliseconds."""
_MIGRATION_LOCK: Final = 0x6C616E64
"""Key of PostgreSQL's advisory lock; any number that no one else in the database uses."""


def utc_now() -> datetime:
    """The instant of the call, in UTC."""
    return datetime.now(UTC)


class Closing(ABC):
    """Something that is closed when its `with` is left."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Database(Closing):
    """One database, SQLite or PostgreSQL. Threads may share it; processes open their own.

    Raises:
        LedgerUnusable: From everything that is done with it, when it cannot be reached or written.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self.engine = engine
        self._clock = clock

    @classmethod
    def open(cls, url: str, *, clock: Callable[[], datetime] = utc_now) -> Self:
        """The database at `sqlite:///path` or `postgresql+psycopg://...`, made or migrated where it needs to be.

        Raises:
            LedgerUnusable: The database cannot be reached or written, or a newer landsigma wrote it.
        """
        return cls(_open(url), clock)

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def now(self) -> datetime:
        """What time it is by this database's clock."""
        return self._clock()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads."""
        with _connected(self.engine), Session(self.engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that may write; all of it is done, or nothing."""
        with _connected(self.engine), _writing(self.engine) as connection, Session(connection) as session:
            yield session
            session.flush()

    def lock(self, session: Session, name: str) -> None:
        """Let one transaction at a time go on from here, among those that give this name.

        SQLite has one writer at a time anyway.
        """
        if self.engine.dialect.name == "postgresql":
            session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})


def _open(url: str) -> Engine:
    engine = _sqlite(url) if make_url(url).get_backend_name() == "sqlite" else create_engine(url, pool_pre_ping=True)
    event.listen(engine, "handle_error", _translated, retval=True)
    try:
        _migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def _connected(engine: Engine) -> Iterator[None]:
    """The wait for a connection as the error that users know: of the pool alone, no event tells (see `_translated`).

    Raises:
        LedgerUnusable: Others held all connections for too long.
    """
    try:
        yield
    except NoConnectionFree as error:
        reason = f"all of its connections are in use ({error.args[0]}). Try again, or let fewer ask at once"
        raise LedgerUnusable(_place(engine), reason) from error


@contextmanager
def _writing(engine: Engine) -> Iterator[Connection]:
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
    connection.isolation_level = None  # no implicit BEGIN; `_writing` says it
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
    with _writing(engine) as connection:
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
    `python -c 'from alembic import command; from contract.database import migrations; command.revision(migrations(), "what changes", rev_id="0002")'`.
    """
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "contract:migrations")
    return config
