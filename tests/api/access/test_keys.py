"""Keys: their text, what the store keeps of them, and how they end."""

from __future__ import annotations

import datetime as dt
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from api.access import keys, keys_store
from planner.errors import InvalidInput, UnknownName
from planner.identity import now


def test_a_key_is_read_back_as_it_was_made() -> None:
    key_id, whole, digest = keys.new_secret()
    assert keys.parse(whole) == keys.Presented(key_id, digest)
    assert len(bytes.fromhex(whole.rpartition("_")[2])) * 8 == 256
    assert keys.new_secret()[1] != whole


@given(st.text() | st.from_regex(r"gpk_[0-9a-fA-F]{0,20}_[0-9a-fA-F]{0,70}\s?", fullmatch=True))
def test_what_is_no_key_is_not_read_as_one(text: str) -> None:
    parts = text.split("_")
    shaped = len(parts) == 3 and parts[0] == "gpk" and len(parts[1]) == 16 and len(parts[2]) == 64
    lower = shaped and all(c in "0123456789abcdef" for c in parts[1] + parts[2])
    assert (keys.parse(text) is not None) == lower


def test_the_store_keeps_a_digest_and_no_secret(any_engine: Engine) -> None:
    key, whole = keys_store.create(any_engine, "nightly", ["plan", "read"], dt.timedelta(days=1))
    secret = whole.rpartition("_")[2]
    assert keys_store.keys(any_engine) == (key,)
    assert key.scopes == ("read", "plan")
    assert key.digest == hashlib.sha256(secret.encode()).hexdigest()
    with any_engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM api_keys")).all()
    assert secret not in repr(rows)
    assert whole not in repr(rows)


def test_a_key_ends_when_it_expires_or_is_revoked(any_engine: Engine) -> None:
    assert not keys_store.any_live(any_engine)
    brief, _ = keys_store.create(any_engine, "brief", ["read"], dt.timedelta(hours=1))
    assert brief.expires_at is not None
    assert brief.is_live(brief.expires_at - dt.timedelta(microseconds=1))
    assert not brief.is_live(brief.expires_at)
    assert keys_store.any_live(any_engine)
    first = keys_store.revoke(any_engine, brief.id)
    assert not first.is_live(now())
    assert not keys_store.any_live(any_engine)
    assert keys_store.revoke(any_engine, brief.id) == first, "the moment of the first revocation stays"


def test_use_is_recorded(any_engine: Engine) -> None:
    key, _ = keys_store.create(any_engine, "used", ["read"], None)
    other, _ = keys_store.create(any_engine, "unused", ["read"], None)
    moment = now()
    keys_store.record_use(any_engine, key.id, moment)
    assert {k.id: k.last_used_at for k in keys_store.keys(any_engine)} == {key.id: moment, other.id: None}


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "nul\0", "x" * 101, "\x1b[31mred"])
def test_a_name_is_one_printable_line(engine: Engine, name: str) -> None:
    with pytest.raises(InvalidInput, match="printable"):
        keys_store.create(engine, name, ["read"], None)


@pytest.mark.parametrize("days", [0, -1, 10_000_000])
def test_an_end_lies_ahead(engine: Engine, days: int) -> None:
    with pytest.raises(InvalidInput, match="between now"):
        keys_store.create(engine, "name", ["read"], dt.timedelta(days=days))


@pytest.mark.parametrize("scopes", [[], ["root"], ["read", "READ"]])
def test_scopes_are_known(engine: Engine, scopes: list[str]) -> None:
    with pytest.raises(InvalidInput, match="given") as caught:
        keys_store.create(engine, "name", scopes, None)
    assert caught.value.fix == "choose from read, plan, provision, admin"


def test_revoking_what_is_not_there(engine: Engine) -> None:
    with pytest.raises(UnknownName):
        keys_store.revoke(engine, "0" * 16)
