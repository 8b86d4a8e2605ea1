"""What schedules are made of."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from pydantic import ValidationError

from contract.schedules import ScheduleRequest, Span
from tests.contract.examples import AREA

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPAN = Span(start=NOON - timedelta(days=9), end=NOON)


def request(cron: str = "0 6 1 * *", **changes: object) -> ScheduleRequest:
    known = {"title": "Vaud", "area": AREA, "cron": cron, "source": "earth-search", "bundle": "rules"}
    window = {} if "window_days" in changes or "span" in changes else {"window_days": 30}
    return ScheduleRequest.model_validate(known | window | changes)


def first_times(cron: str, count: int) -> list[str]:
    return [f"{time:%m-%d %H:%M}" for time in islice(request(cron).times(NOON), count)]


@pytest.mark.parametrize(
    ("cron", "times"),
    [
        ("0 6 1 * *", ["04-01 06:00", "05-01 06:00", "06-01 06:00"]),
        ("*/20 12 * * *", ["03-01 12:20", "03-01 12:40", "03-02 12:00"]),
        ("30 5 * * MON", ["03-02 05:30", "03-09 05:30", "03-16 05:30"]),
        ("0 0 29 2 *", ["02-29 00:00"]),  # of 2028
        ("0 12 * * *", ["03-02 12:00"]),  # after the instant, not at it
    ],
)
def test_nominal_times_are_those_of_the_cron_expression_in_utc(cron: str, times: list[str]) -> None:
    assert first_times(cron, len(times)) == times
    assert all(time.tzinfo is UTC for time in islice(request(cron).times(NOON), 2))


@pytest.mark.parametrize(("seconds", "day"), [(-1, 28), (0, 1), (1, 1), (86_399, 1), (86_400, 2)])
def test_the_latest_nominal_time_may_be_this_very_instant(seconds: float, day: int) -> None:
    latest = request("0 12 * * *").latest_time(NOON + timedelta(seconds=seconds))
    assert (latest.day, latest.hour, latest.minute) == (day, 12, 0)


@pytest.mark.parametrize(
    ("cron", "reason"),
    [
        ("0 6 1 *", "has 4 fields; need minute hour day month weekday"),
        ("0 0 6 1 * *", "has 6 fields"),
        ("@daily", "has 1 fields"),
        ("60 * * * *", "Bad minute"),
        ("0 0 * * FOO", "Bad day-of-week"),
        ("0 0 30 2 *", "never comes round"),
        ("", "has 0 fields"),
    ],
)
def test_a_cron_expression_that_never_comes_round_is_refused(cron: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        request(cron)


def test_a_window_ends_at_the_nominal_time() -> None:
    assert request(window_days=30).span_at(NOON) == Span(start=datetime(2026, 1, 30, 12, tzinfo=UTC), end=NOON)


def test_a_fixed_span_is_the_same_at_every_nominal_time() -> None:
    assert request(span=SPAN).span_at(NOON + timedelta(days=400)) == SPAN


@pytest.mark.parametrize("both", [{"window_days": 30, "span": SPAN}, {"window_days": None}], ids=["both", "neither"])
def test_a_schedule_has_a_window_or_a_span(both: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="either window_days or span"):
        request(**both)


@pytest.mark.parametrize("days", [0, -1, 4000, float("nan")])
def test_a_window_has_a_length_that_the_calendar_holds(days: float) -> None:
    with pytest.raises(ValidationError, match="window_days"):
        request(window_days=days)


def test_an_empty_span_is_refused() -> None:
    with pytest.raises(ValidationError, match="is empty; need start < end"):
        Span(start=NOON, end=NOON)


def test_a_request_is_read_back_from_its_json() -> None:
    asked = request(span=SPAN, only_when_new_scenes=True, catch_up="all", priority=2, blocks_queue="blocks.gpu")
    assert ScheduleRequest.model_validate_json(asked.model_dump_json()) == asked
