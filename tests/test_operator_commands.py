"""What operators of the service type: settings, keys, and parts that run apart."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contract.database import Database
from contract.errors import KeyRefused
from contract.keys import KeyStore, Scope
from contract.settings import Settings
from landsigma.serving import read_settings
from tests.commands import Landsigma


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder that the environment names."""
    monkeypatch.setenv("LANDSIGMA_DATA_DIR", str(tmp_path))
    return tmp_path


def store(data: Path) -> KeyStore:
    return KeyStore(Database.open(f"sqlite:///{data}/ledger.sqlite"))


def test_settings_are_shown_without_secrets(landsigma: Landsigma, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDSIGMA_LINK_SECRET", "very secret indeed")
    monkeypatch.setenv("LANDSIGMA_DATABASE_URL", "postgresql+psycopg://maps:hidden@db/maps")
    shown = landsigma("config", "show").out
    assert f"LANDSIGMA_DATA_DIR={data}\n" in shown
    assert "very secret" not in shown
    assert "hidden" not in shown
    variables = {line.partition("=")[0] for line in shown.splitlines() if not line.startswith("#")}
    assert variables == {f"LANDSIGMA_{name.upper()}" for name in Settings.model_fields}


def test_a_folder_on_the_command_line_wins(landsigma: Landsigma, tmp_path: Path) -> None:
    assert f"LANDSIGMA_DATA_DIR={tmp_path / 'other'}\n" in landsigma("config", "show", "--data", tmp_path / "other").out


def test_address_and_key_of_a_client_are_no_settings(landsigma: Landsigma, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDSIGMA_SERVER", "https://maps.example.org")
    monkeypatch.setenv("LANDSIGMA_KEY", "lsk_a_b")
    assert landsigma("config", "show").status == 0
    monkeypatch.setenv("LANDSIGMA_SEVER", "https://maps.example.org")
    assert "LANDSIGMA_SEVER" in landsigma("config", "show").err


def test_logs_are_for_machines_where_nobody_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings({}).log_format == "json"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert read_settings({}).log_format == "console"
    monkeypatch.undo()
    monkeypatch.setenv("LANDSIGMA_LOG_FORMAT", "console")
    assert read_settings({}).log_format == "console"


def test_a_key_opens_until_it_is_revoked(landsigma: Landsigma, data: Path) -> None:
    made = landsigma("keys", "create", "Ada", "--scope", "read", "--max-jobs-at-once", "3", "--expires", "2090-01-01")
    token = made.out.strip()
    key = store(data).find(token)
    assert (key.name, key.scopes, key.limits.jobs_at_once) == ("Ada", {Scope.READ}, 3)
    assert key.expires == datetime(2090, 1, 1, tzinfo=UTC)
    assert token.rpartition("_")[2] not in landsigma("keys", "list").out
    assert landsigma("keys", "list").out.split("\t")[:3] == [key.id, "Ada", "read"]
    assert landsigma("keys", "revoke", key.id).out == f"key {key.id} is revoked\n"
    assert "as it was before" in landsigma("keys", "revoke", key.id).out
    assert "revoked at" in landsigma("keys", "list").out
    with pytest.raises(KeyRefused):
        store(data).find(token)


def test_a_key_may_submit_and_read_unless_it_is_said_otherwise(landsigma: Landsigma, data: Path) -> None:
    token = landsigma("keys", "create", "Ada").out.strip()
    assert store(data).find(token).scopes == {Scope.SUBMIT, Scope.READ}


def test_wrong_usage_of_keys_is_said(landsigma: Landsigma) -> None:
    ended = landsigma("keys", "create", "Ada", "--scope", "everything")
    assert ended.status == 2
    assert "manage-schedules" in ended.err
    unknown = landsigma("keys", "revoke", "nobody")
    assert unknown.status == 1
    assert unknown.err.startswith("Error: ")


@pytest.mark.parametrize("command", [["worker"], ["beat"], ["serve", "--no-worker"]])
def test_parts_that_run_apart_need_a_broker(command: list[str], landsigma: Landsigma) -> None:
    ended = landsigma(*command)
    assert ended.status == 1
    assert ended.err.startswith("Error: LANDSIGMA_BROKER_URL is ''; need the URL of a Redis")


def test_a_queue_that_there_is_not_is_named(landsigma: Landsigma, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDSIGMA_BROKER_URL", "redis://127.0.0.1:9/0")
    ended = landsigma("worker", "--queues", "plan,blocks.tpu")
    assert ended.status == 2
    assert "blocks.tpu" in ended.err
    assert "blocks.gpu" in ended.err


def test_a_server_beyond_this_machine_needs_a_key(landsigma: Landsigma, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDSIGMA_SOURCES", json.dumps({"demo": "catalog.json"}))
    ended = landsigma("serve", "--host", "0.0.0.0", "--port", "0")
    assert ended.status == 1
    assert "landsigma keys create" in ended.err


@pytest.mark.parametrize(
    "command", [["serve"], ["worker"], ["jobs", "submit"], ["schedules", "create"], ["keys", "create"]]
)
def test_help_fits_the_terminal(command: list[str], landsigma: Landsigma, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = landsigma(*command, "--help")
    assert ended.status == 0
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "..." not in ended.out.replace("COMMAND [ARGS]...", "")
