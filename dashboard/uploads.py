"""Files that people give: read carefully, refused with what is wrong and what would work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import streamlit as st
import yaml

MOST_MIB = 16
"""As large as a request to the service may be; ``server.maxUploadSize`` is the same."""


class BadFile(Exception):
    """A file that cannot be used, in words for the person who gave it."""


class _PlainYaml(yaml.SafeLoader):
    """YAML without aliases: a small file with them can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise BadFile(f"line {self.line + 1} has a YAML alias (*name), which is not allowed here: write it out")
        return super().compose_node(parent, index)


def ask(label: str, kinds: Sequence[str], key: str, help: str = "") -> tuple[str, bytes] | None:  # noqa: A002
    """A file from the person: name and content; None before there is one. Empty files are refused here."""
    given = st.file_uploader(label, type=list(kinds), key=key, help=help or None, max_upload_size=MOST_MIB)
    if given is None:
        return None
    content = given.getvalue()
    if not content.strip():
        st.error(f"**{given.name} is empty.** Choose another file.", icon=":material/draft:")
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
    decoded = text(name, content)
    try:
        document = json.loads(decoded) if name.lower().endswith(".json") else yaml.load(decoded, _PlainYaml)  # noqa: S506
        json.dumps(document, allow_nan=False)
    except json.JSONDecodeError as error:
        raise BadFile(f"{name}, line {error.lineno}: {error.msg}") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadFile(f"{name}{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadFile(f"{name} cannot be read as a spec: {error}") from None
    if not isinstance(document, dict):
        raise BadFile(f"{name} holds no spec: it must be names with values, as in `kind: serving`")
    return document
