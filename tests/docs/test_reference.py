"""The reference pages are what the code says, and everything there has a description."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import create_engine

from api.app import create_app
from planner.cli import app
from planner.settings import Settings
from tests.docs.pages import DOCS, ROOT, blocks


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = _generator()


@pytest.mark.parametrize("name", GENERATOR.PAGES)
def test_page_is_what_the_code_says(name: str) -> None:
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == GENERATOR.PAGES[name](), "out of date: run `python docs/generate.py`"


def test_nothing_else_is_there() -> None:
    assert {path.name for path in (DOCS / "reference").glob("*.md")} == set(GENERATOR.PAGES)


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, f"{path} {name}")


def test_every_command_and_option_is_described() -> None:
    missing = []
    for path, command in _commands(typer.main.get_command(app), "gpuplan"):
        if not command.help:
            missing.append(path)
        missing += [f"{path} {p.opts[0]}" for p in command.params if not p.help and not p.hidden]
    assert missing == []


def test_every_route_is_described() -> None:
    document = create_app(create_engine("sqlite://"), Settings(), open_to_loopback=True).openapi()
    missing = [
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if not operation.get("description")
    ]
    assert missing == []


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("page", sorted((DOCS / "maths").glob("*.md")), ids=lambda page: page.stem)
def test_maths_is_that_of_the_code(page: Path) -> None:
    """The lines of blocks that name a module are in its docstring."""
    quoted = [block for block in blocks(page) if block.mark.startswith("from ")]
    assert quoted
    for block in quoted:
        source = (ROOT / block.mark.removeprefix("from ")).read_text(encoding="utf-8")
        told = " ".join((ast.get_docstring(ast.parse(source)) or "").replace("``", "").split())
        missing = [line for line in block.text.splitlines() if " ".join(line.replace("``", "").split()) not in told]
        assert missing == [], f"line {block.line}: {block.mark} says otherwise"
