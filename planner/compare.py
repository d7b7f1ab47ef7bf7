"""What changed from one plan to another: one shape for plans of every kind.

Plans are compared as the JSON they are saved as. Entries of lists are matched by what names them (a service by its
name, an allocation by its unit), not by their place, so that one more service is one addition and not a change of all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import Field, JsonValue

from planner.errors import InvalidInput
from planner.types import Frozen

MOST_CHANGES = 1000
"""Listed of spec and of plan: beyond that two plans have nothing in common that a list could show."""

MOST_LISTED = 16
"""Entries of lists of plain values that are shown whole; longer ones (maps of experts, series) as how many differ."""

NAMES = ("name", "unit", "gpu", "limit", "constraint", "pools", "service")
"""Fields that name an entry of a list, where no two of it have the same."""

_ASIDE = {"spec", "explanation", "solve_seconds", "id"}


class Change(Frozen):
    """A field that differs; null stands for what is not there."""

    path: str
    old: JsonValue
    new: JsonValue
    difference: float | None = Field(default=None, description="new − old, of numbers")
    detail: str = Field(default="", description="where values are too long to show")


class Difference(Frozen):
    """A figure of both plans; null where a plan has none."""

    old: float | None
    new: float | None
    difference: float | None = Field(description="new − old")
    relative: float | None = Field(description="(new − old) / |old|")


class Comparison(Frozen):
    """From an old plan to a new one. ``reasons`` are what the new plan says about itself that the old one did not."""

    kind: str
    same: bool
    objective: Difference
    usd_per_hour: Difference | None = Field(description="null for kinds of plans without it")
    power_w: Difference | None = Field(description="null for kinds of plans without it")
    spec: tuple[Change, ...]
    plan: tuple[Change, ...]
    truncated: bool = Field(description="more changes than are listed")
    reasons: tuple[str, ...]


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> Comparison:
    """What changed from ``old`` to ``new``, two plans of one kind as JSON; ``InvalidInput`` where kinds differ."""
    if old["kind"] != new["kind"]:
        raise InvalidInput(f"plans of {old['kind']} and {new['kind']} have nothing to compare", field="plans",
                           fix="compare plans of one kind")  # fmt: skip
    spec, more_spec = _listed(old.get("spec"), new.get("spec"))
    plan, more_plan = _listed(_without(old), _without(new))
    return Comparison(
        kind=str(new["kind"]),
        same=not spec and not plan,
        objective=_difference(old, new, "objective") or Difference(old=None, new=None, difference=None, relative=None),
        usd_per_hour=_difference(old, new, "usd_per_hour"),
        power_w=_difference(old, new, "power_w"),
        spec=spec,
        plan=plan,
        truncated=more_spec or more_plan,
        reasons=tuple(_reasons(old, new, spec)),
    )


def _without(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plan.items() if key not in _ASIDE}


def _listed(old: Any, new: Any) -> tuple[tuple[Change, ...], bool]:
    found = tuple(islice(_changes(old, new, ""), MOST_CHANGES + 1))
    return found[:MOST_CHANGES], len(found) > MOST_CHANGES


def _changes(old: Any, new: Any, path: str) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in list(old) + [key for key in new if key not in old]:
            yield from _changes(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _list_changes(old, new, path)
    elif old != new:
        both = _is_number(old) and _is_number(new)
        yield Change(path=path, old=old, new=new, difference=new - old if both else None)


def _list_changes(old: list[Any], new: list[Any], path: str) -> Iterator[Change]:
    if all(isinstance(entry, dict) for entry in (*old, *new)):
        before, after = _named(old, new)
        for name in list(before) + [name for name in after if name not in before]:
            yield from _changes(before.get(name), after.get(name), f"{path}[{name}]")
        return
    if old == new:
        return
    nested = any(isinstance(entry, list) for entry in (*old, *new))
    if not nested and max(len(old), len(new)) <= MOST_LISTED:
        yield Change(path=path, old=old, new=new)
        return
    differing = sum(a != b for a, b in zip(old, new, strict=False)) + abs(len(old) - len(new))
    yield Change(path=path, old=None, new=None,
                 detail=f"{differing} of {max(len(old), len(new))} entries differ")  # fmt: skip


def _named(old: list[Any], new: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Entries of both lists by what names them in both, or else by their place."""
    for names in ((name,) for name in NAMES):
        if (found := _by(names, old, new)) is not None:
            return found
    words = tuple(key for key in (old or new or [{}])[0] if all(_names_something(e.get(key)) for e in (*old, *new)))
    if words and (found := _by(words, old, new)) is not None:
        return found
    return {str(i): entry for i, entry in enumerate(old)}, {str(i): entry for i, entry in enumerate(new)}


def _by(keys: Sequence[str], old: list[Any], new: list[Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    sides = []
    for entries in (old, new):
        if not all(entry.get(key) is not None for entry in entries for key in keys):
            return None
        by_name = {", ".join(_word(entry[key]) for key in keys): entry for entry in entries}
        if len(by_name) < len(entries):
            return None
        sides.append(by_name)
    return sides[0], sides[1]


def _names_something(value: Any) -> bool:
    """Words, and ranges of tokens: what an entry is about. Other numbers are what is said about it."""
    is_range = isinstance(value, list) and len(value) == 2 and all(isinstance(end, int) for end in value)
    return isinstance(value, str) or is_range


def _word(value: Any) -> str:
    return "–".join(map(str, value)) if isinstance(value, list) else str(value)


def _difference(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> Difference | None:
    if name not in old and name not in new:
        return None
    before, after = (value if _is_number(value) else None for value in (old.get(name), new.get(name)))
    if before is None or after is None:
        return Difference(old=before, new=after, difference=None, relative=None)
    change = after - before
    return Difference(old=before, new=after, difference=change, relative=change / abs(before) if before else None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _reasons(old: Mapping[str, Any], new: Mapping[str, Any], spec: tuple[Change, ...]) -> Iterator[str]:
    if spec:
        yield f"what is asked changed: {', '.join(change.path for change in spec[:5])}{' …' if len(spec) > 5 else ''}"
    before, after = old.get("profile_digest"), new.get("profile_digest")
    if before and after and before != after:  # a night's fleet has no digest of its own
        yield "profiles or prices changed"
    said = set(old.get("explanation", ()))
    yield from (text for text in new.get("explanation", ()) if text not in said)
    yield from (str(conflict["detail"]) for conflict in new.get("conflicts", ()) if "detail" in conflict)
