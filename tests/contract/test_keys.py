"""API keys, on SQLite and on PostgreSQL."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from contract.database import Database
from contract.errors import KeyNotFound, KeyRefused
from contract.keys import Key, KeyStore, Scope
from contract.submission import Limits
from tests.contract.conftest import Clock


@pytest.fixture
def keys(database: Database) -> KeyStore:
    return KeyStore(database)


def test_a_key_opens_with_its_token(keys: KeyStore, clock: Clock) -> None:
    limits = Limits(area_km2=500, jobs_at_once=2)
    scopes = {Scope.SUBMIT, Scope.MANAGE_SCHEDULES}
    new = keys.create("the lab", scopes=scopes, limits=limits)
    assert keys.find(new.token) == new.key
    assert new.key == Key(
        id=new.token.split("_")[1],
        name="the lab",
        scopes=frozenset(scopes),
        limits=limits,
        created=clock.now,
        expires=None,
        revoked=None,
    )


def test_tokens_are_told_from_others_and_hold_256_random_bits(keys: KeyStore) -> None:
    tokens = [keys.create("a", scopes=[Scope.READ]).token for _ in range(5)]
    for token in tokens:
        prefix, key_id, secret = token.split("_", 2)
        assert (prefix, key_id.isalnum(), len(secret)) == ("lsk", True, 43)  # 32 bytes in base64 without padding
    assert len(set(tokens)) == 5


def test_the_database_does_not_know_the_secret(keys: KeyStore, database: Database) -> None:
    secret = keys.create("the lab", scopes=[Scope.READ]).token.split("_", 2)[2]
    with database.engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM keys")).one()
    assert not [value for value in row if secret in str(value)]


def test_what_is_no_key_is_refused(keys: KeyStore) -> None:
    token = keys.create("the lab", scopes=[Scope.READ]).token
    other = keys.create("the other lab", scopes=[Scope.READ]).token
    prefix, key_id, _ = token.split("_", 2)
    mixed = f"{prefix}_{key_id}_{other.split('_', 2)[2]}"
    wrong = ["", "lsk", "lsk__", "lsk_\udcff_x", "lsk_\0_x", f"{prefix}_{key_id}_", token[:-1], f"{token}x", mixed]
    for presented in (*wrong, token.replace("lsk_", "xyz_"), token.upper(), f"{prefix}_{key_id}_\udcff"):
        with pytest.raises(KeyRefused, match="is not known here"):
            keys.find(presented)


def test_a_key_opens_until_it_expires(keys: KeyStore, clock: Clock) -> None:
    token = keys.create("the lab", scopes=[Scope.READ], expires=clock.now + timedelta(hours=1)).token
    clock.advance(3599)
    keys.find(token)
    clock.advance(1)
    with pytest.raises(KeyRefused, match="expired at 2026-03-01 13:00 UTC"):
        keys.find(token)


def test_a_revoked_key_opens_nothing_any_more(keys: KeyStore, clock: Clock) -> None:
    new = keys.create("the lab", scopes=[Scope.READ])
    assert keys.revoke(new.key.id)
    clock.advance(60)
    assert not keys.revoke(new.key.id)
    with pytest.raises(KeyRefused, match="was revoked at 2026-03-01 12:00 UTC"):
        keys.find(new.token)


def test_only_who_knows_the_secret_learns_what_became_of_a_key(keys: KeyStore) -> None:
    new = keys.create("the lab", scopes=[Scope.READ])
    keys.revoke(new.key.id)
    with pytest.raises(KeyRefused, match="is not known here"):
        keys.find(f"lsk_{new.key.id}_guessed")


def test_keys_are_listed_newest_first(keys: KeyStore, clock: Clock) -> None:
    first = keys.create("first", scopes=[Scope.READ]).key
    clock.advance(1)
    second = keys.create("second", scopes=[Scope.ADMIN]).key
    assert keys.keys() == (second, first)
    assert keys.key(first.id) == first


def test_an_unknown_key_is_named(keys: KeyStore) -> None:
    for ask in (keys.key, keys.revoke):
        with pytest.raises(KeyNotFound, match="there is no key 'nobody'"):
            ask("nobody")


def test_a_key_without_scopes_is_the_programmers_mistake(keys: KeyStore) -> None:
    with pytest.raises(ValueError, match="opens nothing"):
        keys.create("the lab", scopes=[])


def test_there_is_a_valid_key_until_the_last_is_revoked_or_expired(keys: KeyStore, clock: Clock) -> None:
    assert not keys.any_valid()
    keys.create("short", scopes=[Scope.READ], expires=clock.now + timedelta(seconds=60))
    lasting = keys.create("lasting", scopes=[Scope.READ]).key
    assert keys.any_valid()
    keys.revoke(lasting.id)
    assert keys.any_valid()
    clock.advance(60)
    assert not keys.any_valid()
