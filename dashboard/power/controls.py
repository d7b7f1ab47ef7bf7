"""The controls of the power page. Each is bound to the address; together they change a spec."""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboard import address
from dashboard.client import Document
from dashboard.power import settings
from dashboard.power.settings import ASSUME, METHODS, POLICIES, Settings
from dashboard.start import Start

BOUND: Final = "query-params"


def show(begin: Start) -> Document:
    """Draw the controls; the spec that they make of the one to begin with."""
    now = settings.read(begin.spec)
    address.begun("power", begin.plan_id, now)
    new = dict(now)
    if begin.spec.get("row") is not None:
        with st.expander("Row", expanded=True, icon=":material/power:"):
            new |= _row(now)
    with st.expander("Capping", expanded=True, icon=":material/speed:"):
        new |= _capping(now)
    with st.expander("Promise", icon=":material/verified:"):
        new |= _promise(now)
    st.button("Undo changes", icon=":material/undo:", on_click=_undo, args=(now,), width="stretch",
              disabled=new == now, help="back to the spec that this page began with")  # fmt: skip
    return settings.written(begin.spec, new)


def _undo(before: Settings) -> None:
    st.session_state.update(before)


def _row(now: Settings) -> Settings:
    return {
        "budget_kw": st.number_input(
            "Budget, kW", min(0.001, now["budget_kw"]), max(1e6, now["budget_kw"]), now["budget_kw"], 10.0,
            format="%g", key="budget_kw", bind=BOUND, help="what the row's feed may carry",
        ),
        "num_servers": st.number_input(
            "Servers", 0, 100_000, now["num_servers"], key="num_servers", bind=BOUND,
            help="judge this many; 0: find the most that can be promised",
        ),
        "assume": st.selectbox(
            "Of what nobody measured, assume", list(ASSUME), list(ASSUME).index(now["assume"]), key="assume",
            format_func=ASSUME.__getitem__, bind=BOUND, help="such as the power of CPUs and fans, given as a range",
        ),
    }  # fmt: skip


def _capping(now: Settings) -> Settings:
    known = [name for name in POLICIES if name != "given" or now["policy"] == "given"]
    return {
        "policy": st.selectbox("Policy", known, known.index(now["policy"]), key="policy", bind=BOUND,
                               format_func=POLICIES.__getitem__),
        "method": st.selectbox(
            "Caps are set", list(METHODS), list(METHODS).index(now["method"]), key="method", bind=BOUND,
            format_func=METHODS.__getitem__, help="out of band takes some 40 s to act, in band 2 s (POLCA, section 6)",
        ),
    }  # fmt: skip


def _promise(now: Settings) -> Settings:
    return {
        "weeks": st.number_input("Weeks", 1, 104, now["weeks"], key="weeks", bind=BOUND,
                                 help="that pass with every limit kept; fewer are quicker to prove"),
        "confidence": st.slider("With probability", 50.0, 99.99, now["confidence"], 0.01, format="%g%%",
                                key="confidence", bind=BOUND),
        "max_brakes": st.number_input("Emergency brakes at most", 0, 1_000_000, now["max_brakes"], key="max_brakes",
                                      bind=BOUND, help="in those weeks"),
    }  # fmt: skip
