"""Reading a JSON document whose parts know where they stand in it."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from profiles.errors import InvalidInput
from profiles.ingest.files import opened, utc_day


@dataclass(frozen=True)
class Node:
    """One value inside a JSON document. Absent keys give a node that holds None, so paths can be walked blindly."""

    value: object
    file: str
    path: str = ""

    @property
    def where(self) -> str:
        """File and path, for the ``field`` of an error."""
        return f"{self.file}: {self.path}" if self.path else self.file

    def __truediv__(self, key: str) -> Node:
        """The member ``key`` of an object: ``report / "metrics" / "mean"``."""
        inside = self.value.get(key) if isinstance(self.value, dict) else None
        return Node(inside, self.file, f"{self.path}.{key}" if self.path else key)

    def __iter__(self) -> Iterator[Node]:
        """The elements of a list; nothing for anything else."""
        if isinstance(self.value, list):
            for index, element in enumerate(self.value):
                yield Node(element, self.file, f"{self.path}[{index}]")

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def required(self, hint: str) -> Node:
        """The node itself; ``InvalidInput`` with the fix ``hint`` where the document does not have it."""
        if self.value is None:
            raise InvalidInput("is missing", field=self.where, fix=hint)
        return self

    def text(self) -> str:
        """The value as text, "" when absent."""
        return "" if self.value is None else str(self.value).strip()

    def number(self) -> float | None:
        """The value as a finite number, None when absent; raises ``InvalidInput`` for anything else."""
        if self.value is None:
            return None
        value = float("nan") if isinstance(self.value, bool) or not isinstance(self.value, int | float) else self.value
        # JSON sets no bound: 1e999 reads as infinity, and a whole number may be too large for a float.
        if not abs(value) <= sys.float_info.max:
            raise InvalidInput(f"must be a finite number, not {self.value!r:.40}", field=self.where)
        return float(value)

    def measured(self) -> float | None:
        """A number that was measured: None when absent or 0, which these tools write for "nothing to measure"."""
        value = self.number()
        if value is not None and value < 0:
            raise InvalidInput(f"must not be negative, not {value:g}", field=self.where)
        return value or None

    def day(self) -> dt.date | None:
        """The day of a time in seconds since 1970, None when absent; raises ``InvalidInput`` where it is none."""
        seconds = self.measured()
        return None if seconds is None else utc_day(seconds, self.where)

    def matrix(self) -> list[list[float]]:
        """The value as rows of numbers, all of one length; raises ``InvalidInput`` otherwise."""
        rows = [[_number(cell) for cell in row] for row in self]
        if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
            raise InvalidInput("must be a matrix: rows of equally many numbers", field=self.where)
        return rows

    def vector(self) -> list[float]:
        """The value as a list of numbers; raises ``InvalidInput`` where it is not one."""
        numbers = [_number(cell) for cell in self]
        if not numbers:
            raise InvalidInput("must be a list of numbers", field=self.where)
        return numbers


def _number(cell: Node) -> float:
    value = cell.number()
    if value is None:
        raise InvalidInput("must be a number", field=cell.where)
    return value


def read_document(path: Path, reference: str) -> Node:
    """The JSON object in ``path``; raises ``InvalidInput`` for anything else. ``reference`` is the format's name."""
    with opened(path, reference) as text:
        return _parsed(text.read(), path.name, reference, path.name)


def read_lines(path: Path, reference: str) -> Iterator[Node]:
    """The JSON objects of a file that has one on each line, streamed; fails as ``read_document`` does."""
    with opened(path, reference) as text:
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield _parsed(line, f"{path.name}:{number}", reference, f"{path.name}:{number}")


def _parsed(text: str, file: str, reference: str, place: str) -> Node:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        start = text.lstrip()[:1]
        said = f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        if start not in ("{", "["):
            said = f"this looks like CSV or plain text, but {reference} files are JSON"
        raise InvalidInput(said, field=place, fix=f"give the JSON file that {reference} describes") from error
    except ValueError as error:  # a number of thousands of digits
        raise InvalidInput(f"holds a number that cannot be meant: {error}", field=place) from error
    except RecursionError as error:
        raise InvalidInput("is nested too deeply to be a report", field=place) from error
    if not isinstance(value, dict):
        raise InvalidInput(f"must be a JSON object, not a {type(value).__name__}", field=place)
    return Node(value, file)
