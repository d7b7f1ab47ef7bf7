"""The replay of requests second by second, against one written iteration by iteration in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.power.traces.replica import (
    DECODING_J,
    DECODING_S,
    PROMPT_TOKENS,
    PROMPTS_S,
    RUNNING_S,
    TOKENS,
    capacity,
    replay,
)
from planner.power.traces.requests import Requests
from profiles.performance import Iteration
from profiles.types import Layout


def iteration(most_running: int = 8, kv_tokens: float = np.inf) -> Iteration:
    running = np.arange(most_running + 1.0)
    return Iteration(
        layout=Layout(model="m", gpu="g"),
        decode_ms=20.0 + 2.0 * running,
        kv_ms_per_token=0.001,
        prompt_ms_per_token=0.2,
        prompt_ms_per_token2=1e-5,
        prompt_overhead_ms=0.0,
        kv_tokens=kv_tokens,
        reserved_output=0.5,
        kv_bytes_per_token=1.0,
        idle_w=100.0,
        prompt_w=400.0,
        decode_w=200.0 + 10.0 * running,
        relative_error=0.1,
    )


def requests(*rows: tuple[float, int, int]) -> Requests:
    table = np.array(rows, dtype=np.float64)
    return Requests(table[:, 0].copy(), table[:, 1].astype(np.int64), table[:, 2].astype(np.int64))


def plain_replay(asked: Requests, costs: Iteration, num_replicas: int, seconds: int) -> np.ndarray:  # noqa: C901
    """The rules of the module's docstring, one request object at a time."""
    spent = np.zeros((5, num_replicas, seconds))
    clock = [-np.inf] * num_replicas
    queue: list[list[int]] = [[] for _ in range(num_replicas)]
    running: list[list[dict[str, Any]]] = [[] for _ in range(num_replicas)]

    def book(n: int, begin: float, took: float, what: int, tokens: float, watts: float) -> None:
        for second in range(seconds):
            part = min(second + 1, begin + took) - max(second, begin)
            if part > 0:
                spent[what, n, second] += part
                spent[RUNNING_S, n, second] += part * len(running[n])
                spent[DECODING_J, n, second] += part * watts
                spent[TOKENS, n, second] += tokens * part / took

    def step(n: int) -> None:
        decoding = len(running[n])
        context = sum(r["context"] for r in running[n])
        held = sum(r["held"] for r in running[n])
        prompt_ms, tokens, admitted = 0.0, 0, 0
        while queue[n] and len(running[n]) < costs.most_running:
            new_in, new_out = (int(v[queue[n][0]]) for v in asked[1:])
            needs = new_in + new_out / 2
            full = running[n] and held + needs > costs.kv_tokens
            if full or (admitted and tokens + new_in > PROMPT_TOKENS):
                break
            running[n].append({"context": new_in, "left": new_out, "held": needs, "new": True})
            queue[n].pop(0)
            held, tokens, admitted = held + needs, tokens + new_in, admitted + 1
            prompt_ms += float(costs.prompt_ms(np.array(float(new_in))))
        decode_ms = costs.decode_ms[decoding] + costs.kv_ms_per_token * context if decoding else 0.0
        prompt_ms += 0.0 if decoding else costs.decode_ms[0]
        book(n, clock[n], prompt_ms / 1e3, PROMPTS_S, 0.0, 0.0)
        if decoding:
            book(n, clock[n] + prompt_ms / 1e3, decode_ms / 1e3, DECODING_S, decoding, costs.decode_w[decoding])
        clock[n] += (prompt_ms + decode_ms) / 1e3
        for r in running[n]:
            r["left"] -= 1
            r["context"] += 0 if r.pop("new", False) else 1
        running[n] = [r for r in running[n] if r["left"] > 0]

    for r, arrival in enumerate([*asked.arrival_s, float(seconds)]):
        for n in range(num_replicas):
            while clock[n] < arrival and (queue[n] or running[n]):
                step(n)
        if r < len(asked.arrival_s):
            chosen = min(range(num_replicas), key=lambda n: len(queue[n]) + len(running[n]))
            if not queue[chosen] and not running[chosen]:
                clock[chosen] = max(clock[chosen], arrival)
            queue[chosen].append(r)
    return spent


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.floats(-2, 6), st.integers(1, 3000), st.integers(1, 60)), min_size=1, max_size=25),
    most_running=st.integers(1, 8),
    kv_tokens=st.sampled_from([200.0, 3000.0, np.inf]),
    num_replicas=st.integers(1, 3),
)
def test_seconds_are_as_in_plain_python(
    rows: list[tuple[float, int, int]], most_running: int, kv_tokens: float, num_replicas: int
) -> None:
    asked = requests(*sorted(rows))
    costs = iteration(most_running, kv_tokens)
    found = replay(asked, costs, costs.decode_w, num_replicas, 8)
    assert found == pytest.approx(plain_replay(asked, costs, num_replicas, 8), abs=1e-9)


def test_one_request_takes_its_prompt_and_a_step_per_further_token() -> None:
    costs = iteration()
    found = replay(requests((0.0, 1000, 11)), costs, costs.decode_w, 1, 3).sum(axis=(1, 2))
    prompts_s = (1000 * 0.2 + 1e-5 * 1000**2 + 20.0) / 1e3
    decoding_s = (10 * 22.0 + 0.001 * sum(range(1000, 1010))) / 1e3
    assert found[PROMPTS_S] == pytest.approx(prompts_s)
    assert found[DECODING_S] == pytest.approx(decoding_s)
    assert found[DECODING_J] == pytest.approx(decoding_s * 210)
    assert found[TOKENS] == pytest.approx(10)
    assert found[RUNNING_S] == pytest.approx(prompts_s + decoding_s)


def test_no_second_has_more_than_a_second_of_work_and_all_tokens_come_in_the_end() -> None:
    random = np.random.Generator(np.random.PCG64(1))
    count = 400
    asked = Requests(
        np.sort(random.random(count) * 100), random.integers(1, 2000, count), random.integers(1, 80, count)
    )
    found = replay(asked, iteration(), iteration().decode_w, 4, 2000)
    assert (found[PROMPTS_S] + found[DECODING_S]).max() <= 1 + 1e-9
    assert found[TOKENS].sum() == pytest.approx((asked.output_tokens - 1).sum())


def test_capacity_is_the_rate_at_which_a_queue_starts_to_grow() -> None:
    random = np.random.Generator(np.random.PCG64(2))
    count = 3000
    sizes = random.integers(50, 1500, count), random.integers(1, 60, count)
    most = capacity(Requests(np.zeros(count), *sizes), iteration())

    def work_left(load: float) -> float:
        arrival_s = np.cumsum(random.exponential(1 / (load * most.requests_per_s), count))
        seconds = int(arrival_s[-1])
        found = replay(Requests(arrival_s, *sizes), iteration(), iteration().decode_w, 1, seconds)
        return float((sizes[1] - 1).sum() - found[TOKENS].sum()) / float((sizes[1] - 1).sum())

    assert work_left(0.9) < 0.01
    assert work_left(1.25) == pytest.approx(0.2, abs=0.03)


def test_a_request_larger_than_the_cache_runs_alone() -> None:
    found = replay(requests((0.0, 500, 5), (0.0, 10, 5)), iteration(kv_tokens=100.0), iteration().decode_w, 1, 5)
    assert found[TOKENS].sum() == pytest.approx(8)
    assert found[RUNNING_S].sum() == pytest.approx(found[PROMPTS_S].sum() + found[DECODING_S].sum())  # one at a time
