"""Writes docs/reference/ from the code: commands, routes, spec fields and settings.

Run ``python docs/generate.py`` after any change of these: ``tests/docs/test_reference.py`` fails where a page is stale.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer.cli
from sqlalchemy import create_engine
from typer.testing import CliRunner

from api.app import create_app
from planner.registry import PLANNERS
from planner.settings import Settings

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py: change the code, not this page. -->"

OWN_STATUSES = {"200", "201", "202", "204", "304"}
"""Statuses that are told per route; every route may also answer with a problem, which is told once."""

WORDS = {"number": "number", "integer": "whole number", "string": "text", "boolean": "true or false"}
"""Types of JSON Schema as people say them."""


def commands() -> str:
    """Every command with its arguments and options, as Typer's own documentation generator writes them."""
    words = ["planner.cli", "utils", "docs", "--name", "gpuplan", "--title", "Command line"]
    text = CliRunner().invoke(typer.cli.app, words).stdout
    text = text.replace("```console\n$ ", "```text\n")  # a form, not something to run
    lines, above = [], "gpuplan"
    for line in text.splitlines():
        if heading := re.match(r"#+ `(gpuplan.*)`", line):
            above = heading[1]
        if listed := re.match(r"\* `([a-z][\w-]*)`: ", line):  # its text is cut short here, and whole below
            line = f"* [`{listed[1]}`](#{f'{above} {listed[1]}'.replace(' ', '-')})"
        lines.append(html.unescape(line))
    title, *rest = lines
    return f"{title}\n\n{NOTE}\n\n" + "\n".join(rest).strip() + "\n"


def routes() -> str:
    """Every route of the service with its parameters, body and answers, from the OpenAPI document."""
    document = create_app(create_engine("sqlite://"), Settings(), open_to_loopback=True).openapi()
    parts = [
        f"# REST\n\n{NOTE}",
        "The same, with every schema, is at `/docs` and `/openapi.json` of a server (`gpuplan serve`). All routes\n"
        "have in common: `Authorization: Bearer KEY` (on loopback nobody needs one), JSON bodies, an `ETag` where an\n"
        "answer may be kept, lists page by page (`limit`, `cursor`), and mistakes told as problems\n"
        "(`application/problem+json`, RFC 9457) that name the field and the fix.",
    ]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append(_route(path, method, operation))
    for tag, texts in by_tag.items():
        parts += [f"## {tag.capitalize()}", *texts]
    return "\n\n".join(parts) + "\n"


def _route(path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [f"### {method.upper()} {path}", operation.get("description", "").strip()]
    body = operation.get("requestBody", {}).get("content", {})
    names = [_type(content.get("schema", {})) if "json" in media else media for media, content in body.items()]
    if names:
        parts.append(f"Body: {', '.join(names)}.")
    told = [
        f"{status}: {answer['description']}".rstrip(".")
        for status, answer in sorted(operation["responses"].items())
        if status in OWN_STATUSES and answer["description"] != "Successful Response"
    ]
    if told:
        parts.append(f"Answers: {'; '.join(told)}.")
    rows = [
        (f"`{p['name']}`", p["in"], _type(p.get("schema", {})), _cell(p.get("description", "")))
        for p in operation.get("parameters", [])
    ]
    if rows:
        parts.append(_table(("parameter", "in", "type", "what"), rows))
    return "\n\n".join(part for part in parts if part)


def specs() -> str:
    """Every field of every spec, from the JSON Schemas of the planners' own types."""
    parts = [
        f"# Specs\n\n{NOTE}",
        "What each planner is asked: every field, its type and default. Units are in the names. A spec file is YAML\n"
        "or JSON; a field not listed here is refused by name. The JSON Schemas are at `GET /v1/planners/{kind}`.",
    ]
    for kind, planner in PLANNERS.items():
        schema = planner.spec_type.model_json_schema()
        parts.append(f"## {kind}")
        parts += _record(schema, kind)
        for name, definition in schema.get("$defs", {}).items():
            parts += [f"### {kind}: {name}", *_record(definition, kind)]
    return "\n\n".join(parts) + "\n"


def _record(schema: dict[str, Any], kind: str) -> list[str]:
    """The description and the table of fields of one record."""
    told = [_prose(schema["description"])] if schema.get("description") else []
    required = schema.get("required", [])
    rows = [
        (
            f"`{field}`",
            _type(value, kind),
            "required" if field in required else _default(value),
            _cell(value.get("description", "")),
        )
        for field, value in schema.get("properties", {}).items()
    ]
    return [*told, _table(("field", "type", "default", "what"), rows)] if rows else told


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None or default in ([], {}, ""):
        return "none"
    if isinstance(default, dict):
        return "see there"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _type(schema: dict[str, Any], kind: str = "") -> str:
    """A JSON Schema in a few words: ``number > 0, ≤ 1``, ``list of [Bucket](#serving-bucket)``."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{kind}-{name.lower()})" if kind else f"`{name}`"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(s, kind) for s in schema[several] if s.get("type") != "null"))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "prefixItems" in schema:
        kinds = dict.fromkeys(_type(item, kind) for item in schema["prefixItems"])
        return f"list of {len(schema['prefixItems'])} × {', '.join(kinds)}"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}), kind)}"
    if schema.get("additionalProperties"):
        return f"map to {_type(schema['additionalProperties'], kind)}"
    return " ".join([WORDS.get(schema.get("type", ""), "any"), _bounds(schema)]).strip()


def _bounds(schema: dict[str, Any]) -> str:
    signs = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    return ", ".join(f"{sign} {schema[name]:,.15g}" for name, sign in signs if name in schema)


def settings() -> str:
    """Every environment variable, from ``planner.settings``."""
    rows = [
        (f"`GPUPLAN_{name.upper()}`", f"`{field.default}`", _cell(field.description or ""))
        for name, field in Settings.model_fields.items()
    ]
    intro = "Environment variables. Options of commands go before them."
    return f"# Settings\n\n{NOTE}\n\n{intro}\n\n{_table(('variable', 'default', 'what'), rows)}\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _prose(text: str) -> str:
    """A docstring as Markdown: its marks for code are doubled."""
    return text.replace("``", "`").strip()


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": commands,
    "rest.md": routes,
    "spec.md": specs,
    "settings.md": settings,
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, write in PAGES.items():
        (FOLDER / name).write_text(write(), encoding="utf-8")
        print(f"docs/reference/{name}")
