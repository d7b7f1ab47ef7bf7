"""The replay of one service's traffic on its pools: arrays around the compiled kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from planner.serving.spec import Slo
from planner.simulate import state as records
from planner.simulate.cluster import Link, Options, Pool, SizeRoutes
from planner.simulate.failures import FailureSchedule
from planner.simulate.kernel import NEVER, run
from planner.simulate.routing import Router
from planner.simulate.sketch import NUM_BINS
from planner.simulate.state import POOL, REPLICA, REQUEST, ROW, TALLY, Floats, Ints, Limits, Records, State
from planner.simulate.traffic import Chunk, Traffic

NUM_TIME_BINS = 1440
"""Of power over time. When they are full, pairs are merged: memory stays flat, the bins get twice as wide."""

_ROLES = {"unified": records.UNIFIED, "prefill": records.PREFILL, "decode": records.DECODE}
_FEW_SLOTS = 1 << 12

Progress = Callable[[float], None]
"""Called now and then with the share of the traffic that has arrived; not where nobody knows how much there is."""

RowSink = Callable[[Records], None]
"""Takes rows of ``state.ROW``, some at a time. They are overwritten later: keep a copy."""


@dataclass(frozen=True)
class Replayed:
    """What is known after a replay; ``tally``, ``replicas`` and ``histogram`` as in ``state``."""

    pools: tuple[Pool, ...]
    tally: Records
    replicas: Records
    histogram: Ints
    bins: Floats
    bin_s: float
    num_requests: int
    num_outside: int
    num_started: int
    last_arrival_s: float
    end_s: float
    unfinished: Records
    """Requests in flight at the end, of ``state.REQUEST``."""
    stopped: bool
    """Too many waited, or not all ended in the time of grace."""


def replay(
    pools: Sequence[Pool],
    routes: Sequence[SizeRoutes],
    traffic: Traffic,
    options: Options,
    *,
    link: Link | None = None,
    slo: Slo | None = None,
    max_context_tokens: float = math.inf,
    progress: Progress | None = None,
    sink: RowSink | None = None,
) -> Replayed:
    """Replay ``traffic``. ``link`` is needed where a route has a decode unit (``ValueError`` without)."""
    replaying = _Replay(tuple(pools), routes, options, link, slo or Slo(), max_context_tokens, sink)
    for chunk in traffic.chunks():
        if len(chunk) and not replaying.take(chunk):
            break
        share = traffic.share_arrived(replaying.last_arrival_s, replaying.num_requests)
        if progress is not None and share is not None:
            progress(share)
    return replaying.finish()


class _Replay:
    """The state between chunks."""

    def __init__(
        self, pools: tuple[Pool, ...], routes: Sequence[SizeRoutes], options: Options, link: Link | None, slo: Slo,
        max_context_tokens: float, sink: RowSink | None,
    ) -> None:  # fmt: skip
        self._pools, self._options, self._sink = pools, options, sink
        self._router = Router(routes, pools, options.routing)
        if link is None and (self._router.decode >= 0).any():
            raise ValueError("a route with a decode unit needs a link")
        self._draws = np.random.default_rng([options.seed, 0])
        self._failures = FailureSchedule(pools, options)
        self._state = _new_state(pools, self._router, options, link, slo, max_context_tokens)
        self._stopped = False
        self.num_requests = 0
        self.last_arrival_s = 0.0

    def take(self, chunk: Chunk) -> bool:
        """Replay some arrivals; False when it is time to stop. ``ValueError`` unless times do not decrease."""
        if not (np.diff(chunk.arrival_s, prepend=self.last_arrival_s) >= 0).all():
            raise ValueError("arrivals must be in the order of time, from 0 s on")
        self._make_room(len(chunk), float(chunk.arrival_s[-1]))
        rows = self._router.rows_of(chunk.input_tokens, chunk.output_tokens, self._draws.random(len(chunk)))
        until = float(chunk.arrival_s[-1])
        index = self.num_requests + np.arange(len(chunk))
        taken = run(
            self._state, chunk.arrival_s, index, chunk.input_tokens, chunk.output_tokens, rows,
            *self._failures.up_to(until), until,
        )  # fmt: skip
        self._write_rows()
        if taken:
            self.num_requests += taken
            self.last_arrival_s = float(chunk.arrival_s[taken - 1])
        self._stopped = taken < len(chunk)
        return not self._stopped

    def finish(self) -> Replayed:
        """Replay what is left after the last arrival."""
        tally = self._state.tally[0]
        nobody = np.zeros(0, dtype=np.int64)
        until, last, window = self.last_arrival_s, self.last_arrival_s + self._options.grace_s, 60.0
        while tally["outstanding"] and not self._stopped and until < last:
            until = min(until + window, last)
            window *= 2
            self._make_room(0, until)
            run(
                self._state, np.zeros(0), nobody, nobody, nobody, nobody,
                *self._failures.up_to(until), until,
            )  # fmt: skip
            self._write_rows()
            self._stopped = tally["waiting"] > self._options.max_waiting
        end_s = max(float(tally["now"]), self.last_arrival_s)
        unfinished = self._unfinished()
        if len(unfinished):
            self._stopped = True
            end_s = max(end_s, until)
            self._write_unfinished(unfinished)
        s = self._state
        return Replayed(
            self._pools, s.tally, s.replicas, s.histogram, s.bins, s.limits.bin_s, self.num_requests,
            self._router.num_outside, self._failures.num_started, self.last_arrival_s, end_s, unfinished,
            self._stopped,
        )  # fmt: skip

    def _make_room(self, num_arrivals: int, until: float) -> None:
        """Slots for arrivals, and time bins up to ``until``."""
        s = self._state
        missing = num_arrivals - int(s.tally["num_free"][0])
        if missing > 0:
            self._state = s = _with_more_slots(s, max(missing, len(s.free)), self._sink is not None)
        while until >= s.limits.bin_s * NUM_TIME_BINS:
            half = s.bins.reshape(len(self._pools), NUM_TIME_BINS // 2, 2, 2).sum(axis=2)
            s.bins[:] = 0.0
            s.bins[:, : NUM_TIME_BINS // 2] = half
            self._state = s = s._replace(limits=s.limits._replace(bin_s=2 * s.limits.bin_s))

    def _write_rows(self) -> None:
        tally = self._state.tally[0]
        if self._sink is not None and tally["num_rows"]:
            self._sink(self._state.rows[: tally["num_rows"]])
            tally["num_rows"] = 0

    def _unfinished(self) -> Records:
        """Requests in flight, in the order of their arrival."""
        s = self._state
        taken = np.ones(len(s.free), dtype=bool)
        taken[s.free[: s.tally["num_free"][0]]] = False
        left = s.requests[taken]
        return left[np.argsort(left["index"])]

    def _write_unfinished(self, left: Records) -> None:
        if self._sink is None:
            return
        rows = np.zeros(len(left), dtype=ROW)
        rows["request"], rows["arrival_s"], rows["status"] = left["index"], left["arrival"], records.UNFINISHED
        rows["input_tokens"], rows["output_tokens"] = left["input"], left["output"]
        rows["replica"] = np.where(left["sender"] >= 0, left["sender"], left["replica"])
        rows["decode_replica"] = np.where(left["sender"] >= 0, left["replica"], -1)
        rows["retries"], rows["preemptions"] = left["retries"], left["preemptions"]
        for name in ("ttft_ms", "tpot_ms", "e2e_ms"):
            rows[name] = np.nan
        self._sink(rows)


def _new_state(
    pools: tuple[Pool, ...], router: Router, options: Options, link: Link | None, slo: Slo, max_context_tokens: float
) -> State:
    table = np.zeros(len(pools), dtype=POOL)
    counts = np.array([pool.replicas for pool in pools])
    slots = [min(options.max_running or pool.iteration.most_running, pool.iteration.most_running) for pool in pools]
    table["first"], table["count"] = np.cumsum(counts) - counts, counts
    table["max_running"], table["token_budget"] = slots, options.token_budget
    decode = np.zeros((2, len(pools), max(slots) + 1))
    for p, pool in enumerate(pools):
        cost = pool.iteration
        table[p]["role"] = _ROLES[pool.role]
        table[p]["kv_tokens"], table[p]["reserved_output"] = cost.kv_tokens, cost.reserved_output
        table[p]["kv_s_per_token"] = cost.kv_ms_per_token / 1e3
        table[p]["prompt_s_per_token"] = cost.prompt_ms_per_token / 1e3
        table[p]["prompt_s_per_token2"] = cost.prompt_ms_per_token2 / 1e3
        table[p]["overhead_s"], table[p]["prompt_w"] = cost.prompt_overhead_ms / 1e3, cost.prompt_w
        decode[0, p, : slots[p] + 1] = cost.decode_ms[: slots[p] + 1] / 1e3
        decode[1, p, : slots[p] + 1] = cost.decode_w[: slots[p] + 1]
        if link is not None:
            table[p]["link_s_per_token"] = cost.kv_bytes_per_token / (link.gb_per_s * 1e9)
            table[p]["link_latency_s"], table[p]["link_layers"] = link.latency_ms / 1e3, link.layers
    num_replicas = int(counts.sum())
    replicas = np.zeros(num_replicas, dtype=REPLICA)
    replicas["pool"] = np.repeat(np.arange(len(pools)), counts)
    replicas["ready"] = options.start_up_s
    for name in ("oldest", "newest", "prompt_head", "waiting_head", "waiting_tail"):
        replicas[name] = -1
    tally = np.zeros(1, dtype=TALLY)
    tally["handed_over"] = -1
    return State(
        requests=np.zeros(0, dtype=REQUEST), free=np.zeros(0, dtype=np.int64), replicas=replicas,
        due=np.full(num_replicas, NEVER), load=np.zeros(num_replicas, dtype=np.int64),
        turn=np.zeros(num_replicas, dtype=np.int64), heap_step=np.zeros((num_replicas, max(slots)), dtype=np.int64),
        heap_slot=np.zeros((num_replicas, max(slots)), dtype=np.int64), delivery_s=np.zeros(0),
        delivery_slot=np.zeros(0, dtype=np.int64), pools=table, decode_s=decode[0], decode_w=decode[1],
        route_start=router.start, route_pool=router.pool, route_decode=router.decode, route_fallback=router.fallback,
        limits=_limits(options, slo, max_context_tokens), tally=tally,
        histogram=np.zeros((3, NUM_BINS), dtype=np.int64), bins=np.zeros((len(pools), NUM_TIME_BINS, 2)),
        rows=np.zeros(0, dtype=ROW),
    )  # fmt: skip


def _limits(options: Options, slo: Slo, max_context_tokens: float) -> Limits:
    ttft, tpot, e2e = (math.inf if ms is None else ms for ms in (slo.ttft_ms, slo.tpot_ms, slo.e2e_ms))
    return Limits(float(max_context_tokens), options.max_waiting, options.warm_up_s, ttft, tpot, e2e, bin_s=1.0)


def _with_more_slots(s: State, more: int, with_rows: bool) -> State:
    old, more = len(s.free), max(more, _FEW_SLOTS)
    s.tally["num_free"] += more
    free = np.concatenate([np.arange(old + more - 1, old - 1, -1, dtype=np.int64), s.free])
    # The new slots lie under the free ones of before, which are on top and are used first.
    return s._replace(
        requests=np.concatenate([s.requests, np.zeros(more, dtype=REQUEST)]),
        free=free,
        delivery_s=np.concatenate([s.delivery_s, np.zeros(more)]),
        delivery_slot=np.concatenate([s.delivery_slot, np.zeros(more, dtype=np.int64)]),
        rows=np.zeros(old + more, dtype=ROW) if with_rows else s.rows,
    )
