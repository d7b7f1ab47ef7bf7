"""The cost of a mapping: by hand, against a second reading of its definition, and as the compiled search keeps it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InvalidInput
from planner.program import Ints
from planner.training.anneal import anneal, seconds_of
from planner.training.block_cost import empty_state
from planner.training.blocks import block_sizes, blocks_of, slots_of
from planner.training.communication import Degrees, Traffic, step_seconds
from planner.training.fabric import Fabric, fabric_of_nodes
from tests.planner.training.test_mapping import problems

Message = tuple[int, int]


def times(fabric: Fabric, messages: list[Message]) -> list[float]:
    """Seconds per GB of each message (sender, receiver) of a phase, one after another from the definition."""
    result = []
    for sender, receiver in messages:
        here, there = fabric.node[sender], fabric.node[receiver]
        if here == there:
            share = sum(i == sender and fabric.node[j] == here for i, j in messages)
        else:
            leaving = sum(fabric.node[i] == here != fabric.node[j] for i, j in messages)
            entering = sum(fabric.node[i] != there == fabric.node[j] for i, j in messages)
            share = max(1, max(leaving, entering) / fabric.num_nics)
        result.append(share / fabric.gb_per_s[sender, receiver])
    return result


def seconds_by_definition(grid: Ints, degrees: Degrees, fabric: Fabric, traffic: Traffic) -> float:
    """Communication of a step, with loops."""
    tp, cp, dp, pp, ep = degrees.tp, degrees.cp, degrees.dp, degrees.pp, degrees.ep
    everyone = [(s, d, c, t) for s in range(pp) for d in range(dp) for c in range(cp) for t in range(tp)]
    total = 0.0
    if tp > 1:
        hops = [(grid[s, d, c, t], grid[s, d, c, (t + 1) % tp]) for s, d, c, t in everyone]
        total += traffic.tp_times * 2 * (tp - 1) / tp * traffic.tp_gb * max(times(fabric, hops))
    if cp > 1:
        hops = [(grid[s, d, c, t], grid[s, d, (c + 1) % cp, t]) for s, d, c, t in everyone]
        total += traffic.cp_times * (cp - 1) * traffic.cp_gb * max(times(fabric, hops))
    if (n := dp * cp) > 1:
        hops, gb = [], []
        for s, d, c, t in everyone:
            after = (c + cp * d + 1) % n
            hops.append((grid[s, d, c, t], grid[s, after // cp, after % cp, t]))
            gb.append(traffic.per_stage("dp_gb", pp)[s])
        total += 2 * (n - 1) / n * max(g * time for g, time in zip(gb, times(fabric, hops), strict=True))
    if ep > 1:
        groups = grid.reshape(-1, ep).tolist()
        hops = [(i, j) for group in groups for i in group for j in group if i != j]
        total += traffic.ep_times * traffic.ep_gb / ep * max(times(fabric, hops))
    if pp > 1:
        chain = dict.fromkeys([rank[1:] for rank in everyone], 0.0)
        for step in (1, -1):
            senders = [rank for rank in everyone if 0 <= rank[0] + step < pp]
            hops = [(grid[rank], grid[(rank[0] + step, *rank[1:])]) for rank in senders]
            for rank, time in zip(senders, times(fabric, hops), strict=True):
                chain[rank[1:]] += time
        total += traffic.p2p_times * traffic.p2p_gb * max(chain.values())
    return total


def test_rings_of_a_node_share_its_nic() -> None:
    """Two nodes of two GPUs, TP 2 inside, DP 2 between: two rings on one NIC, or each on its own."""
    degrees, traffic = Degrees(tp=2, dp=2), Traffic(tp_gb=0.1, tp_times=10, dp_gb=np.array([4.0]))
    for num_nics, dp_s in ((1, 4.0 * 2 / 10), (2, 4.0 / 10)):
        fabric = fabric_of_nodes(np.full((2, 2), 10.0), 2, 100.0, num_nics=num_nics)
        seconds = step_seconds(np.arange(4).reshape(1, 2, 1, 2), degrees, fabric, traffic)
        assert seconds.dp_s == pytest.approx(dp_s)
        assert seconds.tp_s == pytest.approx(10 * 0.1 / 100)


def test_a_chain_pays_there_and_back() -> None:
    rates = np.array([[1.0, 10.0, 1.0], [20.0, 1.0, 5.0], [1.0, 4.0, 1.0]])
    seconds = step_seconds(
        np.arange(3).reshape(3, 1, 1, 1), Degrees(pp=3), fabric_of_nodes(rates, 1, 1.0),
        Traffic(p2p_gb=0.5, p2p_times=8),
    )  # fmt: skip
    assert seconds.p2p_s == pytest.approx(8 * 0.5 * (1 / 10 + 1 / 20 + 1 / 5 + 1 / 4))


@settings(max_examples=60, deadline=None)
@given(problems(), st.integers(0, 2**32))
def test_the_cost_is_that_of_the_definition(problem, seed) -> None:
    degrees, fabric, traffic = problem
    grid = np.random.default_rng(seed).permutation(fabric.num_gpus)[: degrees.world]
    grid = grid.reshape(degrees.pp, degrees.dp, degrees.cp, degrees.tp)
    seconds = step_seconds(grid, degrees, fabric, traffic)
    expected = seconds_by_definition(grid, degrees, fabric, traffic)
    assert seconds.total_s - seconds.compute_s == pytest.approx(expected)


@settings(max_examples=80, deadline=None)
@given(problems(), st.sampled_from(["none", "layers", "batches"]), st.integers(0, 2**32))
def test_the_search_keeps_the_cost_up_to_date(problem, uneven, seed) -> None:
    """After hundreds of moves, what it believes is the cost of where it is; blocks never look faster than they are."""
    degrees, fabric, traffic = problem
    for size in block_sizes(degrees, fabric):
        slots = slots_of(fabric, size)
        blocks = blocks_of(degrees, fabric, traffic, slots, uneven)
        state, other = empty_state(blocks, seed), empty_state(blocks, seed)
        start = np.random.default_rng(seed).permutation(len(slots.node))
        best = np.empty_like(start)
        first = seconds_of(blocks, state, start)
        least = anneal(blocks, state, best, np.full(300, 0.1 * first))
        again = seconds_of(blocks, other, state.slot.copy())
        for name in ("leaving", "entering", "seconds", "at"):
            np.testing.assert_allclose(getattr(state, name), getattr(other, name))
        assert again >= least
        for slot, believed in ((start, first), (best, least)):
            grid = slots.gpus[slot[: degrees.world // size]].reshape(degrees.pp, degrees.dp, degrees.cp, degrees.tp)
            seconds = step_seconds(grid, degrees, fabric, traffic, uneven)
            actual = seconds.total_s - (seconds.compute_s if blocks.uneven < 0 else 0.0)
            assert believed == pytest.approx(actual) if slots.alike or size == 1 else believed >= actual - 1e-9


def test_bad_links_name_the_field() -> None:
    good = np.full((2, 2), 10.0)
    for wrong in (np.ones((2, 3)), np.ones(4), np.ones((0, 0)), np.float64(3)):
        with pytest.raises(InvalidInput) as caught:
            fabric_of_nodes(wrong, 8, 100.0)
        assert caught.value.field == "gb_per_s"
    for rate in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InvalidInput) as caught:
            fabric_of_nodes(np.array([[0.0, 10.0], [rate, 0.0]]), 8, 100.0)
        assert caught.value.field == "gb_per_s[1][0]"
    for field, call in {
        "gpus_per_node": lambda: fabric_of_nodes(good, np.array([8, 8, 8]), 100.0),
        "within_gb_per_s": lambda: fabric_of_nodes(good, 8, -1.0),
        "speed": lambda: fabric_of_nodes(good, 8, 100.0, speed=np.array([1.0, 0.0])),
        "num_nics": lambda: fabric_of_nodes(good, 8, 100.0, num_nics=0),
        "gb_per_s": lambda: Fabric(good, np.array([0, 0, 1])),
        "node": lambda: Fabric(good, np.array([0, 2])),
    }.items():
        with pytest.raises(InvalidInput) as caught:
            call()
        assert caught.value.field == field
    with pytest.raises(InvalidInput, match="at most 4096"):
        Fabric(good, np.zeros(9000, dtype=int))
