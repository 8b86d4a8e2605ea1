"""How the database is opened, migrated and lost, on SQLite and on PostgreSQL."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, text

from contract.database import Database, migrations
from contract.dispatch import Dispatch
from contract.errors import LedgerUnusable
from contract.ledger import JobFilter, Ledger
from contract.request import JobState
from contract.steps import Step, StepKind
from contract.submission import LOCAL, Callbacks, Queue
from contract.tables import SCHEMA, Base
from tests.contract.conftest import PostgresServer
from tests.contract.examples import PLAN, REPORT, REQUEST, WINDOWS, claimed, direct


def test_migrations_make_exactly_the_tables_of_the_code(ledger: Ledger, url: str) -> None:
    assert ledger.jobs(limit=1) == ()
    with direct(url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_the_schema_of_the_code_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(migrations()).get_current_head() == SCHEMA


def test_a_newer_ledger_is_refused(url: str) -> None:
    Ledger.open(url).close()
    with direct(url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LedgerUnusable, match=f"schema is 9999, newer than this landsigma's {SCHEMA}"):
        Ledger.open(url)


def test_a_migration_that_breaks_leaves_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("killed half-way")

    with monkeypatch.context() as patch:
        patch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", broken)
        with pytest.raises(RuntimeError, match="half-way"):
            Ledger.open(url)
    with Ledger.open(url) as ledger:
        assert ledger.jobs(limit=1) == ()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "ledger.sqlite"
    with pytest.raises(LedgerUnusable) as caught:
        Ledger.open(f"sqlite:///{path}")
    assert (caught.value.ledger, caught.value.reason) == (str(path), "unable to open database file")


def test_a_read_only_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.touch()
    with pytest.raises(LedgerUnusable, match="readonly database"):
        Ledger.open(f"sqlite:///file:{path}?mode=ro&uri=true")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_text("a shopping list, long enough to be looked at " * 9)
    with pytest.raises(LedgerUnusable, match="not a database"):
        Ledger.open(f"sqlite:///{path}")


def test_a_full_disk_is_named_and_loses_no_job(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        job_id = ledger.submit(REQUEST)
        with ledger._database.engine.connect() as connection:  # noqa: SLF001  the limit is of a connection, which is used again
            connection.exec_driver_sql("PRAGMA max_page_count = 1")  # SQLite takes it as "no more than now"
        with pytest.raises(LedgerUnusable, match="database or disk is full"):
            ledger.record_plan(job_id, PLAN, WINDOWS * 1000)
        assert ledger.plan(job_id) is None
        assert ledger.status(job_id).blocks_total is None


def test_a_committed_job_is_on_disk(tmp_path: Path) -> None:
    """FULL (2) writes through at every commit, also to the write-ahead log."""
    with (
        Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger,
        ledger._database.engine.connect() as connection,  # noqa: SLF001  settings are of a connection
    ):
        assert connection.scalar(text("PRAGMA synchronous")) == 2
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"


def test_an_unreachable_server_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnusable) as caught:
        Ledger.open(f"postgresql+psycopg://me:secret@/jobs?host={tmp_path}")
    assert str(tmp_path) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_reader_and_a_writer_without_a_free_connection_learn_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(create_engine, pool_size=1, max_overflow=0, pool_timeout=0.05)
    monkeypatch.setattr("contract.database.create_engine", small)
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(f"sqlite:///{path}") as ledger:
        job_id = ledger.submit(REQUEST)
        with ledger._database.engine.connect():  # noqa: SLF001  another thread's
            for ask in (ledger.status, ledger.start):
                with pytest.raises(LedgerUnusable, match=rf"{path} .* in use \(.* size 1 .* timeout 0.05\). Try again"):
                    ask(job_id)
        assert ledger.status(job_id).state is JobState.ACCEPTED


def test_a_restarted_server_is_reached_again(postgres: PostgresServer) -> None:
    with Ledger.open(postgres.new_database()) as ledger:
        job_id = ledger.submit(REQUEST)
        with psycopg.connect(postgres.conninfo) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid()"
            )
        assert ledger.status(job_id).state is JobState.ACCEPTED


# --- from the first schema to the newest ----------------------------------------------------------------------------


def at_first_schema(engine: Engine) -> None:
    """Three jobs as the first landsigma wrote them: one running with three blocks, one failed, one accepted."""
    config = migrations()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        columns = "job_id, state, created, started, finished, blocks_done, blocks_total, message"
        for values in (
            "'running', 'running', '2026-03-01 12:00:00', '2026-03-01 12:00:01', NULL, 1, 3, ''",
            "'failed', 'failed', '2026-03-01 12:00:00', '2026-03-01 12:00:01.5', '2026-03-01 12:02:03', 0, NULL, 'why'",
            "'accepted', 'accepted', '2026-03-01 13:00:00', NULL, NULL, 0, NULL, ''",
        ):
            connection.execute(text(f"INSERT INTO jobs ({columns}) VALUES ({values})"))
        documents = text("INSERT INTO documents (job_id, request) VALUES (:job_id, :request)")
        for job_id in ("running", "failed", "accepted"):
            connection.execute(documents, {"job_id": job_id, "request": REQUEST.model_dump_json()})
        columns = "job_id, position, first_row, first_col, height, width, attempt, owner, expires, rank, report"
        block = text(
            f"INSERT INTO blocks ({columns}) VALUES ('running', :position, 0, 64, 128, 65, :attempt, :owner, :expires, :rank, :report)"
        )
        lasting = "2100-01-01 00:00:00"
        for position, (attempt, owner, expires, rank, report) in enumerate(
            [
                (2, "one", lasting, 1, REPORT.model_dump_json()),
                (1, "one", lasting, None, None),
                (0, None, None, None, None),
            ]
        ):
            values = {"attempt": attempt, "owner": owner, "expires": expires, "rank": rank, "report": report}
            connection.execute(block, {"position": position, **values})


@pytest.fixture
def _utc_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that instants written without a zone are in UTC."""
    monkeypatch.setenv("PGTZ", "UTC")


