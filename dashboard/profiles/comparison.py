"""Predictions compared with measurements: what is asked of the service, and the errors that it found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import streamlit as st

from dashboard import replanning
from dashboard.client import Client, Document
from dashboard.figures import percent
from dashboard.tables import Cell

PATH = "/v1/validations"


class Quantity(NamedTuple):
    """Something that is predicted: the part of the service that knows it, its name there, and its unit."""

    part: str
    field: str
    unit: str


QUANTITIES = {
    "TTFT": Quantity("serving", "ttft_ms", "ms"),
    "TPOT": Quantity("serving", "tpot_ms", "ms"),
    "Output tokens/s": Quantity("serving", "output_tokens_per_s", "tokens/s"),
    "Power": Quantity("power", "mean_power_w", "W"),
    "Training step": Quantity("training", "step_ms", "ms"),
}

HELD_OUT = {
    "random": "a random fifth of the rows",
    "lengths": "each length of prompts and answers",
    "tp": "each TP degree",
    "model": "each model",
    "gpu": "each GPU type",
}
"""What is left out and predicted from the rest, for every part."""


def asked(part: str, held_out: str | None, csv: str | None = None) -> Document:
    """The question: of a file (``csv``), else of what is stored."""
    return {"part": part, "hold_out": held_out} | ({"csv": csv} if csv is not None else {})


def answer(client: Client, body: Document) -> Document:
    """What the service found: at once where this session asked before."""
    return replanning.answer(client, PATH, body, "Predicting")


def is_wanted(client: Client, body: Document) -> bool:
    """Whether to ask now: it takes a while, so somebody says so first, here or in the address."""
    asked = f"{body['part']} {body['hold_out']}"
    if st.query_params.get("compared") == asked or replanning.is_kept(client, PATH, body):
        return True
    if st.button("Compare predictions with measurements", type="primary", help="takes some ten seconds"):
        st.query_params["compared"] = asked
        return True
    return False


def errors_by_pair(found: Document, field: str) -> dict[tuple[str, str], float]:
    """Mean error of a quantity, as a fraction, by model and GPU type."""
    groups = [group for group in found["groups"] if group.get(field, {}).get("mape") is not None]
    return {(group["model"], group["gpu"]): group[field]["mape"] for group in groups}


def points(found: Document, quantity: Quantity) -> list[dict[str, Any]]:
    """The predicted and the measured value of every row."""
    rows = []
    for row in found["predictions"]:
        pair = row["compared"].get(quantity.field)
        if pair is None:
            continue
        rows.append({
            "Model": row["model"],
            "GPU": row["gpu"],
            "Row": f"{row['row']}: {row['label']}",
            f"Measured {quantity.unit}": float(f"{pair['measured']:.5g}"),
            f"Predicted {quantity.unit}": float(f"{pair['predicted']:.5g}"),
            "Error %": round(100 * (pair["predicted"] / pair["measured"] - 1), 1),
            "90% interval": f"±{pair['interval']:.0%}",
            "Origin": row["origin"],
            "Left out": row["fold"],
        })  # fmt: skip
    return rows


def broken_down(groups: Sequence[Document], names: tuple[str, ...], field: str) -> list[dict[str, Any]]:
    """Errors of one quantity in groups of rows, the largest group first; ``names`` are the fields that name one."""
    return [
        {_HEADINGS[name]: group[name] for name in names}
        | {
            "Rows": Cell(f"{group['rows']:,}", "rows that were predicted and measured"),
            "Mean error": Cell(percent(group[field]["mape"], 1), "mean of |predicted / measured − 1|"),
            "Median": Cell(percent(group[field]["median_ape"], 1), "median of |predicted / measured − 1|"),
            "Inside": Cell(percent(group[field]["coverage"]), "rows inside their own 90% interval"),
        }
        for group in sorted(groups, key=lambda group: -group["rows"])
    ]


_HEADINGS = {"model": "Model", "gpu": "GPU", "origin": "Origin", "held_out": "Left out"}
