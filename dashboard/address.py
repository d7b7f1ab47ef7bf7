"""The address of a page restores its state: widgets are bound to it; what makes no sense in it is told, not obeyed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import streamlit as st

_ANEW = "begin anew"


@contextmanager
def noted() -> Iterator[None]:
    """Say which values of the address were not usable; Streamlit removes them while the page runs."""
    asked = st.query_params.to_dict()
    slot = st.empty()
    yield
    dropped = {
        name: value
        for name, value in asked.items()
        if name not in st.query_params and not _same(value, st.session_state.get(name))
    }
    if dropped:
        listing = ", ".join(f"`{name[:40]}={value[:40]}`".replace("\n", " ") for name, value in dropped.items())
        slot.info(f"The address had values that this page cannot use, and they were left out: {listing}",
                  icon=":material/link_off:")  # fmt: skip


def _same(value: str, used: Any) -> bool:
    """Whether the address said what a widget has anyway: defaults leave the address too."""
    try:
        return float(value) == float(used)
    except (TypeError, ValueError):
        return value.lower() == str(used).lower()


def turn_to(plan_id: str) -> None:
    """From the next run on, begin with a saved plan (empty: with the example); nothing changed so far counts."""
    st.session_state[_ANEW] = True
    if plan_id:
        st.query_params["plan"] = plan_id
    else:
        st.query_params.pop("plan", None)


def begin_with(plan_id: str) -> None:
    """``turn_to`` a plan, at once."""
    turn_to(plan_id)
    st.rerun()


def begun(page: str, base: str, defaults: Mapping[str, Any]) -> None:
    """Call it before the widgets whose defaults come from ``base``; ``defaults`` has them by the widgets' keys.

    Streamlit keeps what a widget had, so with another base each is given its new default. What the address says goes
    first, unless all begins anew.
    """
    before = st.session_state.get(f"base of {page}", base)
    st.session_state[f"base of {page}"] = base
    anew = st.session_state.pop(_ANEW, False)
    if anew or base != before:
        for name, value in defaults.items():
            if anew or name not in st.query_params:
                st.session_state[name] = value
