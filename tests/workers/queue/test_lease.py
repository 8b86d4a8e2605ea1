"""A claim lives as long as its worker does, and a worker leaves a step that is not its own any more."""

import threading
import time

import pytest

from contract.errors import LedgerUnusable
from contract.ledger import Ledger
from contract.request import JobState, MapRequest
from contract.settings import Settings
from contract.steps import StepClaim
from workers.queue import lease
from workers.queue.hands import Hands
from workers.queue.lease import Lease

SOON_S = 3.0


@pytest.fixture
def claim(hands: Hands, request_: MapRequest) -> StepClaim:
    job_id = hands.ledger.submit(request_)
    claimed = hands.ledger.claim_plan(job_id, owner="one", lease_s=hands.settings.lease_s)
    assert claimed is not None
    return claimed


def test_a_lease_that_is_kept_outlives_its_seconds(hands: Hands, claim: StepClaim, leaving: threading.Event) -> None:
    with Lease(hands.ledger, claim, hands.settings, leaving) as kept:
        time.sleep(2 * hands.settings.lease_s)
        assert hands.ledger.claim_plan(claim.job_id, owner="two", lease_s=1) is None
        assert not kept.stop.is_set()
    time.sleep(1.2 * hands.settings.lease_s)
    assert hands.ledger.claim_plan(claim.job_id, owner="two", lease_s=1) is not None


def test_a_step_that_another_took_over_is_left(hands: Hands, claim: StepClaim, leaving: threading.Event) -> None:
    hands.ledger.release(claim, error="lost")
    assert hands.ledger.claim_plan(claim.job_id, owner="two", lease_s=60) is not None
    with Lease(hands.ledger, claim, hands.settings, leaving) as kept:
        assert kept.stop.wait(SOON_S)


def test_a_dismissed_job_is_left_long_before_the_next_renewal(
    hands: Hands, claim: StepClaim, leaving: threading.Event
) -> None:
    patient = Settings(lease_s=600, renew_s=300)
    with Lease(hands.ledger, claim, patient, leaving) as kept:
        assert not kept.stop.wait(2 * lease.LOOK_S)
        hands.ledger.dismiss(claim.job_id)
        assert kept.stop.wait(SOON_S)
    assert hands.ledger.status(claim.job_id).state is JobState.DISMISSED


def test_a_process_that_is_asked_to_end_leaves_its_step(
    hands: Hands, claim: StepClaim, leaving: threading.Event
) -> None:
    leaving.set()
    with Lease(hands.ledger, claim, hands.settings, leaving) as kept:
        assert kept.stop.wait(SOON_S)


def test_a_ledger_that_is_away_for_a_while_costs_no_step(
    hands: Hands, claim: StepClaim, leaving: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew, asked = Ledger.renew, threading.Event()

    def away(_ledger: Ledger, _claim: StepClaim, *, lease_s: float) -> StepClaim:
        asked.set()
        raise LedgerUnusable("db", f"gone when {lease_s:g} s were asked for")

    monkeypatch.setattr(Ledger, "renew", away)
    with Lease(hands.ledger, claim, hands.settings, leaving) as kept:
        assert asked.wait(SOON_S)
        assert not kept.stop.wait(0.5)
        monkeypatch.setattr(Ledger, "renew", renew)
        time.sleep(1.5 * hands.settings.lease_s)
        assert hands.ledger.claim_plan(claim.job_id, owner="two", lease_s=1) is None
