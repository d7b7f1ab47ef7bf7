"""Texts of others on a page: names are not markup."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MARKUP = re.compile(r"[!-/:-@\[-`{-~]")
"""Any ASCII punctuation may be escaped (CommonMark, section 2.4)."""


def bullets(texts: Iterable[str]) -> str:
    """A Markdown list that shows exactly these texts."""
    return "\n".join(f"- {plain(text)}" for text in texts)


def plain(text: str) -> str:
    """Markdown that shows exactly this text, on one line."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
