"""The check of power plans finds what is wrong: sound plans pass, and are then falsified one statement at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planner.power.check import check
from planner.power.check_placement import Element, Moments, load_at_risk_w
from planner.power.plan import Loaded, Placed, PowerPlan, Slowdown
from planner.power.policy import GpuCap, Policy, Step, no_capping
from profiles.types import Facts
from tests.planner.power.plans import FACTS, impossible, row_plan, site_plan


def found(plan: PowerPlan, facts: Facts = FACTS) -> set[str]:
    result = check(plan, facts)
    assert result.passed == (not result.violations)
    return {violation.constraint for violation in result.violations}


def judged_too(plan: PowerPlan, **changes: Any) -> PowerPlan:
    """The plan and what was judged, changed alike: a consistent lie."""
    assert plan.judged is not None
    return plan.model_copy(update={**changes, "judged": plan.judged.model_copy(update=changes)})


@pytest.mark.parametrize("plan", [row_plan, site_plan, impossible], ids=["row", "site", "infeasible"])
def test_plans_that_were_solved_pass(plan):
    assert found(plan()) == set()


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("budget_w", 66_000.0),
        ("num_by_rating", 11),
        ("oversubscription_ratio", 1.2),
        ("objective", 14.0),
        ("bound", 12.0),
        ("bound", 21.0),
        ("gap", 0.5),
        ("outcome", "optimal"),
        ("num_brakes", 1),
        ("peak_utilisation", 0.9),
        ("confidence", 0.9999),
        ("capped_time_fraction", {"low": 0.1, "high": 0.0}),
        ("slowdown", {"low": Slowdown(p50=0, p99=0), "high": Slowdown(p50=0, p99=0)}),
        ("other_w", {"dgx": 2000.0}),
        ("stress", ()),
    ],
)
def test_a_figure_that_the_spec_or_another_figure_contradicts_is_found(field, wrong):
    assert field in found(row_plan().model_copy(update={field: wrong}))


@pytest.mark.parametrize(
    "field", ["budget_w", "num_servers", "policy", "confidence", "judged", "safe_limit_w", "natural_peak_utilisation"]
)
def test_what_is_missing_is_found(field):
    assert found(row_plan().model_copy(update={field: None})) == {field}


def test_a_wrong_number_of_servers_is_found_however_consistent():
    plan = row_plan()
    assert "num_servers" in found(plan.model_copy(update={"num_servers": 14}))
    more = judged_too(plan, num_servers=14, oversubscription_ratio=1.4).model_copy(update={"objective": 14.0, "gap": 0})
    assert "num_servers" in found(more)  # not what the spec asks for


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"confidence": 1.1}, "judged.confidence"),
        ({"failed_horizons": 4}, "judged.confidence"),
        ({"failed_horizons": 9}, "judged"),
        ({"weeks": 25}, "judged"),
        ({"confidence": 0.5}, "judged.holds"),
        ({"why_not": ("brakes: 3",)}, "judged.holds"),
        ({"num_brakes": 25}, "judged.failed_horizons"),
        ({"mean_utilisation": 1.2}, "judged.mean_utilisation"),
        ({"capped_time_fraction": {"low": 1.2, "high": 0.0}}, "judged.capped_time_fraction"),
        ({"slowdown": {"low": Slowdown(p50=0.04, p99=0.01), "high": Slowdown(p50=0, p99=0)}}, "judged.slowdown"),
        ({"slowdown": {"low": Slowdown(p50=0.06, p99=0.1), "high": Slowdown(p50=0, p99=0)}}, "judged.failed_horizons"),
        ({"policy": "another"}, "judged"),
    ],
)
def test_verdicts_follow_from_counts(changes, where):
    plan = row_plan()
    assert plan.judged is not None
    assert where in found(plan.model_copy(update={"judged": plan.judged.model_copy(update=changes)}))


def test_baselines_and_the_front_are_verdicts_too():
    plan = row_plan()
    wrong = plan.baselines[0].model_copy(update={"oversubscription_ratio": 9.0})
    assert found(plan.model_copy(update={"baselines": (wrong,)})) == {"baselines[0].oversubscription_ratio"}
    unheld = next(b for b in plan.baselines if not b.holds)
    assert found(plan.model_copy(update={"pareto": (unheld,)})) == {"pareto[0]"}
    held = next(b for b in plan.baselines if b.holds)
    assert found(plan.model_copy(update={"pareto": (held, held)})) == {"pareto"}
    assert found(plan.model_copy(update={"baselines": (held.model_copy(update={"slowdown": {}}),)})) == {
        "baselines[0].slowdown"
    }


def test_a_brake_below_its_threshold_and_a_peak_above_the_natural_one_are_found():
    plan = row_plan()
    assert "num_brakes" in found(judged_too(plan, num_brakes=1, failed_horizons=1))
    assert "peak_utilisation" in found(judged_too(plan, peak_utilisation=1.5))


def stepped(plan: PowerPlan, **changes: Any) -> PowerPlan:
    """The policy of a plan whose spec leaves it open, changed behind the back of its type."""
    assert plan.policy is not None
    spec = plan.spec.model_copy(update={"policy": "optimise"})
    return plan.model_copy(update={"spec": spec, "policy": plan.policy.model_copy(update=changes)})


def test_policies_that_cannot_be_are_found():
    plan = row_plan()
    assert plan.policy is not None
    steps = plan.policy.steps
    assert "policy" in found(stepped(plan, steps=steps[::-1]))
    assert "policy" in found(stepped(plan, brake_release=1.2))
    assert "policy" in found(stepped(plan, always=(GpuCap(priority="nobody", clock_mhz=900),)))
    assert "policy" in found(stepped(plan, always=(GpuCap(priority="high", clock_mhz=900),)))
    given = Policy(name="given", steps=(Step(at=0.9, release=0.8, caps=(GpuCap(priority="low", clock_mhz=1000),)),))
    for asked in ("none", "one_threshold", "power_cap", given):
        wrong = plan.model_copy(update={"spec": plan.spec.model_copy(update={"policy": asked})})
        assert "policy" in found(wrong)


def test_sensitivity_stress_and_the_worst_day_are_held_against_themselves():
    plan = row_plan()
    beside = plan.sensitivity[0]
    assert beside.unit == "W per server"
    for field, wrong in (("values", {"low": 1600.0}), ("values", {"low": 2500.0}), ("num_servers", {"low": 10.5}),
                         ("natural_peak_utilisation", {"low": 1.4})):  # fmt: skip
        interval = getattr(beside, field).model_copy(update=wrong)
        changed = (beside.model_copy(update={field: interval}), *plan.sensitivity[1:])
        assert found(plan.model_copy(update={"sensitivity": changed})) == {f"sensitivity to {beside.assumption}"}
    failure, gap = plan.stress
    assert failure.seconds_over_budget > 0
    silent = failure.model_copy(update={"seconds_over_budget": 0.0})
    assert "stress[0]" in found(plan.model_copy(update={"stress": (silent, gap)}))
    boasting = failure.model_copy(update={"outcome": "held: nothing happened"})
    assert found(plan.model_copy(update={"stress": (boasting, gap)})) == {"stress[0].outcome"}
    capped = next(i for i, minute in enumerate(plan.trace) if minute.step and minute.utilisation)
    for wrong in ({"second": 7}, {"step": 9}, {"utilisation": 1.9}, {"step": 0, "utilisation": 0.1}):
        minutes = [*plan.trace]
        minutes[capped] = minutes[capped].model_copy(update=wrong)
        assert found(plan.model_copy(update={"trace": tuple(minutes)})) == {"trace"}


def test_days_simulated_again_find_a_plan_that_brakes_and_slows():
    plan = row_plan()
    assert plan.policy is not None
    lies = {"peak_utilisation": 0.95, "num_servers": 17, "oversubscription_ratio": 1.7}
    lying = judged_too(plan, **lies).model_copy(
        update={"objective": 17.0, "bound": 17.0, "gap": 0.0, "sensitivity": (), "spec": plan.spec.model_copy(
            update={"num_servers": 17})}
    )  # fmt: skip
    assert {"brakes", "slowdown", "natural_peak_utilisation", "safe_limit_w"} <= found(lying)


def test_days_simulated_again_find_caps_that_were_left_out_and_delay_that_was_not_told():
    plan = row_plan()
    uncapped = no_capping().model_copy(update={"name": "polca"})
    spec = plan.spec.model_copy(update={"policy": "none"})
    seen = found(plan.model_copy(update={"policy": uncapped, "spec": spec, "trace": ()}))
    assert "mean_utilisation" in seen
    quick = {"low": Slowdown(p50=0, p99=0), "high": Slowdown(p50=0, p99=0)}
    never = {"low": 0.0, "high": 0.0}
    assert {"slowdown", "capped_time_fraction"} <= found(judged_too(plan, slowdown=quick, capped_time_fraction=never))


def test_a_plan_without_an_answer_says_why_and_answers_nothing():
    plan = impossible()
    assert found(plan.model_copy(update={"conflicts": ()})) == {"conflicts"}
    assert found(plan.model_copy(update={"num_servers": 18})) == {"outcome"}
    assert plan.judged is not None
    assert "judged" in found(plan.model_copy(update={"judged": plan.judged.model_copy(update={"holds": True})}))


def test_a_placement_is_checked_where_the_row_has_no_answer():
    site = site_plan()
    both = impossible().spec.model_copy(update={"site": site.spec.site})
    plan = impossible().model_copy(update={"spec": both, "placement": site.placement})
    assert found(plan) == set()
    assert site.placement is not None
    fewer = site.placement.model_copy(update={"placed": site.placement.placed[1:]})
    assert found(plan.model_copy(update={"placement": fewer})) == {"placement.num_placed"}
    assert found(plan.model_copy(update={"other_w": {}})) == {"other_w"}


def placed(plan: PowerPlan, **changes: Any) -> set[str]:
    assert plan.placement is not None
    placement = plan.placement.model_copy(update=changes)
    alike = {"objective": placement.objective, "bound": placement.bound, "gap": placement.gap}
    return found(plan.model_copy(update={"placement": placement, **alike}))


def test_servers_that_are_nowhere_too_many_or_twice_are_found():
    plan = site_plan()
    assert plan.placement is not None
    first, *others = plan.placement.placed
    for wrong in ({"row": "row9"}, {"workload": "nobody"}, {"phase": 4}, {"num_servers": 0}):
        assert "placement.placed[0]" in placed(plan, placed=(first.model_copy(update=wrong), *others))
    assert "placement.num_placed" in placed(plan, placed=tuple(others))
    assert "groups" in placed(plan, placed=(*plan.placement.placed, first))
    crowd = tuple(Placed(row="row0", phase=1 + i % 3, workload=w, num_servers=n) for i, (w, n) in enumerate(
        [("batch", 5), ("chat", 6)]))  # fmt: skip
    assert "slots" in placed(plan, placed=crowd)


def test_a_server_moved_without_its_load_is_found():
    plan = site_plan()
    assert plan.placement is not None
    moved = next(place for place in plan.placement.placed if place.row == "row0")
    elsewhere = (*(p for p in plan.placement.placed if p is not moved), moved.model_copy(update={"row": "row1"}))
    assert {"load of row0", "load of row1"} <= placed(plan, placed=elsewhere)


@pytest.mark.parametrize(
    ("index", "changes"),
    [
        (0, {"load_w": 1000.0}),
        (0, {"load_w": 61_000.0}),
        (0, {"budget_w": 90_000.0}),
        (0, {"sum_of_peaks_w": 90_000.0}),
        (0, {"failed_feed": None}),
        (0, {"failed_feed": "a"}),
        (5, {"load_w": 20_000.0}),
    ],
)
def test_a_false_load_is_found(index, changes):
    plan = site_plan()
    assert plan.placement is not None
    loads: list[Loaded] = [*plan.placement.loads]
    loads[index] = loads[index].model_copy(update=changes)
    assert f"load of {loads[index].name}" in placed(plan, loads=tuple(loads))


def test_a_budget_that_does_not_carry_a_failure_is_found():
    plan = site_plan()
    site = plan.spec.site
    assert site is not None
    feeds = tuple(feed.model_copy(update={"budget_w": 40_000.0}) for feed in site.feeds)
    weaker = plan.spec.model_copy(update={"site": site.model_copy(update={"feeds": feeds})})
    assert "load of a" in found(plan.model_copy(update={"spec": weaker}))


def test_missing_loads_and_false_objectives_are_found():
    plan = site_plan()
    assert plan.placement is not None
    assert "placement.loads" in placed(plan, loads=plan.placement.loads[1:])
    assert placed(plan, objective=0.5, gap=0.90022) == {"placement.objective"}
    assert placed(plan, bound=0.99, gap=0.041975) == {"placement.bound"}
    assert "placement.gap" in found(
        plan.model_copy(update={"placement": plan.placement.model_copy(update={"gap": 0.7})})
    )
    assert "placement.worst_imbalance" in placed(plan, worst_imbalance=0.9)
    strict = plan.spec.model_copy(update={"site": plan.spec.site.model_copy(update={"max_imbalance": 0.01})})
    assert "max_imbalance" in found(plan.model_copy(update={"spec": strict}))
    assert found(plan.model_copy(update={"objective": 0.1})) == {"objective", "gap"}
    assert found(plan.model_copy(update={"placement": None})) == {"placement"}


def test_the_load_at_risk_is_what_random_draws_exceed_as_often():
    rng = np.random.Generator(np.random.PCG64(0))
    moments = {"a": Moments(rng.normal(3000, 300, 400), 200.0, 9000.0), "b": Moments(np.full(400, 2000.0), 100.0, 9000)}
    element = Element("row", "row", 1e6, None, (("a", 1.0, 20), ("b", 0.5, 10)))
    load_w = load_at_risk_w(element, moments, 0.01)
    at = rng.integers(400, size=200_000)
    drawn = 20 * moments["a"].mean_w[at] + rng.normal(0, 200 * 20**0.5, at.size)
    drawn += 5 * 2000 + rng.normal(0, 0.5 * 100 * 10**0.5, at.size)
    assert np.mean(drawn > load_w) == pytest.approx(0.01, abs=0.001)
    few = load_at_risk_w(Element("row", "row", 1e6, None, (("a", 1.0, 1),)), {"a": Moments(np.ones(3), 9.0, 5.0)}, 0.01)
    assert few == 5.0  # never more than the peak
