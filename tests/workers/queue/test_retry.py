"""Whose fault an error is decides whether a step is tried again, and when."""

import random
from datetime import UTC, datetime

import pytest

from contract.errors import (
    AoiEmpty,
    BundleNotFound,
    ErrorBudgetExceeded,
    Interrupted,
    JobEnded,
    JobNotFound,
    LeaseLost,
    LedgerUnusable,
    NoScenes,
    OutputNotWritable,
    SourceUnreachable,
    SourceUnusable,
)
from contract.settings import Settings
from contract.steps import StepClaim, StepKind
from workers.queue.retry import GiveUp, Retry, lost_too_often, verdict

SETTINGS = Settings(max_attempts=4, retry_base_s=2, retry_cap_s=30)
UNREACHABLE = SourceUnreachable("here", "https://example.org", "timed out")


def claim(*, failures: int = 0, expiries: int = 0) -> StepClaim:
    return StepClaim(
        job_id="j",
        kind=StepKind.PLAN,
        attempt=1,
        owner="w",
        expires=datetime.now(UTC),
        failures=failures,
        expiries=expiries,
    )


def waits(error: Exception, failures: int) -> list[float]:
    """Waits before the next try, drawn a thousand times."""
    drawn = [verdict(error, claim(failures=failures), SETTINGS, random.Random(seed)) for seed in range(1000)]
    return [one.after_s for one in drawn if isinstance(one, Retry) and one.after_s is not None]


@pytest.mark.parametrize(
    "error",
    [
        AoiEmpty("a line"),
        NoScenes("here", "May"),
        SourceUnusable("here", "no STAC"),
        BundleNotFound("gone", ("shelf",)),
        ErrorBudgetExceeded(0.5, 0.05, "one scene"),
    ],
)
def test_what_the_request_is_to_blame_for_fails_the_job_at_once(error: Exception) -> None:
    assert verdict(error, claim(), SETTINGS, random.Random(1)) == GiveUp(message=str(error))


@pytest.mark.parametrize(
    "error",
    [
        UNREACHABLE,
        OutputNotWritable("a.tif", "no space"),
        LedgerUnusable("db", "away"),
        OSError("reset"),
        KeyError("x"),
    ],
)
def test_what_may_pass_is_tried_until_the_last_attempt(error: Exception) -> None:
    assert isinstance(verdict(error, claim(failures=2), SETTINGS, random.Random(1)), Retry)
    given_up = verdict(error, claim(failures=3), SETTINGS, random.Random(1))
    assert isinstance(given_up, GiveUp)
    assert "plan failed 4 times" in given_up.message


@pytest.mark.parametrize(("failures", "bound_s"), [(0, 2.0), (1, 4.0), (2, 8.0)])
def test_waits_are_spread_below_a_bound_that_doubles(failures: int, bound_s: float) -> None:
    drawn = waits(OSError("reset"), failures)
    assert len(drawn) == 1000
    assert 0 <= min(drawn) < 0.05 * bound_s
    assert 0.95 * bound_s < max(drawn) <= bound_s
    assert sum(drawn) / len(drawn) == pytest.approx(bound_s / 2, rel=0.05)


def test_others_get_longer_to_mend_what_is_theirs_up_to_the_cap() -> None:
    assert max(waits(UNREACHABLE, 0)) == pytest.approx(4.0, rel=0.01)
    assert max(waits(OutputNotWritable("a.tif", "no space"), 0)) == pytest.approx(10.0, rel=0.01)
    assert max(waits(OutputNotWritable("a.tif", "no space"), 2)) == pytest.approx(30.0, rel=0.01)


def test_a_worker_that_is_asked_to_stop_gives_its_step_back_unharmed() -> None:
    assert verdict(Interrupted(), claim(failures=3), SETTINGS, random.Random(1)) == Retry(after_s=None)


@pytest.mark.parametrize("error", [LeaseLost("j", "plan"), JobEnded("j", "dismissed"), JobNotFound("j")])
def test_a_step_that_is_not_ours_any_more_is_left_alone(error: Exception) -> None:
    assert verdict(error, claim(), SETTINGS, random.Random(1)) is None


def test_a_step_that_takes_its_workers_down_fails_the_job_and_says_so() -> None:
    assert lost_too_often(claim(expiries=3), SETTINGS) is None
    given_up = lost_too_often(claim(expiries=4), SETTINGS)
    assert given_up is not None
    assert "plan was begun 4 times by workers that never came back" in given_up.message
