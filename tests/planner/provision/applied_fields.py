"""Server-side apply as https://kubernetes.io/docs/reference/using-api/server-side-apply/ describes it, for tests.

An object is its leaves by path. Lists that Kubernetes merges are keyed as its API types say; all others are leaves.
"""

from __future__ import annotations

from typing import Any

MERGE_KEYS = {"containers": "name", "volumes": "name", "env": "name", "volumeMounts": "mountPath", "ports": "port"}
ATOMIC = {"selector", "nodeSelector", "affinity", "matchLabels"}
OUTSIDE = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}

Path = tuple[Any, ...]


def leaves(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Every leaf of a JSON value, quantities as the server writes them."""
    if path and path[-1] in ATOMIC:
        return {path: value}
    if isinstance(value, dict) and value:
        return {deeper: leaf for key, item in value.items() for deeper, leaf in leaves(item, (*path, key)).items()}
    key = MERGE_KEYS.get(path[-1]) if path else None
    if isinstance(value, list) and value and key is not None:
        named = [(("item", path[-1], item.get(key, item.get("containerPort"))), item) for item in value]
        return {deeper: leaf for name, item in named for deeper, leaf in leaves(item, (*path, name)).items()}
    if len(path) > 2 and path[-2] in ("limits", "requests"):
        return {path: str(value)}
    return {path: value}


def document(found: dict[Path, Any]) -> Any:
    """The JSON value of these leaves."""
    if list(found) == [()]:
        return found[()]
    parts: dict[Any, dict[Path, Any]] = {}
    for path, leaf in found.items():
        parts.setdefault(path[0], {})[path[1:]] = leaf
    if all(isinstance(part, tuple) for part in parts):
        return [document(part) for part in parts.values()]
    return {key: document(part) for key, part in parts.items()}


class Conflicts(Exception):
    """Fields that other managers own and that would change: (path, manager)."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        super().__init__(fields)
        self.fields = fields


def merged(
    live: dict[Path, Any], owners: dict[Path, set[str]], wanted: dict[str, Any], manager: str, force: bool
) -> tuple[dict[Path, Any], dict[Path, set[str]]]:
    """Leaves and owners after ``manager`` applied ``wanted``; raises ``Conflicts`` unless ``force``."""
    new = leaves(wanted)
    claimed = {path for path in new if path not in OUTSIDE}
    clashes = [(shown(path), other) for path in claimed for other in sorted(owners.get(path, set()) - {manager})
               if live.get(path) != new[path]]  # fmt: skip
    if clashes and not force:
        raise Conflicts(clashes)
    after, after_owners = dict(live), {path: set(who) for path, who in owners.items()}
    for path, who in owners.items():
        if manager in who and path not in claimed:
            after_owners[path] = who - {manager}
            if not after_owners[path]:
                del after_owners[path]
                after.pop(path, None)
    for path, value in new.items():
        if path in claimed:
            others = after_owners.get(path, set()) if after.get(path) == value else set()
            after_owners[path] = {manager, *others}
        after[path] = value
    return after, after_owners


def shown(path: Path) -> str:
    """As the server names a field."""
    return "".join(f'[{part[1]}="{part[2]}"]' if isinstance(part, tuple) else f".{part}" for part in path)
