"""What a simulation is asked for: the options on the page, and the request that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import streamlit as st

from dashboard.client import Document
from dashboard.serving import workload
from dashboard.serving.trace import FILE, REPLAY_OF, Trace

SOURCES = ("poisson", "gamma", "on-off", FILE)
FAILURES = ("none", "one replica", "at random")
ROUTINGS = ("fractions", "shortest-queue")

MOST_REQUESTS = 1_000_000
"""Of one simulation from this page: half a minute of work on a busy machine. The command line takes any number."""

BOUND: Final = "query-params"


@dataclass(frozen=True)
class Options:
    """What the controls say. ``speed``: of the rate that is planned, or of the file's own pace."""

    source: str = "poisson"
    speed: float = 1.0
    duration_s: float = 600.0
    seed: int = 0
    cv: float = 2.0
    on_s: float = 30.0
    off_s: float = 30.0
    routing: str = "fractions"
    start_up_s: float = 0.0
    warm_up_s: float = 0.0
    failures: str = "none"
    mtbf_hours: float = 24.0
    repair_s: float = 600.0


def choose() -> Options:
    """Draw the controls; what they say."""
    usual = Options()
    first, second, third = st.columns(3)
    with first:
        source = st.selectbox("Requests", SOURCES, key=REPLAY_OF, bind=BOUND,
                              help="generated with the sizes of the plan: poisson (at random), gamma (bursty) or "
                              "on-off; or those of the file under Traffic")  # fmt: skip
    with second:
        speed = _number("Rate ×", "replay_rate", usual.speed, 0.01, 100.0, 0.1,
                        "times the planned rate; of a file: so many times as fast as it was recorded")  # fmt: skip
    with third:
        duration_s = usual.duration_s
        if source != FILE:
            duration_s = _number("Duration, s", "replay_s", usual.duration_s, 1.0, 86_400.0, 60.0, "of arrivals")
    of_source: dict[str, Any] = {"source": source, "speed": speed, "duration_s": duration_s} | _bursts(source, usual)
    with st.expander("Seed, routing, start-up, failures", icon=":material/tune:"):
        return Options(**of_source, **_cluster(usual))


def _bursts(source: str, usual: Options) -> dict[str, Any]:
    if source == "gamma":
        return {"cv": _number("Burstiness", "replay_cv", usual.cv, 0.1, 100.0, 0.5,
                              "coefficient of variation of the time between requests: 1 is Poisson")}  # fmt: skip
    if source != "on-off":
        return {}
    left, right = st.columns(2)
    with left:
        on_s = _number("Bursts, s", "replay_on_s", usual.on_s, 0.1, 86_400.0, 10.0, "mean length of a burst")
    with right:
        off_s = _number("Pauses, s", "replay_off_s", usual.off_s, 0.1, 86_400.0, 10.0, "mean length of a pause")
    return {"on_s": on_s, "off_s": off_s}


def _cluster(usual: Options) -> dict[str, Any]:
    left, right = st.columns(2)
    with left:
        seed = st.number_input("Seed", 0, 2**31 - 1, usual.seed, key="replay_seed", bind=BOUND,
                               help="equal seeds give equal results")  # fmt: skip
        start_up_s = _number("Start-up, s", "replay_start_up_s", usual.start_up_s, 0.0, 86_400.0, 30.0,
                             "until replicas are ready, at the beginning and after repairs")  # fmt: skip
        warm_up_s = _number("Not measured, s", "replay_warm_up_s", usual.warm_up_s, 0.0, 86_400.0, 30.0,
                            "requests that arrive earlier are replayed and not counted")  # fmt: skip
    with right:
        routing = st.selectbox("Routing", ROUTINGS, key="replay_routing", bind=BOUND,
                               help="to units by the plan's fractions, or to the least loaded; within a unit always "
                               "to the least loaded replica")  # fmt: skip
        failures = st.selectbox("Failures", FAILURES, key="replay_failures", bind=BOUND,
                                help="one replica: of the unit with most of them, a third of the way through, for "
                                "good")  # fmt: skip
        found: dict[str, Any] = {"seed": seed, "start_up_s": start_up_s, "warm_up_s": warm_up_s,
                                 "routing": routing, "failures": failures}  # fmt: skip
        if failures == "at random":
            found["mtbf_hours"] = _number("Between failures, h", "replay_mtbf_h", usual.mtbf_hours, 0.01, 1e6, 1.0,
                                          "mean time between failures of one replica")  # fmt: skip
            found["repair_s"] = _number("Repair, s", "replay_repair_s", usual.repair_s, 0.0, 86_400.0, 60.0,
                                        "until a replica that failed starts again")  # fmt: skip
    return found


def _number(label: str, key: str, usual: float, least: float, most: float, step: float, about: str) -> float:
    return st.number_input(label, least, most, usual, step, format="%g", key=key, bind=BOUND, help=about)


def traffic(plan: Document, options: Options, traces: Mapping[str, Trace]) -> dict[str, Document]:
    """Requests by service: the file's where there is one and it is asked for, else generated as planned.

    Services without traffic have none here either.
    """
    found: dict[str, Document] = {}
    of_files = {name: trace for name, trace in traces.items() if options.source == FILE}
    longest_s = max((trace.span_s for trace in of_files.values()), default=0.0) / options.speed
    for service in plan["spec"]["services"]:
        name, planned = service["name"], workload.requests_per_s(service["workload"])
        if name in of_files:
            found[name] = of_files[name].requests(options.speed)
        elif planned:
            generated = options.source != FILE
            found[name] = {
                "arrivals": options.source if generated else "poisson", "requests_per_s": planned * options.speed,
                "duration_s": options.duration_s if generated else max(longest_s, 1.0),
                "cv": options.cv, "on_s": options.on_s, "off_s": options.off_s,
            }  # fmt: skip
    return found


def request(plan: Document, options: Options, traces: Mapping[str, Trace]) -> Document:
    """The body of ``POST /v1/simulations``."""
    flows = traffic(plan, options, traces)
    replay: Document = {
        "seed": options.seed, "routing": options.routing, "start_up_s": options.start_up_s,
        "warm_up_s": options.warm_up_s,
    }  # fmt: skip
    if options.failures == "at random":
        replay |= {"mtbf_hours": options.mtbf_hours, "repair_s": options.repair_s}
    if options.failures == "one replica":
        largest = max(plan["allocation"], key=lambda unit: unit["replicas"])
        replay["failures"] = [{"unit": largest["unit"], "replica": 0, "at_s": _span_s(flows) / 3}]
    return {"plan_id": plan["id"], "traffic": flows, "options": replay}


def why_not(plan: Document, options: Options, traces: Mapping[str, Trace]) -> str:
    """Why this cannot be simulated, in words; empty where it can."""
    names = [service["name"] for service in plan["spec"]["services"]]
    if options.source == FILE and not any(name in traces for name in names):
        return "Give a file of requests under *Traffic* first: the address does not keep it. Or choose generated ones."
    expected = sum(
        len(trace.arrival_s) if options.source == FILE and (trace := traces.get(service["name"])) is not None
        else workload.requests_per_s(service["workload"]) * options.speed * options.duration_s
        for service in plan["spec"]["services"]
    )  # fmt: skip
    if expected > MOST_REQUESTS:
        return f"These are about {expected:,.0f} requests; this page simulates {MOST_REQUESTS:,} at most. Shorten it."
    return ""


def _span_s(flows: Mapping[str, Document]) -> float:
    """Until the last arrival, about."""
    return max(float(flow["arrival_s"][-1] if "arrival_s" in flow else flow["duration_s"]) for flow in flows.values())
