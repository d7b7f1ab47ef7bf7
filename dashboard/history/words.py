"""Reasons as sentences, and moments."""

from __future__ import annotations

import datetime as dt

from dashboard.words import plain


def sentence(text: str) -> str:
    """As ``plain``, with a capital and a full stop."""
    text = " ".join(text.split())
    return plain(f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}")


def short_moment(text: str, now: dt.datetime) -> str:
    """When something was, in UTC, for narrow columns: the time within this year, the year else."""
    at = dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    return f"{at.day} {at:%b %H:%M}" if at.year == now.year else f"{at.day} {at:%b %Y}"


def moment(text: str) -> str:
    """When something was, in UTC."""
    return f"{dt.datetime.fromisoformat(text).astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
