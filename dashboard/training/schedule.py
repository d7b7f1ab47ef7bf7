"""The pipeline schedule of a configuration: who computes what when, and when nobody does."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, figures
from dashboard.client import Client, Document
from dashboard.figures import hover
from dashboard.training import words

MOST_BARS = 400
"""Passes that are drawn at once: as many as a screen can tell apart, and a browser draws at once."""

MOST_LABELLED = 130
"""Up to so many bars have room for the number of their micro-batch."""

AROUND_PX = 110
"""Of the chart's height, for the axis and the legend below the stages."""

PALE = [1.0, 0.45]
"""How opaque the first and the last chunk of a stage are; with a single chunk only the first counts."""

COLOURS = {"forward": charts.COLOURS[0], "backward": charts.COLOURS[1]}


def show(client: Client, plan_id: str, c: Document, row: int) -> None:
    """The schedule of the ranked configuration at ``row``, a part of the step at a time."""
    if c["pipeline_parallel"] == 1:
        st.info(f"Configuration {row + 1} has a single stage: its {c['num_micro_batches']} micro-batches follow each "
                "other without a gap, so there is no schedule to see. Choose one with PP above 1.")  # fmt: skip
        return
    timeline = client.get(f"/v1/plans/{plan_id}/timeline", row=row)
    _figures(timeline, c)
    spans = windows(timeline["passes"])
    part = 1
    if len(spans) > 1:
        part = st.slider("Part of the step", 1, len(spans), 1, key="part", bind="query-params",
                         help=f"about {MOST_BARS} passes at a time")  # fmt: skip
    start_ms, end_ms = spans[part - 1]
    shown = bars(timeline, start_ms, end_ms)
    charts.show(_chart(shown, timeline["num_stages"], start_ms, end_ms), shown, "pipeline schedule",
                says(timeline, shown))  # fmt: skip
    st.markdown("Bars are passes of micro-batches, numbered from 0; backward passes are the thinner ones. "
               "Where nothing is drawn, the stage waits."
               + ("" if timeline["virtual_stages"] == 1 else " Later chunks of a stage are fainter."))  # fmt: skip
    if timeline["left_out"]:
        first, last = timeline["left_out"]
        st.markdown(f"Micro-batches {first:,} to {last:,} repeat what is before them, and are left out.")


def windows(passes: list[Document], most: int = MOST_BARS) -> list[tuple[float, float]]:
    """Spans of time, first to last, in each of which about ``most`` passes start; ``passes`` are in that order."""
    starts = [passes[i]["start_ms"] for i in range(0, len(passes), most)]
    return list(zip(starts, [*starts[1:], max(one["end_ms"] for one in passes)], strict=True))


def bars(timeline: Document, start_ms: float, end_ms: float) -> list[dict[str, Any]]:
    """The passes of a span, cut at its ends."""
    return [
        {
            "stage": one["stage"], "phase": one["phase"], "micro-batch": one["micro_batch"], "chunk": one["chunk"],
            "start ms": max(one["start_ms"], start_ms), "end ms": min(one["end_ms"], end_ms),
            "takes ms": one["end_ms"] - one["start_ms"], "origin": timeline["origin"],
            "90% of steps within ±": timeline["step_error"],
        }
        for one in timeline["passes"]
        if one["end_ms"] > start_ms and one["start_ms"] < end_ms
    ]  # fmt: skip


def says(timeline: Document, shown: list[dict[str, Any]]) -> str:
    """What the chart shows, for who cannot see it."""
    idle = timeline["idle_share"]
    return (
        f"{timeline['schedule']} of {timeline['num_micro_batches']} micro-batches over {timeline['num_stages']} "
        f"stages; {len(shown)} passes are shown. It ends after {timeline['end_ms']:,.0f} ms; stages are idle for "
        f"{min(idle):.1%} to {max(idle):.1%} of that."
    )


def _figures(timeline: Document, c: Document) -> None:
    idle = timeline["idle_share"]
    stages, micro_batches, chunks = (timeline[n] for n in ("num_stages", "num_micro_batches", "virtual_stages"))
    even = (stages - 1) / (micro_batches * chunks + stages - 1)
    shown = (
        ("Schedule", "1F1B" if chunks == 1 else f"1F1B × {chunks}",
         f"{timeline['schedule']}: {stages} stages of {chunks} chunks, {micro_batches:,} micro-batches"),
        ("Pipeline", figures.milliseconds(timeline["end_ms"]), words.by_step(
            c, f"when the last pass ends; the step counts {timeline['counted_ms']:,.0f} ms for it")),
        ("Beside it", figures.milliseconds(timeline["beside_ms"]), words.by_step(
            c, "messages between stages, gradients and parameters, optimizer, offload and host")),
        ("Idle", f"{sum(idle) / len(idle):.1%}", hover(
            "the bubble: share of the pipeline's time, mean of all stages, beginning to end; "
            f"even stages would have {even:.1%}", c["origin"], c["step_error"])),
    )  # fmt: skip
    with figures.wall(4):
        for label, value, meaning in shown:
            figures.figure(label, value, meaning)


def _chart(shown: list[dict[str, Any]], num_stages: int, start_ms: float, end_ms: float) -> charts.Layers:
    data = pd.DataFrame(shown)
    stages = alt.Y("stage:O", title="Stage", scale=alt.Scale(domain=list(range(num_stages))))
    time = alt.X("start ms:Q", title="ms from the start of the step",
                 scale=alt.Scale(domain=[start_ms, end_ms], nice=False))  # fmt: skip
    layers = []
    colour = alt.Color("phase:N", title="", legend=alt.Legend(orient="bottom", symbolStrokeWidth=0),
                       scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())))  # fmt: skip
    for phase, height in (("forward", 0.9), ("backward", 0.65)):
        of_phase = alt.Chart(data[data["phase"] == phase]).mark_bar(
            height=alt.RelativeBandSize(height), stroke="white", strokeWidth=0.4
        )
        layers.append(of_phase.encode(
            time, stages, colour, x2="end ms:Q",
            opacity=alt.Opacity("chunk:O", legend=None, scale=alt.Scale(range=PALE)),
            tooltip=["phase", "micro-batch", "stage", "chunk", alt.Tooltip("start ms:Q", format=",.1f"),
                     alt.Tooltip("end ms:Q", format=",.1f"), alt.Tooltip("takes ms:Q", format=",.1f"), "origin",
                     alt.Tooltip("90% of steps within ±:Q", format=".0%")],
        ))  # fmt: skip
    if len(shown) <= MOST_LABELLED:
        middle = data.assign(**{"start ms": (data["start ms"] + data["end ms"]) / 2})
        layers.append(alt.Chart(middle).mark_text(fontSize=9, color="white").encode(time, stages, text="micro-batch:N"))
    return alt.layer(*layers).properties(height=AROUND_PX + num_stages * max(14, min(36, 400 // num_stages)))
