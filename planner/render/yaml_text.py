"""YAML that every parser reads alike. Pure.

PyYAML writes ``1e3``, ``0o7`` and ``y`` without quotes; Go's parsers, which Kubernetes and Helm use, read a number, a
number and a boolean. Here a text is plain only where no parser can take it for anything else, and quoted otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Booleans and nulls of YAML 1.1."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (readers limit or refuse aliases)
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def yaml_text(*documents: Mapping[str, Any], about: Iterable[str] = ()) -> str:
    """``documents`` as one YAML text in their own order, below ``about`` as comments, one line each."""
    lines = ("".join(c if c.isprintable() else " " for c in line) for line in about)
    comments = "".join(f"# {line}\n" for line in lines)
    return comments + "---\n".join(
        yaml.dump(document, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=10**9, allow_unicode=True)
        for document in documents
    )
