"""Databases of both kinds, and a clock that stands until a test moves it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import psycopg
import pytest

from contract.database import Database
from contract.ledger import Ledger


@dataclass
class Clock:
    """What time a ledger believes it is."""

    now: datetime = field(default=datetime(2026, 3, 1, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class PostgresServer:
    """A private PostgreSQL server, reached through a socket in its own folder."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=count)

    def new_database(self) -> str:
        """URL of an empty database: of a schema, to be exact, which is made in a hundredth of the time."""
        name = f"ledger_{next(self.numbers)}"
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"postgresql+psycopg://postgres@/postgres?host={self.folder}&options=-csearch_path%3D{name}"

    @property
    def conninfo(self) -> str:
        """Of the server's own database."""
        return f"host={self.folder} user=postgres dbname=postgres"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server here: initdb is neither on PATH nor in /usr/lib/postgresql")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv to run it as another user")
    # Not in pytest's folder, which only its owner may enter; and a socket's path must be shorter than 108 bytes.
    with tempfile.TemporaryDirectory(prefix="ledger-") as name, _running(programs, Path(name)) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def database(url: str, clock: Clock) -> Iterator[Database]:
    with Database.open(url, clock=clock) as database:
        yield database


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


def _postgres_programs() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    return max((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)


@contextmanager
def _running(programs: Path, folder: Path) -> Iterator[PostgresServer]:
    as_other: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def control(action: str, *options: str) -> None:
        command = [*as_other, f"{programs}/pg_ctl", action, "--pgdata", f"{folder}/cluster", "--silent", *options]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

    control("init", "-o", "--auth=trust --username=postgres --no-sync")
    control("start", "--log", f"{folder}/log", "-o", f"-c listen_addresses='' -c fsync=off -k {folder}")
    try:
        yield PostgresServer(folder)
    finally:
        control("stop", "--mode=immediate")
