"""The compiled part of the replay: engines with continuous batching, and the events between them.

**A replica** works in iterations. At the boundary between two, it admits waiting requests in the order of their
arrival while KV cache and slots allow; then one iteration decodes a token of every decoding request and gives what is
left of the token budget to prompts, oldest first, in chunks (Sarathi-Serve, OSDI 2024). Nothing is simulated per
token: while no prompt is there, iterations differ only by the context, which grows by the number of decoding requests,
so all of them up to the next event are summed as an arithmetic series. Such a run of iterations is a *segment*; one
with prompts has a single iteration. A segment ends where a request ends, where the KV cache overflows, or at the first
boundary after the arrival of a request that may be admitted.

**Admission** of a request with prompt ``p`` that will yet say ``r`` tokens, on a replica with ``n`` decoding requests:
``max(reserved, used + n) + p + max(1, ⌈share · r⌉) ≤ kv_tokens``. A replica whose cache overflows nevertheless
preempts the request it admitted last, which goes to the head of the queue and computes its prompt, and all it had
said, again (recomputation as in vLLM: Kwon et al., SOSP 2023, section 4.5).

**Time** between replicas matters only where one is chosen: there, the candidates are brought up to that time. Events at
equal times: arrivals, then KV caches that arrive, failures, and ends of segments.

Requests, replicas and counters are records of ``state``; every function changes them in place. All compiled code is in
this one file, because the cache of machine code watches no other: touch it after changing constants of ``sketch`` or
``state``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from planner.compiled import compiled, inner
from planner.simulate.sketch import BINS_PER_E, FIRST_BIN, NUM_BINS
from planner.simulate.state import (
    COMPLETED,
    NO_REPLICA,
    PREFILL,
    TOO_LARGE,
    TOO_LONG,
    Floats,
    Ints,
    State,
)

NEVER = np.inf


# ---- heaps: parallel arrays of keys and what they stand for


@inner
def _push(keys: Any, items: Ints, size: int, key: Any, item: int) -> None:
    at = size
    while at > 0:
        parent = (at - 1) // 2
        if keys[parent] <= key:
            break
        keys[at], items[at] = keys[parent], items[parent]
        at = parent
    keys[at], items[at] = key, item


@inner
def _remove(keys: Any, items: Ints, size: int, at: int) -> None:
    """Take out position ``at`` of a heap of ``size``: the last item moves there, then up or down."""
    key, item = keys[size - 1], items[size - 1]
    size -= 1
    if at == size:
        return
    while at > 0 and keys[(at - 1) // 2] > key:
        parent = (at - 1) // 2
        keys[at], items[at] = keys[parent], items[parent]
        at = parent
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[at], items[at] = keys[child], items[child]
        at = child
    keys[at], items[at] = key, item


# ---- one replica: who is in it


@inner
def _append_admitted(s: State, r: int, slot: int) -> None:
    replica, request = s.replicas[r], s.requests[slot]
    request.prev, request.next = replica.newest, -1
    if replica.newest >= 0:
        s.requests[replica.newest].next = slot
    else:
        replica.oldest = slot
    replica.newest = slot
    replica.num_admitted += 1


@inner
def _drop_admitted(s: State, r: int, slot: int) -> None:
    """Take a request that no longer prompts nor decodes out of the list, with its reservation."""
    replica, request = s.replicas[r], s.requests[slot]
    if request.prev >= 0:
        s.requests[request.prev].next = request.next
    else:
        replica.oldest = request.next
    if request.next >= 0:
        s.requests[request.next].prev = request.prev
    else:
        replica.newest = request.prev
    replica.num_admitted -= 1
    replica.reserved -= request.reserved


@inner
def _next_prompting(s: State, slot: int) -> int:
    """The first admitted request after ``slot`` whose prompt is not done; −1 where there is none."""
    slot = s.requests[slot].next
    while slot >= 0 and s.requests[slot].done == s.requests[slot].prompt:
        slot = s.requests[slot].next
    return slot


@inner
def _start_decoding(s: State, r: int, slot: int) -> None:
    replica, request = s.replicas[r], s.requests[slot]
    request.joined = replica.steps
    _push(s.heap_step[r], s.heap_slot[r], replica.num_decoding, replica.steps + request.last - request.emitted, slot)
    replica.num_decoding += 1
    replica.context += request.prompt


@inner
def _admit(s: State, r: int) -> None:
    replica = s.replicas[r]
    pool = s.pools[replica.pool]
    while replica.waiting_head >= 0 and replica.num_admitted < pool.max_running:
        slot = replica.waiting_head
        request = s.requests[slot]
        reserved = request.prompt + max(1, int(np.ceil(pool.reserved_output * (request.last - request.emitted))))
        if max(replica.reserved, replica.used + replica.num_decoding) + reserved > pool.kv_tokens:
            return
        replica.waiting_head = request.next
        if request.next < 0:
            replica.waiting_tail = -1
        s.tally[0].waiting -= 1
        s.tally[0].last_admitted = replica.clock
        request.reserved = reserved
        replica.reserved += reserved
        replica.used += request.prompt
        _append_admitted(s, r, slot)
        if request.done == request.prompt:  # its KV cache came from a prefill replica
            _start_decoding(s, r, slot)
        else:
            if replica.num_prompting == 0:
                replica.prompt_head = slot
            replica.num_prompting += 1


@inner
def _preempt(s: State, r: int) -> None:
    """Send the request that was admitted last back to the head of the queue, its cache lost."""
    replica = s.replicas[r]
    slot = replica.newest
    request = s.requests[slot]
    if request.done < request.prompt:
        replica.num_prompting -= 1
        if replica.prompt_head == slot:
            replica.prompt_head = -1
        replica.used -= request.prompt
    else:
        at = 0
        while s.heap_slot[r, at] != slot:  # preemptions are rare next to completions, which need no such search
            at += 1
        left = s.heap_step[r, at] - replica.steps
        _remove(s.heap_step[r], s.heap_slot[r], replica.num_decoding, at)
        held = request.prompt + replica.steps - request.joined
        replica.num_decoding -= 1
        replica.context -= held
        replica.used -= held
        request.emitted = request.last - left
        request.prompt = request.input + request.emitted
    _drop_admitted(s, r, slot)
    request.done = 0
    request.preemptions += 1
    s.tally[0].preempted += 1
    s.tally[0].waiting += 1
    request.next = replica.waiting_head
    replica.waiting_head = slot
    if replica.waiting_tail < 0:
        replica.waiting_tail = slot


# ---- one replica: its iterations


@inner
def _decode_time(s: State, r: int, iterations: int) -> float:
    """Seconds of so many iterations without prompts from the present boundary: the sum of an arithmetic series."""
    replica = s.replicas[r]
    pool = s.pools[replica.pool]
    n = replica.num_decoding
    growing = 0.5 * iterations * (iterations - 1) * n
    seconds: float = iterations * s.decode_s[replica.pool, n]
    seconds += pool.kv_s_per_token * (iterations * float(replica.context) + growing)
    return seconds


@inner
def _prompt_chunks(s: State, r: int, num_decoding: int, do: bool) -> float:
    """Seconds of the prompt chunks that fit into one iteration; with ``do`` they are done, and whole prompts decode."""
    replica = s.replicas[r]
    pool = s.pools[replica.pool]
    left = pool.token_budget - num_decoding
    slot = replica.prompt_head
    seconds = 0.0
    while slot >= 0 and left > 0:
        request = s.requests[slot]
        chunk = min(left, request.prompt - request.done)
        squares = (2.0 * request.done + chunk) * chunk
        seconds += chunk * pool.prompt_s_per_token + squares * pool.prompt_s_per_token2
        left -= chunk
        following = _next_prompting(s, slot)
        if do:
            request.done += chunk
            if request.done == request.prompt:
                replica.prompt_head = following
                _prompt_done(s, r, slot)
        slot = following
    return seconds


@inner
def _prompt_done(s: State, r: int, slot: int) -> None:
    replica, request = s.replicas[r], s.requests[slot]
    replica.num_prompting -= 1
    request.emitted += 1
    if request.emitted == 1:
        request.overhead = s.pools[replica.pool].overhead_s
        request.first = replica.clock + request.overhead
    if request.emitted < request.last:
        _start_decoding(s, r, slot)
    else:
        replica.used -= request.prompt
        _leave(s, r, slot)


@inner
def _leave(s: State, r: int, slot: int) -> None:
    """A request ends its stay: for good, or to decode elsewhere."""
    replica, request = s.replicas[r], s.requests[slot]
    _drop_admitted(s, r, slot)
    replica.num_completed += 1
    if s.pools[replica.pool].role == PREFILL:
        s.load[r] -= request.input
        if request.emitted < request.output:
            request.next = -1
            if s.tally[0].handed_over < 0:
                s.tally[0].handed_over = slot
            else:
                s.requests[s.tally[0].handed_last].next = slot
            s.tally[0].handed_last = slot
            return
    else:
        s.load[r] -= 1
    request.emitted = request.output
    _end(s, slot, COMPLETED, replica.clock)


@inner
def _begin_segment(s: State, r: int) -> None:
    """From a boundary: how many iterations run until something changes, and when that is."""
    replica = s.replicas[r]
    pool = s.pools[replica.pool]
    n = replica.num_decoding
    replica.prompting = 0
    replica.prompt_s = 0.0
    if replica.num_admitted == 0:
        s.due[r] = NEVER
        return
    if replica.num_prompting > 0 and n < pool.token_budget:
        replica.prompting = 1
        replica.iterations = 1
        replica.prompt_s = _prompt_chunks(s, r, n, False)
    else:
        iterations = s.heap_step[r, 0] - replica.steps
        room = (pool.kv_tokens - replica.used) / n
        replica.iterations = iterations if iterations <= room else int(room)
    replica.decode_s = _decode_time(s, r, replica.iterations)
    s.due[r] = replica.clock + replica.decode_s + replica.prompt_s


@inner
def _cut_segment(s: State, r: int, t: float) -> None:
    """End the segment under way at the first boundary not before ``t``."""
    replica = s.replicas[r]
    most = replica.iterations
    if most <= 1 or replica.prompting == 1:
        return
    elapsed = t - replica.clock
    slope = 0.5 * s.pools[replica.pool].kv_s_per_token * replica.num_decoding
    first = _decode_time(s, r, 1) - slope
    root = np.sqrt(first * first + 4 * slope * max(elapsed, 0.0))
    iterations = min(max(int(2 * elapsed / (first + root)), 1), most)  # of slope · i² + first · i = elapsed
    while iterations > 1 and _decode_time(s, r, iterations - 1) >= elapsed:
        iterations -= 1
    while iterations < most and _decode_time(s, r, iterations) < elapsed:
        iterations += 1
    if iterations < most:
        replica.iterations = iterations
        replica.decode_s = _decode_time(s, r, iterations)
        s.due[r] = replica.clock + replica.decode_s


@inner
def _account(s: State, r: int, end: float) -> None:
    """Book the work of the segment under way up to ``end``, spread evenly over the time bins it touches."""
    replica = s.replicas[r]
    start, bin_s = replica.clock, s.limits.bin_s
    if replica.iterations == 0 or end <= start:
        return
    p, n = replica.pool, replica.num_decoding
    took = end - start
    replica.busy_s += took
    replica.running_s += replica.num_admitted * took
    replica.kv_s += (replica.used + 0.5 * n * replica.iterations) * took
    full = replica.decode_s + replica.prompt_s
    decode_w = s.decode_w[p, n] if n > 0 else s.pools[p].prompt_w  # without decoding, the pass is part of the prompts
    watts = (replica.decode_s * decode_w + replica.prompt_s * s.pools[p].prompt_w) / full
    b = int(start / bin_s)
    while start < end:
        stop = min(end, (b + 1) * bin_s)
        s.bins[p, b, 0] += stop - start
        s.bins[p, b, 1] += watts * (stop - start)
        start = stop
        b += 1


@inner
def _end_segment(s: State, r: int) -> None:
    """Carry out the segment that is due, and begin the next."""
    replica = s.replicas[r]
    _account(s, r, s.due[r])
    n = replica.num_decoding
    replica.clock = s.due[r]
    if n > 0:
        replica.steps += replica.iterations
        replica.context += replica.iterations * n
        replica.used += replica.iterations * n
    while replica.num_decoding > 0 and s.heap_step[r, 0] == replica.steps:
        slot = s.heap_slot[r, 0]
        _remove(s.heap_step[r], s.heap_slot[r], replica.num_decoding, 0)
        held = s.requests[slot].prompt + replica.steps - s.requests[slot].joined
        replica.num_decoding -= 1
        replica.context -= held
        replica.used -= held
        _leave(s, r, slot)
    if replica.prompting == 1:
        _prompt_chunks(s, r, n, True)
    replica.iterations = 0
    _boundary(s, r)


@inner
def _boundary(s: State, r: int) -> None:
    replica = s.replicas[r]
    kv_tokens = s.pools[replica.pool].kv_tokens
    while replica.num_decoding > 0 and replica.used + replica.num_decoding > kv_tokens:
        _preempt(s, r)
    _admit(s, r)
    _begin_segment(s, r)


# ---- between replicas


@inner
def _enqueue(s: State, slot: int, r: int, t: float) -> None:
    replica, request = s.replicas[r], s.requests[slot]
    request.next = -1
    s.tally[0].waiting += 1
    if replica.waiting_tail >= 0:
        s.requests[replica.waiting_tail].next = slot
        replica.waiting_tail = slot
        return
    replica.waiting_head = replica.waiting_tail = slot
    if replica.num_admitted > 0:
        _cut_segment(s, r, t)
        return
    replica.clock = max(t, replica.ready)
    replica.iterations = 0
    if replica.ready > t:
        s.due[r] = replica.ready
    else:
        _boundary(s, r)


@inner
def _shortest_queue(s: State, slot: int, routes: int, t: float, prefill_pool: int, ready: bool) -> int:
    """Replica with the least load among the pools of ``routes`` that are large enough; −1: none, −2: none so large.

    ``prefill_pool`` < 0 looks for the replica to start on, else for the one to decode on.
    """
    request = s.requests[slot]
    best, large_enough = -1, False
    for j in range(s.route_start[routes], s.route_start[routes + 1]):
        p, decoding = s.route_pool[j], s.route_decode[j]
        if prefill_pool >= 0:
            if p != prefill_pool:
                continue
            p = decoding
        tokens = request.input + request.output
        if tokens > s.pools[decoding if decoding >= 0 else p].kv_tokens or request.input + 1 > s.pools[p].kv_tokens:
            continue
        large_enough = True
        lazily = s.pools[p].role != PREFILL  # prefill replicas are brought up to date by ``run``
        for r in range(s.pools[p].first, s.pools[p].first + s.pools[p].count):
            while lazily and s.due[r] < t:
                _end_segment(s, r)
            at = s.replicas[r].ready
            if at == NEVER or (at <= t) != ready:
                continue
            if best < 0 or s.load[r] < s.load[best] or (s.load[r] == s.load[best] and s.turn[r] < s.turn[best]):
                best = r
    return best if large_enough else -2


@inner
def _choose(s: State, slot: int, t: float, prefill_pool: int) -> int:
    """As ``_shortest_queue``: in the request's own routes, else in those of its size; rather ready than not."""
    own = s.requests[slot].routes
    result = -2
    for ready in (True, False):
        for routes in (own, s.route_fallback[own]):
            r = _shortest_queue(s, slot, routes, t, prefill_pool, ready)
            if r >= 0:
                request = s.requests[slot]
                request.replica, request.epoch = r, s.replicas[r].epoch
                s.tally[0].assigned += 1
                s.turn[r] = s.tally[0].assigned
                s.load[r] += request.input if s.pools[s.replicas[r].pool].role == PREFILL else 1
                return r
            result = max(result, r)
    return result


