"""One message's work: claim the step, keep the claim alive, do it, and settle what came of it.

A message for a step that is done, or that another worker has, is dropped: messages may come twice.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, TypeVar

from contract.errors import JobNotFound, LedgerUnusable
from contract.ledger import SUCCESSES
from contract.logs import bound, event
from contract.request import BlockReport
from contract.steps import Claim, StepClaim
from workers.block import work_claims
from workers.finish import finish_job
from workers.plan import plan_job
from workers.queue.hands import Hands
from workers.queue.lease import Lease
from workers.queue.retry import GiveUp, Retry, described, lost_too_often, verdict
from workers.queue.ticks import tick as tick_schedules
from workers.worker import NobodyWatches, Worker

C = TypeVar("C", bound=StepClaim)

MOST_TO_CLEAN: Final = 20
"""Jobs whose folders one sweep removes: the next one is soon."""

_LOG: Final = logging.getLogger(__name__)


def plan(hands: Hands, job_id: str) -> None:
    """Plan a job, and send its blocks."""
    with _about(hands, job=job_id, step="plan"):
        claim = hands.ledger.claim_plan(job_id, owner=hands.worker.name, lease_s=hands.settings.lease_s)
        if _worked(hands, claim, lambda worker, _: plan_job(worker, job_id)):
            event(_LOG, "job planned", blocks=hands.ledger.status(job_id).blocks_total)
            hands.sender.send()


def block(hands: Hands, job_id: str, index: int) -> None:
    """Work a block; then send more, which after a job's last block is its finish."""
    with _about(hands, job=job_id, block=index):
        claim = hands.ledger.claim(job_id, index, owner=hands.worker.name, lease_s=hands.settings.lease_s)
        watcher = _BlockWatcher()

        def work(worker: Worker, claim: Claim) -> None:
            work_claims(replace(worker, watcher=watcher), hands.job(job_id), [claim])

        if _worked(hands, claim, work):
            watcher.tell()
            hands.sender.send()


def finish(hands: Hands, job_id: str) -> None:
    """Publish a job whose blocks are done."""
    with _about(hands, job=job_id, step="finish"):
        claim = hands.ledger.claim_finish(job_id, owner=hands.worker.name, lease_s=hands.settings.lease_s)
        if _worked(hands, claim, lambda worker, claim: finish_job(worker, job_id, claim=claim)):
            _clean(hands, job_id)
            event(_LOG, "job finished", state=hands.ledger.status(job_id).state.value)


def sweep(hands: Hands) -> None:
    """Send what is due, and remove what jobs left behind that ended: all of it where they have no results."""
    with _about(hands):
        sent = hands.sender.send()
        if any(sent.values()):
            event(_LOG, "steps sent", **{queue.value: count for queue, count in sent.items()})
        for job_id in hands.ledger.to_clean(limit=MOST_TO_CLEAN):
            _clean(hands, job_id)
            event(_LOG, "job cleaned", job=job_id)


def tick(hands: Hands) -> None:
    """Do what is due for schedules."""
    with _about(hands):
        tick_schedules(hands.worker, hands.database, hands.settings)


def _clean(hands: Hands, job_id: str) -> None:
    """Leave nothing of a job that ended but its results."""
    folder = hands.worker.folder_of(job_id)
    if hands.ledger.status(job_id).state in SUCCESSES:
        folder.clean()
    else:
        folder.discard()
    hands.ledger.cleaned(job_id)


@contextmanager
def _about(hands: Hands, **fields: str | int) -> Iterator[None]:
    """Events inside say what they are about. Without a ledger nothing can be settled: the lease will run out."""
    with bound(worker=hands.worker.name, **fields):
        try:
            yield
        except (LedgerUnusable, JobNotFound) as error:
            event(_LOG, "message dropped", level=logging.ERROR, reason=str(error))


def _worked(hands: Hands, claim: C | None, work: Callable[[Worker, C], object]) -> bool:
    """True when this worker got the step, and worked it to its end."""
    if claim is None:
        event(_LOG, "message dropped", level=logging.DEBUG, reason="done, another worker's, or not to be tried yet")
        return False
    hopeless = lost_too_often(claim, hands.settings)
    if hopeless is not None:
        _settle(hands, claim, hopeless)
        return False
    with Lease(hands.ledger, claim, hands.settings, hands.leaving) as lease:
        try:
            work(replace(hands.worker, stop=lease.stop), claim)
        except Exception as error:  # noqa: BLE001  whatever it is, it is settled here: a worker outlives its steps
            event(_LOG, "step left", level=logging.WARNING, attempt=claim.attempt, reason=described(error))
            _LOG.debug("what it was", exc_info=error)
            _settle(hands, claim, verdict(error, claim, hands.settings, hands.chance), described(error))
            return False
    return True


def _settle(hands: Hands, claim: StepClaim, decided: Retry | GiveUp | None, reason: str = "") -> None:
    if isinstance(decided, Retry):
        hands.ledger.release(claim, error=reason, retry_after_s=decided.after_s)
    elif isinstance(decided, GiveUp) and hands.ledger.fail(claim.job_id, decided.message):
        event(_LOG, "job failed", level=logging.ERROR, reason=decided.message)


class _BlockWatcher(NobodyWatches):
    """Remembers what was written and counted, for the thread that may tell whose it was."""

    def __init__(self) -> None:
        self._reports: list[BlockReport] = []

    def block_done(self, report: BlockReport) -> None:
        """Remember it."""
        self._reports.append(report)

    def tell(self) -> None:
        """Log what was done."""
        if not self._reports:
            event(_LOG, "block lost", level=logging.WARNING, reason="another worker took it over, or the job ended")
        for report in self._reports:
            event(
                _LOG,
                "block done",
                attempt=report.attempt,
                px=report.aoi_px,
                read_s=round(report.read_s, 3),
                inference_s=round(report.inference_s, 3),
                write_s=round(report.write_s, 3),
                provider=report.provider,
            )
