"""Requests replayed on replicas with continuous batching: how each second of each replica is spent.

A replica works in iterations (``profiles.performance.Iteration``): each decodes one token of every running request and
takes whole prompts of waiting requests along, oldest first, up to ``PROMPT_TOKENS``. A request is admitted while its
prompt and half of its answer, what it holds on average over its life, fit beside those of the others in the KV cache,
so nobody is ever preempted. A new request goes to the replica with the fewest requests. ``planner.simulate`` replays
plans in more detail; here only seconds count, and millions of them.

Shapes: N replicas, R requests, S seconds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from planner.compiled import compiled
from planner.power.traces.requests import Requests
from planner.program import Ints
from profiles.performance import Iteration
from profiles.performance.answers import Floats

PROMPT_TOKENS = 2048
"""Of prompts in one iteration, beyond the first prompt: vLLM's default of ``max_num_batched_tokens`` when this kind of
batching came."""

PROMPTS_S, DECODING_S, DECODING_J, RUNNING_S, TOKENS = range(5)
"""What is booked for each second: time on prompts, time decoding, joules of it, request-seconds in progress, tokens
decoded."""

NUM_BOOKED = 5


class Costs(NamedTuple):
    """An ``Iteration`` in the units of the replay, with the prompt time of each request (R,)."""

    decode_s: Floats
    decode_w: Floats
    kv_s_per_token: float
    kv_tokens: float
    prompt_s: Floats


class Replicas(NamedTuple):
    """N replicas at work; -1 stands for no request. ``ending`` is a ring over steps, longer than any answer."""

    clock_s: Floats
    step: Ints
    running: Ints
    context: Floats
    held: Floats
    head: Ints
    tail: Ints
    following: Ints  # (R,) the next one in the queue
    ending: Ints  # (N, ring) requests whose last token comes with a step
    ending_context: Floats  # (N, ring) and the context that leaves with them
    ending_held: Floats


def replay(requests: Requests, iteration: Iteration, decode_w: Floats, num_replicas: int, seconds: int) -> Floats:
    """(5, N, S) what is done in each second from 0 on, in the order of ``PROMPTS_S`` and those after it.

    ``decode_w`` by number of running requests, as ``iteration.decode_ms``.
    """
    spent = np.zeros((NUM_BOOKED, num_replicas, seconds))
    replicas, costs = _idle(requests, num_replicas), _costs(requests, iteration, decode_w)
    _replay(replicas, requests, costs, spent)
    return spent


class Capacity(NamedTuple):
    """What one replica does with so many requests waiting that it never lacks work."""

    requests_per_s: float
    decode_s_per_token: float


def capacity(requests: Requests, iteration: Iteration) -> Capacity:
    """How fast one replica gets through ``requests`` when all of them wait at the start."""
    replicas, costs = _idle(requests, 1), _costs(requests, iteration, np.zeros(len(iteration.decode_ms)))
    done = _drain(replicas, requests, costs)
    num_done = len(requests.arrival_s) - replicas.running[0]
    return Capacity(float(num_done / replicas.clock_s[0]), float(done[DECODING_S] / max(done[TOKENS], 1.0)))


def _costs(requests: Requests, iteration: Iteration, decode_w: Floats) -> Costs:
    prompt_s = iteration.prompt_ms(requests.input_tokens.astype(np.float64)) / 1e3
    return Costs(
        iteration.decode_ms / 1e3, decode_w, iteration.kv_ms_per_token / 1e3, float(iteration.kv_tokens), prompt_s
    )


def _idle(requests: Requests, num_replicas: int) -> Replicas:
    ring = int(requests.output_tokens.max()) + 1
    whole, real = np.zeros(num_replicas, dtype=np.int64), np.zeros(num_replicas)
    return Replicas(
        clock_s=real - np.inf,
        step=whole,
        running=whole.copy(),
        context=real,
        held=real.copy(),
        head=whole - 1,
        tail=whole - 1,
        following=np.full(len(requests.arrival_s), -1),
        ending=np.zeros((num_replicas, ring), dtype=np.int64),
        ending_context=np.zeros((num_replicas, ring)),
        ending_held=np.zeros((num_replicas, ring)),
    )


@compiled
def _replay(e: Replicas, q: Requests, costs: Costs, spent: Floats) -> None:
    waiting = np.zeros(len(e.clock_s), dtype=np.int64)
    for r in range(len(q.arrival_s) + 1):
        now_s = q.arrival_s[r] if r < len(q.arrival_s) else float(spent.shape[2])
        chosen, fewest = 0, np.int64(2**62)
        for n in range(len(e.clock_s)):
            while e.clock_s[n] < now_s and (e.head[n] >= 0 or e.running[n] > 0):
                waiting[n] -= _iterate(e, n, q, costs, spent)[0]
            if e.running[n] + waiting[n] < fewest:
                chosen, fewest = n, e.running[n] + waiting[n]
        if r == len(q.arrival_s):
            return
        waiting[chosen] += 1
        _enqueue(e, chosen, r, now_s)


@compiled
def _drain(e: Replicas, q: Requests, costs: Costs) -> Floats:
    """All requests at once to the only replica, until its queue is empty; what was booked in all."""
    done, nowhere = np.zeros(NUM_BOOKED), np.zeros((NUM_BOOKED, 1, 0))
    for r in range(len(q.arrival_s)):
        _enqueue(e, 0, r, 0.0)
    while e.head[0] >= 0:
        began_s, running = e.clock_s[0], e.running[0]
        prompts_s = _iterate(e, 0, q, costs, nowhere)[1]
        done[PROMPTS_S] += prompts_s
        done[DECODING_S] += e.clock_s[0] - began_s - prompts_s
        done[TOKENS] += running
    return done


@compiled
def _enqueue(e: Replicas, n: int, r: int, now_s: float) -> None:
    if e.head[n] < 0:
        e.head[n] = r
        if e.running[n] == 0:
            e.clock_s[n] = max(e.clock_s[n], now_s)
    else:
        e.following[e.tail[n]] = r
    e.tail[n] = r


@compiled
def _iterate(e: Replicas, n: int, q: Requests, costs: Costs, spent: Floats) -> tuple[int, float]:
    """One iteration of replica ``n``: how many requests it admitted, and the seconds that went to prompts."""
    running, context, ring = e.running[n], e.context[n], e.ending.shape[1]
    step = e.step[n] + 1
    admitted, tokens, prompts_s = 0, 0, 0.0
    while e.head[n] >= 0 and e.running[n] < len(costs.decode_s) - 1:
        r = e.head[n]
        held = q.input_tokens[r] + 0.5 * q.output_tokens[r]
        if e.running[n] > 0 and e.held[n] + held > costs.kv_tokens:
            break
        if admitted > 0 and tokens + q.input_tokens[r] > PROMPT_TOKENS:
            break
        e.head[n] = e.following[r]
        admitted += 1
        tokens += q.input_tokens[r]
        prompts_s += costs.prompt_s[r]
        last = (step + q.output_tokens[r] - 1) % ring  # the first token comes with the prompt
        e.ending[n, last] += 1
        e.ending_context[n, last] += q.input_tokens[r] + q.output_tokens[r] - 1
        e.ending_held[n, last] += held
        e.running[n] += 1
        e.context[n] += q.input_tokens[r]
        e.held[n] += held
    if running > 0:
        decode_s = costs.decode_s[running] + costs.kv_s_per_token * context
    else:
        decode_s = 0.0
        prompts_s += costs.decode_s[0]  # the pass over the weights is part of the prompts
    now_s = e.clock_s[n]
    _book(spent, n, now_s, prompts_s, PROMPTS_S, e.running[n], 0.0, 0.0)
    _book(spent, n, now_s + prompts_s, decode_s, DECODING_S, e.running[n], costs.decode_w[running], float(running))
    e.clock_s[n] += prompts_s + decode_s
    e.step[n] = step
    e.context[n] += running
    gone = step % ring
    e.running[n] -= e.ending[n, gone]
    e.context[n] -= e.ending_context[n, gone]
    e.held[n] -= e.ending_held[n, gone]
    e.ending[n, gone], e.ending_context[n, gone], e.ending_held[n, gone] = 0, 0.0, 0.0
    return admitted, prompts_s


@compiled
def _book(
    spent: Floats, n: int, now_s: float, took_s: float, what: int, in_progress: int, decode_w: float, tokens: float
) -> None:
    """Spread ``took_s`` of work over the seconds it touches."""
    begin_s, end_s = now_s, now_s + took_s
    second = int(np.floor(begin_s))
    while begin_s < end_s:
        part_s = min(second + 1.0, end_s) - begin_s
        if 0 <= second < spent.shape[2]:
            spent[what, n, second] += part_s
            spent[RUNNING_S, n, second] += in_progress * part_s
            spent[DECODING_J, n, second] += decode_w * part_s
            spent[TOKENS, n, second] += tokens * part_s / took_s
        second += 1
        begin_s = float(second)
