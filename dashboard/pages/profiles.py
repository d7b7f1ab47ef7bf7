"""Profiles: what is measured, how wrong predictions are about it, what else is known, and files to add."""

from __future__ import annotations

import datetime as dt

import streamlit as st

from dashboard import address, connection, uploads
from dashboard.client import Client
from dashboard.profiles import benchmarks, comparison, facts, matrix, parity, prices
from dashboard.profiles.columns import KINDS
from dashboard.words import plain


def show_measured(client: Client) -> None:
    """The matrix of models and GPU types, and the rows of a cell."""
    coverage = client.get("/v1/profiles/coverage")
    cells = coverage["cells"]
    matrix.headline(cells, client.get("/v1/profiles")["num"], today)
    shade = st.segmented_control("Shade by", list(matrix.SHADES), default="number", required=True, key="shade",
                                 bind="query-params") or "number"  # fmt: skip
    errors = _errors(client) if shade == "error" else {}
    matrix.heatmap(matrix.rows(cells, errors, today), shade)
    st.header("Rows")
    left, middle, right = st.columns(3)
    with left:
        model = _any("Model", sorted({cell["model"] for cell in cells}), "measured_model")
    with middle:
        gpu = _any("GPU type", sorted({cell["gpu"] for cell in cells}), "measured_gpu")
    with right:
        kinds = matrix.kinds(cells, model, gpu)
        kind = st.selectbox("Kind", kinds, format_func=_title, key="measured_kind", bind="query-params")
    facts.show(client, kind, gpu=gpu, model=model)


def show_predictions(client: Client) -> None:
    """How far predictions are off, for rows that they were not made from."""
    left, middle, right = st.columns(3)
    with left:
        name = st.selectbox("Quantity", list(comparison.QUANTITIES), key="quantity", bind="query-params")
    with middle:
        held_out = st.selectbox("Left out, and predicted from the rest", list(comparison.HELD_OUT),
                                format_func=comparison.HELD_OUT.__getitem__, key="held_out",
                                bind="query-params")  # fmt: skip
    with right:
        coloured_by = st.segmented_control("Colour by", list(parity.COLOURED_BY), default="origin", required=True,
                                           key="parity_colour", bind="query-params") or "origin"  # fmt: skip
    quantity = comparison.QUANTITIES[name]
    body = comparison.asked(quantity.part, held_out)
    with st.expander("Compare with a file of your own", icon=":material/folder_open:"):
        given = uploads.ask("Measurements (CSV)", ("csv",), key="compared file",
                            help="In the columns of inference-latency, inference-power or training-iterations; "
                            "nothing is imported.")  # fmt: skip
    if given is not None:
        try:
            body = comparison.asked(quantity.part, None, uploads.text(*given))
        except uploads.BadFile as error:
            st.error(plain(str(error)))
            return
    if given is None and not comparison.is_wanted(client, body):
        st.markdown("Every stored row is predicted from the others, as if it had never been measured.")
        return
    parity.show(comparison.answer(client, body), name, quantity, coloured_by)


def show_catalogue(client: Client) -> None:
    """All else that is known."""
    others = [kind for kind in KINDS if kind not in matrix.KINDS_OF_PAIRS]
    kind = st.pills("Kind of facts", others, default="gpus", required=True, format_func=_title, key="catalogue",
                    bind="query-params") or "gpus"  # fmt: skip
    if kind == "prices":
        prices.cheapest(client.get("/v1/prices/cheapest")["items"], today)
    wanted: dict[str, str | None] = {}
    columns = st.columns(3)
    for column, name in zip(columns, KINDS[kind].filters, strict=False):
        with column:
            wanted[name] = _filter(client, name)
    facts.show(client, kind, **wanted)


def _errors(client: Client) -> dict[tuple[str, str], float]:
    quantity = comparison.QUANTITIES[matrix.ERRORS_OF]
    body = comparison.asked(quantity.part, "random")
    if not comparison.is_wanted(client, body):
        return {}
    return comparison.errors_by_pair(comparison.answer(client, body), quantity.field)


def _filter(client: Client, name: str) -> str | None:
    if name == "gpu":
        return _any("GPU type", [gpu["name"] for gpu in client.get("/v1/profiles/gpus", limit=1000)["items"]], "of_gpu")
    label, example = {"model": ("Model", "meta-llama/Llama-3.1-8B-Instruct"), "provider": ("Provider", "aws")}[name]
    text = st.text_input(label, key=f"of_{name}", bind="query-params", placeholder=example, max_chars=200)
    return text.strip() or None


def _any(label: str, options: list[str], key: str) -> str | None:
    chosen = st.selectbox(label, ["any", *options], key=key, bind="query-params")
    return None if chosen == "any" else chosen


def _title(kind: str) -> str:
    return KINDS[kind].title


st.title("Profiles")
today = dt.datetime.now(dt.UTC).date()
with address.noted():
    tabs = st.tabs(["Measured", "Predictions", "Catalogue", "Import"], key="profiles", bind="query-params")
    contents = (show_measured, show_predictions, show_catalogue, benchmarks.ask)
    for tab, show in zip(tabs, contents, strict=True):
        if tab.open:
            with tab:
                show(connection.client())
