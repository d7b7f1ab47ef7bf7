"""Work in a process of its own: what takes seconds, or compiles kernels, must not slow the server's reads nor fill
its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import anyio
from anyio import to_process

from api.problems import Refused
from planner.errors import GpuplanError

MOST_AT_ONCE = 2
"""Processes: as many as the smallest machine that we plan for has cores."""

MOST_S = 120.0
"""A check of the largest plans takes some ten seconds on a busy machine."""

T = TypeVar("T")


class Apart:
    """The processes of one server. They end when they have had nothing to do for a while, and with the server."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(MOST_AT_ONCE)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """What ``function`` returns; arguments and results go through pickle.

        Raises ``Refused`` as the function raises what people can act on, or (503) where it takes longer than
        ``MOST_S``.
        """
        try:
            with anyio.fail_after(MOST_S):
                found, refused = await to_process.run_sync(
                    _tried, function, arguments, cancellable=True, limiter=self._limiter
                )
        except TimeoutError:
            raise Refused(503, f"not done within {MOST_S:g} s", title="took too long",
                          fix="try again when less is going on", headers={"Retry-After": "30"}) from None  # fmt: skip
        if refused is not None:
            raise Refused(**refused)
        return cast(T, found)


def _tried(function: Callable[..., T], arguments: tuple[Any, ...]) -> tuple[T | None, dict[str, Any] | None]:
    # Errors with arguments of their own do not go through pickle: what they say does.
    try:
        return function(*arguments), None
    except GpuplanError as error:
        return None, {"status": error.http_status, "title": error.title, "detail": error.detail, "field": error.field,
                      "fix": error.fix, "mistakes": error.mistakes}  # fmt: skip
