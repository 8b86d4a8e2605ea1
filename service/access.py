"""Who calls: what they own, what they may do and how much."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request

from contract.keys import Scope
from contract.submission import LOCAL, Limits
from service.problems import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever sent a request."""

    owner: str
    """Id of an API key, or `LOCAL`."""
    scopes: frozenset[Scope]
    limits: Limits

    def may(self, scope: Scope) -> bool:
        """The scope is among the caller's, or they may do everything."""
        return not self.scopes.isdisjoint({scope, Scope.ADMIN})

    def sees(self, owner: str) -> bool:
        """What belongs to this owner exists for the caller."""
        return self.owner == owner or Scope.ADMIN in self.scopes

    @property
    def listed_owner(self) -> str | None:
        """Whose jobs lists are made of; None for everybody's."""
        return None if Scope.ADMIN in self.scopes else self.owner


class Access(Protocol):
    """Tells callers apart."""

    def caller(self, request: Request) -> Caller:
        """Who sent the request.

        Raises:
            KeyRefused: It carries no key that opens anything.
        """


@dataclass(frozen=True, slots=True)
class LocalAccess:
    """Without keys: everybody who reaches the server is the same caller, who may do everything."""

    limits: Limits

    def caller(self, request: Request) -> Caller:  # noqa: ARG002  as `Access` says
        """The one caller."""
        return Caller(owner=LOCAL, scopes=frozenset(Scope), limits=self.limits)


def needs(scope: Scope) -> Callable[[Request], Caller]:
    """A dependency that gives the caller, provided that they have this scope."""

    def caller(request: Request) -> Caller:
        access: Access = request.app.state.parts.access
        found = access.caller(request)
        if not found.may(scope):
            raise Refused(403, f"this needs a key with the scope {scope.value!r}; ask for one", kind="scope-missing")
        return found

    return caller


Reader = Annotated[Caller, Depends(needs(Scope.READ))]
Submitter = Annotated[Caller, Depends(needs(Scope.SUBMIT))]
Manager = Annotated[Caller, Depends(needs(Scope.MANAGE_SCHEDULES))]
