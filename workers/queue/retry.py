"""What becomes of a step that ended with an error: whose fault it is decides whether it is tried again."""

import random
from dataclasses import dataclass
from typing import Final

from contract.errors import (
    Interrupted,
    JobEnded,
    JobNotFound,
    LandsigmaError,
    LeaseLost,
    LedgerUnusable,
    OutputNotWritable,
    SourceUnreachable,
)
from contract.settings import Settings
from contract.steps import StepClaim

NOT_OURS: Final = (LeaseLost, JobEnded, JobNotFound)
"""The step is somebody else's by now, or nobody's."""
_SLOWER: Final = {SourceUnreachable: 2.0, OutputNotWritable: 5.0}
"""Others must act before a second try can go better: wait so many times as long as after any other error."""
_MAY_PASS: Final = (*_SLOWER, LedgerUnusable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The step is given back and tried again."""

    after_s: float | None
    """Seconds to wait at least, and a failure is counted; None: at once, and none is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """The job fails."""

    message: str


def verdict(error: Exception, claim: StepClaim, settings: Settings, chance: random.Random) -> Retry | GiveUp | None:
    """What is to be done; None for nothing, since the step is not this worker's any more.

    What the request or the bundle is to blame for fails the job at once. Everything else is tried again, after a wait that
    doubles from one failure to the next and is drawn at random below that bound, so that many failures at a time do not
    come back together ("full jitter", https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    if isinstance(error, NOT_OURS):
        return None
    if isinstance(error, Interrupted):
        return Retry(after_s=None)
    if isinstance(error, LandsigmaError) and not isinstance(error, _MAY_PASS):
        return GiveUp(message=str(error))
    if claim.failures + 1 >= settings.max_attempts:
        return GiveUp(message=f"{claim.step} failed {claim.failures + 1} times, at last: {described(error)}")
    slower = next((factor for kind, factor in _SLOWER.items() if isinstance(error, kind)), 1.0)
    bound_s = min(settings.retry_cap_s, slower * settings.retry_base_s * 2.0**claim.failures)
    return Retry(after_s=chance.uniform(0.0, bound_s))


def lost_too_often(claim: StepClaim, settings: Settings) -> GiveUp | None:
    """Why the job fails before this claim is even begun: step after step took its worker down with it."""
    if claim.expiries < settings.max_attempts:
        return None
    return GiveUp(
        message=f"{claim.step} was begun {claim.expiries} times by workers that never came back; it may need more memory than "
        "they have: give them more, or choose a smaller block_px"
    )


def described(error: Exception) -> str:
    """The error in one line, with its kind where it does not word itself."""
    return str(error) if isinstance(error, LandsigmaError) else f"{type(error).__name__}: {error}"
