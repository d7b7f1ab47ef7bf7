"""The key figures of a serving plan."""

from __future__ import annotations

import streamlit as st

from dashboard import figures
from dashboard.client import Document
from dashboard.words import plain


def show(plan: Document) -> None:
    """The mix in a line; money, power, carbon and proof, each with where it is from on hover."""
    st.header(plain(_mix(plan["rentals"])))
    trust = _trust(plan["routing"])
    with figures.wall():
        for label, value, about in (*_money(plan, trust), *_others(plan, trust)):
            figures.figure(label, value, about)


def _mix(rentals: list[Document]) -> str:
    gpus: dict[str, int] = {}
    for rental in rentals:
        gpus[rental["gpu"]] = gpus.get(rental["gpu"], 0) + rental["instances"] * rental["gpus_per_instance"]
    return " + ".join(f"{count:,} × {gpu}" for gpu, count in gpus.items()) or "Nothing to rent"


def _money(plan: Document, trust: str) -> list[tuple[str, str, str]]:
    per_million = plan["usd_per_million_tokens"]
    return [
        ("Cost", figures.usd(plan["usd_per_hour"], "h"),
         f"All instances of the mix, paid whole, at the prices that are known or given. {trust}"),
        ("Per month", figures.usd(plan["usd_per_month"]), "730 hours at this cost."),
        ("Per million tokens", "–" if per_million is None else f"${per_million:,.4f}",
         "Cost over input and output tokens together, at the planned traffic."),
    ]  # fmt: skip


def _others(plan: Document, trust: str) -> list[tuple[str, str, str]]:
    carbon = plan["kg_co2_per_hour"]
    return [
        ("Power", figures.watts(plan["power_w"]),
         f"With every replica busy, from the GPUs' measured or rated power. {trust}"),
        ("CO2", "–" if carbon is None else f"{carbon:,.3g} kg/h",
         "Power times the carbon intensity of the regions' grids; – where that is not known."),
        ("Proof", _proof(plan),
         f"{plan['outcome']}: no plan for these rates is better by more than the gap to the proven bound. An "
         f"independent check of the plan {_verdict(plan)}. {plan['solver']}, {plan['solve_seconds']:.2f} s."),
    ]  # fmt: skip


def _proof(plan: Document) -> str:
    gap = plan["gap"]
    if gap is None:
        return "no bound"
    return "optimal" if plan["outcome"] == "optimal" and gap < 1e-4 else f"gap {gap:.2%}"


def _verdict(plan: Document) -> str:
    check = plan["check"]
    return "was not made" if check is None else "passed" if check["passed"] else "failed"


def _trust(routing: list[Document]) -> str:
    """How far the rates behind the mix can be trusted, by traffic."""
    total = sum(route["requests_per_s"] for route in routing)
    if not total or all(route["origin"] == "given" for route in routing):
        return ""
    shares = {
        origin: sum(r["requests_per_s"] for r in routing if r["origin"] == origin) / total for origin in figures.ORIGINS
    }
    error = sum((r["relative_error"] or 0.0) * r["requests_per_s"] for r in routing) / total
    parts = ", ".join(f"{share:.0%} {origin}" for origin, share in shares.items() if share)
    return f"Rates of replicas: {parts} (by traffic), typical 90% interval ±{error:.0%}."
