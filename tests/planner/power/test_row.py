"""Rows through simulated weeks: against the slow reference, and what must hold of any row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InvalidInput, UnknownName
from planner.power.policy import GpuCap, Policy, Step, no_capping, one_threshold, polca, power_capped
from planner.power.rows.fleet import Fleet
from planner.power.rows.row import SLOWDOWN_BINS, Results, simulate, slowdown_at, worst_day
from planner.power.spec import Event
from tests.planner.power.fleets import PRIORITIES, calendar, fleet, group
from tests.planner.power.reference import simulate_one

EVENTS = (
    Event(kind="feed_failure", at_s=200, duration_s=150.4, remaining=0.7),
    Event(kind="telemetry_gap", at_s=501, duration_s=200),
    Event(kind="runaway", at_s=600, duration_s=250, workload="batch"),
    Event(kind="feed_failure", at_s=300, duration_s=400, remaining=0.8),
)


def policies() -> tuple[Policy, ...]:
    power = (GpuCap(priority="low", power_w=220), GpuCap(priority="high", clock_mhz=1200))
    mixed = Policy(
        steps=(Step(at=0.7, release=0.66, caps=power), Step(at=0.75, release=0.7, caps=power[:1], waits=True)),
        always=(GpuCap(priority="low", clock_mhz=1350),),
        brake_at=0.9,
        brake_release=0.8,
    )
    return (
        polca("low", "high", t1=0.7, t2=0.8),
        one_threshold(PRIORITIES, at=0.75),
        power_capped(PRIORITIES, 230),
        mixed,
        no_capping(),
    )


def same(found: Results, fleet_: Fleet, asked: Sequence[Policy], counts: Sequence[int], weeks: Sequence[int], seed: int,
         seconds: int, events: Sequence[Event] = ()) -> None:  # fmt: skip
    """Every number of ``found`` is that of the slow reference."""
    for w, week in enumerate(weeks):
        for p, policy in enumerate(asked):
            for c, count in enumerate(counts):
                told = simulate_one(fleet_, policy, count, week, seed, seconds, events)
                at = (w, p, c)
                assert found.num_brakes[at] == told.num_brakes
                assert found.peak[at] == pytest.approx((told.watts / told.budget_w).max(), rel=1e-12)
                assert found.mean[at] == pytest.approx(told.watts.mean() / fleet_.budget_w, rel=1e-12)
                assert found.seconds_over[at] == (told.watts > told.budget_w).sum()
                assert found.capped_seconds[at].tolist() == told.capped_seconds.tolist()
                np.testing.assert_allclose(found.slowdown_histogram[at], told.histogram, atol=1e-6)


@pytest.mark.parametrize("events", [(), EVENTS], ids=["quiet", "events"])
def test_every_number_is_that_of_the_slow_reference(events: Sequence[Event]) -> None:
    row = fleet(budget_w=5.2 * 6500.0, cap_latency_s=30)
    found = simulate(row, policies(), [8], [2], 5, events=events, seconds_per_week=1100)
    assert (found.capped_seconds.max(axis=(0, 2, 3))[:4] > 0).all(), "every policy must have been put to the test"
    assert found.num_brakes.any() == bool(events)
    same(found, row, policies(), [8], [2], 5, 1100, events)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    counts=st.lists(st.integers(1, 11), min_size=1, max_size=2),
    share=st.floats(0.1, 0.9),
    t1=st.floats(0.5, 0.8),
    gap=st.floats(0.0, 0.15),
    hysteresis=st.floats(0.005, 0.02),
    interval_s=st.integers(1, 7),
    half_latency_s=st.integers(0, 120),
    half_brake_latency_s=st.integers(0, 25),
    in_step=st.booleans(),
    busiest=st.floats(0.3, 1.0),
)
def test_small_rows_agree_with_the_slow_reference(
    seed: int, counts: list[int], share: float, t1: float, gap: float, hysteresis: float, interval_s: int,
    half_latency_s: int, half_brake_latency_s: int, in_step: bool, busiest: float,
) -> None:  # fmt: skip
    groups = (
        group("batch", "low", share, seed=seed % 7, servers=3, busiest=busiest, levels=1),
        group("train", "low", (1 - share) / 2, seed=3, in_step=in_step, busiest=0.0),
        group("chat", "high", (1 - share) / 2, seed=4, other_w=1500.5, servers=4),
    )
    row = fleet(
        groups, budget_w=5000.0 * max(counts), telemetry_interval_s=interval_s, cap_latency_s=half_latency_s / 2,
        brake_latency_s=half_brake_latency_s / 2,
    )  # fmt: skip
    asked = (polca("low", "high", t1=t1, t2=t1 + gap + hysteresis, hysteresis=hysteresis),)
    found = simulate(row, asked, counts, [0], seed, seconds_per_week=421)
    same(found, row, asked, counts, [0], seed, 421)


def fields(results: Results) -> dict[str, Any]:
    return {name: getattr(results, name) for name in results.__dataclass_fields__}


def test_neither_other_policies_nor_counts_nor_weeks_change_a_number() -> None:
    row = fleet(budget_w=7 * 6500.0)
    together = fields(simulate(row, policies(), [9, 4, 12, 9], [0, 3], 1, seconds_per_week=40_000))
    alone = fields(simulate(row, policies()[3:4], [9], [3], 1, seconds_per_week=40_000))
    for name, value in alone.items():
        if name == "natural_peak":
            assert value[0, 0] == together[name][1, 0] == together[name][1, 3]
        elif name != "seconds":
            np.testing.assert_array_equal(value[0, 0, 0], together[name][1, 3, 0], err_msg=name)
            np.testing.assert_array_equal(value[0, 0, 0], together[name][1, 3, 3], err_msg=name)


def test_a_seed_is_a_world_of_its_own() -> None:
    row = fleet()
    first, again, other = (
        simulate(row, [no_capping()], [8], [0, 1], seed, seconds_per_week=9000) for seed in (1, 1, 2)
    )
    assert first.natural_peak.tolist() == again.natural_peak.tolist()
    assert len({*first.natural_peak.ravel(), *other.natural_peak.ravel()}) == 4


def test_what_never_caps_draws_its_natural_power() -> None:
    row = fleet(budget_w=1e6)
    found = simulate(row, [no_capping(), polca("low", "high")], [3, 8], [0], 1, seconds_per_week=90_000)
    assert (found.peak == found.natural_peak[:, None, :]).all()
    assert found.capped_seconds.sum() == found.num_brakes.sum() == found.seconds_over.sum() == 0
    assert (slowdown_at(found.slowdown_histogram, 0.99) == 0).all()
    assert found.slowdown_histogram.sum() > 0


def test_more_servers_draw_more_and_a_lower_threshold_caps_at_least_as_long() -> None:
    row = fleet(budget_w=7 * 6500.0, cap_latency_s=0, telemetry_interval_s=1)
    thresholds = (0.9, 0.85, 0.8, 0.75, 0.7)
    asked = [one_threshold(PRIORITIES, at=at, hysteresis=1e-9, clock_mhz=1400) for at in thresholds]
    found = simulate(row, asked, [8, 10, 12], [0], 1, seconds_per_week=86_400)
    assert (np.diff(found.natural_peak) > 0).all()
    assert (np.diff(found.capped_seconds, axis=1) >= 0).all()
    assert (np.diff(found.capped_seconds.sum(axis=(0, 3)), axis=0) > 0).any()


def test_caps_that_hold_at_all_times_lower_power_and_slow_everything() -> None:
    row = fleet(budget_w=1e6)
    found = simulate(row, [no_capping(), power_capped(PRIORITIES, 300), power_capped(PRIORITIES, 200)], [8], [0], 1,
                     seconds_per_week=86_400)  # fmt: skip
    assert (np.diff(found.peak[0, :, 0]) < 0).all()
    assert found.capped_seconds[0, 1:].min() == found.seconds == 86_400
    p99 = slowdown_at(found.slowdown_histogram, 0.99)[0, :, 0]
    assert (np.diff(p99, axis=0) > 0).all()
    weight = found.slowdown_histogram.sum(axis=-1)[0, :, 0]
    np.testing.assert_allclose(weight, np.broadcast_to(weight[0], weight.shape))


def test_work_beyond_what_a_capped_server_can_do_waits() -> None:
    """At 60% of the clock a server of prompts that is always busy does 60% of its work; half as busy, all of it."""

    def p50(busiest: float) -> float:
        shape = calendar(shape=np.ones(168), daily_spread=0.0, hourly_spread=0.0)
        groups = [group("prompts", "low", 1.0, peak=5.0, busiest=busiest, calendar=shape, levels=1)]
        always = Policy(always=(GpuCap(priority="low", clock_mhz=0.6 * 1410),))
        found = simulate(fleet(groups, budget_w=1e6, priorities=("low",)), [always], [4], [0], 1, seconds_per_week=3600)
        return float(slowdown_at(found.slowdown_histogram, 0.5)[0, 0, 0, 0])

    assert p50(0.5) == pytest.approx(1 / 0.6 - 1, rel=0.051)
    waits_s = 1800 * (1 / 0.6 - 1)  # of work behind which a request of the middle of the hour waits
    assert p50(1.0) == pytest.approx(1 / 0.6 - 1 + waits_s / 5, rel=0.1) or p50(1.0) == np.inf


def test_the_worst_day_is_the_one_with_the_highest_natural_peak() -> None:
    row = fleet(budget_w=7 * 6500.0)
    policy = polca("low", "high")
    found = simulate(row, [policy], [8], [0, 1], 3)
    day = worst_day(row, policy, 8, [0, 1], 3)
    assert day.natural_power.max() == found.natural_peak.max() == found.natural_peak[day.week, 0]
    assert day.power.max() <= found.peak.max()
    assert len(day.power) == len(day.step) == 1440
    assert day.natural_power[day.step == 0].max() == day.power[day.step == 0].max()
    assert (day.power <= day.natural_power).all()
    assert 0 < day.step.max() <= 4


def test_quantiles_are_read_from_upper_edges() -> None:
    histogram = np.zeros((2, len(SLOWDOWN_BINS)))
    histogram[0, [0, 10, 20]] = [50, 48, 2]
    assert slowdown_at(histogram, 0.5).tolist() == [0, 0]
    assert slowdown_at(histogram, 0.51).tolist() == [SLOWDOWN_BINS[10], 0]
    assert slowdown_at(histogram, 0.98).tolist() == [SLOWDOWN_BINS[10], 0]
    assert slowdown_at(histogram, 0.99).tolist() == [SLOWDOWN_BINS[20], 0]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"counts": [0]}, "counts"),
        ({"counts": []}, "counts"),
        ({"policies": []}, "policies"),
        ({"weeks": []}, "weeks"),
        ({"weeks": [-1]}, "weeks"),
        ({"seed": -1}, "seed"),
        ({"seconds_per_week": 700_000}, "seconds_per_week"),
        ({"fleet": fleet(budget_w=float("nan"))}, "budget_w"),
        ({"fleet": fleet([])}, "groups"),
        ({"fleet": fleet(priorities=("high", "other"))}, "priority"),
        ({"events": [Event(kind="telemetry_gap", at_s=1e6)]}, r"events[0].at_s"),
        ({"events": [Event(kind="runaway", at_s=1, workload="chatt")]}, r"events[0].workload"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], field: str) -> None:
    known = {"fleet": fleet(), "policies": [no_capping()], "counts": [8], "weeks": [0], "seed": 1}
    with pytest.raises(InvalidInput) as caught:
        simulate(**{**known, **changes})
    assert caught.value.field == field


def test_pools_at_odds_with_themselves_are_refused() -> None:
    sound = group("chat", "low", 1.0)
    broken = (
        replace(sound.pool, states=sound.pool.states[0]),
        replace(sound.pool, load=sound.pool.load[::-1]),
        replace(sound.pool, states=np.full_like(sound.pool.states, 200)),
    )
    for pool in broken:
        with pytest.raises(InvalidInput):
            simulate(fleet([replace(sound, pool=pool)], priorities=("low",)), [no_capping()], [1], [0], 1)


def test_a_clock_cap_needs_a_gpu_whose_clocks_are_known() -> None:
    strange = group("chat", "low", 1.0, gpu=fleet().groups[0].gpu.model_copy(update={"name": "A999"}))
    with pytest.raises(InvalidInput, match="A999"):
        simulate(fleet([strange], priorities=("low",)), [no_capping()], [1], [0], 1)


def test_an_unknown_workload_is_a_name_not_known() -> None:
    with pytest.raises(UnknownName, match="chatt"):
        simulate(fleet(), [no_capping()], [1], [0], 1, events=[Event(kind="runaway", at_s=0, workload="chatt")])