@inner
def _dispatch(s: State, slot: int, t: float) -> None:
    """Give a request that has nothing yet to a replica, or reject it."""
    request = s.requests[slot]
    request.prompt = request.input
    request.done = request.emitted = 0
    request.sender = -1
    r = _choose(s, slot, t, -1)
    if r >= 0:
        request.last = 1 if s.pools[s.replicas[r].pool].role == PREFILL else request.output
        _enqueue(s, slot, r, t)
    else:
        request.replica = -1
        _end(s, slot, NO_REPLICA if r == -1 else TOO_LARGE, t)


@inner
def _retry(s: State, slot: int, t: float) -> None:
    s.requests[slot].retries += 1
    s.tally[0].retried += 1
    _dispatch(s, slot, t)


@inner
def _hand_over(s: State, slot: int, t: float) -> None:
    """Send the KV cache of a finished prompt to the decode replica with the shortest queue.

    One transfer after another leaves a prefill replica. Of ``x`` seconds, sent layer by layer over ``L`` layers while a
    prompt of ``c`` seconds is computed, ``max(x / L, x − c (L − 1) / L)`` are left when it is done (a pipeline of L
    stages; Splitwise, ISCA 2024, section IV-C). With L = 1 all are. Simplified: the sender's memory is free once the
    prompt is done, and what is under way survives a failure of the sender.
    """
    request = s.requests[slot]
    sender = request.replica
    replica = s.replicas[sender]
    pool = s.pools[replica.pool]
    r = _choose(s, slot, t, replica.pool)
    if r < 0:
        _end(s, slot, NO_REPLICA, t)
        return
    request.sender = sender
    send = request.prompt * pool.link_s_per_token
    compute = request.prompt * (pool.prompt_s_per_token + request.prompt * pool.prompt_s_per_token2)
    left = max(send / pool.link_layers, send - compute * (pool.link_layers - 1) / pool.link_layers)
    replica.link_free = max(replica.link_free, t - (send - left)) + send
    _push(s.delivery_s, s.delivery_slot, s.tally[0].num_deliveries, replica.link_free + pool.link_latency_s, slot)
    s.tally[0].num_deliveries += 1
    s.tally[0].transferred += 1


