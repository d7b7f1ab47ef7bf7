"""The local target: everything that applying a plan does, on this machine, without a cluster.

Objects are files under ``DIR/NAME/objects``; each replica is a real process that answers ``/health`` and
``/v1/models`` on loopback. ``DIR/capacity.json`` limits how many instances of a type there are, to try shortage.
"""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from planner.errors import ProvisioningFailed
from planner.provision.driver import Document, Driver, Objects, Preview, Refused, UnitState
from planner.provision.names import checked_name
from planner.provision.replicas import Wanted, alone, capacity, stop, tend
from planner.provision.shortage import rental_of
from planner.render.serving_names import LABEL_LENGTH, dns_name
from planner.serving.plan import Allocation, ServingPlan

UNIT, ROUTER = "Unit", "Router"

MOST_REPLICAS = 64
"""Of one unit: each is a process of this machine."""


def local_driver(root: Path) -> Driver:
    """The driver of the local target that lives in the folder ``root``."""
    root = root.resolve()
    return Driver(
        target=f"local:{root}",
        routes=lambda document: bool(document["kind"] == ROUTER),
        desired=desired,
        actual=partial(_actual, root),
        preview=partial(_preview, root),
        put=partial(_put, root),
        remove=partial(_remove, root),
        ready=partial(_ready, root),
    )


def desired(plan: ServingPlan, name: str) -> Objects:
    """One object per unit, and one with the routes."""
    units = {f"{UNIT}/{_unit_name(row)}": _unit(plan, row, name) for row in plan.allocation if row.replicas}
    routes: dict[str, dict[str, dict[str, float]]] = {}
    for route in plan.routing:
        sizes = "{}-{} in, {}-{} out".format(*route.input_tokens, *route.output_tokens)
        unit = route.unit if route.decode_unit is None else f"{route.unit} → {route.decode_unit}"
        routes.setdefault(route.service, {}).setdefault(sizes, {})[unit] = route.fraction
    router = {"kind": ROUTER, "name": "routes", "labels": _labels(name), "spec": {"routes": routes}}
    return {**units, f"{ROUTER}/routes": router}


def _unit(plan: ServingPlan, row: Allocation, name: str) -> Document:
    rental = rental_of(plan, row)
    spec = row.model_dump(mode="json", include={"unit", "service", "gpu", "gpus_per_replica", "role", "precision",
                                                "engine", "provider", "instance_type", "region", "market",
                                                "replicas"})  # fmt: skip
    spec["model"] = row.layout.model if row.layout else row.service
    spec["gpus_per_instance"] = rental.gpus_per_instance if rental else row.gpus_per_replica
    return {"kind": UNIT, "name": _unit_name(row), "labels": _labels(name), "spec": spec}


def _unit_name(row: Allocation) -> str:
    return dns_name(row.unit, of=(row.unit,), most=LABEL_LENGTH)


def _labels(name: str) -> dict[str, str]:
    return {"managed-by": "gpuplan", "name": name}


def _folder(root: Path, name: str) -> Path:
    return root / checked_name(name)


def _path(root: Path, name: str, key: str) -> Path:
    kind, _, of = key.partition("/")
    return _folder(root, name) / "objects" / f"{kind}.{of}.json"


def _actual(root: Path, name: str) -> Objects:
    found = {}
    for path in sorted((_folder(root, name) / "objects").glob("*.json")):
        document = _parsed(path)
        if document is not None and document.get("labels") == _labels(name):
            found[f"{document['kind']}/{document['name']}"] = document
    return found


def _parsed(path: Path) -> dict[str, Any] | None:
    """What is in an object's file; None where that is no object that gpuplan wrote, which is then left alone."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or path.name != f"{document.get('kind')}.{document.get('name')}.json":
        return None
    return document


def _preview(root: Path, name: str, document: Document, take_over: bool) -> Preview:  # noqa: ARG001
    path = _path(root, name, f"{document['kind']}/{document['name']}")
    there = _parsed(path)
    if path.exists() and (there is None or there.get("labels") != _labels(name)):
        return Preview(document, f"{path} was not made by gpuplan: move it away")
    replicas = document["spec"].get("replicas", 0)
    if replicas > MOST_REPLICAS:
        return Preview(document, f"{replicas} replicas are more processes than the local target runs ({MOST_REPLICAS})")
    return Preview(document)


def _put(root: Path, name: str, document: Document, take_over: bool) -> None:
    with alone(root):
        preview = _preview(root, name, document, take_over)
        if preview.obstacle:
            raise Refused(preview.obstacle)
        path = _path(root, name, f"{document['kind']}/{document['name']}")
        beside = path.with_suffix(".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            raise ProvisioningFailed(f"{path} cannot be written: {error.strerror}") from None
        _tend(root)


def _remove(root: Path, name: str, key: str) -> None:
    with alone(root):
        path = _path(root, name, key)
        there = _parsed(path)
        if there is None or there.get("labels") != _labels(name):
            return
        path.unlink(missing_ok=True)
        if there["kind"] == UNIT:
            stop(_replicas(root, name, there["name"]))
        if not any((_folder(root, name) / "objects").iterdir()):
            shutil.rmtree(_folder(root, name), ignore_errors=True)
        _tend(root)


def _ready(root: Path, name: str) -> tuple[UnitState, ...]:
    if not root.exists():
        return ()
    with alone(root):
        running = _tend(root)
    limits = capacity(root)
    units = ((key, document) for key, document in _actual(root, name).items() if document["kind"] == UNIT)
    return tuple(_state(key, document, running.get(_replicas(root, name, document["name"]), 0), limits)
                 for key, document in units)  # fmt: skip


def _state(key: str, document: Document, ready: int, limits: dict[str, int]) -> UnitState:
    spec = document.get("spec")
    if not isinstance(spec, dict) or type(spec.get("replicas")) is not int:
        return UnitState(key, document["name"], 0, ready, "its object was changed and cannot be read")
    wanted, instances = spec["replicas"], limits.get(str(spec.get("instance_type")))
    if ready >= wanted:
        return UnitState(key, str(spec.get("unit")), wanted, ready)
    if instances is None:
        return UnitState(key, str(spec.get("unit")), wanted, ready, "replicas do not answer")
    reason = f"there are only {instances} instances of {spec['instance_type']}"
    return UnitState(key, str(spec.get("unit")), wanted, ready, reason, short=True)


def _replicas(root: Path, name: str, unit: str) -> Path:
    return _folder(root, name) / "replicas" / unit


def _wanted(root: Path, name: str, document: Document) -> Wanted | None:
    """What a unit's object asks for; None where it is no unit, or somebody wrote nonsense into it."""
    spec = document.get("spec")
    if document["kind"] != UNIT or not isinstance(spec, dict):
        return None
    texts = [spec.get(key) for key in ("model", "instance_type")]
    counts = [spec.get(key) for key in ("gpus_per_instance", "gpus_per_replica", "replicas")]
    if not all(isinstance(text, str) for text in texts) or not all(type(n) is int and n > 0 for n in counts):
        return None
    model, instance_type = map(str, texts)
    per_instance, per_replica, replicas = (int(n or 0) for n in counts)
    return Wanted(_replicas(root, name, document["name"]), model, instance_type, per_instance, per_replica,
                  min(replicas, MOST_REPLICAS))  # fmt: skip


def _tend(root: Path) -> dict[Path, int]:
    units = []
    for folder in sorted(path.parent for path in root.glob("*/objects")):
        wanted = (_wanted(root, folder.name, document) for document in _actual(root, folder.name).values())
        units += [unit for unit in wanted if unit is not None]
    return tend(units, capacity(root))
