"""Reasons as sentences, and moments."""

from __future__ import annotations

import datetime as dt

from dashboard.words import plain


def sentence(text: str) -> str:
    """As ``plain``, with a capital and a full stop."""
    text = " ".join(text.split())
    return plain(f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}")


def moment(text: str) -> str:
    """When something was, in UTC."""
    return f"{dt.datetime.fromisoformat(text).astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
