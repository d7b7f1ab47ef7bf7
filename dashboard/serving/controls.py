"""The controls of the serving page. Each is bound to the address; together they change a spec."""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboard import address
from dashboard.client import Client, Document
from dashboard.serving import known, settings, trace, workload
from dashboard.serving.settings import Settings
from dashboard.start import Start

PERCENTILES = ("mean", "p50", "p90", "p95", "p99")
OBJECTIVES = ("cost", "power", "carbon", "goodput")
SPLITS = ("never", "allowed", "always")
RATE_STEPS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 8, 10)
"""Places of the slider, times the rate of the spec that the page began with."""

BOUND: Final = "query-params"


def show(client: Client, begin: Start) -> tuple[Document, int]:
    """Draw the controls; the spec that they make of the one to begin with, and which service they are of."""
    index = _service(begin.spec)
    now = settings.read(begin.spec, index)
    address.begun("serving", f"{begin.plan_id} {index}", now)
    choices = known.offers(client.url, client.key)
    with st.expander("Traffic", expanded=True, icon=":material/trending_up:"):
        new = _traffic(now)
        uploaded = trace.given(client, begin.spec["services"][index]["name"])
    with st.expander("Latency limits (SLO)", expanded=True, icon=":material/timer:"):
        new |= _slo(now)
    with st.expander("Goal and limits", icon=":material/flag:"):
        new |= _goal(now)
    with st.expander("What may be rented", icon=":material/storefront:"):
        new |= _offers(now, choices)
    with st.expander("Replicas", icon=":material/content_copy:"):
        new |= _replicas(now)
    spec = settings.written(begin.spec, index, new)
    if uploaded is not None:
        trace.begin_with(client, workload.replaced(spec, index, uploaded))
    st.button("Undo changes", icon=":material/undo:", on_click=_undo, args=(now,), width="stretch",
              disabled=new == now, help="back to the spec that this page began with")  # fmt: skip
    return spec, index


def _undo(before: Settings) -> None:
    st.session_state.update(before)


def _service(spec: Document) -> int:
    names = [service["name"] for service in spec["services"]]
    if len(names) == 1:
        return 0
    name = st.selectbox("Service", names, key="edited_service", bind=BOUND, on_change=_keep_changes,
                        help="The controls below are of this service; changes of the others are kept.")  # fmt: skip
    return names.index(name)


def _keep_changes() -> None:
    """Go on from the plan that is shown, so that what was changed of one service stays while another is changed."""
    shown = st.session_state.get("serving plan shown")
    if shown:
        address.turn_to(shown)


def _traffic(now: Settings) -> Settings:
    places = sorted({*(float(f"{now['rate'] * step:.3g}") for step in RATE_STEPS), now["rate"]})
    rate = st.session_state.get("rate", _asked_rate(now["rate"]))
    if len(places) > 1:
        st.session_state["rate_slider"] = min(places, key=lambda place: abs(place - rate))
        st.select_slider("Requests/s", places, key="rate_slider", on_change=_slid, format_func=lambda r: f"{r:g}",
                         help="all sizes together; the number below takes any rate")  # fmt: skip
    return {
        "rate": st.number_input(
            "Requests/s, exactly", 0.0, max(1e7, now["rate"]), now["rate"], _step(now["rate"]), format="%g", key="rate",
            bind=BOUND,
        ),
        "longer_prompts": st.slider(
            "Prompts", 0.25, 4.0, 1.0, 0.25, format="%g ×", key="longer_prompts", bind=BOUND,
            help="input tokens of every size, times this",
        ),
        "longer_answers": st.slider(
            "Answers", 0.25, 4.0, 1.0, 0.25, format="%g ×", key="longer_answers", bind=BOUND,
            help="output tokens of every size, times this",
        ),
    }  # fmt: skip


def _asked_rate(default: float) -> float:
    try:
        return float(st.query_params.get("rate", default))
    except ValueError:
        return default


def _slid() -> None:
    st.session_state["rate"] = float(st.session_state["rate_slider"])


def _step(rate: float) -> float:
    """About a tenth of a rate, as a round number."""
    step = 0.01
    while step * 20 <= rate:
        step *= 10
    return step


def _slo(now: Settings) -> Settings:
    left, right = st.columns(2)
    with left:
        ttft_ms = _limit("TTFT, ms", "ttft_ms", now, 100.0, "time to the first token; 0: no limit")
        e2e_ms = _limit("End to end, ms", "e2e_ms", now, 1000.0, "time to the last token; 0: no limit")
    with right:
        tpot_ms = _limit("TPOT, ms", "tpot_ms", now, 5.0, "time per output token after the first; 0: no limit")
        percentile = st.selectbox("Of requests", PERCENTILES, PERCENTILES.index(now["percentile"]), key="percentile",
                                  bind=BOUND, help="the limits hold for this percentile of requests")  # fmt: skip
    return {"ttft_ms": ttft_ms, "tpot_ms": tpot_ms, "e2e_ms": e2e_ms, "percentile": percentile}


def _goal(now: Settings) -> Settings:
    objective = st.selectbox(
        "Objective", OBJECTIVES, OBJECTIVES.index(now["objective"]), key="objective", bind=BOUND,
        help="as little cost, power or carbon as can be; or as much goodput as a budget, power limit or caps allow",
    )  # fmt: skip
    return {
        "objective": objective,
        "budget_usd_per_hour": _limit("Budget, $/h", "budget_usd_per_hour", now, 1.0, "0: no limit"),
        "power_w": _limit("Power limit, W", "power_w", now, 500.0, "with every replica busy; 0: no limit"),
        "max_gpu_types": st.number_input(
            "GPU types at most", 0, 1000, now["max_gpu_types"], key="max_gpu_types", bind=BOUND, help="0: no limit"
        ),
    }


def _limit(label: str, name: str, now: Settings, step: float, about: str) -> float:
    return st.number_input(label, 0.0, 1e10, now[name], step, format="%g", key=name, bind=BOUND, help=about)


def _offers(now: Settings, choices: known.Known) -> Settings:
    def several(label: str, name: str, about: str = "none chosen: any") -> list[str]:
        options = sorted({*getattr(choices, name), *now[name]})
        return st.multiselect(label, options, now[name], key=name, bind=BOUND, placeholder="any", help=about)

    return {
        "gpus": several("GPU types", "gpus"),
        "providers": several("Providers", "providers"),
        "regions": several("Regions", "regions"),
        "markets": several("Markets", "markets", "none chosen: on demand"),
        "spot": st.slider("Spot at most", 0, 100, now["spot"], 5, format="%d%%", key="spot", bind=BOUND,
                          help="share of this service's requests that spot instances may serve"),
    }  # fmt: skip


def _replicas(now: Settings) -> Settings:
    return {
        "utilisation": st.slider(
            "Load at most", 1, 100, now["utilisation"], 1, format="%d%%", key="utilisation", bind=BOUND,
            help="share of a replica's capacity that is planned for use",
        ),
        "spare_replicas": st.number_input(
            "Spare replicas", 0, 1000, now["spare_replicas"], key="spare_replicas", bind=BOUND,
            help="of every unit in use, so many may fail without overload",
        ),
        "split": st.segmented_control(
            "Prefill and decode on pools of their own", SPLITS, default=now["split"], key="split", bind=BOUND,
            required=True, help="allowed: where that is better",
        ) or now["split"],
        "roofline": st.toggle(
            "Estimate from datasheets", now["roofline"], key="roofline", bind=BOUND,
            help="also plan with GPUs that nobody has measured with this model",
        ),
    }  # fmt: skip
