"""Several things wrong with one file, told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from profiles.errors import InvalidInput

MOST_SHOWN = 20

Built = TypeVar("Built", bound=BaseModel)


class Problems:
    """Collects what is wrong with the rows of one file; ``raise_any`` tells the first 20 and counts the rest."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._shown: list[InvalidInput] = []
        self._count = 0

    def add(self, problem: InvalidInput) -> None:
        """Count ``problem``, and keep it to be told if it is among the first."""
        self._count += 1
        if len(self._shown) < MOST_SHOWN:
            self._shown.append(problem)

    def raise_any(self) -> None:
        """Raise ``InvalidInput`` if anything was added; a single problem is raised as it is."""
        if self._count == 1:
            raise self._shown[0]
        if self._shown:
            first = f"; the first {len(self._shown)}" if self._count > len(self._shown) else ""
            fixes = dict.fromkeys(problem.fix for problem in self._shown if problem.fix)
            raise InvalidInput(
                f"{self._count} problems, so nothing was imported{first}:",
                field=self._file,
                mistakes=[(problem.field or self._file, problem.detail) for problem in self._shown],
                fix="\n       ".join(list(fixes)[:5]) or None,
            )


def build(kind: type[Built], values: Mapping[str, object], where: Mapping[str, str], place: str) -> Built:
    """A validated ``kind`` of the ``values`` that are present (None and blank text are absent).

    The first invalid value raises ``InvalidInput`` at ``place`` followed by ``where[field]``, the name that the
    file has for it.
    """
    try:
        return kind.model_validate({name: value for name, value in values.items() if value not in (None, "")})
    except ValidationError as error:
        raise first_problem(error, where, place) from error


def first_problem(error: ValidationError, where: Mapping[str, str], place: str) -> InvalidInput:
    """What pydantic found first, in words of the file."""
    return _problem(error.errors(include_url=False)[0], where, place)


def problems_of(error: ValidationError, file: str) -> InvalidInput:
    """Everything that pydantic found in ``file``, the first 20 in words."""
    problems = Problems(file)
    for found in error.errors(include_url=False):
        problems.add(_problem(found, {}, file))
    try:
        problems.raise_any()
    except InvalidInput as told:
        return told
    raise AssertionError("a validation error without errors")


def _problem(found: ErrorDetails, where: Mapping[str, str], place: str) -> InvalidInput:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"]).lstrip(".")
    name = where.get(path, path)
    field = ": ".join(part for part in (place, name) if part)
    said = found["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if found["type"] == "missing" or found["input"] is None:
        said = "is missing or blank"
    elif isinstance(found["input"], str | int | float):
        said = f"{said}, not {found['input']!r}"
    return InvalidInput(said, field=field)


def counted(count: int, noun: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(names: Iterable[str]) -> str:
    """``a, b, c`` of ``names`` in quotes."""
    return ", ".join(repr(name) for name in names)
