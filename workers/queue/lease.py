"""Lease: a claim that is kept alive while its step is being worked."""

import logging
import threading
import time
from types import TracebackType
from typing import Final, Protocol, Self

from contract.errors import JobNotFound, LeaseLost, LedgerUnusable
from contract.ledger import Ledger
from contract.logs import event
from contract.settings import Settings
from contract.steps import StepClaim

LOOK_S: Final = 1.0
"""Between two looks whether the step is to be left: a read of one small row."""

_LOG: Final = logging.getLogger(__name__)


class Flag(Protocol):
    """Something that is set once."""

    def is_set(self) -> bool:
        """Whether it was."""


class Lease:
    """Renews a claim from a thread of its own, and sets `stop` when the step is to be left.

    That is when another worker took it over, the job was dismissed or failed, or this process is asked to end. A ledger
    that cannot be reached is no reason: until somebody takes the step over, the claim stays good.
    """

    def __init__(self, ledger: Ledger, claim: StepClaim, settings: Settings, leaving: Flag) -> None:
        self.stop: Final = threading.Event()
        self._ledger, self._claim, self._settings, self._leaving = ledger, claim, settings, leaving
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._ended.wait(min(LOOK_S, self._settings.renew_s)):
            try:
                if time.monotonic() - renewed >= self._settings.renew_s:
                    self._ledger.renew(self._claim, lease_s=self._settings.lease_s)
                    renewed = time.monotonic()
                ended = self._ledger.status(self._claim.job_id).state.is_final
            except (LeaseLost, JobNotFound):
                ended = True
            except LedgerUnusable as error:
                event(_LOG, "ledger away", level=logging.WARNING, reason=str(error))
                ended = False
            if ended or self._leaving.is_set():
                self.stop.set()
                return
