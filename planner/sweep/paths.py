"""Places in a spec, as ``services[0].workload.requests_per_s``, and new values there. The base stays as it is."""

from __future__ import annotations

import re
from typing import Any

from planner.errors import InvalidInput
from profiles.errors import closest

_STEP = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(\d{1,6}|\*)\]")
"""A field of an object, or an entry of a list by its number (``[*]``: every entry)."""

Step = str | int
EVERY = "*"


def steps_of(path: str) -> tuple[Step, ...]:
    """The fields (words) and entries (numbers, or ``"*"``) on the way; ``InvalidInput`` where it is not a path."""
    steps: list[Step] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None or (at == 0) == path[at : at + 1].startswith((".", "[")):
            raise InvalidInput(
                f"{path[:80]!r} is not a path (at {path[at : at + 20]!r})", field="path",
                fix="write it as in services[0].workload.requests_per_s",
            )  # fmt: skip
        field, entry = match.groups()
        steps.append(field if field is not None else EVERY if entry == "*" else int(entry))
        at = match.end()
    return tuple(steps)


def changed(document: Any, path: str, value: Any) -> Any:
    """``document`` with ``value`` at ``path``; what is not on the way there is shared with the original.

    ``{"times": factor}`` multiplies the number that is there. Raises ``InvalidInput`` where nothing lies at the path,
    naming what does, or where what is there cannot be multiplied.
    """
    return _changed(document, steps_of(path), value, path, "")


def _changed(there: Any, steps: tuple[Step, ...], value: Any, path: str, before: str) -> Any:
    if not steps:
        return _new_value(there, value, path)
    step, rest = steps[0], steps[1:]
    if isinstance(step, int) or step == EVERY:
        if not isinstance(there, list):
            raise _nothing(path, before, f"is {_described(there)}, not a list")
        if step == EVERY:
            return [_changed(entry, rest, value, path, f"{before}[{i}]") for i, entry in enumerate(there)]
        if not 0 <= int(step) < len(there):
            raise _nothing(path, before, f"has {len(there)} entries, counted from 0")
        at = int(step)
        return [*there[:at], _changed(there[at], rest, value, path, f"{before}[{at}]"), *there[at + 1 :]]
    if not isinstance(there, dict):
        raise _nothing(path, before, f"is {_described(there)}, which has no field {step!r}")
    if step not in there:
        near = closest(str(step), list(there), limit=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise _nothing(path, before, f"has no field {step!r} but {', '.join(map(str, list(there)[:20]))}{hint}")
    inside = f"{before}.{step}".lstrip(".")
    return {**there, step: _changed(there[step], rest, value, path, inside)}


def _new_value(there: Any, value: Any, path: str) -> Any:
    if not (isinstance(value, dict) and value.keys() == {"times"}):
        return value
    factor = value["times"]
    if not _is_number(factor):
        raise InvalidInput(f"cannot multiply by {factor!r:.40}", field=path, fix="write {times: 2}")
    if not _is_number(there):
        raise InvalidInput(f"is {_described(there)}, not a number to multiply", field=path, fix="give values instead")
    product = there * factor
    return int(product) if isinstance(there, int) and product == int(product) else product


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _nothing(path: str, before: str, what: str) -> InvalidInput:
    return InvalidInput(f"{before or 'the spec'} {what}", field=path, fix="correct the path")


def _described(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else f"{value!r:.40}"
