"""The compiled replay and the slow one agree, request by request."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.simulate.cluster import Failure, Link, Options, Pool, every_route
from planner.simulate.replay import Replayed, replay
from planner.simulate.state import STATUS
from planner.simulate.traffic import from_arrays
from tests.planner.simulate.costs import iteration
from tests.planner.simulate.reference import Reference

STATUS_OF = {
    "completed": "completed", "too long": "rejected: longer than the context",
    "too large": "rejected: larger than the KV cache", "no replica": "rejected: no replica",
}  # fmt: skip


def both(
    pools: tuple[Pool, ...], rows: list[tuple[float, int, int]], options: Options, link: Link | None = None,
    longest: float = math.inf,
) -> tuple[Any, Reference, Replayed]:  # fmt: skip
    """Rows of the fast replay in the order of the traffic, and the slow replay, compared."""
    told: list[np.ndarray] = []
    routes = every_route(pools)
    options = options.model_copy(update={"routing": "shortest-queue", "grace_s": 1e7})
    traffic = from_arrays(*np.array(rows).T)
    fast = replay(
        pools, routes, traffic, options, link=link, max_context_tokens=longest, sink=lambda r: told.append(r.copy())
    )
    slow = Reference(pools, routes, options, link, longest)
    expected = slow.run(rows)
    found = np.sort(np.concatenate(told), order="request")
    assert found["request"].tolist() == list(range(len(rows)))
    assert [STATUS[status] for status in found["status"]] == [STATUS_OF[r.status] for r in expected]
    assert found["retries"].tolist() == [r.retries for r in expected]
    assert found["preemptions"].tolist() == [r.preemptions for r in expected]
    done = [r for r in expected if r.status == "completed"]
    at = [r.index for r in done]
    np.testing.assert_allclose(found["ttft_ms"][at], [1e3 * (r.first - r.arrival) for r in done], rtol=1e-7)
    np.testing.assert_allclose(found["e2e_ms"][at], [1e3 * (r.end - r.arrival) for r in done], rtol=1e-7)
    assert [(f if d < 0 else d) for f, d in zip(found["replica"][at], found["decode_replica"][at], strict=True)] == [
        r.replicas[-1] for r in done
    ]
    assert fast.tally["preempted"][0] == slow.preempted
    return found, slow, fast


def random_rows(seed: int, count: int, rate: float, longest: int = 3000, output: int = 200) -> list[Any]:
    random = np.random.default_rng(seed)
    times = np.cumsum(random.exponential(1 / rate, count))
    tokens_in = np.minimum(np.exp(random.normal(5.5, 1.2, count)).astype(int) + 1, longest)
    tokens_out = random.integers(1, output, count)
    return [*zip(times.tolist(), tokens_in.tolist(), tokens_out.tolist(), strict=True)]


@pytest.mark.parametrize("rate", [0.5, 4.0, 40.0])
@pytest.mark.parametrize("budget", [64, 512, 2048])
def test_unified(rate: float, budget: int) -> None:
    _, slow, fast = both((Pool("u", iteration(), 3),), random_rows(1, 150, rate), Options(token_budget=budget))
    busy = [replica.busy_s for replica in slow.replicas]
    np.testing.assert_allclose(fast.replicas["busy_s"], busy, rtol=1e-7)
    np.testing.assert_allclose(fast.bins[0, :, 0].sum(), sum(busy), rtol=1e-7)
    np.testing.assert_allclose(fast.bins[0, :, 1].sum(), sum(r.energy_j for r in slow.replicas), rtol=1e-7)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_kv_cache_limits_and_preempts(share: float) -> None:
    pools = (Pool("u", iteration(most=32, kv=3300.0, share=share), 2),)
    found, _, fast = both(pools, random_rows(2, 200, 20.0), Options())
    assert (fast.tally["preempted"][0] > 0) == (share < 1)
    assert (found["preemptions"] > 0).any() == (share < 1)


def test_requests_that_never_fit_are_rejected() -> None:
    pools = (Pool("small", iteration(kv=700.0), 1), Pool("large", iteration(kv=2000.0), 1))
    rows = [(0.0, 500, 100), (0.1, 900, 100), (0.2, 2500, 10), (0.3, 10_000_000, 1), (0.4, 1, 1999), (0.5, 1, 2000)]
    found, _, fast = both(pools, rows, Options(), longest=9_000_000)
    assert fast.tally["too_large"][0] == 2
    assert fast.tally["too_long"][0] == 1
    assert found["replica"][1] == 1


def test_decoding_has_the_budget_before_prompts() -> None:
    both((Pool("u", iteration(most=40), 1),), random_rows(3, 120, 50.0), Options(token_budget=16))


@pytest.mark.parametrize("layers", [1, 80])
@pytest.mark.parametrize("gb_per_s", [0.5, 50.0])
def test_split(layers: int, gb_per_s: float) -> None:
    pools = (
        Pool("p", iteration(prompt=0.03), 2, "prefill"), Pool("d", iteration(most=24, kv=6000.0), 2, "decode"),
    )  # fmt: skip
    _, _, fast = both(pools, random_rows(4, 200, 10.0), Options(), Link(gb_per_s, 2.0, layers))
    assert fast.tally["transferred"][0] > 150


def test_split_beside_unified_with_start_up_and_failures() -> None:
    pools = (
        Pool("p", iteration(), 2, "prefill"), Pool("u", iteration(step=30.0), 2), Pool("d", iteration(), 2, "decode"),
    )  # fmt: skip
    failures = (
        Failure(unit="p", replica=1, at_s=5.0, for_s=4.0), Failure(unit="u", replica=0, at_s=6.0),
        Failure(unit="d", replica=0, at_s=7.0, for_s=3.0), Failure(unit="d", replica=1, at_s=8.0, for_s=3.0),
    )  # fmt: skip
    found, _, fast = both(
        pools, random_rows(5, 200, 10.0), Options(start_up_s=1.5, failures=failures), Link(2.0, 200.0)
    )
    assert fast.tally["failures"][0] == 4
    assert fast.tally["retried"][0] == found["retries"].sum() > 4


def test_a_second_failure_does_not_shorten_the_first() -> None:
    failures = (Failure(unit="u", replica=0, at_s=3.0, for_s=9.0), Failure(unit="u", replica=0, at_s=5.0, for_s=1.0))
    both((Pool("u", iteration(), 2),), random_rows(7, 150, 10.0), Options(failures=failures))


def test_when_every_replica_is_gone_for_good_requests_are_rejected_not_lost() -> None:
    failures = tuple(Failure(unit="u", replica=i, at_s=2.0 + i) for i in range(2))
    found, _, fast = both((Pool("u", iteration(), 2),), random_rows(6, 100, 10.0), Options(failures=failures))
    assert fast.tally["no_replica"][0] == (found["status"] == 3).sum() > 50


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_cluster(data: st.DataObject) -> None:
    """Pools, traffic, budgets and failures of every kind."""
    number = data.draw(st.integers(0, 10_000))
    random = np.random.default_rng(number)

    def pool(name: str, role: Any) -> Pool:
        cost = iteration(
            most=int(random.integers(1, 20)), kv=float(random.choice([math.inf, 400.0, 1500.0])),
            share=float(random.choice([0.0, 0.5, 1.0])), step=float(random.uniform(5, 40)),
            prompt=float(random.uniform(0.01, 0.3)), kv_ms_per_token=float(random.choice([0.0, 1e-3])),
        )  # fmt: skip
        return Pool(name, cost, int(random.integers(1, 4)), role)

    kind = data.draw(st.sampled_from(["unified", "two", "split", "both"]))
    pools = {
        "unified": lambda: (pool("a", "unified"),),
        "two": lambda: (pool("a", "unified"), pool("b", "unified")),
        "split": lambda: (pool("p", "prefill"), pool("d", "decode")),
        "both": lambda: (pool("p", "prefill"), pool("a", "unified"), pool("d", "decode"), pool("e", "decode")),
    }[kind]()
    failures = [
        Failure(unit=p.unit, replica=r, at_s=float(random.uniform(0, 8)), for_s=float(random.uniform(0.1, 5)))
        for p in pools for r in range(p.replicas) if data.draw(st.booleans())
    ]  # fmt: skip
    options = Options(
        token_budget=data.draw(st.sampled_from([1, 7, 100, 2048])), failures=tuple(failures),
        max_running=data.draw(st.sampled_from([None, 1, 3])), start_up_s=data.draw(st.sampled_from([0.0, 2.0])),
    )  # fmt: skip
    rate = data.draw(st.sampled_from([1.0, 10.0, 300.0]))
    link = Link(float(random.uniform(0.05, 50)), float(random.choice([0.0, 30.0])), int(random.choice([1, 32])))
    # Replicas that start together and read prompts of one length end them at once but for rounding: no two are alike.
    lengths = random.permutation(np.arange(1, 601))
    rows = [
        (at, int(n), out) for (at, _, out), n in zip(random_rows(number, 60, rate, output=60), lengths, strict=False)
    ]
    both(pools, rows, options, link)
