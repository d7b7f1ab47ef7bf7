"""Errors that a person can act on.

Every error names what is wrong and, where one exists, the fix. ``planner.errors`` draws the whole
tree; the part that facts and files can raise lives here because ``planner`` imports ``profiles``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class GpuplanError(Exception):
    """Root of every expected failure.

    ``field`` is the path of the offending value (``services[0].slo.tpot_ms``, or ``file.csv:12: tp``),
    ``fix`` a sentence that says what would make it work. Where several things are wrong, ``mistakes`` has the field
    and the detail of each, and ``detail`` counts them.
    """

    exit_code = 1
    http_status = 500
    title = "gpuplan failed"

    def __init__(
        self, detail: str, *, field: str | None = None, fix: str | None = None, mistakes: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.fix = fix
        self.mistakes = tuple(mistakes)

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        each = "".join(f"\n  {field}: {detail}" for field, detail in self.mistakes)
        remedy = f"\n  fix: {self.fix}" if self.fix else ""
        return f"{where}{self.detail}{each}{remedy}"


class InvalidInput(GpuplanError):
    """A spec, file, option or number that cannot be meant as it stands."""

    exit_code = 2
    http_status = 422
    title = "invalid input"


class UnknownName(InvalidInput):
    """A model, GPU, instance type, region or planner that is not known; suggests the closest names."""

    title = "unknown name"

    def __init__(self, kind: str, name: str, known: Iterable[str], *, field: str | None = None, fix: str | None = None):
        close = closest(name, known)
        hint = f"did you mean {' or '.join(close)}?" if close else None
        remedy = " ".join(part for part in (hint, fix) if part) or None
        super().__init__(f"unknown {kind} {name!r}", field=field, fix=remedy)
        self.suggestions = close


class StoreError(GpuplanError):
    """The database is missing, locked, corrupt, or from another version of gpuplan."""

    exit_code = 2
    http_status = 503
    title = "profile store unavailable"


def closest(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """The known names most like ``name``, best first; compares without case and without an organisation prefix."""
    by_key: dict[str, str] = {}
    for candidate in known:
        by_key.setdefault(candidate.lower(), candidate)
        by_key.setdefault(candidate.lower().rsplit("/", 1)[-1], candidate)
    matches = difflib.get_close_matches(name.lower(), by_key, n=2 * limit, cutoff=0.5)
    matches += difflib.get_close_matches(name.lower().rsplit("/", 1)[-1], by_key, n=2 * limit, cutoff=0.5)
    return list(dict.fromkeys(by_key[match] for match in matches))[:limit]
