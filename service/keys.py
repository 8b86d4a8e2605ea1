"""Who may reach the server: the holders of API keys or, where there are no keys, programs on the same machine."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request

from contract.errors import KeyRefused, KeysNeeded
from contract.keys import KeyStore, Scope
from contract.settings import Settings
from contract.submission import LOCAL, Limits
from service.access import Caller
from service.limits import limits_of
from service.problems import Refused

HEADER: Final = "X-API-Key"
"""Beside `Authorization: Bearer`, for programs that can set no other."""
_BEARER: Final = "bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAccess:
    """Tells callers apart by their keys.

    As long as no key was ever made, everybody on this machine is the same caller, who may do everything. From the first
    key on, nobody comes in without one, also when all of them were revoked.
    """

    keys: KeyStore
    limits: Limits
    """Where a key does not say."""

    def caller(self, request: Request) -> Caller:
        """Who sent the request.

        Raises:
            KeyRefused: It carries no key that opens anything, and there are keys.
            Refused: There are no keys, and it comes from another machine or from a web page.
        """
        token = _token(request)
        if token is not None:
            key = self.keys.find(token)
            return Caller(owner=key.id, scopes=key.scopes, limits=limits_of(key.limits, self.limits))
        if self.keys.keys():
            raise KeyRefused("is missing; send it as 'Authorization: Bearer lsk_...'")
        _check_local(request)
        return Caller(owner=LOCAL, scopes=frozenset(Scope), limits=self.limits)


def check_address(settings: Settings, keys: KeyStore) -> str | None:
    """What to tell the operator about who may come in; None where keys decide.

    Raises:
        KeysNeeded: The server would listen beyond this machine, and no key opens anything.
    """
    if not is_loopback(settings.host) and not keys.any_valid():
        raise KeysNeeded(settings.host)
    if keys.keys():
        return None
    return (
        f"there are no API keys: only programs on this machine are let in, at {settings.host}, and may do everything. "
        "Make a key with: landsigma keys create NAME"
    )


def is_loopback(host: str) -> bool:
    """The address or name is this machine's own and nobody else's."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _token(request: Request) -> str | None:
    """The key that a request presents; never from its URL, which ends in logs."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == _BEARER:
        return token.strip()
    return request.headers.get(HEADER)


def _check_local(request: Request) -> None:
    """Refuse what only passes through this machine: a proxy's requests, and those of web pages that a browser here shows.

    A page from elsewhere names itself in `Origin`, or has let a host name of its own point to this machine and asks for
    that name.
    """
    names = [request.url.hostname, request.client.host if request.client else "localhost"]
    if "Origin" in request.headers:
        names.append(urlsplit(request.headers["Origin"]).hostname)
    forwarded = any(header in request.headers for header in ("Forwarded", "X-Forwarded-For"))
    if forwarded or not all(is_loopback(name or "") for name in names):
        detail = (
            "there are no API keys, so only programs on the server's own machine are let in; ask its operator for one"
        )
        raise Refused(403, detail, kind="keys-needed")
