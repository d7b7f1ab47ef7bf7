"""How many requests a caller may make per minute.

Windows slide (``limits``' sliding window counter): two counters per caller, however high the limit is. Each server
process counts for itself: behind a balancer of N servers a caller may get N times as far.
"""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from api.access.errors import TooManyRequests
from planner.settings import Settings


class Rates:
    """The counters of one server process, on its event loop.

    The asynchronous ones of ``limits``: the others start a thread with every request, to forget old counters, and
    the event loop would wait for each to begin.
    """

    def __init__(self, settings: Settings) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._requests = RateLimitItemPerMinute(settings.requests_per_minute, namespace="requests")
        self._posts = RateLimitItemPerMinute(settings.plans_per_minute, namespace="posts")

    async def count(self, caller: str, *, making: bool) -> dict[str, str]:
        """Count one request of a caller; ``making`` says that it is a POST, which has a limit of its own as well.

        Returns the header fields that tell how much is left (draft-ietf-httpapi-ratelimit-headers, of the limit that
        is closest); ``TooManyRequests`` where nothing is.
        """
        items = (self._requests, self._posts) if making else (self._requests,)
        for item in items:
            if not await self._limiter.hit(item, caller):
                headers = await self._headers(item, caller)
                wait_s = headers["Retry-After"]
                raise TooManyRequests(
                    f"more than {item.amount} {item.namespace} per minute", headers=headers,
                    fix=f"try again in {wait_s} s, or raise the server's limit",
                )  # fmt: skip
        headers = await self._headers(items[-1], caller)
        del headers["Retry-After"]
        return headers

    async def _headers(self, item: RateLimitItem, caller: str) -> dict[str, str]:
        reset_at, remaining = await self._limiter.get_window_stats(item, caller)
        seconds = max(1, math.ceil(reset_at - time.time()))
        return {
            "RateLimit-Policy": f'"{item.namespace}";q={item.amount};w={item.get_expiry()}',
            "RateLimit": f'"{item.namespace}";r={remaining};t={seconds}',
            "Retry-After": str(seconds),
        }
