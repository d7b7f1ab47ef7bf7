"""Names of deployments: DNS labels, whatever a spec calls itself."""

from __future__ import annotations

import re

from planner.errors import InvalidInput
from planner.render.serving_names import dns_name

MOST_NAME = 40
"""Characters of a deployment's name: with a unit's digest behind it, it still fits a DNS label (63, RFC 1123)."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def checked_name(name: str) -> str:
    """``name``, if a deployment can be called so: it becomes labels, object names and folders.

    Raises
    ------
    InvalidInput
        If it is no DNS label, or too long.
    """
    if len(name) > MOST_NAME or not _LABEL.fullmatch(name):
        raise InvalidInput(
            f"{name[:60]!r} cannot name a deployment",
            field="name",
            fix=f"use at most {MOST_NAME} lower-case letters, digits and hyphens, such as chat-prod",
        )
    return name


def name_for(text: str) -> str:
    """A deployment's name for a spec called ``text``: itself where possible, else what is left of it and a digest."""
    if len(text) <= MOST_NAME and _LABEL.fullmatch(text):
        return text
    return dns_name(text, of=(text,), most=MOST_NAME)
