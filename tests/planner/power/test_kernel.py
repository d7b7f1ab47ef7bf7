"""The controller on hand-made power: a row that draws little, then much; when caps and brakes come and go."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from planner.power.policy import GpuCap, Policy, Step, no_capping, polca
from planner.power.rows import kernel
from planner.power.rows.caps import levels
from planner.power.rows.controllers import at_rest, ladder, nothing_yet
from planner.power.rows.slowdown import SLOWDOWN_BINS
from planner.power.spec import Controls
from profiles.performance.answers import Floats

BRAKED = 4
"""Step that is recorded while the brake is on, for policies of three steps."""

BLIND = np.nan


@dataclass(eq=False)
class Lived:
    step: list[int]
    power: Floats
    totals: kernel.Totals


def live(
    shares: list[float], policy: Policy, *, capped: float = 1.0, braked: float = 0.5, undone: float = 0.0,
    pieces: tuple[int, ...] = (), **controls: float,
) -> Lived:  # fmt: skip
    """One server of class low and one of high draw ``shares`` of the budget between them; NaN: no telemetry, and 0.9.

    Any cap leaves ``capped`` of that, the brake ``braked``; a capped second leaves ``undone`` seconds of work.
    """
    known = Controls(**{"telemetry_interval_s": 1, "cap_latency_s": 3, "brake_latency_s": 2, **controls})
    priorities = ("low", "high")
    lines = levels([policy], priorities, known)
    num_levels = max(map(len, lines.caps))
    policies, state = ladder([policy], lines, known), at_rest(1, 1, 2, known)
    totals = nothing_yet(1, 1, 2, num_levels, 1)
    factor = np.array([1.0, braked, *[capped] * (num_levels - 2)])
    left = np.array([-1.0, undone, *[undone] * (num_levels - 2)])
    power = np.asarray(shares, dtype=np.float64)
    track = np.zeros((3, len(power)))
    dark = np.isnan(power)
    cuts = sorted({0, len(power), *pieces, *(np.flatnonzero(np.diff(dark)) + 1).tolist()})
    for first, end in pairwise(cuts):
        watts = 500 * np.where(dark, 0.9, power)[first:end]
        rows = np.concatenate([watts[:, None] * factor, np.broadcast_to(left, (len(watts), num_levels))], axis=1)
        sums = kernel.Sums(
            columns=np.ascontiguousarray(np.broadcast_to(rows, (2, 1, *rows.shape))),
            answers=np.ones((2, 1, -(-len(watts) // kernel.SPAN_S), 1)),
            servers=np.ones((2, 1), dtype=np.int64),
            slowdown=np.zeros((2, num_levels, 1)),
        )
        kernel.control(
            sums, policies, state, totals, SLOWDOWN_BINS, first, 1000.0, bool(dark[first]), track[:, first:end]
        )
    return Lived(track[2].astype(int).tolist(), track[0] / 1000, totals)


def test_a_cap_is_in_force_its_latency_after_the_second_that_was_too_much() -> None:
    lived = live([0.5] * 4 + [0.85] * 6 + [0.7] * 6, polca("low", "high"))
    assert lived.step == [0] * 8 + [1] * 6 + [0] * 2
    assert lived.totals.capped_seconds.tolist() == [[[6, 0]]]


def test_between_threshold_and_release_nothing_changes() -> None:
    assert live([0.79] * 20, polca("low", "high")).step == [0] * 20
    assert live([0.81] + [0.76] * 10 + [0.74] * 6, polca("low", "high")).step == [0] * 4 + [1] * 11 + [0] * 2


def test_a_reading_is_the_mean_of_its_interval() -> None:
    swings = [0.70, 0.88] * 10
    assert max(live(swings, polca("low", "high"), telemetry_interval_s=2).step) == 0
    assert max(live(swings, polca("low", "high"), telemetry_interval_s=1).step) == 1
    late = live([0.5] * 5 + [0.9] * 15, polca("low", "high"), telemetry_interval_s=5, cap_latency_s=0)
    assert late.step == [0] * 10 + [2] * 5 + [3] * 5


def test_a_step_that_waits_comes_only_once_the_one_before_it_is_in_force() -> None:
    lived = live([0.5] * 2 + [0.95] * 12, polca("low", "high"))
    assert lived.step == [0] * 6 + [2] * 4 + [3] * 4


def test_steps_come_off_one_by_one() -> None:
    lived = live([0.95] * 8 + [0.5] * 8, polca("low", "high"), cap_latency_s=0)
    assert lived.step == [0, 2] + [3] * 7 + [2, 1] + [0] * 5


def test_a_newer_command_follows_an_older_one_and_does_not_call_it_back() -> None:
    """One second above T1: the cap is told, taken back at the next reading, and is in force for that one second."""
    lived = live([0.85] + [0.5] * 9, polca("low", "high"), cap_latency_s=5)
    assert lived.step == [0] * 6 + [1] + [0] * 3


def test_the_brake_comes_and_goes_with_its_own_latency() -> None:
    lived = live([0.5, 1.01, 1.01, 1.01] + [0.7] * 6, no_capping())
    assert lived.step == [0] * 4 + [1] * 3 + [0] * 3
    assert lived.totals.num_brakes.item() == 1
    assert lived.totals.seconds_over.item() == 3
    assert lived.power[4] == pytest.approx(0.35)


def test_a_row_that_stays_too_hungry_brakes_again_and_again() -> None:
    lived = live([1.1] * 30, no_capping(), brake_latency_s=0)
    assert lived.step == [0, 1] * 15
    assert lived.totals.num_brakes.item() == 15
    kept = live([1.1] * 30, Policy(brake_release=0.4), brake_latency_s=0)
    assert kept.step == [0] + [1] * 29
    assert kept.totals.num_brakes.item() == 1


def test_the_brake_overrules_steps() -> None:
    lived = live([0.95] * 6 + [1.2] * 6, polca("low", "high"))
    assert lived.step == [0] * 4 + [2] * 4 + [3] + [BRAKED] * 3


def test_telemetry_that_stays_away_for_too_long_caps_as_far_as_steps_go() -> None:
    lived = live([0.5] * 3 + [BLIND] * 20 + [0.5] * 12, polca("low", "high"), telemetry_timeout_s=10)
    assert lived.step == [0] * 17 + [3] * 10 + [2, 1] + [0] * 6
    assert live([0.5] * 3 + [BLIND] * 10 + [0.5] * 12, polca("low", "high"), telemetry_timeout_s=10).step == [0] * 25


def test_what_was_told_before_a_gap_stays() -> None:
    lived = live([0.85] * 2 + [BLIND] * 8 + [0.5] * 6, polca("low", "high"), telemetry_timeout_s=10)
    assert lived.step == [0] * 4 + [1] * 10 + [0] * 2


def test_what_waits_is_worked_off_before_it_is_forgotten() -> None:
    """Four seconds under a cap leave two seconds of work, which are worked off at one second each second."""
    lived = live([0.85] * 4 + [0.5] * 12, polca("low", "high"), cap_latency_s=0, undone=0.5)
    assert lived.step[1:5] == [1] * 4
    waited = lived.totals.waited[0, 0, 0]
    assert waited.sum() == pytest.approx(1)
    assert SLOWDOWN_BINS[np.flatnonzero(waited)].tolist() == [pytest.approx(2 / 5, rel=0.05)]
    assert lived.totals.weight[0, 0, 0].sum() == pytest.approx(1)
    assert lived.totals.waited[0, 0, 1].sum() == 0


@pytest.mark.parametrize("cut", [1, 7, 8, 13])
def test_pieces_leave_no_seam(cut: int) -> None:
    shares = (0.85 + 0.2 * np.sin(np.arange(400) / 9) + np.random.default_rng(1).normal(0, 0.02, 400)).tolist()
    whole = live(shares, polca("low", "high"), capped=0.95, telemetry_interval_s=3)
    cuts = tuple(range(0, len(shares), cut))
    parts = live(shares, polca("low", "high"), capped=0.95, telemetry_interval_s=3, pieces=cuts)
    assert whole.step == parts.step
    assert max(whole.step) >= 3
    assert whole.power.tolist() == parts.power.tolist()
    assert whole.totals.num_brakes.item() == parts.totals.num_brakes.item()


def test_caps_of_all_steps_below_hold_together() -> None:
    steps = (
        Step(at=0.5, release=0.4, caps=(GpuCap(priority="low", clock_mhz=1100),)),
        Step(at=0.6, release=0.5, caps=(GpuCap(priority="low", clock_mhz=1300), GpuCap(priority="low", power_w=300))),
    )
    policy = Policy(steps=steps, always=(GpuCap(priority="low", power_w=350),))
    lines = levels([policy], ["low"], Controls())
    held = [lines.caps[0][lines.at[0, step, 0]] for step in range(4)]
    assert [(cap.clock_mhz, cap.power_w) for cap in held] == [(np.inf, 350), (1100, 350), (1100, 300), (288, np.inf)]


def test_dealing_gives_every_column_before_any_twice() -> None:
    for key in range(20):
        column = kernel.deal(np.uint64(key), 25, 7)
        for start in (0, 7, 14):
            assert sorted(column[start : start + 7]) == list(range(7))
        assert kernel.deal(np.uint64(key), 12, 7).tolist() == column[:12].tolist()
    first = [kernel.deal(np.uint64(key), 1, 7)[0] for key in range(7000)]
    assert np.bincount(first).min() > 850
    assert np.bincount(first).max() < 1150
