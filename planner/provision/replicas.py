"""Replicas of the local target: one process each, and a file each that says which.

Nothing runs between two commands, so who looks also tends: it starts what is wanted and not there, as far as the
capacity goes, and stops what is too much. A process is known by what it answers, never by its number alone.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from filelock import FileLock

from planner.errors import InvalidInput
from planner.provision import stand_in
from planner.provision.driver import Unreachable

START_S = 20.0
"""A process that did not say where it listens within this time has failed: Python starts in well under a second."""

_children: list[subprocess.Popen[bytes]] = []  # so that a process that lives on reaps them


@dataclass(frozen=True)
class Wanted:
    """A unit of the local target. ``folder`` holds the records of its replicas."""

    folder: Path
    model: str
    instance_type: str
    gpus_per_instance: int
    gpus_per_replica: int
    replicas: int


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Be the only one who changes what is under ``root``."""
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(root / ".lock", timeout=30):
            yield
    except OSError as error:  # FileLock's Timeout is one too
        raise Unreachable(f"{root} cannot be used: {error.strerror or error}", fix="choose another local:DIR") from None


def capacity(root: Path) -> dict[str, int]:
    """Instances there are by type, from ``capacity.json``; a type that it does not name has no limit.

    Raises
    ------
    InvalidInput
        If the file is no JSON object of whole numbers.
    """
    path = root / "capacity.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(type(n) is int and n >= 0 for n in found.values()):
        raise InvalidInput(
            "is not a JSON object of whole numbers", field=str(path), fix='write instances by type: {"g6.xlarge": 2}'
        )
    return found


def tend(units: list[Wanted], limits: dict[str, int]) -> dict[Path, int]:
    """Make the replicas that run the wanted ones, within ``limits``; how many answer, by folder of the unit."""
    running = {unit.folder: _answering(unit.folder) for unit in units}
    room = _room(units, limits)
    for unit in units:  # what runs keeps its place before anything new starts
        fit = min(unit.replicas, room[unit.instance_type] // unit.gpus_per_replica)
        for record in running[unit.folder][fit:]:
            record.unlink(missing_ok=True)
        del running[unit.folder][fit:]
        room[unit.instance_type] -= len(running[unit.folder]) * unit.gpus_per_replica
    started = []
    for unit in units:
        missing = unit.replicas - len(running[unit.folder])
        for _ in range(max(0, min(missing, room[unit.instance_type] // unit.gpus_per_replica))):
            started.append(_start(unit))
            room[unit.instance_type] -= unit.gpus_per_replica
    _wait_for(started)
    return {unit.folder: len(_answering(unit.folder)) for unit in units}


def stop(folder: Path) -> None:
    """End every replica of the unit in ``folder``: they go when their records do."""
    shutil.rmtree(folder, ignore_errors=True)


def _room(units: list[Wanted], limits: dict[str, int]) -> Counter[str]:
    """GPUs by instance type."""
    without_limit = sum(unit.replicas * unit.gpus_per_replica for unit in units)
    return Counter({unit.instance_type: limits.get(unit.instance_type, without_limit) * unit.gpus_per_instance
                    for unit in units})  # fmt: skip


def _answering(folder: Path) -> list[Path]:
    """Records of the replicas that answer; those of dead ones are removed."""
    found = []
    for record in sorted(folder.glob("*.json")):
        if _answers(record):
            found.append(record)
        elif time.time() - record.stat().st_mtime > START_S or "port" in _read(record):
            record.unlink(missing_ok=True)
    return found


def _answers(record: Path) -> bool:
    said = _read(record)
    if "port" not in said:
        return False
    connection = HTTPConnection("127.0.0.1", said["port"], timeout=2)
    try:
        connection.request("GET", "/health")
        return bool(json.load(connection.getresponse())["replica"] == said["replica"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return False
    finally:
        connection.close()


def _read(record: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(record.read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def _start(unit: Wanted) -> Path:
    unit.folder.mkdir(parents=True, exist_ok=True)
    replica = secrets.token_hex(8)
    record = unit.folder / f"{time.time_ns():020d}-{replica}.json"
    record.write_text(json.dumps({"replica": replica, "model": unit.model}))
    program = [sys.executable, "-I", "-S", stand_in.__file__, str(record)]
    quiet = subprocess.DEVNULL
    _children.append(subprocess.Popen(program, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True))  # noqa: S603
    return record


def _wait_for(records: list[Path]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and not all("port" in _read(record) for record in records):
        time.sleep(0.02)
    _children[:] = [child for child in _children if child.poll() is None]
