"""Who asks for a job, how it is to be treated, and how much one may ask for."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, field_validator

from contract.record import Record

LOCAL: Final = "local"
"""Owner of the jobs of a server that runs without keys."""
DEFAULT_PRIORITY: Final = 5

Priority = Annotated[int, Field(ge=0, le=9)]
"""0 is the most urgent, as in Celery on Redis."""


class Queue(StrEnum):
    """Where messages wait. A worker listens to some of them."""

    PLAN = "plan"
    """Also carries the last step of a job: both need no model."""
    BLOCKS_CPU = "blocks.cpu"
    BLOCKS_GPU = "blocks.gpu"


class Callbacks(Record):
    """Addresses that are told how a job fares (OGC API - Processes, "subscriber")."""

    success_uri: str | None = None
    in_progress_uri: str | None = None
    failed_uri: str | None = None


class Terms(Record):
    """Who asks for a job, and how it is to be treated. Does not change the map."""

    owner: str = Field(default=LOCAL, min_length=1, max_length=64)
    """Id of an API key, or `LOCAL`."""
    title: str = Field(default="", max_length=200)
    priority: Priority = DEFAULT_PRIORITY
    blocks_queue: Queue = Queue.BLOCKS_CPU
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=255)
    """Whoever submits the same request with it again gets the same job."""
    callbacks: Callbacks = Callbacks()

    @field_validator("blocks_queue")
    @classmethod
    def _has_models(cls, queue: Queue) -> Queue:
        if queue is Queue.PLAN:
            raise ValueError(f"blocks wait in {Queue.BLOCKS_CPU} or {Queue.BLOCKS_GPU}, not in {queue}")
        return queue


class Limits(Record):
    """How much one owner may ask for; None is no limit. Jobs of schedules count for none of them."""

    area_km2: float | None = Field(default=None, gt=0)
    """Largest area of one job."""
    jobs_at_once: int | None = Field(default=None, gt=0)
    """Jobs that are accepted or running."""
    jobs_per_hour: int | None = Field(default=None, gt=0)
    """Jobs submitted within the last hour, whatever became of them."""
