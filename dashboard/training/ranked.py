"""The ranked configurations: key figures of one, and the table of all."""

from __future__ import annotations

import streamlit as st

from dashboard import figures, tables
from dashboard.client import Document
from dashboard.figures import hover
from dashboard.tables import Cell, Row
from dashboard.training import words

MOST_ROWS = 1000
"""That a spec can ask for."""


def choose(plan: Document) -> int:
    """The configuration to look at, its place in the ranking from 0; the address has it from 1."""
    ranked = plan["ranked"]
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    row = left.number_input(
        "Configuration", 1, MOST_ROWS, 1, key="configuration", bind="query-params",
        help=f"its place in the ranking, 1 to {len(ranked)}; 1 is the best",
    )  # fmt: skip
    chosen = min(int(row), len(ranked)) - 1
    right.markdown(f"**{chosen + 1} of {len(ranked)}: {words.degrees(ranked[chosen])}**, {described(ranked[chosen])}")
    return chosen


def described(c: Document) -> str:
    """What the degrees do not say."""
    chunks = f", {c['virtual_stages']} chunks a stage" if c["virtual_stages"] > 1 else ""
    return (
        f"{c['framework']}, micro-batch {c['micro_batch']}{chunks}, {c['precision']}, recompute {words.recompute(c)}, "
        f"sharding {words.sharding(c)}, {c['num_gpus']:,} GPUs"
    )


def key_figures(plan: Document, row: int) -> None:
    """Time, money, energy and speed of one configuration, with how they compare to the best."""
    c, best = plan["ranked"][row], plan["ranked"][0]
    shown = (
        ("Time to train", words.days(c), "days_to_train", "days until all tokens are trained, with failures"),
        ("Money", words.usd(c), "usd_to_train", "USD for all GPUs until then; '–' where nobody knows a price"),
        ("Energy", words.kwh(c["kwh"]), "kwh", "of all GPUs until then"),
        ("Step", figures.milliseconds(c["step_ms"]), "step_ms", "time of one step of the whole cluster"),
    )
    with figures.wall():
        for label, value, field, meaning in shown:
            figures.figure(label, value, words.by_step(c, meaning), _against(c[field], best[field]) if row else None)
        figures.figure("MFU", figures.percent(c["mfu"], 1), words.by_step(
            c, f"model FLOPs utilisation: useful FLOP over the peak of {c['num_gpus']:,} GPUs"))  # fmt: skip
        figures.figure("Goodput", figures.percent(c["goodput_fraction"], 1), hover(
            "share of time that trains, after failures, restarts and checkpoints", "given"))  # fmt: skip


def proof(plan: Document) -> str:
    """How good the answer is known to be."""
    gap = "no bound" if plan["gap"] is None else f"within {plan['gap']:.2%} of the proven bound"
    check = plan.get("check")
    verdict = "not checked" if check is None else "independent check passed" if check["passed"] else "CHECK FAILED"
    return (
        f"{plan['num_evaluated']:,} configurations evaluated, {plan['num_fitting']:,} fit in memory; {gap}; {verdict}; "
        f"{plan['solve_seconds']:.2f} s."
    )


def table(plan: Document) -> None:
    """All ranked configurations; the number of a row is what ``choose`` takes."""
    listing = rows(plan["ranked"])
    tables.show(listing, name="ranked configurations", about=ABOUT)
    tables.download(listing, "configurations")


def rows(ranked: list[Document]) -> list[Row]:
    """The table."""
    return [
        {
            "row": place,
            "parallelism": words.degrees(c),
            "days": Cell(f"{c['days_to_train']:,.4g}", words.by_step(c, "days to train")),
            "USD": Cell(words.usd(c), words.by_step(c, "for all GPUs until it is trained")),
            "kWh": Cell(f"{c['kwh']:,.0f}", words.by_step(c, "of all GPUs until it is trained")),
            "step": Cell(figures.milliseconds(c["step_ms"]), words.by_step(c, "time of one step")),
            "MFU": Cell(f"{c['mfu']:.1%}", words.by_step(c, "useful FLOP over the GPUs' peak")),
            "GiB": Cell(f"{c['memory_gib_per_gpu']:.1f}", f"of {c['memory_limit_gib']:g} GiB on the fullest GPU, "
                        "counted from the model's sizes"),
            "GPUs": c["num_gpus"],
            "batch": c["micro_batch"],
            "v": c["virtual_stages"],
            "framework": c["framework"],
            "precision": c["precision"],
            "recompute": words.recompute(c),
            "sharding": words.sharding(c),
        }
        for place, c in enumerate(ranked, start=1)
    ]  # fmt: skip


ABOUT = {
    "row": "place in the ranking",
    "parallelism": "degrees: tensor, pipeline, context, expert and data parallel; those of 1 are left out, but for TP, "
    "PP and DP",
    "GPUs": "in use",
    "batch": "sequences in a micro-batch",
    "v": "chunks of the model on each stage (virtual stages)",
    "recompute": "which activations are made again in the backward pass",
    "sharding": "of states, over how many replicas",
}
"""What is in the columns."""


def _against(value: float | None, best: float | None) -> str | None:
    return None if value is None or not best else f"{value / best - 1:+.1%} to the best"
