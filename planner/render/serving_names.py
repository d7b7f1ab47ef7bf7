"""Names that Kubernetes, clouds and shells take, made from names that may hold anything. Pure."""

from __future__ import annotations

import hashlib
import json
import re

NAME_LENGTH = 41
"""The most that dstack takes; Kubernetes takes 63, which leaves room for what it adds for pods."""

LABEL_LENGTH = 63
"""Of DNS labels, and of values of labels in Kubernetes."""

_LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def dns_name(*parts: str, of: tuple[str, ...], most: int = NAME_LENGTH) -> str:
    """``parts`` as a DNS label that starts with a letter, ended by a hash of ``of``, which says what it names.

    It has at most ``most`` characters.

    Equal for equal ``of`` and ``parts`` whatever else a plan holds; different for different ``of``, however alike the
    parts become once cut and cleaned.
    """
    suffix = _hash(*of)
    stem = _dashed("-".join(parts).lower(), r"[^a-z0-9]+")[: most - len(suffix) - 1].strip("-")
    return f"{stem if stem[:1].isalpha() else 'gpuplan'}-{suffix}"


def label_value(name: str) -> str:
    """``name`` where a label can hold it; otherwise what is left of it, and a hash that keeps it apart."""
    if _LABEL_VALUE.fullmatch(name):
        return name
    suffix = _hash(name)
    stem = _dashed(name, r"[^A-Za-z0-9._-]+")[: LABEL_LENGTH - len(suffix) - 1].strip("-._")
    return f"{stem}-{suffix}" if stem else suffix


def _dashed(text: str, others: str) -> str:
    return re.sub(others, "-", text).strip("-._")


def _hash(*names: str) -> str:
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:8]
