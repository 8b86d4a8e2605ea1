"""API keys. The database knows the hash of a key's secret, and whoever made the key the secret."""

import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final

from pydantic import AwareDatetime
from sqlalchemy import exists, or_, select

from contract.database import Database
from contract.errors import KeyNotFound, KeyRefused
from contract.record import Record
from contract.submission import Limits
from contract.tables import KeyRow

_PREFIX: Final = "lsk"
"""Lets people and scanners of leaked secrets tell what it is."""
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_NO_LIMITS: Final = Limits()


class Scope(StrEnum):
    """What a key allows."""

    SUBMIT = "submit"
    """Submit and dismiss jobs."""
    READ = "read"
    """See one's own jobs, schedules and results."""
    MANAGE_SCHEDULES = "manage-schedules"
    ADMIN = "admin"
    """Everything, on everybody's jobs."""


class Key(Record):
    """An API key without its secret."""

    id: str
    """Owner of the jobs that are submitted with it."""
    name: str
    """For people."""
    scopes: frozenset[Scope]
    limits: Limits
    created: AwareDatetime
    expires: AwareDatetime | None
    """From then on it opens nothing; None: never."""
    revoked: AwareDatetime | None
    """Since then it opens nothing; None: it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was just made."""

    key: Key
    token: str
    """What its holder presents, `lsk_<id>_<secret>`. It cannot be read again."""


class KeyStore:
    """The API keys of one database.

    Raises:
        LedgerUnusable: From every method, when the database cannot be reached or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, name: str, *, scopes: Collection[Scope], expires: datetime | None = None, limits: Limits = _NO_LIMITS
    ) -> NewKey:
        """A new key, with the only copy of its secret."""
        if not scopes:
            raise ValueError(f"key {name!r} without scopes opens nothing; give it one of {', '.join(Scope)}")
        key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
        row = KeyRow(
            key_id=key_id,
            name=name,
            scopes=" ".join(sorted(set(scopes))),
            secret_sha256=_hash(secret),
            limits=limits,
            created=self._database.now(),
            expires=expires,
        )
        with self._database.writing() as session:
            session.add(row)
            session.flush()
            return NewKey(key=_key(row), token=f"{_PREFIX}_{key_id}_{secret}")

    def find(self, token: str) -> Key:
        """The key that was presented.

        Raises:
            KeyRefused: It is no key, or one that expired or was revoked. Only who knows the secret learns which.
        """
        prefix, _, rest = token.partition("_")
        key_id, _, secret = rest.partition("_")
        with self._database.reading() as session:
            row = session.get(KeyRow, key_id) if prefix == _PREFIX and key_id.isalnum() else None
        # Compared also where there is no such key: the time an answer takes tells nothing.
        matches = hmac.compare_digest(_hash(secret), row.secret_sha256 if row else _hash(""))
        if row is None or not matches:
            raise KeyRefused("is not known here")
        if row.revoked is not None:
            raise KeyRefused(f"was revoked at {row.revoked:%Y-%m-%d %H:%M} UTC")
        if row.expires is not None and row.expires <= self._database.now():
            raise KeyRefused(f"expired at {row.expires:%Y-%m-%d %H:%M} UTC")
        return _key(row)

    def key(self, key_id: str) -> Key:
        """The key of an id.

        Raises:
            KeyNotFound: There is none.
        """
        with self._database.reading() as session:
            row = session.get(KeyRow, key_id)
        if row is None:
            raise KeyNotFound(key_id)
        return _key(row)

    def keys(self) -> tuple[Key, ...]:
        """Every key, newest first."""
        with self._database.reading() as session:
            return tuple(_key(row) for row in session.scalars(select(KeyRow).order_by(KeyRow.created.desc())))

    def revoke(self, key_id: str) -> bool:
        """True when the key is revoked by this call; False when it was before.

        Raises:
            KeyNotFound: There is no such key.
        """
        with self._database.writing() as session:
            row = session.get(KeyRow, key_id, with_for_update=True)
            if row is None:
                raise KeyNotFound(key_id)
            if row.revoked is not None:
                return False
            row.revoked = self._database.now()
            return True

    def any_valid(self) -> bool:
        """Whether any key opens anything."""
        valid = KeyRow.revoked.is_(None), or_(KeyRow.expires.is_(None), KeyRow.expires > self._database.now())
        with self._database.reading() as session:
            return session.scalars(select(exists().where(*valid))).one()


def _hash(secret: str) -> str:
    """Plain SHA-256: a secret of 256 random bits cannot be guessed, so that nothing slower is needed."""
    return sha256(secret.encode(errors="surrogateescape")).hexdigest()


def _key(row: KeyRow) -> Key:
    return Key(
        id=row.key_id,
        name=row.name,
        scopes=frozenset(map(Scope, row.scopes.split())),
        limits=row.limits,
        created=row.created,
        expires=row.expires,
        revoked=row.revoked,
    )
