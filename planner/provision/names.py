"""Names of deployments and of their objects: DNS labels, whatever a spec or a profile calls itself."""

from __future__ import annotations

import hashlib
import re

from planner.errors import InvalidInput

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
    return dns_label(text, MOST_NAME)


def dns_label(text: str, most: int = 63) -> str:
    """A DNS label of at most ``most`` characters that is different for every ``text`` and always the same for one."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    kept = re.sub(r"[^a-z0-9]+", "-", text.lower())[: most - 9].strip("-")
    return f"{kept}-{digest}" if kept else f"x-{digest}"
