"""A run's journal: JSON lines, each on the disk before the next point is begun.

The first line says which run it is; every other holds one ``point`` that was asked for and its ``result``, or the
``problem`` that it had. A line that a killed run left unfinished is dropped. Needs the standard library only.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from profiles.errors import InvalidInput

VERSION = 1

Point = Mapping[str, Any]
"""What was asked for, as JSON: ``{"m": 4096, "n": 4096, "k": 1024, "precision": "bf16"}``."""


class Journal:
    """The journal at ``path`` of the run that ``run`` describes: opened where it exists, begun where it does not.

    Raises
    ------
    InvalidInput
        If the file is no journal, belongs to another run (names what differs), or cannot be written.
    """

    def __init__(self, path: Path, run: Point) -> None:
        self.path = path
        self._results: dict[str, Any] = {}
        try:
            fresh = not path.exists() or path.stat().st_size == 0
            if not fresh:
                self._resume(run)
            self._file = path.open("a", encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _unusable(path, error) from error
        if fresh:
            self._append({"gpuplan_journal": VERSION, "run": dict(run)})

    def __contains__(self, point: Point) -> bool:
        """Whether ``point`` has a good result; one that had a problem is to be tried again."""
        return _key(point) in self._results

    def __len__(self) -> int:
        return len(self._results)

    def results(self) -> Iterator[tuple[dict[str, Any], Any]]:
        """Every point with a good result, in the order in which they were first finished."""
        for key, result in self._results.items():
            yield json.loads(key), result

    def add(self, point: Point, result: Any) -> None:
        """Keep the ``result`` of ``point``; it is on the disk when this returns."""
        self._append({"point": dict(point), "result": result})
        self._results[_key(point)] = result

    def add_problem(self, point: Point, problem: str) -> None:
        """Keep why ``point`` has no result."""
        self._append({"point": dict(point), "problem": problem})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, line: object) -> None:
        try:
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unusable(self.path, error) from error

    def _resume(self, run: Point) -> None:
        whole = _drop_unfinished_line(self.path)
        if not whole:
            raise InvalidInput("is no journal of gpuplan", field=str(self.path), fix="choose another --out")
        head, *lines = read(self.path)
        theirs = head["run"]
        differing = sorted(name for name in {*theirs, *run} if theirs.get(name) != run.get(name))
        if differing:
            told = "; ".join(f"{name} was {theirs.get(name)!r}, now {run.get(name)!r}" for name in differing)
            raise InvalidInput(f"is the journal of another run: {told}", field=str(self.path),
                               fix="choose another --out, or repeat the options of that run")  # fmt: skip
        self._results.update((_key(line["point"]), line["result"]) for line in lines if "result" in line)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of the journal at ``path``, its head first, without a last line that was cut off.

    Raises ``InvalidInput`` for anything that no run of gpuplan wrote, naming the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, error, "read") from error
    lines = []
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        wanted = _is_head(entry) if number == 1 else _is_entry(entry)
        if not wanted:
            raise InvalidInput("is no line of a gpuplan journal", field=f"{path.name}:{number}",
                               fix="give a file that `gpuplan profiles measure` wrote")  # fmt: skip
        lines.append(entry)
    if not lines:
        raise InvalidInput("holds no finished line", field=path.name, fix="repeat the run")
    return lines


def day_of_run(path: Path) -> str:
    """The day (UTC) of the run whose journal is at ``path``, today where there is none: resumed, it is the same run."""
    with contextlib.suppress(InvalidInput, KeyError):  # no journal: opening it says so
        return str(read(path)[0]["run"]["as_of"])
    return dt.datetime.now(dt.UTC).date().isoformat()


def _is_head(entry: object) -> bool:
    return isinstance(entry, dict) and entry.get("gpuplan_journal") == VERSION and isinstance(entry.get("run"), dict)


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("point"), dict):
        return False
    return isinstance(entry.get("result"), dict) or isinstance(entry.get("problem"), str)


def _drop_unfinished_line(path: Path) -> bool:
    """Cut ``path`` after its last line break; whether anything is left. Leaves what is no journal as it is."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if not whole:
        if not content.startswith(b'{"gpuplan_journal"'):
            return False
        raise InvalidInput("was cut off in its first line", field=str(path), fix="delete it and start again")
    if whole < len(content) and content.startswith(b'{"gpuplan_journal"'):
        os.truncate(path, whole)
    return True


def _key(point: Point) -> str:
    return json.dumps(dict(point), sort_keys=True)


def _unusable(path: Path, error: OSError | UnicodeDecodeError, verb: str = "written") -> InvalidInput:
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
    return InvalidInput(f"cannot be {verb}: {reason}", field=str(path), fix="choose another file")
