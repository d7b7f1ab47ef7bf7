"""Files that people give: read carefully, refused with what is wrong and what would work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import streamlit as st
import yaml

from dashboard.words import plain

MOST_MIB = 16
"""As large as a request to the service may be; ``server.maxUploadSize`` is the same."""


MOST_YAML_MIB = 2
"""Of a spec in YAML, which takes two seconds a MiB to read; JSON takes a hundredth of that."""

MOST_DEPTH = 100
"""Of lists and objects in YAML: no spec comes near; its parser, in C, crashes at a hundred thousand."""

_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BadFile(Exception):
    """A file that cannot be used, in words for the person who gave it."""


class _KeysOnce(_Safe):  # type: ignore[misc]
    """YAML with every key once in its object."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        _unique([(self.construct_object(key, deep=True), None) for key, _ in node.value])
        return super().construct_mapping(node, deep)


def ask(label: str, kinds: Sequence[str], key: str, help: str = "") -> tuple[str, bytes] | None:  # noqa: A002
    """A file from the person: name and content; None before there is one. Empty files are refused here."""
    given = st.file_uploader(label, type=list(kinds), key=key, help=help or None, max_upload_size=MOST_MIB)
    if given is None:
        return None
    content = given.getvalue()
    if not content.strip():
        st.error(f"**{plain(given.name)} is empty.** Choose another file.", icon=":material/draft:")
        return None
    return given.name, content


def text(name: str, content: bytes) -> str:
    """The text of a file in UTF-8 (or UTF-16 with its mark); ``BadFile`` where it is another encoding or no text."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        decoded = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadFile(f"{name} is not text in UTF-8 (byte {error.start:,}): save it as UTF-8") from None
    if "\x00" in decoded:
        raise BadFile(f"{name} is a binary file, not text")
    return decoded


def spec(name: str, content: bytes) -> dict[str, Any]:
    """The spec in a YAML or JSON file; ``BadFile`` says what is wrong where."""
    decoded, is_json = text(name, content), name.lower().endswith(".json")
    if not is_json and len(content) > MOST_YAML_MIB * 2**20:
        raise BadFile(f"{name} is larger than {MOST_YAML_MIB} MiB: give so large a spec as JSON")
    try:
        document = _json(decoded) if is_json else _yaml(decoded)
        json.dumps(document, allow_nan=False, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise BadFile(f"{name}, line {error.lineno}: {error.msg}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadFile(f"{name}{line}: {error.problem}") from None
    except RecursionError:
        raise BadFile(f"{name} is nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise BadFile(f"{name} cannot be read as a spec: {error}") from None
    if not isinstance(document, dict):
        raise BadFile(f"{name} holds no spec: it must be names with values, as in `kind: serving`")
    return document


def _json(decoded: str) -> Any:
    return json.loads(decoded, object_pairs_hook=_unique)


def _yaml(decoded: str) -> Any:
    """YAML without aliases, with which a small file can stand for gigabytes."""
    depth = 0
    for event in yaml.parse(decoded, Loader=_Safe):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise RecursionError
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise BadFile(f"line {line} has a YAML alias (*name), which is not allowed here: write it out")
    return yaml.load(decoded, _KeysOnce)  # noqa: S506


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """The pairs as a document; ``ValueError`` where a key is there twice: only one of its values would count."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key!r} is there twice")
        found[key] = value
    return found