@inner
def _hand_over_all(s: State, t: float) -> None:
    tally = s.tally[0]
    while tally.handed_over >= 0:
        slot = tally.handed_over
        tally.handed_over = s.requests[slot].next
        _hand_over(s, slot, t)


@inner
def _next_sender(s: State) -> int:
    """The prefill replica whose segment ends first; −1 where none is at work."""
    sender, at = -1, NEVER
    for p in range(len(s.pools)):
        if s.pools[p].role == PREFILL:
            for r in range(s.pools[p].first, s.pools[p].first + s.pools[p].count):
                if s.due[r] < at:
                    sender, at = r, s.due[r]
    return sender


@inner
def _deliver(s: State) -> None:
    t, slot = s.delivery_s[0], s.delivery_slot[0]
    _remove(s.delivery_s, s.delivery_slot, s.tally[0].num_deliveries, 0)
    s.tally[0].num_deliveries -= 1
    request = s.requests[slot]
    if s.replicas[request.replica].epoch != request.epoch:  # it failed meanwhile
        _retry(s, slot, t)
        return
    while s.due[request.replica] < t:
        _end_segment(s, request.replica)
    request.last = request.output
    _enqueue(s, slot, request.replica, t)


@inner
def _fail(s: State, r: int, t: float, until: float) -> None:
    """Replica ``r`` is gone from ``t`` to ``until``; its requests start again elsewhere, oldest first."""
    while s.due[r] < t:
        _end_segment(s, r)
    replica = s.replicas[r]
    _account(s, r, t)
    s.tally[0].failures += 1
    lost = replica.oldest
    if lost >= 0:
        s.requests[replica.newest].next = replica.waiting_head
    else:
        lost = replica.waiting_head
    slot = replica.waiting_head
    while slot >= 0:
        s.tally[0].waiting -= 1
        slot = s.requests[slot].next
    replica.oldest = replica.newest = replica.prompt_head = replica.waiting_head = replica.waiting_tail = -1
    replica.num_admitted = replica.num_decoding = replica.num_prompting = replica.iterations = 0
    replica.context = replica.used = replica.reserved = 0
    replica.clock = t
    replica.ready = max(replica.ready, until)
    replica.epoch += 1
    s.due[r] = NEVER
    s.load[r] = 0
    while lost >= 0:
        following = s.requests[lost].next
        _retry(s, lost, t)
        lost = following


