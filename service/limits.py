"""How much a caller may ask for."""

from contract.submission import Limits


def limits_of(own: Limits, default: Limits) -> Limits:
    """A key's own limits, and the server's where the key does not say."""
    given = own.model_dump(exclude_none=True)
    return Limits.model_validate(default.model_dump() | given)
