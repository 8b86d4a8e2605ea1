"""What crosses between a server and its callers, as callers see it. Needs nothing of the server's packages."""

from collections.abc import Mapping
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from contract.record import Record
from contract.request import MapOptions
from contract.submission import DEFAULT_PRIORITY, Priority, Queue


class Told(BaseModel):
    """What a server says. It may be newer, and say more."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, use_attribute_docstrings=True)


class RemoteJob(Told):
    """How far a job is, as the server says."""

    job_id: str = Field(alias="jobID")
    status: str
    """accepted, running, successful, failed or dismissed."""
    message: str
    title: str = ""
    created: AwareDatetime
    finished: AwareDatetime | None = None
    progress: int = 0
    """Percent."""
    blocks_done: int = 0
    blocks_total: int | None = None
    remaining_seconds: float | None = None

    @property
    def is_over(self) -> bool:
        """Nothing more will come of it."""
        return self.status in {"successful", "failed", "dismissed"}


class RemoteFile(Told):
    """A published file."""

    href: str
    type: str
    """Media type."""
    title: str
    """Its name in the job's folder."""


class RemoteLinks(Told):
    """Addresses that open without a key."""

    expires: AwareDatetime
    files: dict[str, str]
    """By name."""


class RemoteSchedule(Told):
    """A region that is mapped again and again, as the server says."""

    id: str
    title: str
    cron: str
    source: str
    bundle: str
    paused: bool
    next: tuple[AwareDatetime, ...] = ()


class RemoteRun(Told):
    """What came of one nominal time of a schedule, as the server says."""

    id: str
    nominal: AwareDatetime
    state: str
    message: str
    jobs: tuple[str, ...] = ()


class Order(Record):
    """What is to be mapped, as a caller says it."""

    area: Mapping[str, Any]
    """GeoJSON, or {"bbox": [west, south, east, north]}."""
    start: AwareDatetime
    end: AwareDatetime
    source: str
    bundle: str
    options: MapOptions = MapOptions()
    title: str = ""
    priority: Priority = DEFAULT_PRIORITY
    queue: Queue | None = None

    def execution(self) -> dict[str, Any]:
        """The body of an execution (OGC API - Processes)."""
        return {"inputs": self.model_dump(mode="json", exclude_unset=True)}
