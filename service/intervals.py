"""Spans of time as OGC APIs write them: an instant, or two with a slash between, either of which may be open."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from service.problems import Refused

PATTERN: Final = r"^[0-9.:TZ+/-]{2,80}$"
"""What a span is written with."""
_OPEN: Final = {"", ".."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A span of time, both ends included; None is open."""

    start: datetime | None
    end: datetime | None

    def meets(self, start: datetime, end: datetime) -> bool:
        """The two spans share an instant."""
        return (self.start is None or end >= self.start) and (self.end is None or start <= self.end)


def interval(given: str | None, field: str) -> Interval:
    """The span that a text says; open on both sides where there is none.

    Raises:
        Refused: It is no span.
    """
    if given is None:
        return Interval(start=None, end=None)
    first, slash, last = given.partition("/")
    try:
        start = _instant(first)
        end = _instant(last) if slash else start
    except (ValueError, OverflowError):
        detail = f"{given!r} is no span of time; need an RFC 3339 instant, or two as 2024-06-01T00:00:00Z/.."
        raise Refused(422, detail, kind="interval-invalid", field=field, value=given) from None
    if start is not None and end is not None and start > end:
        detail = f"the span {given} ends before it starts"
        raise Refused(422, detail, kind="interval-invalid", field=field, value=given)
    return Interval(start=start, end=end)


def _instant(given: str) -> datetime | None:
    if given in _OPEN:
        return None
    instant = datetime.fromisoformat(given)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
