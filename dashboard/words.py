"""Texts of others on a page: names are not markup."""

from __future__ import annotations

import re

_MARKUP = re.compile(r"[!-/:-@\[-`{-~]")
"""Any ASCII punctuation may be escaped (CommonMark, section 2.4)."""


def plain(text: str) -> str:
    """Markdown that shows exactly this text, on one line."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
