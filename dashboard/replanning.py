"""Questions to the service that take a while: kept, shown while they run, and given up when a newer one comes."""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict

import streamlit as st

from dashboard.client import Client, Document, Progress
from dashboard.words import plain

MOST_KEPT = 64
"""Answers that a session keeps: going back and forth on a slider asks nobody again."""


WAITS_LONG_S = 10.0
"""Until a page that waits for a worker says what may be wrong, and how to stop waiting."""


def plan(client: Client, kind: str, spec: Document, time_limit_s: float = 10.0) -> Document:
    """The plan of a spec."""
    return answer(client, "/v1/plans", {"kind": kind, "spec": spec, "time_limit_s": time_limit_s}, "Planning")


def answer(client: Client, path: str, body: Document, label: str) -> Document:
    """What the service makes of ``body``: at once if it was asked in this session, else with progress shown.

    When the person moves on, Streamlit ends this run of the page at the next progress, and the job is cancelled.
    """
    kept: OrderedDict[str, Document] = st.session_state.setdefault("kept_answers", OrderedDict())
    asked = _digest(client, path, body)
    if asked not in kept:
        kept[asked] = _made(client, path, body, label)
    kept.move_to_end(asked)
    while len(kept) > MOST_KEPT:
        kept.popitem(last=False)
    return kept[asked]


def is_kept(client: Client, path: str, body: Document) -> bool:
    """Whether this session has the answer already."""
    return _digest(client, path, body) in st.session_state.get("kept_answers", {})


def forget() -> None:
    """Ask again from now on: what is known has changed."""
    st.session_state.pop("kept_answers", None)


def _made(client: Client, path: str, body: Document, label: str) -> Document:
    slot = st.empty()
    making, start_s = client.make(path, body), time.monotonic()
    try:
        for step in making:
            if not isinstance(step, Progress):
                return step
            doing = plain(step.label) or _waiting(time.monotonic() - start_s)
            slot.progress(min(max(step.share, 0.0), 1.0), f"{label}: {doing}")
        raise AssertionError("the client ends with an answer or an error")
    finally:
        making.close()  # cancels what still runs
        slot.empty()


def _waiting(time_s: float) -> str:
    if time_s < WAITS_LONG_S:
        return "waiting for a worker"
    return "no worker has taken it yet: they are busy, or none runs. Changing anything, or another page, gives it up"


def _digest(client: Client, path: str, body: Document) -> str:
    text = json.dumps([client.url, client.key, path, body], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
