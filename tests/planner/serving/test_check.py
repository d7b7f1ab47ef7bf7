"""The check accepts good plans and notices every way in which a plan could be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.serving import PLANNER, ServingPlan, ServingSpec
from planner.types import SolveOptions
from profiles import catalogue
from profiles.types import Facts

EXAMPLES = Path(__file__).parents[3] / "examples"
Change = dict[str, Any]


@pytest.fixture(scope="module")
def facts() -> Facts:
    return Facts(**dict(catalogue.load()), digest="catalogue")


@pytest.fixture(scope="module")
def plan(facts: Facts) -> ServingPlan:
    """Two services that share 8-GPU nodes, with limits of every kind that hold."""
    buckets = [
        {"input_tokens": [1, 1024], "output_tokens": [1, 256], "requests_per_s": 6.0},
        {"input_tokens": [1025, 4096], "output_tokens": [1, 512], "requests_per_s": 2.0},
    ]
    spec = ServingSpec.model_validate({
        "services": [
            {"name": "chat", "model": "llama-3.1-8b", "workload": {"buckets": buckets}, "allow_roofline": True,
             "slo": {"ttft_ms": 3000, "tpot_ms": 80}, "min_replicas": 2, "max_spot_fraction": 0.5},
            {"name": "code", "model": "meta-llama/Llama-3.1-70B-Instruct", "workload": {"buckets": buckets},
             "slo": {"ttft_ms": 5000, "tpot_ms": 80}, "spare_replicas": 1},
        ],
        "offers": {"markets": ["on_demand", "spot"], "discounts": [{"fraction": 0.2}]},
        "limits": {"budget_usd_per_hour": 500, "power_w": 60000, "max_gpu_types": 3,
                   "availability": [{"gpu": "H200", "max_gpus": 16}, {"provider": "verda", "max_instances": 2}]},
    })  # fmt: skip
    made = PLANNER.solve(spec, facts, SolveOptions())
    assert made.outcome == "optimal"
    return made


def tampered(plan: ServingPlan, **changes: object) -> ServingPlan:
    return plan.model_copy(update=changes)


def first(items: tuple[Any, ...], **changes: object) -> tuple[Any, ...]:
    """The items with the first one changed."""
    return (items[0].model_copy(update=changes), *items[1:])


def constraints(plan: ServingPlan, facts: Facts) -> set[str]:
    found = PLANNER.check(plan, facts)
    assert found.passed == (not found.violations)
    return {violation.constraint for violation in found.violations}


def test_a_good_plan_passes(plan: ServingPlan, facts: Facts) -> None:
    assert PLANNER.check(plan, facts).violations == ()


def test_it_passes_again_after_a_round_trip(plan: ServingPlan, facts: Facts) -> None:
    again = ServingPlan.model_validate_json(plan.model_dump_json())
    assert again == plan
    assert PLANNER.check(again, facts).passed


WRONG: list[tuple[str, Callable[[ServingPlan], Change], str]] = [
    ("a size is not served", lambda p: {"routing": p.routing[1:]}, "demand"),
    ("a share is changed", lambda p: {"routing": first(p.routing, fraction=0.5 * p.routing[0].fraction)}, "demand"),
    ("a share is negative", lambda p: {"routing": first(p.routing, fraction=-0.1)}, "demand"),
    ("a route leads nowhere", lambda p: {"routing": first(p.routing, unit="nowhere")}, "demand"),
    ("a size is invented", lambda p: {"routing": first(p.routing, input_tokens=(1, 7))}, "demand"),
    ("a size is understated", lambda p: {"routing": first(p.routing, mean_input_tokens=1.0)}, "demand"),
    ("a replica is missing", lambda p: {"allocation": first(p.allocation, replicas=0)}, "capacity"),
    ("a rate is overstated",
     lambda p: {"routing": first(p.routing, requests_per_s_per_replica=9 * p.routing[0].requests_per_s_per_replica)},
     "capacity"),
    ("concurrency is overstated",
     lambda p: {"routing": first(p.routing, concurrency=50 * (p.routing[0].concurrency or 1))}, "slo"),
    ("latency is understated", lambda p: {"routing": first(p.routing, tpot_ms=1.0)}, "slo"),
    ("the SLO is tightened", lambda p: {"spec": _spec(p, slo={"ttft_ms": 20.0, "tpot_ms": 5.0})}, "slo"),
    ("another model is asked", lambda p: {"spec": _spec(p, model="Qwen/Qwen3-32B")}, "model"),
    ("more replicas are asked", lambda p: {"spec": _spec(p, min_replicas=99)}, "min_replicas"),
    ("more spares are asked", lambda p: {"spec": _spec(p, spare_replicas=9)}, "capacity"),
    ("less utilisation is allowed", lambda p: {"spec": _spec(p, max_utilisation=0.05)}, "capacity"),
    ("another region is asked", lambda p: {"spec": _spec(p, regions=("us-west-2",))}, "regions"),
    ("another precision is asked", lambda p: {"spec": _spec(p, precisions=("int4",))}, "layout"),
    ("a price is wrong",
     lambda p: {"rentals": first(p.rentals, usd_per_instance_hour=0.01)}, "price"),
    ("an instance is missing", lambda p: {"rentals": first(p.rentals, instances=0)}, "packing"),
    ("a rental is missing", lambda p: {"rentals": p.rentals[1:]}, "packing"),
    ("an instance type is invented", lambda p: {"rentals": first(p.rentals, instance_type="dream.8xlarge")}, "offer"),
    ("an instance has other GPUs", lambda p: {"rentals": first(p.rentals, gpu="B200")}, "offer"),
    ("a provider is forbidden", lambda p: {"spec": _offers(p, providers=("lambda",))}, "offer"),
    ("a market is forbidden", lambda p: {"spec": _offers(p, markets=("reserved",))}, "offer"),
    ("the discount is gone", lambda p: {"spec": _offers(p, discounts=())}, "price"),
    ("a cap is lowered", lambda p: {"spec": _limits(p, availability=[{"max_gpus": 0}])}, "limits.availability[0]"),
    ("the budget is lowered", lambda p: {"spec": _limits(p, budget_usd_per_hour=0.5)}, "limits.budget_usd_per_hour"),
    ("power is limited", lambda p: {"spec": _limits(p, power_w=10.0)}, "limits.power_w"),
    ("cost is understated", lambda p: {"usd_per_hour": 0.9 * (p.usd_per_hour or 0)}, "cost"),
    ("a month is understated", lambda p: {"usd_per_month": 1.0}, "cost"),
    ("tokens are understated", lambda p: {"usd_per_million_tokens": 1e-6}, "cost"),
    ("power is understated", lambda p: {"power_w": 10.0}, "power"),
    ("a replica's power is understated", lambda p: {"allocation": first(p.allocation, power_w=1.0)}, "power"),
    ("the objective is understated", lambda p: {"objective": 0.5 * (p.objective or 0)}, "objective"),
    ("the bound is beyond the objective", lambda p: {"bound": 2 * (p.objective or 0)}, "bound"),
    ("the gap is understated", lambda p: {"bound": 0.5 * (p.objective or 0)}, "gap"),
]  # fmt: skip


def _changed(spec: ServingSpec, **changes: object) -> ServingSpec:
    return ServingSpec.model_validate({**spec.model_dump(), **changes})


def _spec(plan: ServingPlan, **changes: object) -> ServingSpec:
    """The plan's spec with every service changed."""
    services = [{**service.model_dump(), **changes} for service in plan.spec.services]
    return _changed(plan.spec, services=services)


