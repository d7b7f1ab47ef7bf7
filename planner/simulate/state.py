"""The arrays a replay works on: records of fixed width, so that compiled code can share them and memory stays flat.

Times are seconds since the start of the traffic. Lists are linked through ``next`` and ``prev`` of the requests; −1
ends them. A request occupies a slot from its arrival to its end; slots are used again.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Records: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

UNIFIED, PREFILL, DECODE = 0, 1, 2
COMPLETED, TOO_LONG, TOO_LARGE, NO_REPLICA, UNFINISHED = 0, 1, 2, 3, 4
STATUS = ("completed", "rejected: longer than the context", "rejected: larger than the KV cache",
          "rejected: no replica", "unfinished")  # fmt: skip

REQUEST = np.dtype(
    [
        ("arrival", "f8"),
        ("first", "f8"),  # when the client has its first token
        ("overhead", "f8"),  # of its first token: tokenising and sending, which keep no engine busy
        ("index", "i8"),  # position in the traffic
        ("input", "i8"),
        ("output", "i8"),
        ("prompt", "i8"),  # tokens to compute before it decodes: the input, and after a preemption what it had said
        ("done", "i8"),  # of the prompt
        ("emitted", "i8"),  # tokens said when it last began to decode
        ("last", "i8"),  # tokens said when it leaves this replica: 1 on a prefill replica, else ``output``
        ("joined", "i8"),  # decode step of its replica at which it began to decode
        ("reserved", "i8"),  # KV tokens
        ("next", "i8"),
        ("prev", "i8"),
        ("routes", "i8"),  # row of the routing table
        ("replica", "i8"),
        ("sender", "i8"),  # prefill replica, or −1
        ("epoch", "i8"),  # of ``replica`` when the request was given to it
        ("retries", "i8"),
        ("preemptions", "i8"),
    ],
    align=True,
)

REPLICA = np.dtype(
    [
        ("clock", "f8"),  # start of the segment under way
        ("ready", "f8"),  # not before this time: it starts up, or has failed
        ("decode_s", "f8"),  # of the segment
        ("prompt_s", "f8"),  # of the segment
        ("link_free", "f8"),  # when its link has sent what it has to send
        ("busy_s", "f8"),
        ("running_s", "f8"),  # admitted requests × seconds
        ("kv_s", "f8"),  # KV tokens in use × seconds
        ("iterations", "i8"),  # of the segment; 0 while it waits to be ready
        ("prompting", "i8"),  # 1 where the segment works on prompts
        ("steps", "i8"),  # decode steps since the start
        ("num_admitted", "i8"),
        ("num_decoding", "i8"),
        ("num_prompting", "i8"),
        ("context", "i8"),  # KV tokens of the decoding requests
        ("used", "i8"),  # KV tokens of all admitted requests
        ("reserved", "i8"),  # KV tokens
        ("num_completed", "i8"),
        ("oldest", "i8"),  # admitted requests, in order of admission
        ("newest", "i8"),
        ("prompt_head", "i8"),  # the oldest that is not decoding yet
        ("waiting_head", "i8"),
        ("waiting_tail", "i8"),
        ("pool", "i8"),
        ("epoch", "i8"),  # number of failures so far
    ],
    align=True,
)

POOL = np.dtype(
    [
        ("role", "i8"),
        ("first", "i8"),  # replica
        ("count", "i8"),
        ("max_running", "i8"),
        ("token_budget", "i8"),
        ("kv_tokens", "f8"),
        ("reserved_output", "f8"),
        ("kv_s_per_token", "f8"),
        ("prompt_s_per_token", "f8"),
        ("prompt_s_per_token2", "f8"),
        ("overhead_s", "f8"),
        ("prompt_w", "f8"),
        ("link_s_per_token", "f8"),
        ("link_latency_s", "f8"),
        ("link_layers", "f8"),
    ],
    align=True,
)

TALLY = np.dtype(
    [
        ("outstanding", "i8"),
        ("waiting", "i8"),
        ("num_free", "i8"),
        ("num_deliveries", "i8"),
        ("num_rows", "i8"),
        ("assigned", "i8"),
        ("handed_over", "i8"),  # head of the list of requests that a prefill replica has just finished
        ("handed_last", "i8"),
        ("completed", "i8"),
        ("too_long", "i8"),
        ("too_large", "i8"),
        ("no_replica", "i8"),
        ("preempted", "i8"),
        ("retried", "i8"),
        ("transferred", "i8"),
        ("failures", "i8"),
        ("measured", "i8"),  # completed requests that arrived after the warm-up
        ("measured_rejected", "i8"),
        ("good", "i8"),  # of the measured: those within every limit
        ("tokens_in", "i8"),
        ("tokens_out", "i8"),
        ("sum_ttft", "f8"),
        ("sum_tpot", "f8"),
        ("sum_e2e", "f8"),
        ("measured_tpot", "i8"),  # of the measured: those with a second token
        ("last_admitted", "f8"),
        ("now", "f8"),  # last end of a request, or event
    ],
    align=True,
)

ROW = np.dtype(
    [
        ("request", "i8"),
        ("arrival_s", "f8"),
        ("input_tokens", "i8"),
        ("output_tokens", "i8"),
        ("status", "i8"),
        ("replica", "i8"),
        ("decode_replica", "i8"),
        ("ttft_ms", "f8"),
        ("tpot_ms", "f8"),
        ("e2e_ms", "f8"),
        ("meets_slo", "?"),
        ("retries", "i8"),
        ("preemptions", "i8"),
    ],
    align=True,
)


class Limits(NamedTuple):
    """Constants of a replay. A latency limit that was not asked for is inf."""

    max_context_tokens: float
    max_waiting: int
    warm_up_s: float
    ttft_ms: float
    tpot_ms: float
    e2e_ms: float
    bin_s: float


class State(NamedTuple):
    """Everything that changes during a replay, and the tables it is driven by. S slots, R replicas, P pools."""

    requests: Records
    """[S] of ``REQUEST``"""
    free: Ints
    """[S] slots that are free: the first ``tally.num_free``"""
    replicas: Records
    """[R] of ``REPLICA``"""
    due: Floats
    """[R] when the segment under way ends; inf where there is none"""
    load: Ints
    """[R] what the shortest queue goes by: requests there, or prompt tokens on a prefill replica"""
    turn: Ints
    """[R] when a request was last given to it: equally loaded replicas take turns"""
    heap_step: Ints
    """[R, most running] decode steps at which requests end, as a binary heap"""
    heap_slot: Ints
    """[R, most running] and which"""
    delivery_s: Floats
    """[S] when KV caches under way arrive, as a binary heap"""
    delivery_slot: Ints
    """[S] and whose"""
    pools: Records
    """[P] of ``POOL``"""
    decode_s: Floats
    """[P, most running + 1]"""
    decode_w: Floats
    """[P, most running + 1]"""
    route_start: Ints
    """[routes + 1] where each row of the routing table begins in the two arrays below"""
    route_pool: Ints
    route_decode: Ints
    """Pool that decodes; −1 where the pool itself does"""
    route_fallback: Ints
    """[routes] row to use where no replica of a row is up or large enough"""
    limits: Limits
    tally: Records
    """[1] of ``TALLY``"""
    histogram: Ints
    """[3, bins] of TTFT, TPOT and E2E, see ``sketch``"""
    bins: Floats
    """[P, time bins, 2] busy seconds and the joules drawn in them"""
    rows: Records
    """[rows] of ``ROW``: what is written per request; empty where nobody asked"""
