"""The address of a page restores its state: widgets are bound to it; what makes no sense in it is told, not obeyed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import streamlit as st

from dashboard.words import plain

_ANEW, _ENDLESS = "begin anew", "endless values of the address"


@contextmanager
def noted() -> Iterator[None]:
    """Say which values of the address were not usable; Streamlit removes them while the page runs."""
    asked = {**st.query_params.to_dict(), **_without_endless()}
    slot = st.empty()
    yield
    dropped = {
        name: value
        for name, value in asked.items()
        if name not in st.query_params and not _same(value, st.session_state.get(name))
    }
    if dropped:
        listing = ", ".join(plain(f"{name[:40]}={value[:40]}") for name, value in dropped.items())
        slot.info(f"The address had values that this page cannot use, and they were left out: {listing}",
                  icon=":material/link_off:")  # fmt: skip


def _without_endless() -> dict[str, str]:
    """Leave out values such as ``inf`` and begin again: Streamlit 1.67 fails at them where a whole number is meant.

    What was left out, in the run after that.
    """
    endless = {
        name: value for name, value in st.query_params.items() if name not in st.session_state and not _is_finite(value)
    }
    if endless:
        for name in endless:
            del st.query_params[name]
        st.session_state[_ENDLESS] = endless
        st.rerun()
    found: dict[str, str] = st.session_state.pop(_ENDLESS, {})
    return found


def _is_finite(value: str) -> bool:
    """Whether a text is no number, or a finite one."""
    try:
        return math.isfinite(float(value))
    except ValueError:
        return True


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
