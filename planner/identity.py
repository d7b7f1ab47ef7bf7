"""Names for things that happen: they sort by time, and two never meet."""

from __future__ import annotations

import datetime as dt
import secrets
import time


def new_id() -> str:
    """A name that sorts by when it was made: microseconds since 1970 in hexadecimal, then 64 random bits."""
    return f"{time.time_ns() // 1000:014x}{secrets.token_hex(8)}"


def now() -> dt.datetime:
    """The moment, in UTC."""
    return dt.datetime.now(dt.UTC)