# ---- requests come and go


@inner
def _count(s: State, metric: int, value_ms: float) -> None:
    at = int(np.ceil(np.log(value_ms) * BINS_PER_E)) - FIRST_BIN if value_ms > 0 else 0
    s.histogram[metric, min(max(at, 0), NUM_BINS - 1)] += 1


@inner
def _end(s: State, slot: int, status: int, t: float) -> None:
    """Write down a request that completed or was rejected, and free its slot."""
    tally, request = s.tally[0], s.requests[slot]
    ttft = tpot = e2e = np.nan
    good = False
    if status == COMPLETED:
        ttft = 1e3 * (request.first - request.arrival)
        e2e = 1e3 * (t + request.overhead - request.arrival)
        tpot = (e2e - ttft) / (request.output - 1) if request.output > 1 else np.nan
        good = ttft <= s.limits.ttft_ms and e2e <= s.limits.e2e_ms and not tpot > s.limits.tpot_ms
        tally.completed += 1
    elif status == TOO_LONG:
        tally.too_long += 1
    elif status == TOO_LARGE:
        tally.too_large += 1
    else:
        tally.no_replica += 1
    if request.arrival >= s.limits.warm_up_s:
        if status == COMPLETED:
            _measure(s, slot, ttft, tpot, e2e, good)
        else:
            tally.measured_rejected += 1
    if len(s.rows) > 0:
        write_row(s, slot, status, ttft, tpot, e2e, good)
    tally.now = max(tally.now, t)
    tally.outstanding -= 1
    s.free[tally.num_free] = slot
    tally.num_free += 1


