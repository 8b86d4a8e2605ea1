"""What a schedule is: an area that is mapped again and again, at the times of a cron expression in UTC."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self

from cronsim import CronSim, CronSimError
from pydantic import AwareDatetime, Field, field_validator, model_validator

from contract.record import Record
from contract.request import MapOptions, MapRequest
from contract.scene import Area
from contract.submission import DEFAULT_PRIORITY, Priority, Queue

_CRON_FIELDS: Final = 5
"""minute, hour, day of month, month, day of week; a sixth would be seconds."""
_MOMENT: Final = timedelta(microseconds=1)


class CatchUp(StrEnum):
    """What becomes of nominal times that passed while nobody looked at the schedule."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


class Span(Record):
    """A half-open span of time."""

    start: AwareDatetime
    end: AwareDatetime

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"the span {self.start.isoformat()} to {self.end.isoformat()} is empty; need start < end")
        return self


class ScheduleRequest(Record):
    """What is to be mapped, when, and how."""

    title: str = Field(max_length=200)
    area: Area
    """Of any size: it is cut into jobs."""
    cron: str
    """Five fields, in UTC: "0 6 1 * *" is 06:00 on the first of every month."""
    window_days: float | None = Field(default=None, ge=0.01, le=3660)
    """Each run maps from so many days before its nominal time up to it. Either this or `span`."""
    span: Span | None = None
    """Each run maps this."""
    source: str
    bundle: str
    options: MapOptions = MapOptions()
    only_when_new_scenes: bool = False
    """Leave a run out when it would see the very scenes that the last one saw."""
    catch_up: CatchUp = CatchUp.LATEST
    priority: Priority = DEFAULT_PRIORITY
    blocks_queue: Queue = Queue.BLOCKS_CPU

    @field_validator("cron")
    @classmethod
    def _comes_round(cls, cron: str) -> str:
        if len(cron.split()) != _CRON_FIELDS:
            raise ValueError(f"cron {cron!r} has {len(cron.split())} fields; need minute hour day month weekday")
        try:
            next(CronSim(cron, datetime(2024, 1, 1)))  # noqa: DTZ001  any instant serves: does it come round at all?
        except (CronSimError, StopIteration) as error:
            raise ValueError(f"cron {cron!r} never comes round: {error or 'there is no such day'}") from error
        return cron

    @model_validator(mode="after")
    def _one_kind_of_span(self) -> Self:
        if (self.window_days is None) == (self.span is None):
            raise ValueError("give either window_days or span, and not both")
        return self

    def span_at(self, nominal: datetime) -> Span:
        """What the run of a nominal time maps."""
        return self.span or Span(start=nominal - timedelta(days=self.window_days or 0), end=nominal)

    def times(self, after: datetime) -> Iterator[datetime]:
        """Nominal times after an instant, soonest first."""
        return iter(CronSim(self.cron, after))

    def latest_time(self, until: datetime) -> datetime:
        """The last nominal time up to an instant."""
        return next(CronSim(self.cron, until + _MOMENT, reverse=True))


class Schedule(Record):
    """A schedule as it is kept."""

    id: str
    owner: str
    """Id of an API key, or "local"; its jobs are this owner's."""
    request: ScheduleRequest
    created: AwareDatetime
    active_since: AwareDatetime
    """When it was made or last resumed: nominal times up to here are past and gone."""
    paused: bool


class RunState(StrEnum):
    """Where a run of a schedule is."""

    OPENED = "opened"
    """Its jobs are not submitted yet."""
    RUNNING = "running"
    SUCCESSFUL = "successful"
    """Every job was."""
    INCOMPLETE = "incomplete"
    """Some of its jobs did not succeed."""
    FAILED = "failed"
    """None of its jobs succeeded, or there could be none."""
    SKIPPED = "skipped"
    """There was nothing new to map."""
    DISMISSED = "dismissed"
    """Every job was."""


class Run(Record):
    """What came of one nominal time of a schedule."""

    id: str
    schedule_id: str
    nominal: AwareDatetime
    opened: AwareDatetime
    state: RunState
    message: str = ""
    scene_digest: str | None = None
    """Of the scenes that its jobs see."""
    job_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRun:
    """A nominal time that has come."""

    schedule: Schedule
    nominal: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob:
    """One job of a run."""

    title: str
    request: MapRequest
