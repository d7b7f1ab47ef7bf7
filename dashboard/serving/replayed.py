"""The simulation tab: requests replayed on a plan, and what they experienced."""

from __future__ import annotations

import json
import re

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts, figures, replanning, states, tables
from dashboard.client import Client, Document, Refused
from dashboard.serving import latencies, replay
from dashboard.serving.trace import kept_traces
from dashboard.serving.words import unit_name
from dashboard.tables import Cell, Row
from dashboard.words import plain

ADDRESS = "simulation"
"""Parameter of the address: which simulation is shown, and of which plan it is, as ``JOB.PLAN``."""

_MEANT = re.compile(r"([0-9a-f]{1,64})\.([0-9a-f]{12})")

MOST_POINTS = 240
"""Of power over time: what a chart of this width can show."""


def show(client: Client, plan: Document) -> None:
    """Options of a replay of a plan that has a mix, the button that starts it, and its results."""
    traces = kept_traces()
    options = replay.choose()
    hindrance = replay.why_not(plan, options, traces)
    if hindrance:
        st.info(hindrance, icon=":material/info:")
    if st.button("Simulate", icon=":material/play_arrow:", disabled=bool(hindrance)):
        body = replay.request(plan, options, traces)
        try:
            found = replanning.answer(client, "/v1/simulations", body, "Simulating")
        except Refused as error:
            states.refused(error)
            return
        st.query_params[ADDRESS] = f"{found['id']}.{plan['id'][:12]}"
    shown = _of_address(client, plan)
    if shown is not None:
        show_found(shown, plan)


def _of_address(client: Client, plan: Document) -> Document | None:
    """The simulation that the address names; None where there is none of this plan, which is told."""
    asked = st.query_params.get(ADDRESS, "")
    meant = _MEANT.fullmatch(asked)
    if meant is None:
        if asked:
            st.query_params.pop(ADDRESS)
        states.empty("Not simulated yet", "Simulate to see the latency that single requests would have on this plan.")
        return None
    if not plan["id"].startswith(meant[2]):
        states.empty("The plan has changed since it was simulated", "Simulate again to see what this one does.")
        return None
    try:
        found = _read(client, meant[1])
    except Refused as error:
        if error.status != 404:
            raise
        st.query_params.pop(ADDRESS)
        states.empty("This simulation is not kept any more", "Simulate again.")
        return None
    if "services" not in found:
        states.empty("Still being simulated", "It was asked for elsewhere: open this page again in a moment.")
        return None
    return found


def _read(client: Client, job_id: str) -> Document:
    kept: dict[str, Document] = st.session_state.setdefault("simulations", {})
    if job_id not in kept:
        found = client.get(f"/v1/simulations/{job_id}")
        if "services" not in found:
            return found
        kept[job_id] = found
    return kept[job_id]


def show_found(found: Document, plan: Document) -> None:
    """The results of a simulation."""
    slos = {service["name"]: service.get("slo") or {} for service in plan["spec"]["services"]}
    if not found["stable"]:
        st.warning("**More requests came than were served.** They waited ever longer, so the latencies below depend on "
                   "how long this went on: this mix does not carry this traffic.",
                   icon=":material/trending_up:")  # fmt: skip
    _show_figures(found)
    outcome = _chosen(found["services"])
    st.markdown(plain(f"{outcome['num_requests']:,} requests of {outcome['service']} ({outcome['traffic']}), seed "
                      f"{found['seed']}: {outcome['slo_attainment']:.2%} were within every limit."))  # fmt: skip
    latencies.show_curves(outcome, slos.get(outcome["service"], {}))
    latencies.show_percentiles(found, slos)
    _show_units(found)
    _show_power(found)
    _show_events(found["events"])
    for note in found["notes"]:
        st.markdown(plain(note))
    st.download_button("Whole result (JSON)", lambda: json.dumps(found, indent=1), f"simulation_{found['id']}.json",
                       "application/json", icon=":material/download:", on_click="ignore")  # fmt: skip


def _chosen(outcomes: list[Document]) -> Document:
    if len(outcomes) == 1:
        return outcomes[0]
    names = [outcome["service"] for outcome in outcomes]
    return outcomes[names.index(st.selectbox("Latencies of", names, key="replay_service", bind="query-params"))]


