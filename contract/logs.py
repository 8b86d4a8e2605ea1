"""Structured logs: one line for each event, with what it is about bound to it.

The standard library's logging with two formatters, so that every folder, and every library in its process, can log alike
without another package.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Literal

Field = str | int | float | None

_BOUND: Final[ContextVar[dict[str, Field]]] = ContextVar("bound")
_FIELDS: Final = "landsigma_fields"
"""Attribute of a log record that carries an event's own fields."""
_OURS: Final = ("contract", "workers", "service")
"""What is logged at the level that is set; of libraries, only warnings."""


@contextmanager
def bound(**fields: Field) -> Iterator[None]:
    """Every event that this thread logs inside the block carries these fields."""
    token = _BOUND.set({**_BOUND.get({}), **fields})
    try:
        yield
    finally:
        _BOUND.reset(token)


def event(logger: logging.Logger, name: str, *, level: int = logging.INFO, **fields: Field) -> None:
    """Log one event with fields of its own."""
    logger.log(level, name, extra={_FIELDS: fields})


def configure_logs(form: Literal["console", "json"], level: str) -> None:
    """Send every log of this process to stderr, one line for each event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Console())
    handler.addFilter(_bind)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())


def _bind(record: logging.LogRecord) -> bool:
    """What is bound in the thread that logs, and what the event brings itself, in one place."""
    setattr(record, _FIELDS, {**_BOUND.get({}), **getattr(record, _FIELDS, {})})
    return True


class _Json(logging.Formatter):
    """A JSON object in one line."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


class _Console(logging.Formatter):
    """Time, level, event and fields in one line; a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={value}" for key, value in getattr(record, _FIELDS, {}).items())
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        line = f"{time} {record.levelname.lower():7} {' '.join(record.getMessage().splitlines())} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
