"""What applying a plan would change: objects added, changed and removed, field by field."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from planner.provision.driver import Document, Driver, Objects

Action = Literal["add", "change", "remove", "leave"]
"""``leave``: labelled as gpuplan's, but this store did not make it: never touched."""

ABSENT = "(absent)"
"""Stands for the side of a field that is not there."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class FieldChange:
    """One field, by its path in the document, and its value on both sides."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Change:
    """What happens to one object. ``document``: it after that (before, where it goes or is left).

    ``obstacle``: why the target would refuse it.
    """

    action: Action
    key: str
    document: Annotated[Document, Field(exclude=True)]
    fields: tuple[FieldChange, ...] = ()
    obstacle: str = ""


def changes(
    driver: Driver, desired: Objects, name: str, recorded: Collection[str], take_over: bool = False
) -> tuple[Change, ...]:
    """What makes the actual objects of ``name`` the ``desired`` ones, in the order in which it is to be done.

    ``recorded``: keys of the objects that this store's deployments made; no other is changed or removed.
    Raises ``ProvisioningFailed`` where the target cannot be asked.
    """
    actual = driver.actual(name)
    found = [change for key, document in desired.items()
             if (change := _change(driver, name, key, document, actual, recorded, take_over))]  # fmt: skip
    left = sorted(actual.keys() - desired.keys())
    return (*found, *(Change("remove" if key in recorded else "leave", key, actual[key]) for key in left))


def _change(
    driver: Driver, name: str, key: str, document: Document, actual: Objects, recorded: Collection[str],
    take_over: bool,
) -> Change | None:  # fmt: skip
    preview = driver.preview(name, document, take_over)
    if key not in actual:
        return Change("add", key, document, obstacle=preview.obstacle)
    obstacle = preview.obstacle
    if key not in recorded and not take_over:
        obstacle = "it carries gpuplan's label, but this store did not make it: --take-over makes it this store's"
    fields = tuple(differences(actual[key], preview.document))
    if not fields and not obstacle and key in recorded:
        return None
    return Change("change", key, document, fields, obstacle)


def differences(before: Any, after: Any, path: str = "") -> Iterator[FieldChange]:
    """Every field in which two JSON values differ. Items of lists are matched by ``name`` where all have one."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys(), key=str):
            yield from _differences_at(before, after, key, _inside(path, str(key)))
    elif isinstance(before, list) and isinstance(after, list):
        if _named(before) and _named(after):
            one, other = ({item["name"]: item for item in items} for items in (before, after))
            for key in [*one, *(key for key in other if key not in one)]:
                yield from _differences_at(one, other, key, f"{path}[{key}]")
        else:
            one, other = dict(enumerate(before)), dict(enumerate(after))
            for index in range(max(len(one), len(other))):
                yield from _differences_at(one, other, index, f"{path}[{index}]")
    elif before != after or isinstance(before, bool) != isinstance(after, bool):
        yield FieldChange(path, before, after)


def _differences_at(before: dict[Any, Any], after: dict[Any, Any], key: Any, path: str) -> Iterator[FieldChange]:
    if key not in before:
        yield FieldChange(path, ABSENT, after[key])
    elif key not in after:
        yield FieldChange(path, before[key], ABSENT)
    else:
        yield from differences(before[key], after[key], path)


def _named(items: list[Any]) -> bool:
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(names)


def _inside(path: str, key: str) -> str:
    if not _PLAIN.fullmatch(key):
        return f"{path}[{key!r}]"
    return f"{path}.{key}" if path else key