def _show_figures(found: Document) -> None:
    error = max((unit["relative_error"] for unit in found["utilisation"]), default=None)
    about = [
        ("SLO attainment", figures.percent(found["slo_attainment"], 2),
         "Share of the measured requests that completed within every limit; rejected and unfinished ones are misses"),
        ("Goodput", f"{_rate(found['goodput_requests_per_s'])} requests/s",
         f"Requests within every limit per second, of {_rate(found['requests_per_s'])} that arrived"),
        ("Output", f"{_rate(found['output_tokens_per_s'])} tokens/s", "Of completed requests, per second of arrivals"),
        ("Mean power", figures.watts(found["mean_power_w"]),
         "All replicas and their hosts, busy and idle; – where a GPU's power is not known"),
    ]  # fmt: skip
    with figures.wall(2):
        for label, value, meaning in about:
            figures.figure(label, value, figures.hover(meaning, "from a replay, iteration by iteration", error))


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 1000 else f"{per_s:,.3g}"


def _show_units(found: Document) -> None:
    st.subheader("Units")
    several = len(found["services"]) > 1
    tables.show([_unit(unit, several) for unit in found["utilisation"]], name="units", about={
        "busy": "share of the time that a replica had an iteration under way",
        "running": "admitted requests per replica, over all the time", "KV used": "mean share of the KV cache",
        "power": "of all replicas; – where the GPU's power is not known",
        "times ±": "half-width of the 90% interval of the predicted iterations",
    })  # fmt: skip


def _unit(unit: Document, several: bool) -> Row:
    return {
        "unit": Cell(unit_name(unit["unit"], "" if several else unit["service"]), unit["unit"]), "role": unit["role"],
        "replicas": unit["replicas"], "busy": figures.percent(unit["utilisation"]),
        "running": f"{unit['mean_running']:,.1f}", "KV used": figures.percent(unit["kv_utilisation"]),
        "power": figures.watts(unit["mean_power_w"]), "times ±": figures.percent(unit["relative_error"]),
    }  # fmt: skip


def _show_power(found: Document) -> None:
    if found["power"] is None:
        st.markdown("The power of some GPU of this mix is not known, so there is none over time.")
        return
    rows = power_over_time(found["power"])
    width_s = (rows[1]["minutes"] - rows[0]["minutes"]) * 60 if len(rows) > 1 else found["power"]["bin_s"]
    st.subheader("Power over time")
    chart = alt.Chart(pd.DataFrame(rows)).mark_area(
        color=charts.COLOURS[0], fillOpacity=0.25, line={"color": charts.COLOURS[0]}, interpolate="step-after",
    ).encode(
        alt.X("minutes:Q").title("minutes from the first arrival").scale(nice=False),
        alt.Y("kW:Q").title("power, kW"),
        tooltip=[alt.Tooltip("minutes:Q", format=",.1f"),
                 alt.Tooltip("kW:Q", title=f"mean kW over {width_s:,.3g} s", format=",.3~f")],
    )  # fmt: skip
    power_kw = [row["kW"] for row in rows]
    says = (
        f"Power of all replicas with their hosts over {found['duration_s'] / 60:,.1f} minutes: "
        f"{np.mean(power_kw):,.3g} kW on average, {max(power_kw):,.3g} kW at most."
    )
    charts.show(chart.properties(height=220), rows, "power over time", says)


def power_over_time(power: Document) -> list[Row]:
    """Mean power in ``MOST_POINTS`` steps at most, each from its minute on."""
    power_w = np.array(power["power_w"])
    merged = -(-len(power_w) // MOST_POINTS)
    starts = np.arange(0, len(power_w), merged)
    return [
        {"minutes": start * power["bin_s"] / 60, "kW": float(power_w[start : start + merged].mean()) / 1e3}
        for start in starts.tolist()
    ]


EVENTS = {
    "completed": "requests that got their last token",
    "rejected": "requests that no replica could take",
    "rejected_longer_than_context": "input and output are longer than the model's context",
    "rejected_larger_than_kv_cache": "their KV cache does not fit on one replica",
    "rejected_no_replica": "every replica was gone",
    "unfinished": "in flight when the replay was cut off",
    "outside_buckets": "of a size that the plan has no bucket for: routed as the nearest",
    "preempted": "put back in the queue because the KV cache was full",
    "retried": "started again because their replica failed",
    "transferred": "KV caches sent from a prefill to a decode replica",
    "failures": "replicas that failed",
    "started": "starts of replicas: each once, and after each repair",
}


def _show_events(events: Document) -> None:
    st.subheader("Events")
    rows = [
        {"event": Cell(name.replace("_", " "), EVENTS.get(name, "")), "count": count}
        for name, count in events.items() if count
    ]  # fmt: skip
    tables.show(rows, name="events", about={"count": "over the whole replay, warm-up included"})
