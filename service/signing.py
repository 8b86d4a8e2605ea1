"""Signatures of links: who may open what, until when, in a few characters that nobody else can make."""

import hmac
import os
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from contract.errors import SettingInvalid
from contract.settings import Settings
from service.problems import Refused

KEPT_AS: Final = "link-secret"
"""In the data folder, where the settings do not give one."""
SHORTEST_SECRET: Final = 16
"""Characters."""
_SECRET_BYTES: Final = 32
_TOKEN: Final = re.compile(r"([A-Za-z0-9_-]{1,64})\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})")
_PURPOSE: Final = b"landsigma link"
"""Signed with the rest, so that a signature made for another purpose with this secret opens nothing."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Makes and checks signatures. Whoever has the secret can open every result."""

    secret: bytes

    def token(self, subject: str, expires_s: int) -> str:
        """What opens the subject (a job or run) until an instant, in seconds since 1970."""
        return f"{subject}.{expires_s}.{self._signature(subject, expires_s)}"

    def subject(self, token: str, now_s: float) -> str:
        """The job or run that a token opens.

        Raises:
            Refused: It was not made here, was changed, or has expired.
        """
        parts = _TOKEN.fullmatch(token)
        if parts is None or not hmac.compare_digest(self._signature(parts[1], int(parts[2])), parts[3]):
            raise link_refused("was not made by this server, or was changed")
        if int(parts[2]) <= now_s:
            raise link_refused(f"expired at {datetime.fromtimestamp(int(parts[2]), UTC):%Y-%m-%d %H:%M} UTC")
        return parts[1]

    def _signature(self, subject: str, expires_s: int) -> str:
        signed = b"\n".join((_PURPOSE, subject.encode(), str(expires_s).encode()))
        return urlsafe_b64encode(hmac.digest(self.secret, signed, "sha256")).decode().rstrip("=")


def signer_of(settings: Settings) -> Signer:
    """With the secret of the settings, else with one that is kept in the data folder and made now if there is none.

    Raises:
        SettingInvalid: The secret is so short that it can be guessed.
    """
    if settings.link_secret is not None:
        secret = settings.link_secret.get_secret_value()
        if len(secret) < SHORTEST_SECRET:
            raise SettingInvalid("LANDSIGMA_LINK_SECRET", "***", f"at least {SHORTEST_SECRET} characters")
        return Signer(secret.encode())
    path = settings.data_dir / KEPT_AS
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{KEPT_AS}.{secrets.token_hex(8)}")
    temporary.touch(mode=0o600)
    temporary.write_text(secrets.token_hex(_SECRET_BYTES), encoding="ascii")
    _keep_first(temporary, path)
    return Signer(path.read_bytes())


def _keep_first(temporary: Path, path: Path) -> None:
    """Give a whole file its name, unless one has it."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def link_refused(reason: str) -> Refused:
    """What to answer to a link that does not open."""
    return Refused(403, f"the link {reason}; ask for a new one", kind="link-refused")
