"""Balanced placements against brute force, EPLB, and their own bounds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.experts.balance import balance, scaled
from planner.experts.copies import counted, listed, water_fill
from planner.experts.eplb import greedy_global, greedy_hierarchical
from planner.experts.measure import balancedness
from planner.experts.model import solve_layer
from planner.experts.packing import pack
from planner.experts.placement import even_share, held_of
from planner.types import SolveOptions


def every_choice(num_experts: int, num_slots: int) -> Iterator[tuple[int, ...]]:
    """Every number of copies per expert, one at least."""
    for cuts in itertools.combinations(range(1, num_slots), num_experts - 1):
        edges = (0, *cuts, num_slots)
        yield tuple(b - a for a, b in itertools.pairwise(edges))


def coolest_hottest(load: np.ndarray, num_gpus: int, num_slots: int) -> float:
    """Brute force: the least load of the hottest GPU over all copies and packings of one layer."""
    per_gpu = num_slots // num_gpus
    best = float("inf")
    for copies in every_choice(load.size, num_slots):
        share = load / copies

        @cache
        def packed(left: tuple[int, ...], share: np.ndarray = share) -> float:  # type: ignore[assignment]
            if not any(left):
                return 0.0
            first = next(i for i, n in enumerate(left) if n)
            options = []
            for rest in itertools.combinations_with_replacement(range(first, len(left)), per_gpu - 1):
                after = list(left)
                for expert in (first, *rest):
                    after[expert] -= 1
                if min(after) >= 0:
                    options.append(max(float(share[[first, *rest]].sum()), packed(tuple(after))))
            return min(options, default=float("inf"))

        best = min(best, packed(copies))
    return best


@pytest.mark.parametrize(
    ("experts", "gpus", "slots"), [(4, 2, 4), (4, 2, 6), (5, 3, 6), (6, 3, 6), (8, 4, 8), (6, 4, 8)]
)
def test_equals_brute_force_on_small_cases(plan_of, experts, gpus, slots):
    rng = np.random.default_rng(experts * slots)
    counts = rng.gamma(0.7, 1000, (4, experts)).astype(int) + 1
    plan = plan_of(topology={"gpus": gpus, "slots_per_gpu": slots // gpus}, workloads=[{"counts": counts.tolist()}])
    ideal = np.mean([1 / coolest_hottest(row, gpus, slots) for row in scaled(counts.astype(float), gpus)])
    assert plan.balancedness == pytest.approx(ideal, abs=1e-6)
    assert plan.outcome == "optimal"
    assert plan.bound == pytest.approx(ideal, abs=1e-4)


def test_the_program_alone_equals_brute_force():
    load = scaled(np.random.default_rng(3).gamma(0.7, 1.0, (1, 5)), 3)
    exact = solve_layer(load, np.ones(1), 3, 6, SolveOptions(time_limit_s=20, gap=1e-9))
    assert exact is not None
    assert exact.proven
    assert exact.hottest == pytest.approx(coolest_hottest(load[0], 3, 6), abs=1e-6)
    assert (exact.held.sum(axis=0) == 2).all()


def test_water_filling_is_optimal_for_the_hottest_copy():
    rng = np.random.default_rng(5)
    for _ in range(20):
        load = rng.gamma(0.5, 1.0, 5)
        best = min((load / np.array(copies)).max() for copies in every_choice(5, 9))
        copies = water_fill(load[None], 9)[0]
        assert copies.sum() == 9
        assert (load / copies).max() == pytest.approx(best)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(2, 12), st.integers(1, 8), st.integers(0, 5), st.integers(0, 10**6))
def test_places_every_expert_between_bound_and_greedy(layers, gpus, least, more, seed):
    rng = np.random.default_rng(seed)
    num_slots = gpus * least
    num_experts = max(least, num_slots - more)
    load = rng.gamma(rng.uniform(0.2, 3), 1.0, (layers, num_experts)) + 1e-6
    placed = balance(load, gpus, num_slots)
    assert placed.expert.shape == (layers, gpus, least)
    assert (counted(placed.expert.reshape(layers, -1), num_experts) >= 1).all()
    held = held_of(placed.expert, num_experts, gpus)
    hottest = (even_share(held) * scaled(load, gpus)[:, :, None]).sum(axis=1).max(axis=1)
    np.testing.assert_allclose(hottest, placed.hottest, rtol=1e-9)
    assert (placed.hottest >= placed.bound - 1e-9).all()


def test_beats_the_greedy_and_repeats_itself():
    load = np.random.default_rng(1).gamma(0.6, 1.0, (6, 64))
    placed = balance(load, 8, 80)
    again = balance(load, 8, 80)
    np.testing.assert_array_equal(placed.expert, again.expert)
    greedy = even_share(held_of(greedy_global(load, 8, 80), 64, 8))
    assert (1 / placed.hottest).mean() > balancedness(scaled(load, 8)[None], greedy)[0]
    assert (1 / placed.hottest).mean() > 0.995


def test_packing_keeps_every_copy():
    rng = np.random.default_rng(2)
    load = rng.gamma(1.0, 1.0, (3, 10))
    expert = listed(water_fill(load, 24))
    share = np.take_along_axis(load / counted(expert, 10), expert, axis=1)
    packing = pack(expert, share, 6, np.zeros(3), num_rounds=20, seed=0)
    np.testing.assert_array_equal(np.sort(packing.expert.reshape(3, -1), axis=1), np.sort(expert, axis=1))
    np.testing.assert_allclose(packing.load.sum(axis=(1, 2)), load.sum(axis=1))


def test_hierarchical_greedy_keeps_groups_on_nodes():
    load = np.random.default_rng(4).gamma(0.6, 1.0, (3, 32))
    slots = greedy_hierarchical(load, 8, 40, num_nodes=4, num_groups=8)
    groups = (slots // 4).reshape(3, 4, 10)
    for layer in groups:
        assert all(len(set(node)) == 2 for node in layer)
        assert sorted(g for node in layer for g in set(node)) == list(range(8))


def test_two_slots_exchange_copies_better_than_water_filling():
    load = np.random.default_rng(6).gamma(1.5, 1.0, (8, 60))
    placed = balance(load, 36, 72)
    copies = water_fill(load, 72)
    share = np.sort(np.take_along_axis(scaled(load, 36) / copies, listed(copies), axis=1), axis=1)
    folded = (share[:, :36] + share[:, ::-1][:, :36]).max(axis=1)
    assert (placed.hottest <= folded + 1e-6).all()
    assert placed.hottest.mean() < folded.mean()
