"""What replays must be, whatever the engine: theory, conservation, cut-offs, determinism."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from planner.errors import InvalidInput
from planner.serving.spec import Slo
from planner.simulate import (
    Chunk,
    Failure,
    Link,
    Options,
    Pool,
    Simulation,
    Sizes,
    Traffic,
    from_arrays,
    generated,
    simulate_pools,
    traffic,
)  # fmt: skip
from planner.simulate.cluster import every_route
from planner.simulate.replay import NUM_TIME_BINS, replay
from planner.simulate.result import Latency
from planner.simulate.sketch import RELATIVE_ERROR
from tests.planner.simulate.costs import iteration
from tests.planner.simulate.test_against_reference import random_rows

SPLIT = (Pool("p", iteration(), 2, "prefill"), Pool("d", iteration(most=24), 2, "decode"))


def flow(seed: int, count: int, rate: float, **sizes: int) -> Traffic:
    return from_arrays(*np.array(random_rows(seed, count, rate, **sizes)).T)


def figures(latency: dict[str, Any]) -> list[float]:
    """All numbers of a latency in one list."""
    return [latency["mean"], latency["p99"], *(ms for _, ms in latency["distribution"])]


def same_but_for_the_clock(found: Simulation) -> dict[str, Any]:
    return found.model_dump(exclude={"wall_seconds"})


def test_waiting_is_that_of_an_m_d_1_queue() -> None:
    """One request at a time, one token each: the Pollaczek–Khinchine formula gives the mean wait, whatever the code."""
    cost = iteration(prompt=0.1, prompt_ms_per_token2=0.0, prompt_overhead_ms=0.0)
    sizes = Sizes("one", np.array([100]), np.array([1]), np.ones(1))
    service_s = (float(cost.decode_ms[0]) + 100 * 0.1) / 1e3
    for load in (0.3, 0.7):
        made = generated("poisson", sizes, requests_per_s=load / service_s, duration_s=8000.0, seed=1)
        found = simulate_pools([Pool("u", cost, 1)], made, Options(max_running=1))
        wait_s = load * service_s / (2 * (1 - load))
        assert found.ttft_ms.mean == pytest.approx(1e3 * (wait_s + service_s), rel=0.02)
        assert found.utilisation[0].utilisation == pytest.approx(load, rel=0.01)
        # Little's law for the one in service.
        assert found.utilisation[0].mean_running == pytest.approx(found.requests_per_s * service_s, rel=0.01)


def test_a_request_alone_takes_what_its_iterations_cost() -> None:
    cost = iteration()
    found = simulate_pools([Pool("u", cost, 1)], from_arrays([3.0], [5000], [11]), Options(token_budget=2048))
    ttft = 3 * float(cost.decode_ms[0]) + float(cost.prompt_ms(np.float64(5000))) + cost.prompt_overhead_ms  # 3 chunks
    steps = sum(cost.decode_ms[1] + cost.kv_ms_per_token * (5000 + i) for i in range(10))
    assert found.ttft_ms.mean == pytest.approx(ttft)
    assert found.tpot_ms.mean == pytest.approx(steps / 10)
    assert found.e2e_ms.mean == pytest.approx(ttft + steps)


@pytest.mark.parametrize("pools", [(Pool("u", iteration(kv=4000.0), 2),), SPLIT])
@pytest.mark.parametrize("routing", ["fractions", "shortest-queue"])
def test_the_same_in_chunks_of_any_size(pools: tuple[Pool, ...], routing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(
        routing=routing, mtbf_hours=0.01, repair_s=5, seed=3, start_up_s=1.0,
        failures=(Failure(unit=pools[0].unit, replica=0, at_s=4.0, for_s=2.0),),
    )  # fmt: skip
    found = []
    for size in (1, 7, 100_000):
        monkeypatch.setattr(traffic, "CHUNK", size)
        found.append(same_but_for_the_clock(simulate_pools(pools, flow(1, 300, 12.0), options, link=Link(1.0))))
    for other in found[1:]:
        for name in ("ttft_ms", "tpot_ms", "e2e_ms"):
            assert figures(other[name]) == pytest.approx(figures(found[0][name])), name
        for name in ("events", "slo_attainment", "duration_s"):
            assert other[name] == pytest.approx(found[0][name]), name
        assert other["energy_kwh"] == pytest.approx(found[0]["energy_kwh"])


def test_equal_seeds_give_equal_results_and_others_do_not() -> None:
    pools = (Pool("a", iteration(), 1), Pool("b", iteration(step=30.0), 2))
    routes = every_route(pools)
    runs = [
        simulate_pools(pools, flow(2, 400, 8.0), Options(seed=seed, mtbf_hours=0.02), routes=routes)
        for seed in (5, 5, 6)
    ]
    assert same_but_for_the_clock(runs[0]) == same_but_for_the_clock(runs[1])
    assert runs[0].e2e_ms != runs[2].e2e_ms


def test_every_request_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Completed, rejected and unfinished ones add up, in the counts and in the rows, also when slots grow."""
    told: list[np.ndarray] = []
    failures = (Failure(unit="u", replica=0, at_s=6.0, for_s=3.0), Failure(unit="u", replica=1, at_s=7.0))
    options = Options(failures=failures, grace_s=20.0, token_budget=64)
    found = simulate_pools(
        [Pool("u", iteration(kv=2500.0), 2)], flow(3, 5000, 60.0), options,
        max_context_tokens=2000, slo=Slo(ttft_ms=500), sink=lambda rows: told.append(rows.copy()),
    )  # fmt: skip
    rows = np.concatenate(told)
    assert np.array_equal(np.sort(rows["request"]), np.arange(5000))
    events = found.events
    assert events.completed + events.rejected + events.unfinished == 5000 == found.num_requests
    assert (rows["status"] == 0).sum() == events.completed > 0
    assert (rows["status"] == 4).sum() == events.unfinished > 0
    assert events.rejected_longer_than_context > 0
    assert found.slo_attainment == rows["meets_slo"].sum() / 5000
    assert not found.stable