def _offers(plan: ServingPlan, **changes: object) -> ServingSpec:
    return _changed(plan.spec, offers={**plan.spec.offers.model_dump(), **changes})


def _limits(plan: ServingPlan, **changes: object) -> ServingSpec:
    return _changed(plan.spec, limits={**plan.spec.limits.model_dump(), **changes})


@pytest.mark.parametrize(("change", "constraint"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_wrong_plan_fails(
    plan: ServingPlan, facts: Facts, change: Callable[[ServingPlan], Change], constraint: str
) -> None:
    assert constraint in constraints(tampered(plan, **change(plan)), facts)


def test_spot_share_is_counted(plan: ServingPlan, facts: Facts) -> None:
    """All on spot breaks a limit of one half; the units must say so for the check to see it."""
    allocation = tuple(a.model_copy(update={"market": "spot"}) for a in plan.allocation)
    assert "max_spot_fraction" in constraints(tampered(plan, allocation=allocation), facts)


def test_too_many_gpu_types(plan: ServingPlan, facts: Facts) -> None:
    types = len({rental.gpu for rental in plan.rentals})
    if types < 2:
        pytest.skip("the catalogue's prices make this plan use one GPU type")
    assert "limits.max_gpu_types" in constraints(tampered(plan, spec=_limits(plan, max_gpu_types=types - 1)), facts)


def test_a_datasheet_estimate_must_be_allowed(plan: ServingPlan, facts: Facts) -> None:
    uses_estimates = any(a.engine == "roofline" for a in plan.allocation)
    found = constraints(tampered(plan, spec=_spec(plan, allow_roofline=False)), facts)
    assert ("layout" in found) == uses_estimates


def test_an_infeasible_plan_must_rent_nothing(plan: ServingPlan, facts: Facts) -> None:
    assert constraints(tampered(plan, outcome="infeasible"), facts) == {"outcome"}
    assert PLANNER.check(tampered(plan, outcome="infeasible", rentals=()), facts).passed


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*chat*.yaml")), ids=lambda path: path.stem)
def test_examples_make_checked_plans(example: Path, facts: Facts) -> None:
    made = PLANNER.solve(PLANNER.load(example, {}), facts, SolveOptions())
    assert made.outcome == "optimal"
    assert PLANNER.check(made, facts).violations == ()
