"""Who gets in: every way to ask, on a server of four routes, one per scope."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from starlette.datastructures import Headers

from api.access import auth, keys_store
from api.access.auth import Caller, Keys, is_local, needs
from api.access.keys import SCOPES, Scope
from api.access.rates import Rates
from planner.errors import GpuplanError, StoreError
from planner.settings import Settings
from profiles import db

Asking = Callable[..., httpx.Response]


def _route(app: FastAPI, scope: Scope) -> None:
    @app.get(f"/{scope}")
    async def route(caller: Caller = Depends(needs(scope))) -> str:  # noqa: B008 - the scope is known only here
        return caller.actor


def _app(engine: Engine, *, open_to_loopback: bool) -> FastAPI:
    app = FastAPI()
    app.state.engine, app.state.open_to_loopback = engine, open_to_loopback
    app.state.keys, app.state.rates = Keys(engine), Rates(Settings())
    for scope in SCOPES:
        _route(app, scope)

    @app.exception_handler(GpuplanError)
    async def told(_: Request, error: GpuplanError) -> JSONResponse:
        headers = getattr(error, "headers", None)
        return JSONResponse({"detail": error.detail, "fix": error.fix}, error.http_status, headers)

    return app


def _run(work: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
    return asyncio.run(work)


def _ask(
    app: FastAPI, path: str = "/read", headers: Any = None, peer: tuple[str, int] | None = ("192.0.2.7", 1)
) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=peer, raise_app_exceptions=False)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answer = await client.get(path, headers=headers or {})
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})  # what goes on beside the request
        return answer

    return _run(asked())


def _bearer(whole: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {whole}"}


def test_a_key_does_what_its_scopes_say_and_no_more(any_engine: Engine) -> None:
    for given_scopes in [[scope] for scope in SCOPES] + [["read", "provision"]]:
        key, whole = keys_store.create(any_engine, "ann", given_scopes, None)
        app = _app(any_engine, open_to_loopback=False)
        for scope in SCOPES:
            answer = _ask(app, f"/{scope}", _bearer(whole))
            if scope in given_scopes or "admin" in given_scopes:
                assert (answer.status_code, answer.json()) == (200, f"ann ({key.id})")
            else:
                assert answer.status_code == 403
                assert scope in answer.json()["detail"]


def test_without_a_key(engine: Engine) -> None:
    answer = _ask(_app(engine, open_to_loopback=True))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "gpuplan keys create" in answer.json()["fix"]


def test_an_open_loopback_asks_for_no_key(engine: Engine) -> None:
    app = _app(engine, open_to_loopback=True)
    for peer in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"):
        assert _ask(app, "/admin", peer=(peer, 1)).json() == "local"
    assert _ask(_app(engine, open_to_loopback=False), peer=("127.0.0.1", 1)).status_code == 401


@pytest.mark.parametrize("peer", ["10.0.0.1", "::", "::ffff:10.0.0.1", "fe80::1", "localhost.evil.example", ""])
def test_others_are_not_the_loopback(engine: Engine, peer: str) -> None:
    assert _ask(_app(engine, open_to_loopback=True), peer=(peer, 1)).status_code == 401


def test_a_caller_without_an_address_is_not_the_loopback(engine: Engine) -> None:
    assert _ask(_app(engine, open_to_loopback=True), peer=None).status_code == 401


@pytest.mark.parametrize(
    "name", ["Forwarded", "Via", "X-Forwarded-For", "x-forwarded-host", "X-FORWARDED-PROTO", "X-Real-IP"]
)
def test_what_came_through_a_proxy_is_not_local(engine: Engine, name: str) -> None:
    assert (
        _ask(_app(engine, open_to_loopback=True), headers={name: "127.0.0.1"}, peer=("127.0.0.1", 1)).status_code == 401
    )


@pytest.mark.parametrize(
    ("headers", "local"),
    [
        ({}, True),
        ({"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "http://127.0.0.1:8000"}, True),
        ({"origin": "http://[::1]:8000"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "https://localhost.evil.example"}, False),
        ({"origin": "http://127.0.0.1.evil.example"}, False),
        ({"origin": "http://evil.example#@localhost"}, False),
        ({"origin": "http://[::1"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
    ],
)
def test_pages_of_other_sites_are_not_local(headers: dict[str, str], local: bool) -> None:
    assert is_local("127.0.0.1", Headers(headers)) is local


def test_a_key_that_is_shown_must_be_valid_on_the_loopback_too(engine: Engine) -> None:
    app = _app(engine, open_to_loopback=True)
    assert _ask(app, headers={"Authorization": ""}, peer=("127.0.0.1", 1)).status_code == 401
    assert _ask(app, headers=_bearer("gpk_1_2"), peer=("127.0.0.1", 1)).status_code == 401


def test_two_keys_are_none(engine: Engine) -> None:
    _, whole = keys_store.create(engine, "ann", ["read"], None)
    app = _app(engine, open_to_loopback=False)
    twice = [("Authorization", f"Bearer {whole}"), ("Authorization", f"Bearer {whole}")]
    assert _ask(app, headers=twice).status_code == 401


def test_expired_and_revoked_keys_let_nobody_in(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    brief, brief_text = keys_store.create(engine, "brief", ["read"], dt.timedelta(hours=1))
    revoked, revoked_text = keys_store.create(engine, "revoked", ["read"], None)
    app = _app(engine, open_to_loopback=False)
    assert _ask(app, headers=_bearer(brief_text)).status_code == 200
    assert _ask(app, headers=_bearer(revoked_text)).status_code == 200
    keys_store.revoke(engine, revoked.id)
    assert brief.expires_at is not None
    monkeypatch.setattr(auth, "now", lambda: brief.expires_at)
    monkeypatch.setattr(auth, "REMEMBERED_S", 0.0)  # as 5 seconds later
    first, second = (_ask(app, headers=_bearer(whole)) for whole in (brief_text, revoked_text))
    assert (first.status_code, second.status_code) == (401, 401)
    assert first.json() == second.json() == _ask(app, headers=_bearer("gpk_0_0")).json(), "the reason is not told"


def test_keys_are_not_read_again_for_each_request(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    stored = keys_store.keys
    monkeypatch.setattr(keys_store, "keys", lambda engine: reads.append(1) or stored(engine))
    _, whole = keys_store.create(engine, "ann", ["read"], None)
    app = _app(engine, open_to_loopback=False)
    assert [_ask(app, headers=_bearer(whole)).status_code for _ in range(5)] == [200] * 5
    assert len(reads) == 1
    monkeypatch.setattr(auth, "UNKNOWN_AGAIN_S", 3600.0)
    guesses = [_bearer(f"gpk_{n:016x}_{n:064x}") for n in range(5)]
    assert [_ask(app, headers=guess).status_code for guess in guesses] == [401] * 5
    assert len(reads) == 1, "guesses do not reach the store"


def test_a_new_key_works_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "UNKNOWN_AGAIN_S", 0.0)
    app = _app(engine, open_to_loopback=False)
    _, first = keys_store.create(engine, "ann", ["read"], None)
    assert _ask(app, headers=_bearer(first)).status_code == 200
    _, second = keys_store.create(engine, "bob", ["read"], None)
    assert _ask(app, headers=_bearer(second)).status_code == 200


def test_the_last_use_is_recorded_once_a_minute(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = []
    monkeypatch.setattr(keys_store, "record_use", lambda _engine, key_id, _moment: recorded.append(key_id))
    key, whole = keys_store.create(engine, "ann", ["read"], None)
    app = _app(engine, open_to_loopback=False)
    for _ in range(3):
        _ask(app, headers=_bearer(whole))
    assert recorded == [key.id]
    monkeypatch.setattr(auth, "USE_RECORDED_S", 0.0)
    _ask(app, headers=_bearer(whole))
    assert recorded == [key.id, key.id]


def test_a_use_that_cannot_be_recorded_stops_nobody(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("is read-only")

    monkeypatch.setattr(keys_store, "record_use", refuse)
    _, whole = keys_store.create(engine, "ann", ["read"], None)
    assert _ask(_app(engine, open_to_loopback=False), headers=_bearer(whole)).status_code == 200


def test_nobody_gets_in_while_the_store_is_away(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole = keys_store.create(engine, "ann", ["read"], None)
    app = _app(engine, open_to_loopback=False)
    assert _ask(app, headers=_bearer(whole)).status_code == 200

    def away(_: Engine) -> None:
        raise StoreError("cannot be reached")

    monkeypatch.setattr(keys_store, "keys", away)
    monkeypatch.setattr(auth, "REMEMBERED_S", 0.0)
    assert _ask(app, headers=_bearer(whole)).status_code == 503


def test_guessing_is_slowed_down(engine: Engine) -> None:
    app = _app(engine, open_to_loopback=False)
    app.state.rates = Rates(Settings(requests_per_minute=3))
    statuses = [_ask(app, headers=_bearer("x")).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    assert _ask(app, headers=_bearer("x"), peer=("192.0.2.8", 1)).status_code == 401, "others are not"


_LATIN = st.characters(max_codepoint=255, exclude_characters="\0\r\n")
_KEYS = st.from_regex(r"gpk_[0-9a-fA-F_]{0,20}_[0-9a-fA-F]{0,70}", fullmatch=True)
_HEADERS = st.one_of(
    st.text(_LATIN, max_size=200),
    st.builds("{}{}{}".format, st.sampled_from(["Bearer", "bearer", "BEARER", "Basic", "Digest", "Token", ""]),
              st.text(" \t,;=", max_size=3), _KEYS | st.text(_LATIN, max_size=80)),
)  # fmt: skip


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> tuple[FastAPI, str]:
    engine = db.initialise(f"sqlite:///{tmp_path_factory.mktemp('auth') / 'store.db'}")
    _, whole = keys_store.create(engine, "ann", ["admin"], None)
    return _app(engine, open_to_loopback=True), whole


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(["Bearer"])
@example(["Bearer "])
@example(["Bearer \t"])
@example(["Bearer\xa0gpk_0_0"])
@example(["Bearer " + "a" * 100_000])
@given(st.lists(_HEADERS, min_size=1, max_size=3))
def test_no_header_lets_anyone_in(guarded: tuple[FastAPI, str], values: list[str]) -> None:
    headers = [(b"Authorization", value.encode("latin-1")) for value in values]
    assert _ask(guarded[0], headers=headers, peer=("127.0.0.1", 1)).status_code in (401, 429)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_key_that_is_nearly_right_lets_nobody_in(guarded: tuple[FastAPI, str], data: st.DataObject) -> None:
    app, whole = guarded
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.sampled_from("0123456789abcdefABCDEF_g é\t").filter(lambda c: c != whole[place]))
    before, after = whole[:place], whole[place + 1 :]
    near = [before + other + after, before + other + whole[place:], before + after, whole + whole]
    changed = data.draw(st.sampled_from(near))
    if changed.strip(" ") != whole:
        header = f"Bearer {changed}".encode()
        assert _ask(app, headers=[(b"Authorization", header)]).status_code in (401, 429)
    assert _ask(app, headers=_bearer(whole)).status_code == 200
