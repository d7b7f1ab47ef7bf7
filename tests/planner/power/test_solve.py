"""Plans of small rows: promises against fresh weeks, and what plans say."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from planner.errors import InvalidInput
from planner.power import solve as solving
from planner.power.assume import calibrated, fleet_of, other_at
from planner.power.confidence import exceeds
from planner.power.judge import bar_of, judged
from planner.power.plan import PowerPlan
from planner.power.policy import no_capping, polca
from planner.power.trials import CALIBRATING, trials
from planner.types import SolveOptions
from tests.planner.power.rows import FACTS, QUICK, demands, spec

OPTIONS = SolveOptions(time_limit_s=300)
FRESH = range(500_000, 500_600)
"""Weeks that no plan has seen."""


@pytest.fixture(autouse=True)
def made_up_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solving, "pools", lambda _spec, _facts: demands())


@cache
def planned(**changes: Any) -> PowerPlan:
    """A plan of the small row; computed once."""
    return solving.solve(spec(assume="middle", **changes), FACTS, OPTIONS, QUICK)


def test_a_promise_is_kept_in_fresh_weeks() -> None:
    plan = planned()
    assert plan.policy is not None
    assert plan.num_servers is not None
    assert plan.outcome == "feasible"
    fleet, bar = fleet_of(plan.spec, FACTS, demands(), plan.other_w), bar_of(plan.spec)
    counts = (plan.num_servers, plan.num_servers + 2)
    results = trials(fleet, (plan.policy,), counts, FRESH, QUICK, 0)
    kept, more = (judged(results, (plan.policy,), n, (0, j), bar, 0) for j, n in enumerate(counts))
    assert kept.num_horizons == 200
    assert kept.failed_horizons <= 10 + 2 * np.sqrt(10)  # 5% are allowed
    assert more.failed_horizons > 10  # nor is it absurdly careful


def test_a_promise_at_95_percent_fails_in_about_5_percent_of_fresh_simulations() -> None:
    """The budget is put where 60 weeks promise 95%, not more; 200 fresh horizons then fail about 10 times."""
    request = spec(assume="middle")
    fleet, bar = fleet_of(request, FACTS, demands(), other_at(request, "middle")), bar_of(request)
    policy = polca("low", "high").model_copy(update={"brake_at": 2.0})
    fresh = trials(fleet, (policy,), (13,), FRESH, QUICK, 1).peak[:, 0, 0]
    shares = []
    for i in range(4):
        seen = trials(fleet, (policy,), (13,), range(60 * i, 60 * i + 60), QUICK, 1).peak[:, 0, 0]
        levels = np.linspace(seen.min(), seen.max() + 0.1, 2000)
        kept = (1 - exceeds(np.repeat(seen[:, None], levels.size, axis=1), levels)) ** bar.horizon
        level = levels[np.searchsorted(kept, bar.confidence)]
        shares.append(float((fresh.reshape(-1, bar.horizon).max(axis=1) > level).mean()))
    assert 0.01 < np.mean(shares) < 0.08


def test_the_planner_carries_more_than_polca_and_polca_more_than_no_capping() -> None:
    best, fixed, none = planned(), planned(policy="polca"), planned(policy="none")
    assert (best.num_servers or 0) >= (fixed.num_servers or 0) >= (none.num_servers or 0) >= 1
    assert (best.num_servers or 0) > (none.num_servers or 0)
    assert none.policy == no_capping()
    assert fixed.policy is not None
    assert fixed.policy.steps == polca("low", "high").steps


def test_a_plan_agrees_with_itself() -> None:
    plan = planned()
    assert plan.judged is not None
    assert plan.objective == plan.num_servers == plan.judged.num_servers
    assert plan.bound is not None
    assert plan.objective is not None
    assert plan.bound >= plan.objective
    assert plan.gap == pytest.approx((plan.bound - plan.objective) / plan.objective)
    assert plan.num_by_rating == 10
    assert plan.oversubscription_ratio == pytest.approx((plan.num_servers or 0) / 10)
    assert plan.confidence == plan.judged.confidence >= 0.95
    assert plan.natural_peak_utilisation is not None
    assert plan.peak_utilisation is not None
    assert plan.peak_utilisation <= plan.natural_peak_utilisation + 0.05
    assert len(plan.trace) == 1440
    assert all(minute.utilisation <= minute.uncapped_utilisation + 0.1 for minute in plan.trace)
    assert PowerPlan.model_validate_json(plan.model_dump_json()) == plan


def test_the_front_trades_servers_against_slowdown() -> None:
    front = planned().pareto
    assert [point.num_servers for point in front] == sorted({point.num_servers for point in front})
    assert all(point.holds for point in front)
    assert front[-1].num_servers == planned().num_servers
    limits = {p.name: (p.max_slowdown_p50, p.max_slowdown_p99) for p in planned().spec.priorities}
    strains = [
        max(max(s.p50 / limits[name][0], s.p99 / limits[name][1]) for name, s in point.slowdown.items())
        for point in front
    ]
    assert strains[0] < strains[-1]


def test_every_baseline_is_shown_with_as_many_servers() -> None:
    plan = planned()
    at_plan = {b.policy for b in plan.baselines if b.num_servers == plan.num_servers}
    assert at_plan == {"no capping", "one threshold, low priority", "one threshold, all", "power cap", "polca"}
    assert all(b.holds == (b.why_not == ()) for b in plan.baselines)
    assert not next(b for b in plan.baselines if b.policy == "power cap").holds  # always slowed, more than allowed


def test_sensitivity_is_a_band_and_moves_the_right_way() -> None:
    moved = {s.assumption: s for s in planned().sensitivity}
    other = moved["power beside the GPUs"]
    assert (other.values.low, other.values.high) == (1500, 2400)
    assert other.num_servers.low is not None
    assert other.num_servers.high is not None
    assert other.num_servers.low > other.num_servers.high
    assert (other.natural_peak_utilisation.low or 0) < (other.natural_peak_utilisation.high or 0)
    latency = moved["time until a cap is in force"].num_servers
    assert (latency.low or 0) >= (latency.middle or 0)


def test_a_number_too_high_is_infeasible_and_says_what_would_have_to_give() -> None:
    plan = planned(num_servers=16)
    assert plan.outcome == "infeasible"
    assert plan.num_servers is None
    (conflict,) = plan.conflicts
    assert "promise.max_brakes" in conflict.constraints
    budget = next(r for r in conflict.relaxations if r.limit == "row.budget_w")
    assert budget.current == 65_000 < budget.needed < 2 * 65_000
    wider = spec(assume="middle", num_servers=16, row={"budget_w": 1.03 * budget.needed})
    assert solving.solve(wider, FACTS, OPTIONS, QUICK).outcome == "feasible"


def test_a_number_that_fits_is_judged_as_asked() -> None:
    plan = planned(num_servers=12)
    assert (plan.outcome, plan.num_servers) == ("feasible", 12)
    assert plan.judged is not None
    assert plan.judged.holds


def test_places_bind_before_power_does() -> None:
    plan = solving.solve(spec(row={"budget_servers": 10, "max_servers": 6}), FACTS, OPTIONS, QUICK)
    assert (plan.outcome, plan.num_servers, plan.bound, plan.gap) == ("optimal", 6, 6, 0)


def test_equal_seeds_make_equal_plans() -> None:
    first, second = (solving.solve(spec(policy="polca"), FACTS, OPTIONS, QUICK) for _ in range(2))
    assert first.model_copy(update={"solve_seconds": 0}) == second.model_copy(update={"solve_seconds": 0})
    one_thread = solving.solve(spec(policy="polca"), FACTS, OPTIONS, replace(QUICK, num_threads=1))
    assert one_thread.judged == first.judged


def test_what_was_observed_settles_what_was_not_measured() -> None:
    seen = spec(row={"budget_servers": 10, "observed": {"num_servers": 9, "peak_utilisation": 0.66}})
    found = calibrated(seen, FACTS, demands(), QUICK, 0)
    assert 1500 < found["server"] < 2400
    fleet = fleet_of(seen, FACTS, demands(), found)
    again = trials(fleet, (no_capping(),), (9,), CALIBRATING, QUICK, 0)
    assert again.natural_peak.reshape(-1, 6).max(axis=1).mean() == pytest.approx(0.66, abs=1e-4)


@pytest.mark.parametrize("peak", [0.3, 0.95])
def test_a_peak_that_nothing_explains_is_refused_with_those_that_are(peak: float) -> None:
    seen = spec(row={"budget_servers": 10, "observed": {"num_servers": 9, "peak_utilisation": peak}})
    with pytest.raises(InvalidInput, match=r"row\.observed\.peak_utilisation.* peak at \d\d"):
        calibrated(seen, FACTS, demands(), QUICK, 0)


def test_ends_of_ranges() -> None:
    assert [other_at(spec(), end)["server"] for end in ("low", "middle", "high")] == [1500, 1950, 2400]


def test_events_are_played_and_told_in_words() -> None:
    events = (
        {"kind": "feed_failure", "at_s": 1800, "duration_s": 600, "remaining": 0.5},
        {"kind": "telemetry_gap", "at_s": 1800, "duration_s": 600},
        {"kind": "runaway", "at_s": 1800, "duration_s": 600, "workload": "batch"},
    )
    plan = solving.solve(spec(policy="polca", num_servers=10, events=events), FACTS, OPTIONS, QUICK)
    failure, gap, runaway = plan.stress
    assert failure.num_brakes > 0
    assert "a feed fails and leaves 50% of the budget" in failure.outcome
    assert (gap.num_brakes, gap.seconds_over_budget) == (0, 0)
    assert gap.outcome.startswith("held")
    assert runaway.peak_utilisation > gap.peak_utilisation


def test_when_time_runs_out_the_best_so_far_is_given() -> None:
    plan = solving.solve(spec(assume="middle"), FACTS, SolveOptions(time_limit_s=1e-3), QUICK)
    assert plan.num_servers is not None
    assert plan.judged is not None
    assert plan.judged.holds
    assert plan.judged.weeks == 24
    assert (plan.sensitivity, plan.baselines) == ((), ())


SITE = {
    "redundancy": "2N",
    "feeds": [{"name": "A", "budget_w": 90_000}, {"name": "B", "budget_w": 90_000}],
    "pdus": [{"name": "a", "feed": "A", "budget_w": 90_000}, {"name": "b", "feed": "B", "budget_w": 90_000}],
    "rows": [{"name": "row", "pdus": ["a", "b"], "budget_w": 90_000, "slots": 20, "phases": 1}],
    "groups": [{"workload": "batch", "num_servers": 4}, {"workload": "chat", "num_servers": 5}],
}


def test_a_site_alone_is_placed() -> None:
    plan = solving.solve(spec(row=None, site=SITE), FACTS, OPTIONS, QUICK)
    assert plan.placement is not None
    assert (plan.placement.num_placed, plan.placement.num_asked) == (9, 9)
    assert plan.objective == plan.placement.objective
    assert plan.num_servers is None


def test_servers_that_find_no_place_are_a_conflict() -> None:
    crowded = SITE | {"groups": [{"workload": "chat", "num_servers": 19}]}
    plan = solving.solve(spec(row=None, site=crowded), FACTS, OPTIONS, QUICK)
    assert plan.placement is not None
    assert 0 < plan.placement.num_placed < 19
    assert plan.conflicts