def test_load_beyond_capacity_ends_at_the_bound_and_says_so() -> None:
    found = simulate_pools([Pool("u", iteration(), 1)], flow(4, 60_000, 1000.0), Options(max_waiting=2000))
    assert not found.stable
    assert 2000 < found.events.unfinished < 2100
    assert found.num_requests < 4000


def test_endless_traffic_beyond_capacity_ends() -> None:
    def forever() -> Any:
        t = 0.0
        while True:
            yield Chunk(t + np.arange(1000) / 1000, np.full(1000, 50), np.full(1000, 50))
            t += 1.0

    found = simulate_pools([Pool("u", iteration(), 1)], Traffic("endless", forever), Options(max_waiting=5000))
    assert not found.stable


def test_a_backlog_that_clears_only_long_after_the_traffic_is_unstable_and_a_burst_is_not() -> None:
    pools = [Pool("u", iteration(), 1)]
    burst = from_arrays(np.concatenate([np.linspace(0, 1000, 400), np.full(30, 1000.0)]), [100] * 430, [50] * 430)
    assert simulate_pools(pools, burst).stable
    overload = flow(5, 3000, 12.0)
    found = simulate_pools(pools, overload)
    assert found.events.unfinished == 0
    assert not found.stable


def test_energy_is_that_of_busy_and_idle_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over any time, also when the bins of time were merged on the way."""
    monkeypatch.setattr(traffic, "CHUNK", 5)
    cost = iteration(prompt_w=900.0, decode_w=np.full(9, 900.0))
    for seconds in (100.0, 50_000.0):
        made = from_arrays(np.linspace(0, seconds, 40), [300] * 40, [40] * 40)
        found = simulate_pools([Pool("u", cost, 3, host_w=50.0)], made)
        busy_s = 3 * found.utilisation[0].utilisation * found.duration_s
        expected = (3 * found.duration_s * (100.0 + 50.0) + busy_s * 800.0) / 3.6e6
        assert found.energy_kwh == pytest.approx(expected)
        assert found.power is not None
        watts, bin_s = np.array(found.power.power_w), found.power.bin_s
        assert len(watts) <= NUM_TIME_BINS
        length = np.minimum(bin_s, found.duration_s - bin_s * np.arange(len(watts)))
        assert (watts * length).sum() / 3.6e6 == pytest.approx(expected)
        assert found.mean_power_w == pytest.approx(3.6e6 * expected / found.duration_s)
        assert watts.max() <= 3 * 950.0 + 1e-6
        near = watts[: len(watts) // 10 * 10].reshape(10, -1).mean(axis=1)  # traffic is even over time
        assert near.max() < 1.1 * near.min()


def test_unknown_power_is_not_told() -> None:
    cost = iteration(idle_w=math.nan, prompt_w=math.nan, decode_w=np.full(9, math.nan))
    found = simulate_pools([Pool("u", cost, 1)], flow(6, 20, 1.0))
    assert (found.energy_kwh, found.power, found.utilisation[0].mean_power_w) == (None, None, None)


def test_the_warm_up_is_replayed_and_not_measured() -> None:
    told: list[np.ndarray] = []
    pools, options = [Pool("u", iteration(), 1)], Options(warm_up_s=20.0, start_up_s=15.0)
    found = simulate_pools(
        pools, flow(7, 200, 4.0), options, slo=Slo(ttft_ms=800), sink=lambda rows: told.append(rows.copy())
    )
    rows = np.concatenate(told)
    measured = rows[rows["arrival_s"] >= 20.0]
    assert 0 < len(measured) < 200 == found.num_requests
    assert found.ttft_ms.mean == pytest.approx(measured["ttft_ms"].mean())
    assert found.slo_attainment == measured["meets_slo"].mean()
    assert found.requests_per_s == pytest.approx(len(measured) / (rows["arrival_s"].max() - 20.0))
    with pytest.raises(InvalidInput, match="none is measured"):
        simulate_pools(pools, flow(7, 200, 4.0), Options(warm_up_s=1e6))


def test_attainment_asks_for_every_limit() -> None:
    told: list[np.ndarray] = []
    slo = Slo(ttft_ms=150, tpot_ms=26, e2e_ms=4000)
    found = simulate_pools(
        [Pool("u", iteration(), 2)], flow(8, 300, 3.0), slo=slo, sink=lambda rows: told.append(rows.copy())
    )
    rows = np.concatenate(told)
    tpot = np.nan_to_num((rows["e2e_ms"] - rows["ttft_ms"]) / np.maximum(rows["output_tokens"] - 1, 1))
    good = (rows["ttft_ms"] <= 150) & (tpot <= 26) & (rows["e2e_ms"] <= 4000)
    assert 0.1 < found.slo_attainment == good.mean() < 0.9
    assert found.goodput_requests_per_s == pytest.approx(good.sum() / rows["arrival_s"].max())


def test_distributions_are_those_of_the_single_requests() -> None:
    told: list[np.ndarray] = []
    found = simulate_pools([Pool("u", iteration(), 2)], flow(8, 300, 3.0), sink=lambda rows: told.append(rows.copy()))
    rows = np.concatenate(told)
    for name in ("ttft_ms", "e2e_ms"):
        latency = getattr(found, name)
        share, value = np.array(latency.distribution).T
        slowest_last = np.sort(rows[name])
        exact = slowest_last[(share * (len(rows) - 1)).astype(int)]
        np.testing.assert_allclose(value, exact, rtol=1.001 * RELATIVE_ERROR)
        assert (share[0], share[-1]) == (0, 1)
        assert (np.diff(share) > 0).all()
        assert (np.diff(value) >= 0).all()
        assert dict(latency.distribution)[0.5] == round(latency.p50, 3)


def test_distributions_of_nothing_are_empty_and_all_are_short() -> None:
    found = simulate_pools([Pool("u", iteration(), 2)], flow(8, 300, 3.0, output=2))  # one token each
    assert found.tpot_ms == Latency(p50=None, p90=None, p95=None, p99=None, mean=None)
    assert 1000 < len(found.ttft_ms.model_dump_json() + found.e2e_ms.model_dump_json()) < 3000


def test_fractions_split_between_units_and_the_shortest_queue_within() -> None:
    pools = (Pool("a", iteration(), 2), Pool("b", iteration(), 2))
    told: list[np.ndarray] = []
    sizes = every_route(pools)
    found = replay(pools, sizes, flow(9, 4000, 5.0, output=20), Options(), sink=lambda rows: told.append(rows.copy()))
    rows = np.concatenate(told)
    counts = np.bincount(rows["replica"], minlength=4)
    assert counts[:2].sum() / 4000 == pytest.approx(0.5, abs=0.03)
    assert abs(counts[0] - counts[1]) < 0.1 * counts[:2].sum()
    assert found.replicas["num_completed"].tolist() == counts.tolist()


def test_overlapped_transfers_are_never_slower_and_a_fast_link_costs_nothing() -> None:
    made = flow(10, 300, 8.0)
    serial, layered, fast = (
        simulate_pools(SPLIT, made, link=link) for link in (Link(0.5), Link(0.5, layers=80), Link(1e6))
    )
    assert serial.e2e_ms.mean is not None
    assert layered.e2e_ms.mean is not None
    assert fast.e2e_ms.mean is not None
    assert serial.e2e_ms.mean > layered.e2e_ms.mean > fast.e2e_ms.mean
    for other in (layered, fast):  # the first token comes from the prefill replica
        assert figures(other.ttft_ms.model_dump()) == pytest.approx(figures(serial.ttft_ms.model_dump()))


def test_what_makes_no_cluster() -> None:
    made = flow(11, 5, 1.0)
    with pytest.raises(ValueError, match="names of pools must differ"):
        simulate_pools([Pool("u", iteration(), 1)] * 2, made)
    with pytest.raises(ValueError, match="needs a link"):
        simulate_pools(SPLIT, made)
    with pytest.raises(ValueError, match="prefill pools need decode pools"):
        simulate_pools(SPLIT[:1], made)
    with pytest.raises(ValueError, match="at least one replica"):
        Pool("u", iteration(), 0)
    with pytest.raises(ValueError, match="positive time"):
        Pool("u", iteration(step=-5.0), 1)
    with pytest.raises(InvalidInput, match="no requests"):
        simulate_pools([Pool("u", iteration(), 1)], from_arrays([], [], []))
    back = Traffic("back", lambda: iter([Chunk(np.array([2.0, 1.0]), np.array([1, 1]), np.array([1, 1]))]))
    with pytest.raises(ValueError, match="order of time"):
        simulate_pools([Pool("u", iteration(), 1)], back)


def test_progress_goes_up_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "CHUNK", 50)
    sizes = Sizes("one", np.array([100]), np.array([10]), np.ones(1))
    by_time = generated("poisson", sizes, requests_per_s=300.0, duration_s=30.0)
    for made in (flow(12, 400, 5.0), by_time):
        shares: list[float] = []
        simulate_pools([Pool("u", iteration(), 1)], made, progress=shares.append)
        assert shares == sorted(shares)
        assert len(shares) > 1
        assert shares[-1] == pytest.approx(1.0, abs=0.01)
