"""``/docs``: the OpenAPI document as one page, which loads nothing from elsewhere: it works without the internet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

PATH = "/docs"

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
summary, pre { font-family: ui-monospace, monospace; } summary { cursor: pointer; padding: .2em 0; }
pre { background: #8882; padding: 1em; overflow: auto; } dt { font-family: ui-monospace, monospace; }
"""


def add_docs(app: FastAPI) -> None:
    """Serve the page of what ``app`` documents."""
    made: list[str] = []  # with the first request, once all routes are there

    @app.get(PATH, include_in_schema=False)
    def docs() -> HTMLResponse:
        if not made:
            made.append(page(app.openapi()))
        return HTMLResponse(made[0])


def page(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document."""
    info = document["info"]
    title, about = escape(info["title"]), escape(info.get("summary", ""))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title} {escape(info['version'])}</h1><p>{about}. The same for programs, with every schema: "
        f'<a href="openapi.json">openapi.json</a>.</p>{"".join(_operations(document["paths"]))}</html>'
    )


def _operations(paths: dict[str, Any]) -> Iterator[str]:
    found = [(next(iter(what.get("tags", [])), "operations"), method, path, what)
             for path, methods in paths.items() for method, what in methods.items()]  # fmt: skip
    for tag, operations in groupby(found, key=lambda one: one[0]):
        yield f"<h2>{escape(tag)}</h2>"
        for _, method, path, what in operations:
            summary = f"<b>{method.upper()}</b> {escape(path)}"
            yield f"<details><summary>{summary}</summary>{''.join(_details(what))}</details>"


def _details(what: dict[str, Any]) -> Iterator[str]:
    yield f"<p>{escape(what.get('description') or what.get('summary', ''))}</p>"
    terms = [(f"{one['name']} ({one['in']})", one.get("description", "")) for one in what.get("parameters", ())]
    terms += [(status, answer.get("description", "")) for status, answer in sorted(what["responses"].items())]
    yield f"<dl>{''.join(f'<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>' for term, meaning in terms)}</dl>"
    for content in what.get("requestBody", {}).get("content", {}).values():
        for example in content.get("examples", {}).values():
            yield f"<pre>{escape(json.dumps(example['value'], indent=1))}</pre>"
