"""The SkyPilot target: a SkyServe service for each unit, through SkyPilot's SDK.

SkyServe tells neither the task of a service nor who made it. So what was put is recorded in the folder ``DIR``, before
it is put: a service without a record is not ours. What others change with ``sky serve update`` is not seen.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from planner.errors import InvalidInput, ProvisioningFailed
from planner.provision.driver import Document, Driver, Objects, Preview, Refused, UnitState, Unreachable
from planner.provision.names import checked_name
from planner.render.serving_skypilot import task
from planner.render.serving_units import units
from planner.serving.plan import ServingPlan

KIND = "SkyServe"

FOLDER_VARIABLE, FOLDER = "GPUPLAN_SKYPILOT_DIR", ".gpuplan/skypilot"
"""In the folder that a command runs in, as the local target's is."""

SHORT = "FAILED_PROVISION"
"""The status of a replica for which no instance could be had."""


@dataclass(frozen=True)
class Sky:
    """What is used of SkyPilot's SDK; every function waits for the server's answer.

    ``statuses()``: name → (status of each replica). ``up``, ``update``: task as a dict, name of the service.
    """

    statuses: Callable[[], dict[str, tuple[str, ...]]]
    up: Callable[[dict[str, Any], str], None]
    update: Callable[[dict[str, Any], str], None]
    down: Callable[[str], None]
    check: Callable[[dict[str, Any]], None]


def skypilot_driver(where: str) -> Driver:
    """The driver whose records are in the folder ``where``, over the SkyPilot that is installed.

    Raises
    ------
    InvalidInput
        SkyPilot is not installed.
    """
    root = Path(where or os.environ.get(FOLDER_VARIABLE) or FOLDER).resolve()
    return driver_of(root, installed_sky())


def driver_of(root: Path, sky: Sky) -> Driver:
    """The driver of ``sky`` with its records in ``root``."""
    return Driver(
        target=f"skypilot:{root}",
        routes=lambda document: False,  # noqa: ARG005  (SkyServe balances each service itself)
        desired=_desired,
        actual=partial(_actual, root, sky),
        preview=partial(_preview, root, sky),
        put=partial(_put, root, sky),
        remove=partial(_remove, root, sky),
        ready=partial(_ready, root, sky),
    )


def installed_sky() -> Sky:
    """SkyPilot's SDK, which talks to its API server (it starts one on this machine where none is configured)."""
    try:
        import sky
        from sky import serve
    except ImportError:
        raise InvalidInput("SkyPilot is not installed", field="target",
                           fix="pip install 'skypilot==0.14.*' beside gpuplan") from None  # fmt: skip

    def told(request: Callable[[], Any]) -> Any:
        try:
            return sky.get(request())
        except (sky.exceptions.ApiServerConnectionError, ConnectionError) as error:
            raise Unreachable(f"SkyPilot's API server does not answer: {_first_line(error)}") from None
        except sky.exceptions.ClusterNotUpError:
            return None  # no controller: no service was ever started, or all are gone
        except Exception as error:  # the SDK raises again here whatever went wrong in the server
            raise Refused(f"SkyPilot: {_first_line(error)}") from None

    def made(config: dict[str, Any]) -> Any:
        found = sky.Task.from_yaml_config(copy.deepcopy(config))  # it takes what it reads out of its argument
        return found.update_secrets({"HF_TOKEN": os.environ.get("HF_TOKEN", "")})

    def statuses() -> dict[str, tuple[str, ...]]:
        records = told(lambda: serve.status(None)) or []
        return {one["name"]: tuple(replica["status"].name for replica in one["replica_info"]) for one in records}

    return Sky(
        statuses=statuses,
        up=lambda config, name: told(lambda: serve.up(made(config), name)),
        update=lambda config, name: told(lambda: serve.update(made(config), name, serve.UpdateMode.ROLLING)),
        down=lambda name: told(lambda: serve.down([name])),
        check=lambda config: told(lambda: made(config)),
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _desired(plan: ServingPlan, name: str) -> Objects:
    return {
        f"{KIND}/{unit.id}": {
            "kind": KIND,
            "name": unit.id,
            "unit": unit.row.unit,
            "spec": {"replicas": unit.row.replicas, "task": task(unit)},
        }
        for unit in units(plan, name)
    }


def _record(root: Path, name: str, service: str) -> Path:
    return root / checked_name(name) / f"{checked_service(service)}.json"


def checked_service(service: str) -> str:
    """``service``, if it can be the file of a record."""
    if not service.replace("-", "").isalnum() or not service.isascii():
        raise ProvisioningFailed(f"{service!r} cannot name a service")
    return service


def _recorded(root: Path, name: str) -> Objects:
    found = {}
    for path in sorted((root / checked_name(name)).glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise ProvisioningFailed(f"{path} cannot be read: it records what gpuplan started") from None
        found[f"{KIND}/{document['name']}"] = document
    return found


def _actual(root: Path, sky: Sky, name: str) -> Objects:
    there = sky.statuses()
    return {key: document for key, document in _recorded(root, name).items() if document["name"] in there}


def _preview(root: Path, sky: Sky, name: str, document: Document, take_over: bool) -> Preview:
    foreign = _foreign(root, sky, name, document, take_over)
    if foreign:
        return Preview(document, foreign)
    try:
        sky.check(document["spec"]["task"])
    except Refused as refused:
        return Preview(document, refused.detail)
    return Preview(document)


def _foreign(root: Path, sky: Sky, name: str, document: Document, take_over: bool) -> str:
    """Why a service of this name is not ours to change; "" where it is, or there is none."""
    if take_over or _record(root, name, document["name"]).exists() or document["name"] not in sky.statuses():
        return ""
    return f"service {document['name']} is there already, and {root} has no record that gpuplan made it"


def _put(root: Path, sky: Sky, name: str, document: Document, take_over: bool) -> None:
    foreign = _foreign(root, sky, name, document, take_over)
    if foreign:
        raise Refused(foreign)
    service, there = document["name"], sky.statuses()
    path = _record(root, name, service)
    if service in there and _recorded(root, name).get(f"{KIND}/{service}") == document:
        return
    if service not in there:
        _write(path, {**document, "spec": {**document["spec"], "task": None}})  # ours, whatever happens next
        sky.up(document["spec"]["task"], service)
    else:
        sky.update(document["spec"]["task"], service)
    _write(path, document)


def _write(path: Path, document: Document) -> None:
    beside = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise ProvisioningFailed(f"{path} cannot be written: {error.strerror}") from None


def _remove(root: Path, sky: Sky, name: str, key: str) -> None:
    service = key.partition("/")[2]
    path = _record(root, name, service)
    if not path.exists():
        return  # not ours
    if service in sky.statuses():
        sky.down(service)
    path.unlink(missing_ok=True)


def _ready(root: Path, sky: Sky, name: str) -> tuple[UnitState, ...]:
    there = sky.statuses()
    return tuple(
        _state(key, document, there[document["name"]])
        for key, document in _recorded(root, name).items()
        if document["name"] in there
    )


def _state(key: str, document: Document, replicas: tuple[str, ...]) -> UnitState:
    wanted, ready = document["spec"]["replicas"], replicas.count("READY")
    if ready >= wanted:
        return UnitState(key, document["unit"], wanted, wanted)
    others = sorted({status for status in replicas if status != "READY"})
    reason = ", ".join(others).lower().replace("_", " ") or "starting"
    return UnitState(key, document["unit"], wanted, ready, reason, short=SHORT in replicas)
