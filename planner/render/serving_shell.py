"""The command of a replica as a line of shell, for systems that start replicas by one. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath
from shlex import quote

from planner.errors import InvalidInput
from planner.render.serving_engines import OPTIONS_FILE
from planner.render.serving_units import Unit
from planner.render.yaml_text import yaml_text


def shell_lines(unit: Unit) -> list[str]:
    """Lines that a POSIX shell runs in order; the last one becomes the engine. Names hold no syntax of the shell's.

    Raises
    ------
    InvalidInput
        A unit reads prompts for others or decodes for them: the two must reach each other, and these systems put every
        replica behind a proxy.
    """
    if unit.row.role != "unified":
        raise InvalidInput(
            f"{unit.row.unit!r} does one phase of requests, and its replicas could not reach those of the other",
            field="PLAN", fix="render it for kubernetes, or plan with split: never",
        )  # fmt: skip
    run = "exec " + " ".join(_quoted(word) for word in unit.command)
    if not unit.options:
        return [run]
    folder = quote(str(PurePosixPath(OPTIONS_FILE).parent))
    return [f"mkdir -p {folder}", f"printf %s {_quoted(yaml_text(unit.options))} > {quote(OPTIONS_FILE)}", run]


def _quoted(word: str) -> str:
    """``word`` for the shell, with no ``${{`` in it even within quotes: dstack would read a reference there."""
    return quote(word).replace("${{", "$''{{")
