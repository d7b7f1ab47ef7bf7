"""Tables of states under caps: what physics says of one GPU, and that rounding leaves it alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.power.policy import GpuCap, no_capping, one_threshold, polca, power_capped
from planner.power.rows.caps import BRAKE, NO_CAP, at_tdp, levels, responses, together, under
from planner.power.rows.slowdown import SLOWDOWN_BINS
from planner.power.spec import Controls
from profiles.performance.capping import Cap, Phase, capped
from tests.planner.power.fleets import A100, PRIORITIES, table


def test_levels_are_the_distinct_caps_of_each_class() -> None:
    policies = (polca("low", "high"), no_capping(), one_threshold(PRIORITIES), power_capped(PRIORITIES, 300))
    found = levels(policies, PRIORITIES, Controls())
    low, high = ([(cap.clock_mhz, cap.power_w) for cap in of_class] for of_class in found.caps)
    assert low == [(np.inf, np.inf), (288, np.inf), (1275, np.inf), (1110, np.inf), (np.inf, 300)]
    assert high == [(np.inf, np.inf), (288, np.inf), (1305, np.inf), (1110, np.inf), (np.inf, 300)]
    assert found.at[0].tolist() == [[0, 0], [2, 0], [3, 0], [3, 2], [1, 1]]
    assert found.at[1].tolist() == [[0, 0]] * 4 + [[1, 1]]
    assert found.at[3].tolist() == [[4, 4]] * 4 + [[1, 1]]


def test_of_several_caps_the_tightest_holds() -> None:
    caps = (
        GpuCap(priority="a", clock_mhz=1200),
        GpuCap(priority="a", clock_mhz=1300),
        GpuCap(priority="a", power_w=250),
        GpuCap(priority="b", power_w=100),
    )
    assert together(caps, "a") == Cap(power_w=250, clock_mhz=1200)
    assert together(caps, "c") == Cap()


@settings(max_examples=30, deadline=None)
@given(clock_mhz=st.floats(200, 2000), power_w=st.floats(60, 500), num_gpus=st.integers(1, 16))
def test_a_server_under_a_cap_is_its_gpus_under_it(clock_mhz: float, power_w: float, num_gpus: int) -> None:
    states, cap = table(7, num_gpus=num_gpus), Cap(power_w, clock_mhz)
    watts, factor = under(states, A100, num_gpus, cap)
    for s in range(7):
        phase = Phase(states.time_on_clock[s], states.power_on_clock[s])
        one = capped(phase, states.gpu_w[s : s + 1] / num_gpus, A100, cap)
        assert watts[s] == pytest.approx(one.power_w[0] * num_gpus)
        assert factor[s] == pytest.approx(one.time_factor[0])


@settings(max_examples=20, deadline=None)
@given(clocks=st.lists(st.floats(300, 1410), min_size=1, max_size=4, unique=True), other_w=st.floats(0, 3000))
def test_responses_tell_watts_slowdown_and_work_left_undone(clocks: list[float], other_w: float) -> None:
    caps = (Cap(), *(Cap(clock_mhz=clock) for clock in clocks))
    states = table(9, busiest=1.0)
    tables = [(states, A100, 8, other_w), (at_tdp(A100, 8), A100, 8, other_w)]
    (answer, wild), slowdown = responses(caps, tables, num_levels=7)
    assert slowdown.shape[0] == 7
    for level, cap in enumerate(caps):
        watts, factor = under(states, A100, 8, cap)
        np.testing.assert_allclose(answer.columns[:9, level], watts + other_w, atol=1 / 128)
        told = slowdown[level, answer.kind[:9]]
        assert (told >= factor - 1 - 1e-9).all(), "never too little"
        assert (told <= np.maximum((factor - 1) * 1.05, 1.001e-3)).all(), "5% too much at most"
        assert (told[factor == 1] == 0).all()
        needed = states.busy * factor
        undone = np.where(needed > 1, needed - 1, (needed - 1) / 2)
        np.testing.assert_allclose(answer.columns[:9, 7 + level], undone, atol=1e-6)
    assert wild.columns[0, 0] == pytest.approx(8 * A100.tdp_w + other_w, abs=0.01)
    assert (wild.running == 0).all()


def test_sums_of_columns_are_exact_in_any_order() -> None:
    (answer,), _ = responses((Cap(), Cap(clock_mhz=1111)), [(table(200), A100, 8, 1234.567)], num_levels=2)
    rows = answer.columns[np.random.default_rng(0).integers(0, 200, 10_000)]
    assert (rows.sum(axis=0) == rows[::-1].cumsum(axis=0)[-1]).all()


def test_the_brake_goes_as_low_as_clocks_go() -> None:
    found = levels([no_capping()], ["low"], Controls(brake_clock_mhz=100)).caps[0]
    states = table(3)
    assert [under(states, A100, 8, found[level])[1].max() for level in (NO_CAP, BRAKE)] == [1, pytest.approx(4)]


def test_bins_rise_from_nothing_to_infinity() -> None:
    assert SLOWDOWN_BINS[0] == 0
    assert SLOWDOWN_BINS[-1] == np.inf
    assert (np.diff(SLOWDOWN_BINS) > 0).all()
    np.testing.assert_allclose(SLOWDOWN_BINS[2:-1] / SLOWDOWN_BINS[1:-2], 1.05)
