"""Training jobs: iterations, checkpoints and their means, second by second."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.power.traces.training_swings import training_pool
from planner.power.workload import Training
from profiles.catalogue import load

A100 = next(gpu for gpu in load().gpus if gpu.name == "A100-80GB")
TDP_W, IDLE_W = 8 * A100.tdp_w, 8 * A100.idle_w


def swings(**fields: Any) -> np.ndarray:
    """(seconds,) watts of eight GPUs."""
    pool = training_pool("t", Training(**fields), A100, 8)
    assert pool.in_step
    assert pool.states.shape[:2] == (1, 1)
    return pool.table.gpu_w[pool.states][0, 0]


def test_iterations_swing_between_computing_and_communicating() -> None:
    found = swings(iteration_s=4.0, compute_share=0.75, compute_power=0.9, communicate_power=0.4, checkpoint_s=0)
    assert found[:8] == pytest.approx([0.9 * TDP_W] * 3 + [0.4 * TDP_W] + [0.9 * TDP_W] * 3 + [0.4 * TDP_W])


@settings(max_examples=50, deadline=None)
@given(iteration_s=st.floats(0.05, 50), share=st.floats(0.05, 1))
def test_the_mean_is_that_of_the_phases(iteration_s: float, share: float) -> None:
    found = swings(iteration_s=iteration_s, compute_share=share, checkpoint_s=0, checkpoint_every_s=7200)
    edge = 50 / 7200 + 0.005
    assert found.mean() / TDP_W == pytest.approx(0.95 * share + 0.45 * (1 - share), abs=edge)
    assert 0.45 * TDP_W * (1 - 1e-9) <= found.min() <= found.max() <= 0.95 * TDP_W * (1 + 1e-9)


def test_checkpoints_are_dips() -> None:
    found = swings(checkpoint_every_s=300, checkpoint_s=20, checkpoint_power=0.25)
    assert len(found) == 600
    low = found == 0.25 * TDP_W
    assert low.sum() == 40
    assert low[280:300].all()


def test_a_phase_cannot_draw_less_than_idle() -> None:
    assert swings(communicate_power=0.01, checkpoint_power=0.01).min() == IDLE_W
