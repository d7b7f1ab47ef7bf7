"""Which service this session talks to, with which key, and what is shown when that does not work."""

from __future__ import annotations

import os
from collections.abc import Callable

import streamlit as st

from dashboard import states
from dashboard.client import Client, Refused, Unreachable

DEFAULT_URL = "http://127.0.0.1:8000"
"""Where ``gpuplan serve`` listens."""

_KEY = "service_key"


def client() -> Client:
    """The service of this session.

    ``GPUPLAN_API_KEY`` opens it for everybody who sees the page, so ``gpuplan dashboard`` passes it on loopback only.
    """
    key = st.session_state.get(_KEY) or os.environ.get("GPUPLAN_API_KEY", "")
    return Client(os.environ.get("GPUPLAN_API_URL", DEFAULT_URL).rstrip("/"), key.strip())


def sidebar() -> None:
    """The service and the key to it, below the list of pages."""
    with st.sidebar, st.popover("Service", icon=":material/dns:", width="stretch"):
        st.markdown(f"`{client().url}`")
        st.text_input(
            "API key", type="password", key=_KEY, persist_state="session", autocomplete="off",
            help="Only for services that ask for one. It stays in this session: not in the address, not on disk. "
            "Make one: `gpuplan keys create NAME --scope read --scope plan`",
        )  # fmt: skip


def guarded(run: Callable[[], None]) -> None:
    """Run a page; a service that is away or says no is told in words, never as a stack trace."""
    try:
        run()
    except Unreachable as error:
        states.away(error, _is_back)
    except Refused as error:
        states.refused(error)


def _is_back() -> bool:
    try:
        client().get("/healthz")
    except Refused:
        return True  # it answers
    except Unreachable:
        return False
    return True
