"""A schedule tampered with in every way that the check knows, on real offers with all three markets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner.replan.schedule.check import check
from planner.replan.schedule.make import make_schedule
from planner.replan.schedule.types import HourlyDemand, Instances, Schedule, Terms
from planner.serving.spec import ServingSpec
from planner.types import SolveOptions
from tests.planner.replan.schedule.asked import FACTS, START

EXAMPLE = Path(__file__).parents[4] / "examples" / "chat.yaml"


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    """Six hours of the example on two instance types: a reserved base, spot on top, something running before."""
    document = yaml.safe_load(EXAMPLE.read_text())
    document["offers"] |= {"markets": ["on_demand", "spot"], "instance_types": ["g6.xlarge", "g6e.xlarge"]}
    document["services"][0]["max_spot_fraction"] = 0.5
    document["limits"] = {
        "budget_usd_per_hour": 60, "power_w": 40_000,
        "availability": [{"instance_type": "g6.xlarge", "max_instances": 40}, {"gpu": "L40S", "max_gpus": 12}],
    }  # fmt: skip
    running = Instances(provider="aws", instance_type="g6e.xlarge", region="us-east-1", market="on_demand", instances=1)
    made = make_schedule(
        ServingSpec.model_validate(document), FACTS,
        HourlyDemand(start=START, services={"chat": (30.0, 30.0, 42.0, 60.0, 35.0, 30.0)}),
        Terms(start_up_s=900, usd_per_start=0.05, min_up_hours=2, reserved_discount=0.4),
        SolveOptions(time_limit_s=20, gap=0.01), (running,),
    )  # fmt: skip
    assert made.check is not None
    assert made.check.passed
    assert made.reserved
    assert any(hour.starts for hour in made.hours[1:])
    assert any(hour.stops for hour in made.hours)
    return made


def tampered(schedule: Schedule, **changes: object) -> Schedule:
    return schedule.model_copy(update=changes)


def hour(schedule: Schedule, index: int, **changes: object) -> Schedule:
    """The schedule with one hour changed."""
    hours = list(schedule.hours)
    hours[index] = hours[index].model_copy(update=changes)
    return tampered(schedule, hours=tuple(hours))


def found(schedule: Schedule) -> set[str]:
    return {violation.constraint for violation in check(schedule, FACTS).violations}


def with_terms(schedule: Schedule, **changes: object) -> Schedule:
    return tampered(schedule, terms=schedule.terms.model_copy(update=changes))


def with_limits(schedule: Schedule, **changes: object) -> Schedule:
    """Both the schedule's spec and its plans', so that only the limit itself can be what is broken."""

    def changed(spec: ServingSpec) -> ServingSpec:
        return spec.model_copy(update={"limits": spec.limits.model_copy(update=changes)})

    plans = tuple(plan.model_copy(update={"spec": changed(plan.spec)}) for plan in schedule.plans)
    return tampered(schedule, spec=changed(schedule.spec), plans=plans)


def more_demand(schedule: Schedule) -> Schedule:
    rates = tuple(rate * 3 for rate in schedule.demand.services["chat"])
    changed = tampered(schedule, demand=schedule.demand.model_copy(update={"services": {"chat": rates}}))
    hours = tuple(
        h.model_copy(update={"requests_per_s": {"chat": rate}}) for h, rate in zip(changed.hours, rates, strict=True)
    )
    return tampered(changed, hours=hours)


def fewer_replicas(schedule: Schedule) -> Schedule:
    plan = schedule.plans[0]
    allocation = (plan.allocation[0].model_copy(update={"replicas": 1}), *plan.allocation[1:])
    return tampered(schedule, plans=(plan.model_copy(update={"allocation": allocation}), *schedule.plans[1:]))


def other_mix(schedule: Schedule) -> Schedule:
    service = schedule.spec.services[0]
    distribution = service.workload.distribution
    assert distribution is not None
    turned = distribution.model_copy(update={"fractions": distribution.fractions[::-1]})
    workload = service.workload.model_copy(update={"distribution": turned})
    spec = schedule.spec.model_copy(update={"services": (service.model_copy(update={"workload": workload}),)})
    return tampered(schedule, spec=spec)


TAMPERING: list[tuple[str, Callable[[Schedule], Schedule], str]] = [
    ("an hour is missing", lambda s: tampered(s, hours=s.hours[1:]), "hours"),
    ("hours in another order", lambda s: tampered(s, hours=s.hours[::-1]), "hours"),
    ("a plan that is not there", lambda s: hour(s, 0, plan=99), "plan"),
    ("fewer instances than the plan", lambda s: hour(s, 3, rentals=s.hours[3].rentals[1:]), "plan"),
    ("demand of another", lambda s: hour(s, 0, requests_per_s={"chat": 1.0}), "demand"),
    ("more demand than planned", more_demand, "demand"),
    ("another mix of sizes", other_mix, "demand"),
    ("fewer replicas", fewer_replicas, "capacity"),
    ("another base", lambda s: tampered(s, reserved=()), "reserved"),
    ("nothing may be reserved", lambda s: with_terms(s, reserve=False), "reserved"),
    ("a start left out", lambda s: hour(s, 3, starts=()), "starts"),
    ("a stop left out", lambda s: hour(s, first_stop(s), stops=()), "starts"),
    ("what ran was something else", lambda s: tampered(s, running=()), "starts"),
    ("an order before now", lambda s: with_terms(s, lead_s=0.0, start_up_s=80_000.0), "lead_s"),
    ("longer up times", lambda s: with_terms(s, min_up_hours=6), "min_up_hours"),
    ("a lower budget", lambda s: with_limits(s, budget_usd_per_hour=1.0), "limits.budget_usd_per_hour"),
    ("less power", lambda s: with_limits(s, power_w=100.0), "limits.power_w"),
    ("dearer starts", lambda s: with_terms(s, usd_per_start=9.0), "cost"),
    ("slower starts", lambda s: with_terms(s, start_up_s=1800.0), "cost"),
    ("another discount", lambda s: with_terms(s, reserved_discount=0.1), "cost"),
    ("a cheaper hour", lambda s: hour(s, 0, usd=0.0), "cost"),
    ("a lower total", lambda s: tampered(s, usd=1.0), "cost"),
    ("a bound above the cost", lambda s: tampered(s, bound=(s.usd or 0) * 2), "bound"),
    ("another gap", lambda s: tampered(s, gap=0.5), "gap"),
    ("infeasible, with hours", lambda s: tampered(s, outcome="infeasible"), "outcome"),
]


def first_stop(schedule: Schedule) -> int:
    return next(h for h, hour in enumerate(schedule.hours) if hour.stops)


def test_a_good_schedule_passes_again_after_a_round_trip(schedule: Schedule) -> None:
    again = Schedule.model_validate_json(schedule.model_dump_json())
    assert again == schedule
    assert check(again, FACTS).passed


@pytest.mark.parametrize(("change", "constraint"), [t[1:] for t in TAMPERING], ids=[t[0] for t in TAMPERING])
def test_tampering_is_found(schedule: Schedule, change: Callable[[Schedule], Schedule], constraint: str) -> None:
    assert constraint in found(change(schedule))


def test_what_starts_counts_against_a_cap(schedule: Schedule) -> None:
    """The hour before a start holds as much as the next: a cap below that is broken one hour earlier already."""
    h = next(h for h in range(1, len(schedule.hours)) if schedule.hours[h].starts)
    there: dict[Any, int] = {}
    for some in (*schedule.hours[h - 1].rentals, *schedule.hours[h].starts):
        there[some.instance_type] = there.get(some.instance_type, 0) + some.instances
    kind = schedule.hours[h].starts[0].instance_type
    rule = schedule.spec.limits.availability[0].model_copy(
        update={"instance_type": kind, "max_instances": there[kind] - 1}
    )
    low = with_limits(schedule, availability=(rule, *schedule.spec.limits.availability[1:]))
    hours = {v.detail.split(":")[0] for v in check(low, FACTS).violations if v.constraint == "limits.availability[0]"}
    assert f"hour {h - 1}" in hours
