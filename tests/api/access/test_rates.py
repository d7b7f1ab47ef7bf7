"""Limits: how far a caller gets, and what the answer says about it."""

from __future__ import annotations

import re
import time

import pytest

from api.access.errors import TooManyRequests
from api.access.rates import Rates
from planner.settings import Settings


def test_a_caller_gets_as_far_as_the_limit() -> None:
    rates = Rates(Settings(requests_per_minute=5))
    left = [re.match(r'"requests";r=(\d+);t=\d+', rates.count("ann", making=False)["RateLimit"]) for _ in range(5)]
    assert [int(found[1]) for found in left if found] == [4, 3, 2, 1, 0]
    with pytest.raises(TooManyRequests, match="more than 5 requests per minute") as caught:
        rates.count("ann", making=False)
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
    assert caught.value.headers["RateLimit-Policy"] == '"requests";q=5;w=60'
    rates.count("bob", making=False)


def test_posts_have_a_limit_of_their_own() -> None:
    rates = Rates(Settings(requests_per_minute=100, plans_per_minute=2))
    for _ in range(2):
        assert rates.count("ann", making=True)["RateLimit"].startswith('"posts"')
    with pytest.raises(TooManyRequests, match="posts"):
        rates.count("ann", making=True)
    assert rates.count("ann", making=False)["RateLimit"].startswith('"requests";r=96')


def test_a_clock_that_jumps_locks_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = Rates(Settings(requests_per_minute=2))
    clock = time.time
    for _ in range(2):
        rates.count("ann", making=False)
    for jump_s in (86_400.0, -86_400.0):
        monkeypatch.setattr(time, "time", lambda jump_s=jump_s: clock() + jump_s)
        rates.count("ann", making=False)
