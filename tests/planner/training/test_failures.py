"""Goodput with failures, against a simulation of random failures and against searching every interval."""

import numpy as np
import pytest

from planner.training.failures import best_interval_s, goodput, useful_share
from planner.training.spec import Failures


def simulated_share(work_s, mtbf_s, checkpoint_s, restart_s, segments, seed):
    """Share of time that is kept work: a failure throws away the segment and costs a restart, which may fail too."""
    random = np.random.default_rng(seed)
    total = 0.0
    for _ in range(segments):
        until = random.exponential(mtbf_s)
        while until < work_s + checkpoint_s:
            total += until + restart_s  # the restart itself is taken as safe, as in the formula
            until = random.exponential(mtbf_s)
        total += work_s + checkpoint_s
    return segments * work_s / total


@pytest.mark.parametrize(("work_s", "mtbf_s", "checkpoint_s", "restart_s"), [(100, 500, 20, 50), (600, 500, 60, 10)])
def test_the_formula_is_what_happens(work_s, mtbf_s, checkpoint_s, restart_s):
    seen = simulated_share(work_s, mtbf_s, checkpoint_s, restart_s, 40_000, 1)
    assert useful_share(work_s, mtbf_s, checkpoint_s, restart_s) == pytest.approx(seen, rel=0.02)


@pytest.mark.parametrize(("mtbf_s", "checkpoint_s"), [(3600, 60), (500, 100), (1e6, 1)])
def test_no_other_interval_is_better(mtbf_s, checkpoint_s):
    best = best_interval_s(mtbf_s, checkpoint_s)
    others = np.geomspace(best / 50, best * 50, 2001)
    shares = [useful_share(work, mtbf_s, checkpoint_s, 30.0) for work in others]
    assert useful_share(best, mtbf_s, checkpoint_s, 30.0) >= max(shares) - 1e-12


def test_young_when_checkpoints_are_short():
    assert best_interval_s(1e6, 1.0) == pytest.approx(np.sqrt(2 * 1e6), rel=0.01)


def test_more_gpus_fail_more_often_and_keep_less():
    few, many = (goodput(70e9, gpus, Failures()) for gpus in (64, 16_384))
    assert many.mtbf_hours == pytest.approx(50_000 / 16_384)
    assert many.goodput_fraction < few.goodput_fraction < 1


def test_a_cluster_that_always_fails_trains_nothing():
    assert goodput(1e12, 100_000, Failures(mtbf_gpu_hours=1, storage_gb_per_s=0.1)).goodput_fraction == 0
