"""Settings from the environment and from flags."""

import json
import os
from pathlib import Path

import pytest

from contract.database import Database
from contract.errors import SettingInvalid
from contract.settings import PREFIX, Settings
from contract.submission import Limits, Queue


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


def refusal(flags: dict[str, object] | None = None) -> SettingInvalid:
    with pytest.raises(SettingInvalid) as caught:
        Settings.read(flags or {})
    return caught.value


def test_without_any_setting_everything_lies_in_one_folder(tmp_path: Path) -> None:
    settings = Settings.read()
    data = tmp_path / "landsigma-data"
    assert settings.data_dir == data
    assert settings.storage_url == str(data / "results")
    assert settings.database_url.get_secret_value() == f"sqlite:///{data}/ledger.sqlite"
    assert settings.broker_url is None
    assert settings.host == "127.0.0.1"
    data.mkdir()
    Database.open(settings.database_url.get_secret_value()).close()
    assert (data / "ledger.sqlite").is_file()


def test_the_data_folder_moves_what_lies_in_it_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LANDSIGMA_DATA_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("LANDSIGMA_STORAGE_URL", "s3://maps/landsigma/")
    settings = Settings.read()
    assert settings.storage_url == "s3://maps/landsigma"
    assert settings.database_url.get_secret_value() == f"sqlite:///{tmp_path}/elsewhere/ledger.sqlite"


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "PORT": "9000",
        "BROKER_URL": "redis://:pass@example.org:6379/0",
        "BLOCKS_QUEUE": "blocks.gpu",
        "CALLBACK_HOSTS": "a.example.org, b.example.org",
        "BUNDLE_DIRS": f"{tmp_path}/one,{tmp_path}/two",
        "SOURCES": '{"ours": "https://stac.example.org"}',
        "MAX_JOBS_PER_HOUR": "none",
        "PUBLIC_URL": "https://maps.example.org/api/",
        "LOG_FORMAT": "",
    }.items():
        monkeypatch.setenv(f"LANDSIGMA_{name}", value)
    settings = Settings.read()
    assert (settings.port, settings.blocks_queue, settings.log_format) == (9000, Queue.BLOCKS_GPU, "console")
    assert settings.callback_hosts == ("a.example.org", "b.example.org")
    assert settings.bundle_dirs == (tmp_path / "one", tmp_path / "two")
    assert settings.sources == {"ours": "https://stac.example.org"}
    assert settings.public_url == "https://maps.example.org/api"
    assert settings.limits == Limits(area_km2=10_000, jobs_at_once=100, jobs_per_hour=None)
    assert settings.broker_url is not None
    assert settings.broker_url.get_secret_value() == "redis://:pass@example.org:6379/0"


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDSIGMA_PORT", "9000")
    monkeypatch.setenv("LANDSIGMA_MAX_ATTEMPTS", "7")
    settings = Settings.read({"port": 9001})
    assert (settings.port, settings.max_attempts) == (9001, 7)


