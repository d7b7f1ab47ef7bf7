"""Rings over patterns of ranks, against what crosses which link."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import load
from profiles.training.coefficients import NAMES, Coefficients
from profiles.training.collectives import Ring, all_reduce_s, all_to_all_s, gather_s, ring, send_s
from profiles.training.machine import Link, Machine
from profiles.training.sizes import speeds_of

GPU = next(gpu for gpu in load().gpus if gpu.name == "A100-80GB")
SPEEDS = speeds_of(Machine(GPU, 8, 16, Link(300.0, 1.0), Link(100.0, 4.0)))
C = Coefficients(*(np.array([1.0]) for _ in NAMES))
BYTES = np.array([1e9])


def group(stride: int, size: int) -> Ring:
    return ring(np.array([stride]), np.array([size]), SPEEDS, C)


@pytest.mark.parametrize(
    ("stride", "size", "inside", "gb_per_s", "hops_us"),
    [
        (1, 8, 8, 300, 7),  # a node
        (2, 4, 4, 300, 3),  # every second GPU of one
        (1, 16, 8, 100, 4 + 14),  # two whole nodes have the network for themselves
        (8, 16, 1, 100 / 8, 15 * 4),  # one GPU of each node: eight such rings side by side
        (2, 16, 4, 50, 3 * 4 + 12),  # four of each node: two rings side by side
        (16, 4, 1, 100 / 8, 3 * 4),  # one GPU of every second node
        (3, 2, 2, 300, 1),
        (1, 1, 1, 300, 0),
    ],
)
def test_a_ring_is_as_fast_as_its_share_of_the_slowest_link(
    stride: int, size: int, inside: int, gb_per_s: float, hops_us: float
) -> None:
    found = group(stride, size)
    assert found.inside[0] == inside
    assert found.bytes_per_s[0] == pytest.approx(gb_per_s * 1e9)
    assert found.round_s[0] == pytest.approx(hops_us * 1e-6)


def test_all_reduce_is_twice_round_with_one_start() -> None:
    found = all_reduce_s(group(1, 8), BYTES, C)[0]
    assert found == pytest.approx(2 * 7 / 8 * 1e9 / 300e9 + 2 * 7e-6 + 1e-6)


def test_one_rank_has_nothing_to_send() -> None:
    alone = group(4, 1)
    assert all_reduce_s(alone, BYTES, C)[0] == gather_s(alone, BYTES, C)[0] == all_to_all_s(alone, BYTES, C)[0] == 0


def test_an_exchange_over_nodes_sends_what_leaves_the_node() -> None:
    inside, across = all_to_all_s(group(1, 8), BYTES, C)[0], all_to_all_s(group(1, 32), BYTES, C)[0]
    assert inside == pytest.approx(7 / 8 * 1e9 / 300e9 + 1e-6)
    assert across == pytest.approx(8 * 24 / 32 * 1e9 / 100e9 + 1e-6)


def test_stages_in_one_node_send_inside_it() -> None:
    near = send_s(np.array([2]), BYTES, np.array([4]), SPEEDS, C)[0]
    far = send_s(np.array([2]), BYTES, np.array([8]), SPEEDS, C)[0]
    full = send_s(np.array([64]), BYTES, np.array([2]), SPEEDS, C)[0]
    assert near == pytest.approx(1e9 / 300e9 + 2e-6)
    assert far == pytest.approx(1e9 / 50e9 + 5e-6)  # two ranks of a stage send at once
    assert full == pytest.approx(8e9 / 100e9 + 5e-6)


@given(st.integers(1, 64), st.integers(1, 64), st.floats(0, 1e12))
def test_more_bytes_never_take_less(stride: int, size: int, num_bytes: float) -> None:
    one = group(stride, size)
    for collective in (all_reduce_s, gather_s, all_to_all_s):
        less, more = collective(one, np.array([num_bytes / 2]), C), collective(one, np.array([num_bytes]), C)
        assert 0 <= less[0] <= more[0]
