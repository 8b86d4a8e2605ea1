"""Settings of the service, from environment variables `LANDSIGMA_...` and what the command line adds to them.

Read once, where a program starts, and passed down.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contract.errors import SettingInvalid
from contract.submission import Limits, Queue

PREFIX: Final = "LANDSIGMA_"
SERVER_VARIABLE: Final = "LANDSIGMA_SERVER"
KEY_VARIABLE: Final = "LANDSIGMA_KEY"
"""Of those who talk to a server: its address, and the key that they present. Not settings."""
_HIDDEN: Final = "***"
_NOTHING: Final = "none"
_PASSWORD: Final = re.compile(r"(?P<before>://[^:/@]*:).*@|(?P<named>[?&]password=)[^&]*")
"""Of a URL, up to its last "@": a password that was not escaped may hold anything."""
_SCHEMES: Final = {
    "database_url": ("sqlite", "postgresql+psycopg"),
    "broker_url": ("redis", "rediss", "redis+socket"),
}
_NO_FLAGS: Final[Mapping[str, object]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSetting:
    """A setting for people to read."""

    variable: str
    value: str
    """Secrets are hidden."""
    meaning: str
    is_default: bool


class Settings(BaseSettings):
    """Everything that can be set. Lists are separated by commas; "none" is nothing."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,  # composed files set what they do not mean to set
        env_parse_none_str=_NOTHING,
        enable_decoding=False,  # lists and tables are read below, so that a refusal names them
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
    )

    # where things are
    data_dir: Path = Path("landsigma-data")
    """Folder of everything that is not put elsewhere: database, results, private Redis, secret of links."""
    database_url: SecretStr = Field(
        default_factory=lambda known: SecretStr(f"sqlite:///{known['data_dir']}/ledger.sqlite")
    )
    """The ledger: sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/NAME."""
    storage_url: str = Field(default_factory=lambda known: f"{known['data_dir']}/results")
    """Where results go: a folder; or s3://BUCKET/PREFIX, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and,
    for a server of your own, AWS_ENDPOINT_URL beside it (and AWS_ALLOW_HTTP=true without TLS)."""
    broker_url: SecretStr | None = None
    """Redis for messages: redis://, rediss:// or redis+socket://. Unset: `landsigma serve` starts one of its own."""
    bundle_dirs: tuple[Path, ...] = ()
    """Folders with bundles, beside those that are shipped."""
    sources: dict[str, str] = Field(
        default_factory=lambda: {"planetary-computer": "planetary-computer", "earth-search": "earth-search"}
    )
    """Sources that requests may name, as JSON: each name's built-in name, URL of a STAC API, or path of a catalogue."""

    # HTTP
    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback only with keys."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 for any that is free."""
    public_url: str | None = None
    """How clients reach the service, as https://maps.example.org/api. Unset: as they reach it."""
    max_body_bytes: int = Field(default=5_000_000, ge=1000)
    """Largest request that is read."""
    link_secret: SecretStr | None = None
    """Signs links. Unset: one is made and kept in the data folder, which only one server can see."""
    link_s: float = Field(default=86_400, gt=0)
    """How long a signed link opens."""
    callback_hosts: tuple[str, ...] = ()
    """Hosts that may be called back when a job moves; https only."""

    # what one key may ask for, where the key does not say
    max_area_km2: float | None = Field(default=10_000, gt=0)
    """Largest area of one job. "none": no limit."""
    max_jobs_at_once: int | None = Field(default=100, gt=0)
    """Jobs of one key that are accepted or running. "none": no limit."""
    max_jobs_per_hour: int | None = Field(default=1000, gt=0)
    """Jobs of one key within an hour. "none": no limit."""

    # what one schedule may ask for
    max_schedule_jobs: int | None = Field(default=1000, gt=0)
    """Most jobs of one run of a schedule: cells of 100 km that its area is cut into. "none": no limit."""

    # work
    blocks_queue: Queue = Queue.BLOCKS_CPU
    """Where blocks wait when the request does not say: blocks.cpu or blocks.gpu."""
    model_threads: int = Field(default=0, ge=0)
    """CPU threads of one worker's model; 0 for every core."""
    lease_s: float = Field(default=60, gt=0)
    """How long a step belongs to a worker that says nothing."""
    renew_s: float = Field(default=15, gt=0)
    """How often a worker says that it still works; at most half of the lease."""
    resend_s: float = Field(default=30, gt=0)
    """After so long, a message that nobody took up is sent again."""
    sweep_s: float = Field(default=5, gt=0)
    """How often it is looked for what is to be sent, cleaned or scheduled."""
    visibility_timeout_s: float = Field(default=21_600, gt=0)
    """After so long, Redis hands a message that is being worked to another worker; longer than any block takes."""
    in_flight: int = Field(default=64, ge=1)
    """Most messages of each queue that are under way at a time."""
    max_attempts: int = Field(default=5, ge=1)
    """A step that failed, or lost its worker, so often fails its job."""
    retry_base_s: float = Field(default=2, gt=0)
    """Wait before the second try; doubled with every other."""
    retry_cap_s: float = Field(default=300, gt=0)
    """Longest wait between two tries."""
    catch_up_grace_s: float = Field(default=300, gt=0)
    """A schedule's nominal time that is noticed no later than this was not missed."""

    # logs
    log_format: Literal["console", "json"] = "console"
    """One line per event, for people or for machines."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least of what is logged."""

    @classmethod
    def read(cls, flags: Mapping[str, object] = _NO_FLAGS) -> Self:
        """The settings of this process's environment; `flags`, by field name, win over it.

        Raises:
            SettingInvalid: A variable or flag cannot be used, or there is no setting of that name.
        """
        _refuse_unknown(os.environ)
        try:
            return cls(**flags)  # type: ignore[arg-type]  # they are checked here
        except ValidationError as error:
            raise _refusal(error) from None  # its own words may hold a secret

    @property
    def limits(self) -> Limits:
        """What one key may ask for, where the key does not say."""
        return Limits(
            area_km2=self.max_area_km2, jobs_at_once=self.max_jobs_at_once, jobs_per_hour=self.max_jobs_per_hour
        )

    def shown(self) -> tuple[ShownSetting, ...]:
        """Every setting for people to read, without secrets."""
        return tuple(
            ShownSetting(
                variable=_variable(name),
                value=_shown(name, getattr(self, name)),
                meaning=(field.description or "").replace("\n", " "),
                is_default=name not in self.model_fields_set,
            )
            for name, field in type(self).model_fields.items()
        )

    def environment(self) -> dict[str, str]:
        """Variables from which another process reads these very settings, secrets included."""
        return {_variable(name): _written(getattr(self, name)) for name in type(self).model_fields}

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, folder: Path) -> Path:
        return folder.expanduser().absolute()

    @field_validator("bundle_dirs", "callback_hosts", mode="before")
    @classmethod
    def _as_list(cls, given: object) -> object:
        return [part.strip() for part in given.split(",") if part.strip()] if isinstance(given, str) else given

    @field_validator("sources", mode="before")
    @classmethod
    def _as_table(cls, given: object) -> object:
        try:
            return json.loads(given) if isinstance(given, str) else given
        except json.JSONDecodeError as error:
            raise ValueError('a JSON table such as {"name": "https://..."}') from error

    @field_validator("storage_url")
    @classmethod
    def _folder_or_bucket(cls, url: str) -> str:
        scheme, separator, bucket = url.partition("://")
        if not separator:
            return str(Path(url).expanduser().absolute())
        if scheme != "s3" or not bucket:
            raise ValueError("a folder, or s3://BUCKET/PREFIX")
        return url.rstrip("/")

    @field_validator("database_url", "broker_url")
    @classmethod
    def _speaks_to(cls, url: SecretStr | None, field: ValidationInfo) -> SecretStr | None:
        schemes = _SCHEMES[field.field_name or ""]
        if url is not None and url.get_secret_value().partition("://")[0] not in schemes:
            raise ValueError(f"a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return url

    @field_validator("public_url")
    @classmethod
    def _is_web_address(cls, url: str | None) -> str | None:
        if url is not None and not (urlsplit(url).scheme in {"http", "https"} and urlsplit(url).hostname):
            raise ValueError("a URL that starts with https:// or http://")
        return url and url.rstrip("/")

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        if 2 * self.renew_s > self.lease_s:
            raise SettingInvalid(
                _variable("renew_s"), f"{self.renew_s:g}", f"at most half of the lease's {self.lease_s:g} s"
            )
        if self.visibility_timeout_s <= self.lease_s:
            needed = f"more than the lease's {self.lease_s:g} s, and than any block takes"
            raise SettingInvalid(_variable("visibility_timeout_s"), f"{self.visibility_timeout_s:g}", needed)
        return self


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    """A misspelt variable would be a setting that silently is not made."""
    known = [_variable(name) for name in Settings.model_fields]
    for variable in environment:
        if variable.startswith(PREFIX) and variable not in {*known, SERVER_VARIABLE, KEY_VARIABLE}:
            meant = get_close_matches(variable, known, 1)
            needed = f"a setting that there is, such as {meant[0]}" if meant else "a setting that there is"
            raise SettingInvalid(variable, _HIDDEN, needed)


def _refusal(error: ValidationError) -> SettingInvalid:
    first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return SettingInvalid(_variable(name), _HIDDEN, "a setting that there is")
    secret = "SecretStr" in str(Settings.model_fields[name].annotation)
    needed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return SettingInvalid(_variable(name), _HIDDEN if secret else str(first["input"]), needed)


def _written(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value)
    return _NOTHING if value is None else str(value)


def _shown(name: str, value: object) -> str:
    """As it is written, without a secret; of a URL, all but its password."""
    if not isinstance(value, SecretStr):
        return _written(value)
    if name not in _SCHEMES:
        return _HIDDEN
    return _PASSWORD.sub(_without_password, value.get_secret_value())


def _without_password(found: re.Match[str]) -> str:
    return f"{found['before']}{_HIDDEN}@" if found["before"] else f"{found['named']}{_HIDDEN}"
