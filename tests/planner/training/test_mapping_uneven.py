"""Uneven layers and batches: the slowest worker against everything that could have been handed out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import InvalidInput
from planner.training.uneven import uneven_batches, uneven_layers

SPEEDS = st.lists(st.floats(0.1, 10), min_size=1, max_size=4).map(np.array)


def every_way(count: int, workers: int) -> np.ndarray:
    ways = itertools.product(range(1, count + 1), repeat=workers)
    return np.array([way for way in ways if sum(way) == count])


@given(SPEEDS, st.integers(0, 6), st.floats(0, 5), st.floats(0, 5))
def test_no_other_cut_has_a_faster_slowest_stage(speed, more, first, last) -> None:
    num_layers = len(speed) + more
    extra = np.zeros(len(speed))
    extra[0] += first
    extra[-1] += last
    layers = uneven_layers(num_layers, speed, first, last)
    assert layers.sum() == num_layers
    assert layers.min() >= 1
    best = ((every_way(num_layers, len(speed)) + extra) / speed).max(axis=1).min()
    assert ((layers + extra) / speed).max() == pytest.approx(best)


@given(SPEEDS, st.integers(0, 6), st.integers(1, 4), st.integers(1, 8))
def test_no_other_batches_have_a_faster_slowest_replica(speed, more, micro_batch, num_stages) -> None:
    count = len(speed) + more
    batches = uneven_batches(count * micro_batch, micro_batch, speed, num_stages)
    assert batches.sum() == count
    best = ((every_way(count, len(speed)) + num_stages - 1) / speed).max(axis=1).min()
    assert ((batches + num_stages - 1) / speed).max() == pytest.approx(best)


def test_equal_speeds_get_equal_shares() -> None:
    assert uneven_layers(32, np.ones(4)).tolist() == [8, 8, 8, 8]
    assert uneven_batches(64, 2, np.full(8, 0.3)).tolist() == [4] * 8


def test_slow_gpus_get_less_and_logits_count() -> None:
    assert uneven_layers(30, np.array([1.0, 0.5])).tolist() == [20, 10]
    assert uneven_layers(32, np.ones(4), last_extra=4).tolist() == [9, 9, 9, 5]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: uneven_layers(2, np.ones(3)), "num_layers"),
        (lambda: uneven_layers(8, np.array([1.0, 0.0])), "stage_speed"),
        (lambda: uneven_layers(8, np.array([])), "stage_speed"),
        (lambda: uneven_layers(8, np.ones(2), first_extra=-1), "first_extra"),
        (lambda: uneven_layers(8, np.ones(2), last_extra=np.inf), "last_extra"),
        (lambda: uneven_batches(7, 2, np.ones(2)), "micro_batch"),
        (lambda: uneven_batches(8, 0, np.ones(2)), "micro_batch"),
        (lambda: uneven_batches(4, 2, np.ones(3)), "global_batch"),
        (lambda: uneven_batches(4, 2, np.array([np.nan])), "replica_speed"),
        (lambda: uneven_batches(4, 2, np.ones(2), num_stages=0), "num_stages"),
    ],
)
def test_bad_numbers_name_the_field(call, field) -> None:
    with pytest.raises(InvalidInput) as caught:
        call()
    assert caught.value.field == field
