"""Traffic from a file: upload, what was read from it, and the workload to plan for.

The session keeps the requests that were read, for the simulation; the address keeps the plan that is made of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard import address, replanning, states, tables, uploads
from dashboard.client import Client, Document, Refused
from dashboard.tables import Row
from dashboard.words import plain

KINDS = ("csv", "jsonl", "ndjson", "json", "parquet", "gz", "prom", "txt", "log")
"""Endings of files that may hold traffic."""

LONGEST_NAME = 60
"""Of a file, that the service takes; its ending counts."""

PERCENTILES = (50, 95, 99)

OF_THE_FILE = (413, 422)
"""Statuses of refusals that stay as long as the file does; after others it is tried again."""

REPLAY_OF, FILE = "replay_of", "file"
"""Key of the choice of what a simulation replays, and a value of it: a new file is what most replay next."""

_READ, _REFUSED, _UNPLANNED = "traces", "trace refused", "trace not planned"


@dataclass(frozen=True)
class Trace:
    """What a file says. The arrays have an entry for each request, the first at 0 s; none of metrics of a server."""

    digest: str
    workload: Document
    arrival_s: NDArray[np.float64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]

    @property
    def span_s(self) -> float:
        """From the first request to the last."""
        return float(self.arrival_s[-1]) if len(self.arrival_s) else 0.0

    @property
    def says(self) -> str:
        """Where it is from and what it holds, in a sentence."""
        return str(self.workload["description"])

    def requests(self, speed: float = 1.0) -> Document:
        """The requests as a simulation takes them, their times divided by ``speed``."""
        return {
            "arrival_s": np.round(self.arrival_s / speed, 6).tolist(),
            "input_tokens": self.input_tokens.tolist(), "output_tokens": self.output_tokens.tolist(),
        }  # fmt: skip


def given(client: Client, service_name: str) -> Document | None:
    """The workload of a file that was just given for a service; None while there is no new one.

    It is given again until ``begin_with`` has planned it.
    """
    file = uploads.ask(
        "Traffic from a file", KINDS, key=f"trace of {service_name}",
        help="Requests with time, input and output tokens: CSV, JSON lines (also gzipped) or Parquet; a report of "
        "GuideLLM, AIPerf or `vllm bench`; or vLLM's metrics from Prometheus. It sets rate and sizes, planned for its "
        "busiest five minutes.",
    )  # fmt: skip
    kept: dict[str, Trace] = st.session_state.setdefault(_READ, {})
    if file is not None and not _take(client, file, kept, service_name):
        return None
    if service_name not in kept:
        return None
    trace = kept[service_name]
    st.markdown(f":small[{plain(trace.says)}]")
    tables.show(sizes(trace), name=f"tokens of {service_name}'s file", about={
        "tokens": "over the requests of the file; p95: 95% of them have no more",
        "input": "tokens of a prompt", "output": "tokens of an answer",
    })  # fmt: skip
    return trace.workload if st.session_state.get(_UNPLANNED) == service_name else None


def _take(client: Client, file: tuple[str, bytes], kept: dict[str, Trace], service_name: str) -> bool:
    """Read a file unless it was read before; False where it cannot be, which is told."""
    digest = _digest(*file)
    if service_name in kept and kept[service_name].digest == digest:
        return True
    refused: tuple[str, Refused] | None = st.session_state.get(_REFUSED)
    if refused is None or refused[0] != digest:
        try:
            with st.spinner("Reading the file"):
                kept[service_name] = read(client, *file)
        except Refused as error:
            if error.status in OF_THE_FILE:
                st.session_state[_REFUSED] = (digest, error)
            states.refused(error)
            return False
        st.session_state[_UNPLANNED] = service_name
        if len(kept[service_name].arrival_s):
            st.session_state[REPLAY_OF] = FILE
        return True
    states.refused(refused[1])
    return False


def begin_with(client: Client, spec: Document) -> None:
    """Plan a spec and begin again from its plan (``?plan=ID``), which restores it: the file itself is not kept."""
    try:
        plan = replanning.plan(client, "serving", spec)
    except Refused as error:
        states.refused(error)
        st.session_state[_READ].pop(st.session_state.pop(_UNPLANNED), None)  # so that it is tried again
        return
    st.session_state.pop(_UNPLANNED)
    address.begin_with(plan["id"])


def kept_traces() -> Mapping[str, Trace]:
    """The files of this session that have single requests, by the service they were given for."""
    kept: dict[str, Trace] = st.session_state.get(_READ, {})
    return {name: trace for name, trace in kept.items() if len(trace.arrival_s)}


def read(client: Client, name: str, content: bytes) -> Trace:
    """What a file says; ``Refused`` names the row and the column that cannot be meant."""
    seen = client.upload("/v1/workloads", content, name=_short(name), requests="true").document
    requests = seen["requests"] or {"arrival_s": [], "input_tokens": [], "output_tokens": []}
    return Trace(
        _digest(name, content), seen["workload"], np.array(requests["arrival_s"], dtype=float),
        np.array(requests["input_tokens"], dtype=np.int64), np.array(requests["output_tokens"], dtype=np.int64),
    )  # fmt: skip


def sizes(trace: Trace) -> list[Row]:
    """Mean and percentiles of the tokens of the requests. Nothing where there are no single requests."""
    if not len(trace.arrival_s):
        return []
    both = np.stack([trace.input_tokens, trace.output_tokens])
    rows = {"mean": both.mean(axis=1), **{f"p{p}": np.percentile(both, p, axis=1) for p in PERCENTILES}}
    return [{"tokens": name, "input": round(row[0]), "output": round(row[1])} for name, row in rows.items()]


def _short(name: str) -> str:
    """The end of a file's name, in characters that a file's name may have."""
    plain_name = "".join("_" if char == "/" or not char.isprintable() else char for char in name)
    return plain_name[-LONGEST_NAME:] if plain_name.strip(". ") else "trace"


def _digest(name: str, content: bytes) -> str:
    return hashlib.blake2b(content, key=hashlib.blake2b(name.encode()).digest()).hexdigest()
