"""Why a caller is turned away. Beside ``planner.errors``: these exist over HTTP only.

::

    GpuplanError
    ├── Unauthenticated   401   no key, or one that lets nobody in
    ├── Forbidden         403   a key without the scope
    └── TooManyRequests   429   more requests than the limit allows

``headers`` go into the answer.
"""

from __future__ import annotations

from planner.errors import GpuplanError


class Unauthenticated(GpuplanError):
    """No key came, or one that lets nobody in. The answer never says which part of a key was wrong."""

    http_status = 401
    title = "not authenticated"
    headers = {"WWW-Authenticate": 'Bearer realm="gpuplan"'}  # noqa: RUF012 - never changed


class Forbidden(GpuplanError):
    """A valid key that lacks the scope for this."""

    http_status = 403
    title = "not allowed"


class TooManyRequests(GpuplanError):
    """More requests than the limit allows; ``headers`` say when to come again."""

    http_status = 429
    title = "too many requests"

    def __init__(self, detail: str, *, headers: dict[str, str], fix: str | None = None) -> None:
        super().__init__(detail, fix=fix)
        self.headers = headers
