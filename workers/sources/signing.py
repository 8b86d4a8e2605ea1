"""Hrefs that need a token before they can be read."""

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from urllib.parse import urlsplit

import requests
from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from contract.errors import SourceUnreachable, SourceUnusable
from contract.record import Record
from workers.sources.http import TIMEOUT_S, session

TOKEN_ENDPOINT: Final = "https://planetarycomputer.microsoft.com/api/sas/v1/token"  # noqa: S105  an address
"""Answers with a token for `/{storage account}/{container}`."""
STORAGE_SUFFIX: Final = ".blob.core.windows.net"
MARGIN_S: Final = 300.0
"""A token is renewed this long before it expires, so that a file that was just opened can still be read."""
YOUNG_S: Final = 10.0
"""A younger token is kept when a reader is refused: the refusal was of the token before it."""

Signing = Literal["planetary-computer"] | None


class _Answer(Record):
    """What the token endpoint answers; what else it tells is not our business."""

    model_config = ConfigDict(extra="ignore")

    expiry: AwareDatetime = Field(validation_alias="msft:expiry")
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    query: str
    expiry: datetime
    fetched_s: float
    """On the monotonic clock."""

    def is_fresh(self) -> bool:
        return self.expiry.timestamp() - time.time() > MARGIN_S

    def is_young(self, young_s: float) -> bool:
        return time.monotonic() - self.fetched_s < young_s


class Signer:
    """Makes hrefs readable. Keeps tokens until shortly before they expire; threads share one."""

    def __init__(self, *, endpoint: str = TOKEN_ENDPOINT, young_s: float = YOUNG_S) -> None:
        self._endpoint = endpoint
        self._young_s = young_s
        self._session = session()
        self._tokens: dict[str, _Token] = {}
        self._failure: tuple[float, SourceUnreachable] | None = None
        self._lock = threading.Lock()

    def readable(self, href: str, signing: Signing) -> str:
        """The URL or path that can be opened now.

        Raises:
            SourceUnreachable: The token endpoint did not answer, also after retries.
            SourceUnusable: It refuses the container.
        """
        container = _container(href) if signing else None
        if container is None:
            return href
        with self._lock:  # whoever comes while a token is on its way waits for that one
            token = self._tokens.get(container)
            if token is None or not token.is_fresh():
                self._check_failure()
                token = self._tokens[container] = self._fetch(container)
        return f"{href}?{token.query}"

    def forget(self, href: str, signing: Signing) -> None:
        """Drop the token of an href that was refused, unless a newer one than the refused has come meanwhile."""
        container = _container(href) if signing else None
        with self._lock:
            token = self._tokens.get(container) if container else None
            if token is not None and container is not None and not token.is_young(self._young_s):
                del self._tokens[container]

    def _check_failure(self) -> None:
        """Let those who waited for a request that failed fail with it, not each with half a minute of its own."""
        if self._failure is not None and time.monotonic() - self._failure[0] < self._young_s:
            raise self._failure[1]

    def _fetch(self, container: str) -> _Token:
        url = f"{self._endpoint}/{container}"
        try:
            response = self._session.get(url, timeout=TIMEOUT_S)
        except requests.RequestException as error:
            failure = SourceUnreachable("planetary-computer", url, str(error))
            self._failure = time.monotonic(), failure
            raise failure from error
        if not response.ok:
            raise SourceUnusable("planetary-computer", f"no token for {container}: HTTP status {response.status_code}")
        try:
            answer = _Answer.model_validate_json(response.content)
        except ValidationError as error:
            raise SourceUnusable("planetary-computer", f"no token in the answer of {url}") from error
        return _Token(query=answer.token, expiry=answer.expiry, fetched_s=time.monotonic())


def _container(href: str) -> str | None:
    """Storage account and container of an unsigned href on Azure, as "account/container"."""
    url = urlsplit(href)
    host = url.hostname or ""
    if not host.endswith(STORAGE_SUFFIX) or url.query:
        return None
    return f"{host.removesuffix(STORAGE_SUFFIX)}/{url.path.split('/')[1]}"
