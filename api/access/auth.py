"""Who is calling: the key of a request, or the loopback.

Keys are remembered for ``REMEMBERED_S`` seconds, so that a revoked key stops working within that time on every server.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, cast
from urllib.parse import urlsplit

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from api.access import keys_store
from api.access.errors import Forbidden, Unauthenticated
from api.access.keys import SCOPES, Key, Presented, Scope, matches, parse
from planner.errors import StoreError
from planner.identity import now

REMEMBERED_S = 5.0
"""How long keys are used without asking the store again: how late a revocation may be."""

UNKNOWN_AGAIN_S = 0.5
"""A key that is not known may be new: the store is asked again, but not more often than this, whoever guesses."""

USE_RECORDED_S = 60.0
"""Between two records of a key's last use: a write per request would cost more than what is asked for."""

_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
_NEED_A_KEY = "send `Authorization: Bearer KEY`; `gpuplan keys create NAME` makes one"

_log = structlog.get_logger("gpuplan.access")
_documented = HTTPBearer(auto_error=False, description="An API key, made with `gpuplan keys create NAME --scope SCOPE`")


@dataclass(frozen=True)
class Caller:
    """Who asked: a key, or ``local`` on a loopback that is open."""

    id: str
    name: str
    scopes: frozenset[str]

    @property
    def actor(self) -> str:
        """As the audit log names them."""
        return self.name if self.id == self.name else f"{self.name} ({self.id})"

    def may(self, scope: Scope) -> bool:
        """Whether the scope is theirs; ``admin`` has all."""
        return scope in self.scopes or "admin" in self.scopes


LOCAL = Caller("local", "local", frozenset(SCOPES))
"""Whoever reaches an open loopback could as well run the commands."""


class Keys:
    """The keys of the store, remembered. One per server process, used on its event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._keys: Mapping[str, Key] = {}
        self._read_at_s = -float("inf")
        self._reading = asyncio.Lock()
        self._use_recorded_at_s: dict[str, float] = {}
        self._records: set[asyncio.Future[None]] = set()

    async def find(self, presented: Presented) -> Key | None:
        """The live key that was shown; None where there is none. ``StoreError`` where the store cannot be read."""
        known = presented.id in self._keys
        await self._refresh(REMEMBERED_S if known else UNKNOWN_AGAIN_S)
        key = self._keys.get(presented.id)
        if key is None or not matches(key, presented) or not key.is_live(now()):
            return None
        self._record_use(key.id)
        return key

    async def _refresh(self, most_age_s: float) -> None:
        if time.monotonic() - self._read_at_s <= most_age_s:
            return
        async with self._reading:
            if time.monotonic() - self._read_at_s <= most_age_s:
                return  # another request has just done it
            read_at_s = time.monotonic()
            found = await run_in_threadpool(keys_store.keys, self._engine)
            self._keys, self._read_at_s = {key.id: key for key in found}, read_at_s

    def _record_use(self, key_id: str) -> None:
        moment_s = time.monotonic()
        if moment_s - self._use_recorded_at_s.get(key_id, -float("inf")) < USE_RECORDED_S:
            return
        self._use_recorded_at_s[key_id] = moment_s
        # Beside the request, not on its way; the reference keeps the task alive until it is done.
        record = asyncio.ensure_future(run_in_threadpool(_record, self._engine, key_id, now()))
        self._records.add(record)
        record.add_done_callback(self._records.discard)


def needs(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency that lets through who may do this: ``caller: Annotated[Caller, Depends(needs("plan"))]``.

    It counts the request against the caller's rate first. ``app.state`` holds ``keys`` (``Keys``), ``rates``
    (``api.access.rates.Rates``) and ``open_to_loopback``.

    Raises
    ------
    Unauthenticated
        If no valid key came, and the caller is not on an open loopback.
    Forbidden
        If the key lacks the scope.
    TooManyRequests
        If the caller's rate is exhausted.
    StoreError
        If the keys cannot be read: nobody is let in meanwhile.
    """

    async def let_through(request: Request, _: Annotated[object, Depends(_documented)]) -> Caller:
        caller = await admitted(request)
        if not caller.may(scope):
            fix = f"use a key that has it: `gpuplan keys create NAME --scope {scope}`"
            raise Forbidden(f"this needs a key with the scope {scope!r}", fix=fix)
        return caller

    return let_through


async def admitted(request: Request) -> Caller:
    """Who sent this request, which is counted against their rate; decided once, however often it is asked.

    Raises ``Unauthenticated``, ``TooManyRequests`` and ``StoreError`` as ``needs`` does.
    """
    if (known := getattr(request.state, "caller", None)) is not None:
        return cast(Caller, known)
    rates = request.app.state.rates
    try:
        caller = await authenticated(request)
    except Unauthenticated:
        await rates.count(f"address {_address(request)}", making=False)  # who guesses is slowed down, too
        raise
    request.state.caller = caller
    request.state.rate_headers = await rates.count(caller.id, making=request.method == "POST")
    return caller


async def authenticated(request: Request) -> Caller:
    """Who sent this request. A key that is shown must be valid, on the loopback too.

    Raises
    ------
    Unauthenticated
        If no valid key came, and the caller is not on an open loopback.
    StoreError
        If the keys cannot be read.
    """
    shown = request.headers.getlist("authorization")
    if not shown:
        if request.app.state.open_to_loopback and is_local(_address(request), request.headers):
            return LOCAL
        raise Unauthenticated("this needs an API key", fix=_NEED_A_KEY)
    scheme, _, text = shown[0].partition(" ")
    presented = parse(text.strip(" ")) if len(shown) == 1 and scheme.lower() == "bearer" else None
    key = await request.app.state.keys.find(presented) if presented else None
    if key is None:
        raise Unauthenticated("this API key lets nobody in", fix=_NEED_A_KEY)
    return Caller(key.id, key.name, frozenset(key.scopes))


def is_local(address: str | None, headers: Headers) -> bool:
    """Whether a request comes from this machine itself, not through a proxy on it nor from a page of another site.

    A browser sends along requests that any page makes, to the loopback as well; it says so in ``Origin`` or
    ``Sec-Fetch-Site``, which pages cannot change.
    """
    if not _is_loopback(address) or any(name in headers for name in _PROXY_HEADERS):
        return False
    if headers.get("sec-fetch-site", "none") in ("cross-site", "same-site"):
        return False
    origin = headers.get("origin")
    return origin is None or _is_loopback(_host(origin))


def _is_loopback(address: str | None) -> bool:
    if address == "localhost":
        return True
    with contextlib.suppress(ValueError):
        parsed = ipaddress.ip_address(address or "")
        mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        return (mapped or parsed).is_loopback
    return False


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:  # such as an IPv6 address without its bracket
        return None


def _address(request: Request) -> str | None:
    return request.client.host if request.client else None  # None: a socket file


def _record(engine: Engine, key_id: str, moment: dt.datetime) -> None:
    try:
        keys_store.record_use(engine, key_id, moment)
    except StoreError as error:  # the request itself succeeds: a read-only store can still be read
        _log.warning("last use not recorded", key=key_id, reason=str(error))