@inner
def _measure(s: State, slot: int, ttft: float, tpot: float, e2e: float, good: bool) -> None:
    tally, request = s.tally[0], s.requests[slot]
    tally.measured += 1
    tally.good += good
    tally.tokens_in += request.input
    tally.tokens_out += request.output
    tally.sum_ttft += ttft
    tally.sum_e2e += e2e
    _count(s, 0, ttft)
    _count(s, 2, e2e)
    if request.output > 1:
        tally.sum_tpot += tpot
        tally.measured_tpot += 1
        _count(s, 1, tpot)


@inner
def write_row(s: State, slot: int, status: int, ttft: float, tpot: float, e2e: float, good: bool) -> None:
    """Append what is to be told of one request to ``rows``."""
    request, row = s.requests[slot], s.rows[s.tally[0].num_rows]
    row.request, row.arrival_s, row.status = request.index, request.arrival, status
    row.input_tokens, row.output_tokens = request.input, request.output
    row.replica = request.sender if request.sender >= 0 else request.replica
    row.decode_replica = request.replica if request.sender >= 0 else -1
    row.ttft_ms, row.tpot_ms, row.e2e_ms, row.meets_slo = ttft, tpot, e2e, good
    row.retries, row.preemptions = request.retries, request.preemptions
    s.tally[0].num_rows += 1


