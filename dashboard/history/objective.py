"""What a plan's objective is counted in. The list of plans gives the bare number; the spec says what it is of."""

from __future__ import annotations

import streamlit as st

from dashboard.client import Client, Document

UNITS = {
    ("serving", "cost"): "$/h",
    ("serving", "power"): "W",
    ("serving", "carbon"): "g CO₂/h",
    ("serving", "goodput"): "requests/s",
    ("experts", "balance"): "balancedness",
    ("experts", "hops"): "hops/token",
    ("experts", "fan_out"): "nodes/token",
    ("experts", "time"): "s/step",
    ("training", "time"): "days",
    ("training", "money"): "$",
    ("training", "energy"): "kWh",
    ("power", ""): "servers",
}
"""By kind of plan and ``objective`` of its spec."""

_USUAL = {"serving": "cost", "training": "time", "power": ""}


def unit(kind: str, spec: Document) -> str:
    """What the objective of a plan for ``spec`` is counted in."""
    asked = spec.get("objective") or _USUAL.get(kind)
    if kind == "experts" and asked is None:
        asked = "hops" if spec.get("trace") or spec.get("transitions") else "balance"
    return UNITS.get((kind, asked or ""), "")


def units(client: Client, entries: list[Document]) -> dict[str, str]:
    """Units by id of the spec, for entries of the list of plans. Each spec is read once in a session."""
    known: dict[str, str] = st.session_state.setdefault("objective_units", {})
    for entry in entries:
        if entry["objective"] is not None and entry["spec_id"] not in known:
            plan = client.get(f"/v1/plans/{entry['id']}") if entry["kind"] != "power" else {"spec": {}}
            known[entry["spec_id"]] = unit(entry["kind"], plan["spec"])
    return known


def amount(value: float | None, unit: str) -> str:
    """An objective with its unit."""
    if value is None:
        return "–"
    if unit == "balancedness":
        return f"{value:.4f}"
    if unit.startswith("$"):
        return f"${value:,.2f}{unit[1:]}"
    return f"{value:,.4g} {unit}".strip()
