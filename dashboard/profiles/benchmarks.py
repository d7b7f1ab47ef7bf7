"""A file of measurements from a person: looked at first, imported wholly or not at all, mistakes told row by row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import streamlit as st

from dashboard import replanning, states, tables, uploads
from dashboard.client import Client, Document, Refused
from dashboard.profiles.columns import KINDS
from dashboard.words import plain

PROVENANCE = ("source", "as_of")

OPTIONS_BESIDE = 3
"""Options of a row; each row is one of its own, so that they keep their order where columns are stacked."""

_OURS = re.compile(r"\bbody(\.[a-z]{1,10})?(?=[:\s]|$)")
"""What the service calls a file, which comes without its name."""

_PLACE = re.compile(r"(?P<file>.*?):(?P<line>\d+)(?:: (?P<column>.*))?", re.DOTALL)


def ask(client: Client) -> None:
    """Ask for a file and its format, say what it holds, and import it when told so."""
    st.markdown("Measurements, prices or models in a file that another tool wrote. It is looked at first; nothing "
                "changes before you say so.")  # fmt: skip
    formats: dict[str, Document] = {one["name"]: one for one in client.get("/v1/profiles/formats")["formats"]}
    name = st.selectbox("Format", list(formats), key="format", bind="query-params")
    chosen = formats[name]
    st.text(f"{chosen['description'][:1].upper()}{chosen['description'][1:]}. Files end in "
            f"{' or '.join(chosen['suffixes'])}.")  # fmt: skip
    if chosen["columns"]:
        st.text(f"Columns: {', '.join(chosen['columns'])}")
    options = _options(client, chosen)
    kinds = [suffix.removeprefix(".") for suffix in chosen["suffixes"]]
    given = uploads.ask("File", kinds, key=f"benchmark {name}", help="It is read by the service that this page shows.")
    if given is None:
        return
    query = {"format": name, "suffix": PurePath(given[0]).suffix.lower(), **options}
    try:
        _look(client, given, query)
    except Refused as error:
        refused(error, given[0])


def _look(client: Client, given: tuple[str, bytes], query: dict[str, str]) -> None:
    content = given[1]
    with st.spinner("Reading the file …"):
        preview = client.upload("/v1/profiles/preview", content, **query).document
    num = sum(preview["num"].values())
    known = preview["num_known"]
    held = ", ".join(f"{count:,} {_title(kind)}" for kind, count in preview["num"].items())
    st.markdown(f"**This file holds {held or 'nothing'}**; {known:,} of these are known already.")
    tables.show([_subject(one) for one in preview["subjects"]], "what the file is about", page_rows=10)
    if preview["num_subjects"] > len(preview["subjects"]):
        st.text(f"and {preview['num_subjects'] - len(preview['subjects']):,} more pairs")
    for note in preview["notes"]:
        st.text(f"Note: {note}")
    if not st.button(f"Import {num:,} rows", type="primary", disabled=not num, icon=":material/upload:"):
        return
    with st.spinner("Importing …"):
        imported = client.upload("/v1/profiles/import", content, **query).document
    replanning.forget()
    changes = {kind: change for kind, change in imported["changes"].items() if any(change.values())}
    st.success(f"Imported. {_changed(changes)}", icon=":material/check_circle:")
    st.markdown("Plans and predictions are made from it from now on.")


def refused(error: Refused, name: str) -> None:
    """Why a file was refused, row by row where rows are wrong; ``name`` is what its owner calls it."""
    if not error.mistakes:
        states.refused(Refused({**error.problem, "field": _named(name, error.field),
                                "detail": _named(name, error.problem.get("detail", ""))}))  # fmt: skip
        return
    st.error(f"**{plain(error.problem['detail'])}**", icon=":material/block:")
    tables.show(mistakes(error.mistakes), "mistakes of the file")
    if error.fix:
        st.markdown(f"What helps: {plain(error.fix)}")


def _named(name: str, text: str) -> str:
    return _OURS.sub(lambda _: name, text)  # a function: backslashes in a name are no escapes


def mistakes(found: Sequence[Document]) -> list[dict[str, Any]]:
    """Mistakes by line and column of the file."""
    rows = []
    for one in found:
        place = _PLACE.fullmatch(one["field"])
        line, column = (place["line"], place["column"]) if place else (None, _OURS.sub("", one["field"]).strip(": "))
        rows.append({"Line": line, "Column": column or "the whole line", "Mistake": one["detail"]})
    return rows


def _options(client: Client, chosen: Document) -> dict[str, str]:
    """What the file does not say itself; blank answers are left out."""
    asked = {name: schema for name, schema in chosen["options"].items() if name not in PROVENANCE}
    given: dict[str, str] = {}
    for names in _in_rows(list(asked)):
        for column, name in zip(st.columns(OPTIONS_BESIDE), names, strict=False):
            with column:
                given[name] = _option(client, name, asked[name])
    with st.expander("Where the file is from"):
        for name in PROVENANCE:
            given[name] = _option(client, name, chosen["options"][name])
    return {name: value for name, value in given.items() if value}


def _in_rows(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[i : i + OPTIONS_BESIDE] for i in range(0, len(names), OPTIONS_BESIDE)]


def _option(client: Client, name: str, schema: Document) -> str:
    key = f"option {name}"
    label, plain = _LABELS.get(name, name.replace("_", " ").capitalize()), _plain(schema)
    if name == "gpu":
        known = [gpu["name"] for gpu in client.get("/v1/profiles/gpus", limit=1000)["items"]]
        return str(st.selectbox(label, ["", *known], key=key))
    if "enum" in plain:
        return str(st.selectbox(label, ["", *plain["enum"]], key=key))
    if plain.get("type") == "integer":
        return str(st.number_input(label, 1, int(plain.get("maximum", 1_000_000)), 1, key=key))
    return st.text_input(label, key=key, max_chars=500, placeholder=_EXAMPLES.get(name, "")).strip()


def _plain(schema: Document) -> Document:
    """The schema of a value that is given, without the null that stands for none."""
    choices: list[Document] = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    return choices[0] if choices else schema


def _subject(one: Document) -> dict[str, Any]:
    return {"Model": one["model"] or "–", "GPU": one["gpu"] or "–", "Rows": f"{one['num']:,}",
            "Known already": f"{one['num_known']:,}"}  # fmt: skip


def _title(kind: str) -> str:
    return KINDS[kind.replace("_", "-")].title.lower()


def _changed(changes: dict[str, dict[str, int]]) -> str:
    if not changes:
        return "Nothing changed: all of it was known."
    return "; ".join(
        f"{_title(kind).capitalize()}: " + ", ".join(f"{count:,} {verb}" for verb, count in change.items() if count)
        for kind, change in changes.items()
    )


_LABELS = {"gpu": "GPU", "tp": "TP", "pp": "PP", "dp": "DP", "ep": "EP", "as_of": "Measured on",
           "num_parameters": "Parameters", "num_active_parameters": "Active parameters",
           "input_tokens": "Upper bounds of input sizes", "output_tokens": "Upper bounds of output sizes"}  # fmt: skip
_EXAMPLES = {"model": "meta-llama/Llama-3.1-8B-Instruct", "provider": "aws", "as_of": "2026-01-31",
             "engine": "vllm", "input_tokens": "128,512,2048", "output_tokens": "128,512,2048"}  # fmt: skip
