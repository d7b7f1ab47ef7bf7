"""Mappings: bijections, never worse than fixed orders, optimal where all can be tried, never below the bound."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InvalidInput
from planner.program import Floats
from planner.training.bound import bound_seconds
from planner.training.communication import Degrees, Traffic, step_seconds
from planner.training.fabric import Fabric, fabric_of_nodes
from planner.training.mapping import Mapping, map_ranks

TRAFFIC = Traffic(tp_gb=0.05, tp_times=200, p2p_gb=0.0125, p2p_times=16, dp_gb=np.array([1.2]))


def spread(num_nodes: int, seed: int, slow: int = 2) -> Floats:
    """Rates between nodes, even in both directions: ±40% around 50 GB/s, some links at a fifth."""
    rng = np.random.default_rng(seed)
    rates = np.triu(50 * rng.uniform(0.6, 1.4, (num_nodes, num_nodes)), 1)
    for _ in range(slow):
        i, j = sorted(rng.choice(num_nodes, 2, replace=False))
        rates[i, j] /= 5
    return rates + rates.T


def grid_of(mapping: Mapping, degrees: Degrees) -> np.ndarray:
    return mapping.gpu_of_rank.reshape(degrees.pp, degrees.dp, degrees.cp, degrees.tp)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Degrees, Fabric, Traffic]:
    """Small clusters of every kind: uneven nodes, uneven links inside nodes, idle GPUs, mixed speeds."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    num_nodes = draw(st.integers(1, 4))
    counts = rng.integers(1, 5, num_nodes)
    speed = rng.uniform(0.5, 1, num_nodes) if draw(st.booleans()) else None
    fabric = fabric_of_nodes(
        rng.uniform(1, 10, (num_nodes, num_nodes)), counts, rng.uniform(10, 50), num_nics=draw(st.integers(1, 2)),
        speed=speed,
    )  # fmt: skip
    if draw(st.booleans()):
        noise = rng.uniform(0.5, 1, fabric.gb_per_s.shape)
        fabric = Fabric(fabric.gb_per_s * noise, fabric.node, fabric.num_nics, fabric.speed)
    tp = draw(st.integers(1, min(8, fabric.num_gpus)))
    cp = draw(st.integers(1, min(3, fabric.num_gpus // tp)))
    dp = draw(st.integers(1, min(4, fabric.num_gpus // tp // cp)))
    pp = draw(st.integers(1, min(4, fabric.num_gpus // tp // cp // dp)))
    ep = draw(st.sampled_from([k for k in range(1, tp * cp * dp + 1) if tp * cp * dp % k == 0]))
    gb = rng.uniform(0, 1, 4) * (rng.random(4) < 0.8)
    traffic = Traffic(
        tp_gb=gb[0], tp_times=3, cp_gb=gb[1], cp_times=2, ep_gb=gb[2], ep_times=4, p2p_gb=gb[3], p2p_times=5,
        dp_gb=rng.uniform(0, 1, pp), stage_s=rng.uniform(0, 2, pp) if draw(st.booleans()) else np.zeros(1),
    )  # fmt: skip
    return Degrees(tp, cp, dp, pp, ep), fabric, traffic


@settings(max_examples=25, deadline=None)
@given(problems(), st.sampled_from(["none", "layers", "batches"]))
def test_a_mapping_is_a_bijection_between_the_bound_and_the_fixed_orders(problem, uneven) -> None:
    degrees, fabric, traffic = problem
    found = map_ranks(degrees, fabric, traffic, uneven=uneven, time_limit_s=0.2)
    assert len(np.unique(found.gpu_of_rank)) == degrees.world
    assert set(found.gpu_of_rank) <= set(range(fabric.num_gpus))
    again = step_seconds(grid_of(found, degrees), degrees, fabric, traffic, uneven)
    assert again == found.seconds
    assert found.seconds.total_s <= found.best_simple_seconds.total_s <= found.default_seconds.total_s
    assert found.bound_seconds <= found.seconds.total_s * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(problems(), st.integers(0, 2**32))
def test_no_mapping_at_all_is_below_the_bound(problem, seed) -> None:
    degrees, fabric, traffic = problem
    bound = bound_seconds(degrees, fabric, traffic)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        grid = rng.permutation(fabric.num_gpus)[: degrees.world]
        grid = grid.reshape(degrees.pp, degrees.dp, degrees.cp, degrees.tp)
        assert bound <= step_seconds(grid, degrees, fabric, traffic).total_s * (1 + 1e-9)


@pytest.mark.parametrize(
    ("degrees", "num_nodes", "gpus_per_node"),
    [(Degrees(dp=3, pp=2), 6, 1), (Degrees(dp=2, pp=2), 6, 1), (Degrees(dp=4), 3, 2), (Degrees(cp=2, dp=3, ep=6), 3, 2),
     (Degrees(tp=2, dp=3), 3, 2), (Degrees(pp=6), 6, 1)],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
def test_small_clusters_are_mapped_optimally(degrees, num_nodes, gpus_per_node, seed) -> None:
    fabric = fabric_of_nodes(spread(num_nodes, seed), gpus_per_node, 80.0)
    traffic = Traffic(
        tp_gb=0.05, tp_times=200, cp_gb=0.01, cp_times=9, ep_gb=0.02, ep_times=7, p2p_gb=0.1, p2p_times=3,
        dp_gb=np.linspace(1, 1.5, degrees.pp),
    )  # fmt: skip
    shape = degrees.pp, degrees.dp, degrees.cp, degrees.tp
    best = min(
        step_seconds(np.array(chosen).reshape(shape), degrees, fabric, traffic).total_s
        for chosen in itertools.permutations(range(fabric.num_gpus), degrees.world)
    )
    found = map_ranks(degrees, fabric, traffic, seed=seed)
    assert found.seconds.total_s == pytest.approx(best)
    assert found.bound_seconds <= best * (1 + 1e-9)


def test_all_of_eight_nodes_are_covered() -> None:
    degrees = Degrees(tp=8, dp=2, pp=4)
    found = map_ranks(degrees, fabric_of_nodes(spread(8, 0), 8, 200.0), TRAFFIC)
    assert found.proven
    assert found.seconds.total_s < found.best_simple_seconds.total_s


@pytest.mark.parametrize(
    ("degrees", "num_nodes", "gpus_per_node", "size"),
    [(Degrees(tp=4, dp=2, pp=6), 6, 8, 4), (Degrees(tp=8, pp=4), 6, 8, 8), (Degrees(tp=16, dp=2, pp=2), 8, 8, 8),
     (Degrees(tp=4, cp=2, dp=2, pp=2), 4, 8, 4), (Degrees(tp=6, dp=2, pp=2), 4, 8, 6), (Degrees(tp=6, dp=5), 4, 8, 2),
     (Degrees(tp=2, dp=4, pp=3, ep=8), 3, 8, 2), (Degrees(tp=8, cp=4, dp=1, pp=2), 8, 8, 8)],
)  # fmt: skip
def test_groups_that_fit_stay_on_one_node(degrees, num_nodes, gpus_per_node, size) -> None:
    fabric = fabric_of_nodes(spread(num_nodes, 1), gpus_per_node, 200.0)
    found = map_ranks(degrees, fabric, TRAFFIC)
    assert found.block_size == size
    nodes = fabric.node[found.gpu_of_rank].reshape(-1, size)
    assert (nodes == nodes[:, :1]).all()


def test_slow_links_are_left_alone() -> None:
    """Eight nodes in a ring of fast links, all other links slow: a ring of replicas has one good order."""
    order = np.random.default_rng(3).permutation(8)
    rates = np.full((8, 8), 1.0)
    for here, there in zip(order, np.roll(order, 1), strict=True):
        rates[here, there] = rates[there, here] = 50.0
    degrees = Degrees(tp=8, dp=8)
    traffic = Traffic(tp_gb=0.05, tp_times=2000, dp_gb=np.array([1.2]))
    found = map_ranks(degrees, fabric_of_nodes(rates, 8, 200.0), traffic)
    hops = 2 * 7 / 8 * 1.2 * 8 / 50  # eight rings share the NIC
    assert found.seconds.dp_s == pytest.approx(hops)
    assert found.bound_seconds == pytest.approx(found.seconds.total_s)


def test_the_slowest_nodes_stay_idle() -> None:
    rates = spread(6, 0, slow=0)
    rates[2, :], rates[:, 2] = 5.0, 5.0
    fabric = fabric_of_nodes(rates, 4, 200.0)
    found = map_ranks(Degrees(tp=4, dp=5), fabric, TRAFFIC)
    assert 2 not in fabric.node[found.gpu_of_rank]


def test_gpus_with_a_fast_bridge_are_paired() -> None:
    """Nodes of four GPUs where only 0–2 and 1–3 have a bridge: TP 2 uses it, whatever the numbering says."""
    node = np.repeat(np.arange(2), 4)
    rates = np.where(node[:, None] == node, 20.0, 10.0)
    for first in (0, 4):
        for one, other in ((0, 2), (1, 3)):
            rates[first + one, first + other] = rates[first + other, first + one] = 300.0
    found = map_ranks(Degrees(tp=2, dp=4), Fabric(rates, node), TRAFFIC)
    pairs = {tuple(sorted(pair)) for pair in found.gpu_of_rank.reshape(-1, 2).tolist()}
    assert pairs == {(0, 2), (1, 3), (4, 6), (5, 7)}


def test_slow_gpus_share_stages() -> None:
    """Half of the nodes at half speed: fewer layers help only where a stage is slow throughout."""
    fabric = fabric_of_nodes(np.full((4, 4), 50.0), 2, 200.0, speed=np.array([1.0, 0.5, 1.0, 0.5]))
    traffic = Traffic(tp_gb=0.05, tp_times=20, dp_gb=np.array([0.01]), stage_s=np.array([1.0, 1.0]))
    degrees = Degrees(tp=2, dp=2, pp=2)
    by_layers = grid_of(map_ranks(degrees, fabric, traffic, uneven="layers"), degrees)
    assert all(len(np.unique(fabric.speed[stage])) == 1 for stage in by_layers)
    by_batches = map_ranks(degrees, fabric, traffic, uneven="batches")
    assert all(len(np.unique(fabric.speed[grid_of(by_batches, degrees)[:, d]])) == 1 for d in range(2))
    assert by_batches.seconds.compute_s == pytest.approx(2 / 1.5)


def test_equal_seeds_give_equal_mappings_in_either_order() -> None:
    degrees, fabric = Degrees(tp=4, dp=3, pp=4), fabric_of_nodes(spread(6, 2), 8, 200.0)
    one = map_ranks(degrees, fabric, TRAFFIC, seed=5)
    other = map_ranks(degrees, fabric, TRAFFIC, seed=5, order="tp-cp-ep-pp-dp")
    assert (grid_of(one, degrees) == other.gpu_of_rank.reshape(3, 4, 1, 4).swapaxes(0, 1)).all()


def test_no_time_still_gives_a_mapping() -> None:
    degrees, fabric = Degrees(tp=4, dp=3, pp=4), fabric_of_nodes(spread(6, 2), 8, 200.0)
    found = map_ranks(degrees, fabric, TRAFFIC, time_limit_s=0.0)
    assert found.moves == 0
    assert found.seconds.total_s <= found.best_simple_seconds.total_s


def test_bad_requests_name_the_field() -> None:
    fabric = fabric_of_nodes(spread(2, 0, slow=0), 4, 200.0)
    with pytest.raises(InvalidInput, match="there are 8 GPUs") as caught:
        map_ranks(Degrees(tp=4, dp=3), fabric, TRAFFIC)
    assert caught.value.field == "dp"
    with pytest.raises(InvalidInput) as caught:
        map_ranks(Degrees(tp=4), fabric, TRAFFIC, order="dp-first")  # type: ignore[arg-type]
    assert caught.value.field == "order"
    with pytest.raises(InvalidInput) as caught:
        map_ranks(Degrees(pp=4), fabric, Traffic(dp_gb=np.ones(3)))
    assert caught.value.field == "dp_gb"
    with pytest.raises(InvalidInput) as caught:
        Degrees(pp=0)
    assert caught.value.field == "pp"
    with pytest.raises(InvalidInput) as caught:
        Degrees(tp=2, dp=3, ep=4)
    assert caught.value.field == "ep"
    with pytest.raises(InvalidInput) as caught:
        Traffic(tp_gb=float("nan"))
    assert caught.value.field == "tp_gb"
