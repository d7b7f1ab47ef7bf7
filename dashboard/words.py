"""Texts of others on a page: names are not markup."""

from __future__ import annotations

import re

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:&])")


def plain(text: str) -> str:
    """Markdown that shows exactly this text, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
