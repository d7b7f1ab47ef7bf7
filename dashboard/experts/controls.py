"""The controls of the experts page. Each is bound to the address; together they change a spec."""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboard import address
from dashboard.client import Client, Document
from dashboard.experts import recordings, settings
from dashboard.experts.settings import OPEN, Settings
from dashboard.start import Start

BOUND: Final = "query-params"

OBJECTIVES = {OPEN: "what the recordings allow", "balance": "even load", "hops": "few hops between GPUs",
              "fan_out": "few nodes per token", "time": "short steps"}  # fmt: skip
OVER = {"mean": "their mean", "worst": "the worst of them"}
DISPATCH = {OPEN: "what fits", "even": "evenly", "weighted": "by weights"}


def show(client: Client, begin: Start) -> Document:
    """Draw the controls; the spec that they make of the one to begin with."""
    now = settings.read(begin.spec)
    current = _placement(begin)
    address.begun("experts", begin.plan_id, now)
    with st.expander("Machine", expanded=True, icon=":material/dns:"):
        new = _machine(now)
    with st.expander("What is good", expanded=True, icon=":material/flag:"):
        new |= _goal(now, len(begin.spec.get("workloads") or ()))
    with st.expander("Moves", icon=":material/move_down:"):
        new |= _moves(now, current)
    st.button("Undo changes", icon=":material/undo:", on_click=_undo, args=(now,), width="stretch",
              disabled=new == now, help="back to the spec that this page began with")  # fmt: skip
    spec = settings.written(begin.spec, new, current)
    with st.expander("Recorded loads of your own", icon=":material/upload_file:"):
        recordings.ask(client, spec)
    return spec


def _undo(before: Settings) -> None:
    st.session_state.update(before)


def _placement(begin: Start) -> Document | None:
    """The placement in use: the spec's own, or that of the saved plan that the page began with."""
    if begin.spec.get("current") is not None:
        current: Document = begin.spec["current"]
        return current
    placed = begin.plan and begin.plan["physical_to_logical_map"]
    return {"physical_to_logical_map": placed} if placed else None


def _machine(now: Settings) -> Settings:
    labels = {"gpus": "GPUs", "nodes": "Nodes", "slots_per_gpu": "Expert slots per GPU"}
    about = {
        "gpus": "all that the experts of one model copy are spread over",
        "nodes": "servers that the GPUs are in, equally many in each",
        "slots_per_gpu": "of each layer; slots beyond the number of experts hold further copies",
    }
    return {
        name: st.number_input(labels[name], 1, 100_000, now[name], key=name, bind=BOUND, help=about[name])
        for name in settings.TOPOLOGY
    }


def _goal(now: Settings, num_workloads: int) -> Settings:
    new = {
        "place_for": st.selectbox(
            "Place experts for", list(OBJECTIVES), list(OBJECTIVES).index(now["place_for"]), key="place_for",
            format_func=OBJECTIVES.__getitem__, bind=BOUND,
            help="hops and nodes per token need recorded routing; load alone says nothing of them",
        ),
        "groups": st.number_input(
            "Expert groups", 0, 100_000, now["groups"], key="groups", bind=BOUND,
            help="of group-limited routing, kept on home nodes; 0: experts may be anywhere",
        ),
        "dispatch": st.selectbox(
            "Share tokens among copies", list(DISPATCH), list(DISPATCH).index(now["dispatch"]), key="dispatch",
            format_func=DISPATCH.__getitem__, bind=BOUND, help="weights are found by linear programming",
        ),
        "over_workloads": now["over_workloads"],
    }  # fmt: skip
    if num_workloads > 1:
        new["over_workloads"] = st.selectbox(
            "Over the workloads, count", list(OVER), list(OVER).index(now["over_workloads"]), key="over_workloads",
            format_func=OVER.__getitem__, bind=BOUND,
        )  # fmt: skip
    return new


def _moves(now: Settings, current: Document | None) -> Settings:
    near = st.toggle(
        "Stay near the placement in use", now["near"], key="near", bind=BOUND, disabled=current is None,
        help="the spec's own, or that of the saved plan that this page began with",
    )  # fmt: skip
    if current is None:
        st.caption("Begin with a saved plan to limit how many experts move.")
    return {
        "near": near and current is not None,
        "max_moves": st.number_input(
            "Moves per layer at most", 0, 1_000_000, now["max_moves"], key="max_moves", bind=BOUND, disabled=not near,
            help="slots of a layer that get another expert; 0: no limit",
        ),
    }  # fmt: skip
