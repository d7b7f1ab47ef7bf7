"""Limits: how far a caller gets, and what the answer says about it."""

from __future__ import annotations

import asyncio
import re
import threading
import time

import pytest

from api.access.errors import TooManyRequests
from api.access.rates import Rates
from planner.settings import Settings


def _count(rates: Rates, caller: str, *, making: bool = False) -> dict[str, str]:
    return asyncio.run(rates.count(caller, making=making))


def test_a_caller_gets_as_far_as_the_limit() -> None:
    rates = Rates(Settings(requests_per_minute=5))
    left = [re.match(r'"requests";r=(\d+);t=\d+', _count(rates, "ann")["RateLimit"]) for _ in range(5)]
    assert [int(found[1]) for found in left if found] == [4, 3, 2, 1, 0]
    with pytest.raises(TooManyRequests, match="more than 5 requests per minute") as caught:
        _count(rates, "ann")
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
    assert caught.value.headers["RateLimit-Policy"] == '"requests";q=5;w=60'
    _count(rates, "bob")


def test_posts_have_a_limit_of_their_own() -> None:
    rates = Rates(Settings(requests_per_minute=100, plans_per_minute=2))
    for _ in range(2):
        assert _count(rates, "ann", making=True)["RateLimit"].startswith('"posts"')
    with pytest.raises(TooManyRequests, match="posts"):
        _count(rates, "ann", making=True)
    assert _count(rates, "ann")["RateLimit"].startswith('"requests";r=96')


def test_a_clock_that_jumps_locks_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = Rates(Settings(requests_per_minute=2))
    clock = time.time
    for _ in range(2):
        _count(rates, "ann")
    for jump_s in (86_400.0, -86_400.0):
        monkeypatch.setattr(time, "time", lambda jump_s=jump_s: clock() + jump_s)
        _count(rates, "ann")


def test_counting_starts_no_thread_that_the_event_loop_would_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise AssertionError("a thread was started")

    rates = Rates(Settings())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    _count(rates, "ann", making=True)