@pytest.mark.usefixtures("_utc_server")
def test_jobs_of_the_first_schema_go_on_in_the_newest(url: str) -> None:
    at_first_schema(direct(url))
    with Database.open(url) as database:
        ledger = Ledger(database)
        running, failed = ledger.job("running"), ledger.status("failed")
        assert (running.request, running.callbacks, running.status.owner) == (REQUEST, Callbacks(), LOCAL)
        assert (running.status.blocks_done, running.status.blocks_total) == (1, 3)
        assert (failed.state, failed.message, failed.finished) == (
            JobState.FAILED,
            "why",
            datetime(2026, 3, 1, 12, 2, 3, tzinfo=UTC),
        )
        assert ledger.block_reports("running") == (REPORT,)
        assert ledger.open_blocks("running") == (1, 2)
        assert ledger.claim("running", 1, owner="two", lease_s=60) is None
        assert claimed(ledger, "running", 1, "one").attempt == 2
        assert claimed(ledger, "running", 2).window.width == 65


@pytest.mark.usefixtures("_utc_server")
def test_durations_of_jobs_that_ended_under_the_first_schema_are_known(url: str) -> None:
    at_first_schema(direct(url))
    with Ledger.open(url) as ledger:
        took = JobFilter(states=[JobState.FAILED], min_s=121.5, max_s=121.5)
        assert [status.job_id for status in ledger.jobs(limit=9, where=took)] == ["failed"]


@pytest.mark.usefixtures("_utc_server")
def test_what_the_first_schema_left_open_is_due(url: str) -> None:
    at_first_schema(direct(url))
    with Database.open(url) as database:
        dispatch = Dispatch(database)
        assert dispatch.due(Queue.PLAN, limit=9, resend_s=30) == (Step(job_id="accepted", kind=StepKind.PLAN),)
        assert dispatch.due(Queue.BLOCKS_CPU, limit=9, resend_s=30) == (
            Step(job_id="running", kind=StepKind.BLOCK, index=2),
        )


def test_a_database_grown_from_the_first_schema_has_exactly_the_tables_of_the_code(url: str) -> None:
    at_first_schema(direct(url))
    Database.open(url).close()
    with direct(url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