@pytest.mark.parametrize(
    ("variable", "value", "needed"),
    [
        ("LANDSIGMA_PORT", "http", "a valid integer"),
        ("LANDSIGMA_PORT", "70000", "less than or equal to 65535"),
        ("LANDSIGMA_LOG_FORMAT", "xml", "'console' or 'json'"),
        ("LANDSIGMA_BLOCKS_QUEUE", "gpu", "'blocks.gpu'"),
        ("LANDSIGMA_SOURCES", "earth-search", "a JSON table"),
        ("LANDSIGMA_SOURCES", '{"ours": 1}', "a valid string"),
        ("LANDSIGMA_STORAGE_URL", "ftp://example.org", "a folder, or s3://BUCKET/PREFIX"),
        ("LANDSIGMA_STORAGE_URL", "s3://", "a folder, or s3://BUCKET/PREFIX"),
        ("LANDSIGMA_PUBLIC_URL", "maps.example.org", "https:// or http://"),
        ("LANDSIGMA_RENEW_S", "31", "at most half of the lease's 60 s"),
        ("LANDSIGMA_VISIBILITY_TIMEOUT_S", "60", "more than the lease's 60 s"),
        ("LANDSIGMA_MAX_JOBS_AT_ONCE", "0", "greater than 0"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, needed: str
) -> None:
    monkeypatch.setenv(variable, value)
    error = refusal()
    assert error.variable == variable
    assert error.value in {value, "1"}
    assert needed in error.needed


@pytest.mark.parametrize(
    ("variable", "needed"),
    [
        ("LANDSIGMA_DATABASE_URL", "sqlite:// or postgresql+psycopg://"),
        ("LANDSIGMA_BROKER_URL", "redis:// or rediss:// or redis+socket://"),
    ],
)
def test_a_refused_url_keeps_its_password(monkeypatch: pytest.MonkeyPatch, variable: str, needed: str) -> None:
    monkeypatch.setenv(variable, "amqp://me:hunter2@example.org")
    error = refusal()
    assert (error.variable, needed in error.needed) == (variable, True)
    assert "hunter2" not in str(error)
    assert (error.__cause__, error.__suppress_context__) == (None, True)  # nor does a traceback tell it


def test_a_misspelt_variable_is_named_with_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDSIGMA_BROKERURL", "redis://me:hunter2@example.org")
    error = refusal()
    assert (error.variable, "LANDSIGMA_BROKER_URL" in error.needed) == ("LANDSIGMA_BROKERURL", True)
    assert "hunter2" not in str(error)


def test_a_flag_that_is_no_setting_is_refused() -> None:
    assert refusal({"colour": "red"}).variable == "LANDSIGMA_COLOUR"


def test_every_setting_is_shown_with_its_meaning_and_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "LANDSIGMA_DATABASE_URL", "postgresql+psycopg://me:hunter2@example.org:5432/jobs?sslmode=require"
    )
    monkeypatch.setenv("LANDSIGMA_BROKER_URL", "redis://:hunter2@example.org:6379/0")
    monkeypatch.setenv("LANDSIGMA_LINK_SECRET", "hunter2")
    shown = {setting.variable: setting for setting in Settings.read().shown()}
    assert set(shown) == {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert not [variable for variable, setting in shown.items() if not setting.meaning.endswith(".")]
    assert "hunter2" not in str(shown)
    assert shown["LANDSIGMA_LINK_SECRET"].value == "***"
    assert shown["LANDSIGMA_BROKER_URL"].value == "redis://:***@example.org:6379/0"
    database = shown["LANDSIGMA_DATABASE_URL"]
    assert database.value == "postgresql+psycopg://me:***@example.org:5432/jobs?sslmode=require"
    assert not database.is_default
    assert (shown["LANDSIGMA_PORT"].value, shown["LANDSIGMA_PORT"].is_default) == ("8080", True)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////data/ledger.sqlite", "sqlite:////data/ledger.sqlite"),
        ("postgresql+psycopg://me@/jobs?host=/run/pg", "postgresql+psycopg://me@/jobs?host=/run/pg"),
        ("postgresql+psycopg://me:p/a@b:c@example.org/jobs", "postgresql+psycopg://me:***@example.org/jobs"),
        ("postgresql+psycopg:///jobs?password=abc&host=/run", "postgresql+psycopg:///jobs?password=***&host=/run"),
    ],
)
def test_a_url_is_shown_without_its_password_wherever_that_stands(url: str, shown: str) -> None:
    settings = Settings.read({"database_url": url})
    assert [known.value for known in settings.shown() if known.variable == "LANDSIGMA_DATABASE_URL"] == [shown]


def test_another_process_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {
        "data_dir": tmp_path / "data",
        "broker_url": "redis+socket:///tmp/redis.sock",
        "link_secret": "hunter2",
        "callback_hosts": ("a.example.org", "b.example.org"),
        "sources": {"ours": "https://stac.example.org", "with, comma": "/path"},
        "max_area_km2": None,
        "blocks_queue": "blocks.gpu",
    }
    settings = Settings.read(asked)
    environment = settings.environment()
    assert json.loads(environment["LANDSIGMA_SOURCES"]) == asked["sources"]
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert Settings.read() == settings
