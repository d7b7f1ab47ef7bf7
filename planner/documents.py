"""Reading spec and plan files: YAML or JSON in, validated types out, every error with its place and a fix."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from planner.errors import InvalidInput
from profiles.errors import closest

MOST_BYTES = 64 * 2**20
MOST_NAMES = 1000
"""Looked at in a folder, for one like a name that is not there."""
MOST_DEPTH = 100
"""Of lists and mappings inside each other; specs have some ten."""

T = TypeVar("T", bound=BaseModel)

_IN_OUR_WORDS = {
    "missing": "is missing",
    "tuple_type": "must be a list",
    "model_type": "must be an object with fields",
    "too_short": "needs at least {min_length} in its list",
    "too_long": "has {actual_length} in its list, at most {max_length} are allowed",
    "string_too_short": "must not be empty",
}
"""Messages by the type of a pydantic error, where its own speak of Python."""


def only_file(paths: Path | Sequence[Path]) -> Path:
    """The file to plan from; ``InvalidInput`` where several were given to a planner that takes one."""
    files = [paths] if isinstance(paths, Path) else list(paths)
    if len(files) != 1:
        raise InvalidInput(f"one spec is planned at a time, {len(files)} files were given", field="SPEC")
    return files[0]


def read_document(path: Path) -> Any:
    """The content of a ``.json``, ``.yaml`` or ``.yml`` file as plain lists and dicts.

    Raises
    ------
    InvalidInput
        The file is missing, too large, not text, not well-formed, has a key twice, or a number that is no number.
    """
    try:
        text = text_of(path)
    except OSError as error:
        raise unreadable(path, error) from None
    except UnicodeDecodeError:
        raise InvalidInput("is not a text file", field=str(path), fix="give a YAML or JSON file in UTF-8") from None
    if not text.strip():
        raise InvalidInput("is empty", field=str(path))
    if path.suffix == ".json" or text.lstrip()[0] in "{[":
        return parse_json(text, str(path))
    return _parse_yaml(text, str(path))


def unreadable(path: Path, error: OSError) -> InvalidInput:
    """What to say of a file that cannot be opened: with the name beside it that may have been meant."""
    near: list[str] = []
    with suppress(OSError):
        if isinstance(error, FileNotFoundError):
            there = (entry.name for entry in islice(path.parent.iterdir(), MOST_NAMES) if entry.name[:1] != ".")
            near = [str(path.with_name(name)) for name in closest(path.name, there, limit=1)]
    fix = f"did you mean {near[0]}?" if near else "check the path"
    return InvalidInput(f"cannot be read: {error.strerror or error}", field=str(path), fix=fix)


def text_of(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The text in a file of limited size: no more is read, whatever the file is.

    Raises ``InvalidInput`` where it is larger, ``OSError`` and ``UnicodeDecodeError`` as reading does.
    """
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise InvalidInput(f"is larger than {most_bytes >> 20} MiB", field=str(path))
    return content.decode("utf-8-sig")


