"""Whether the server lives, and whether it can work."""

import logging
from typing import Final

from fastapi import APIRouter, Response
from pydantic import ConfigDict
from sqlalchemy import text

from contract.errors import LedgerUnusable
from service.message import Message
from service.parts import InUse, Parts

router = APIRouter(tags=["operation"])
_logger = logging.getLogger(__name__)
_DOWN: Final = 503


class Health(Message):
    """The server answers."""

    status: str = "alive"


class Readiness(Message):
    """Whether what the server needs answers."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ready": True, "database": True, "broker": True, "storage": True}]}
    )

    ready: bool
    database: bool
    """Jobs can be read."""
    broker: bool
    """Messages can be sent. Without it jobs are accepted, and wait."""
    storage: bool
    """Results can be read."""


@router.get("/health", operation_id="health")
async def health() -> Health:
    """Alive: the process answers. Says nothing about what it needs."""
    return Health()


@router.get(
    "/ready", operation_id="ready", responses={_DOWN: {"model": Readiness, "description": "Something is away."}}
)
def ready(parts: InUse, response: Response) -> Readiness:
    """Ready: database, broker and storage answer. 503 while one of them does not."""
    checks = {
        "database": _database_answers(parts),
        "broker": parts.sender.answers(),
        "storage": parts.results.answers(),
    }
    found = Readiness(ready=all(checks.values()), **checks)
    if not found.ready:
        response.status_code = _DOWN
    return found


def _database_answers(parts: Parts) -> bool:
    try:
        with parts.database.reading() as session:
            session.execute(text("SELECT 1"))
    except LedgerUnusable as error:
        _logger.warning("%s", error)
        return False
    return True