@inner
def _arrive(s: State, t: float, index: int, tokens_in: int, tokens_out: int, routes: int) -> None:
    tally = s.tally[0]
    tally.num_free -= 1
    tally.outstanding += 1
    slot = s.free[tally.num_free]
    request = s.requests[slot]
    request.arrival, request.index, request.routes = t, index, routes
    request.input, request.output = tokens_in, tokens_out
    request.retries = request.preemptions = 0
    if tokens_in + tokens_out > s.limits.max_context_tokens:
        request.replica = request.sender = -1
        _end(s, slot, TOO_LONG, t)
    else:
        _dispatch(s, slot, t)


@compiled
def run(
    s: State,
    arrival_s: Floats,
    index: Ints,
    input_tokens: Ints,
    output_tokens: Ints,
    routes: Ints,
    fail_replica: Ints,
    fail_s: Floats,
    fail_until_s: Floats,
    until: float,
) -> int:
    """Replay arrivals and failures, both in order of time, and all that happens up to ``until`` (seconds).

    Where ``until`` is the last arrival, replicas that nobody asked about stay behind and catch up later.
    Returns the number of arrivals that were taken: fewer than given where more than ``max_waiting`` requests wait.
    """
    tally = s.tally[0]
    i = f = 0
    while tally.waiting <= s.limits.max_waiting:
        arrival = arrival_s[i] if i < len(arrival_s) else NEVER
        delivery = s.delivery_s[0] if tally.num_deliveries > 0 else NEVER
        failure = fail_s[f] if f < len(fail_s) else NEVER
        sender = _next_sender(s)
        prompt = s.due[sender] if sender >= 0 else NEVER
        t = min(min(arrival, delivery), min(failure, prompt))
        if t > until or t == NEVER:
            break
        if arrival == t:
            _arrive(s, t, index[i], input_tokens[i], output_tokens[i], routes[i])
            i += 1
        elif delivery == t:
            _deliver(s)
        elif failure == t:
            _fail(s, fail_replica[f], t, fail_until_s[f])
            f += 1
        else:
            _end_segment(s, sender)
            _hand_over_all(s, t)
    if i == len(arrival_s):
        _catch_up(s, until)
    return i


@inner
def _catch_up(s: State, until: float) -> None:
    for r in range(len(s.replicas)):
        while s.pools[s.replicas[r].pool].role != PREFILL and s.due[r] < until:
            _end_segment(s, r)