def parse_json(text: str, source: str) -> Any:
    """JSON without duplicate keys, NaN or Infinity."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise InvalidInput(f"has the key {twice!r} twice in one object", field=source)
        return dict(pairs)

    def refuse(constant: str) -> Any:
        raise InvalidInput(f"contains {constant}, which is not a number in JSON", field=source)

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"is not well-formed JSON: {error.msg}", field=f"{source}:{error.lineno}") from None
    except RecursionError:
        raise InvalidInput("is nested too deeply", field=source) from None
    except ValueError as error:  # more digits than Python reads
        raise InvalidInput(f"contains a value that cannot be read: {error}", field=source) from None


def _parse_yaml(text: str, source: str) -> Any:
    import yaml  # only YAML specs need it, and start-up time counts

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Safe tags only; a key given twice is an error; aliases are refused, as they can grow without bound."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
            if twice is not None:
                line = node.start_mark.line + 1
                raise InvalidInput(f"has the key {twice!r} twice in one mapping", field=f"{source}:{line}")
            return super().construct_mapping(node, deep=deep)

    try:
        depth = 0
        for event in yaml.parse(text, Loader=Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_DEPTH:  # libyaml would end the process, without an error to catch
                raise InvalidInput("is nested too deeply", field=source)
            if isinstance(event, yaml.AliasEvent):
                raise InvalidInput("uses YAML aliases (*name)", field=source, fix="write the values out")
        return yaml.load(text, Loader=Loader)  # noqa: S506  # a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise InvalidInput(
            f"is not well-formed YAML: {getattr(error, 'problem', None) or error}", field=where
        ) from None
    except RecursionError:
        raise InvalidInput("is nested too deeply", field=source) from None
    except ValueError as error:  # a date that is not in the calendar, or more digits than Python reads
        raise InvalidInput(f"contains a value that cannot be read: {error}", field=source) from None


def validated(kind: type[T], document: Any, source: str = "") -> T:
    """``document`` as a ``kind``; every mistake in it is reported at once, each with its path."""
    if not isinstance(document, dict):
        what = "a list" if isinstance(document, list) else repr(document)[:60]
        raise InvalidInput(
            f"holds {what} where an object with fields is needed", field=source or None,
            fix="write named fields, as in examples/chat.yaml",
        )  # fmt: skip
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise explained(error, kind, source) from None


def explained(error: ValidationError, kind: type[BaseModel], source: str) -> InvalidInput:
    """Every mistake that ``error`` found, in words of the file it was made in."""
    problems = error.errors(include_url=False)
    places = {problem["loc"] for problem in problems}
    # An item that is wrong is left out of its list, which is then too short as well: no mistake of its own.
    inside = {place[:depth] for place in places for depth in range(len(place))}
    problems = [p for p in problems if p["type"] != "too_short" or p["loc"] not in inside]
    lines = [mistake_of(problem, kind) for problem in problems[:20]]
    prefix = f"{source}: " if source else ""
    if len(problems) == 1:
        path, message = lines[0]
        return InvalidInput(message, field=f"{prefix}{path}".rstrip(": ") or None)
    more = f"\n  … and {len(problems) - 20} more" if len(problems) > 20 else ""
    listing = "".join(f"\n  {path}: {message}" if path else f"\n  {message}" for path, message in lines)
    return InvalidInput(f"{len(problems)} mistakes:{listing}{more}", field=source or None)


def mistake_of(problem: ErrorDetails, kind: type[BaseModel]) -> tuple[str, str]:
    """Where a mistake lies, as a path within ``kind``, and what it is, in words of a spec file."""
    return _path(problem["loc"]), _message(problem, kind)


def _message(problem: ErrorDetails, kind: type[BaseModel]) -> str:
    """One mistake in words of a spec file, not of pydantic."""
    if problem["type"] == "extra_forbidden":
        return f"unknown field{_closest_field(kind, problem['loc'])}"
    if problem["type"] in _IN_OUR_WORDS:
        return _IN_OUR_WORDS[problem["type"]].format(**problem.get("ctx", {}))
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if isinstance(problem["input"], dict | list | tuple) or problem["type"] == "value_error":
        return message
    return f"{message} (got {problem['input']!r:.60})"


_INSIDE_UNIONS = re.compile(r"constrained-|function-|literal\[|tuple\[|is-instance|model-")
"""Steps of a path that pydantic adds for the members of a union; files have no such fields."""


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if isinstance(part, str) and _INSIDE_UNIONS.match(part):
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _closest_field(kind: type[BaseModel], location: tuple[int | str, ...]) -> str:
    fields: type[Any] | None = kind
    for part in location[:-1]:
        if isinstance(part, str) and fields is not None and part in getattr(fields, "model_fields", {}):
            fields = _model_in(fields.model_fields[part].annotation)
    known = list(getattr(fields, "model_fields", {}))
    near = closest(str(location[-1]), known, limit=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known fields: {', '.join(known)}" if known else ""


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model class inside ``X``, ``tuple[X, ...]`` or ``X | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found:
            return found
    return None
