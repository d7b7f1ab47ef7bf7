"""What is rented and at what price: filters, caps, discounts and prices of one's own, through whole plans."""

from __future__ import annotations

from typing import Any

import pytest

from planner.serving.check import check
from planner.serving.plan import ServingPlan
from planner.serving.solve import solve
from planner.serving.spec import ServingSpec
from planner.types import SolveOptions
from profiles import catalogue
from profiles.types import Facts

AWS = {"providers": ["aws"], "regions": ["us-east-1"]}
OWN = {"provider": "aws", "instance_type": "g6.xlarge", "region": "us-east-1", "usd_per_hour": 0.2}
LIST_PRICE = 0.8048  # of that instance type, in the catalogue
SERVICE = {
    "name": "chat", "model": "meta-llama/Llama-3.1-8B-Instruct", "slo": {"ttft_ms": 2000, "tpot_ms": 100},
    "allow_roofline": True, "workload": {"buckets": [
        {"input_tokens": [1, 512], "output_tokens": [1, 256], "requests_per_s": 9},
        {"input_tokens": [513, 4096], "output_tokens": [1, 512], "requests_per_s": 3},
    ]},
}  # fmt: skip


@pytest.fixture(scope="module")
def facts() -> Facts:
    return Facts(**dict(catalogue.load()))


def plan(facts: Facts, offers: dict[str, Any], *services: dict[str, Any], **limits: Any) -> ServingPlan:
    spec = {"services": services or [SERVICE], "offers": offers, "limits": limits}
    answer = solve(ServingSpec.model_validate(spec), facts, SolveOptions(time_limit_s=10))
    assert check(answer, facts).passed
    assert answer.outcome == "optimal"
    return answer


@pytest.mark.parametrize(
    ("change", "price"),
    [
        ({}, LIST_PRICE),
        ({"discounts": [{"fraction": 0.3, "gpu": "L4"}]}, LIST_PRICE * 0.7),
        ({"discounts": [{"fraction": 0.3, "gpu": "L4"}, {"fraction": 0.1, "provider": "aws"}]}, LIST_PRICE * 0.63),
        ({"discounts": [{"fraction": 0.3, "gpu": "H100"}]}, LIST_PRICE),
        ({"prices": [OWN]}, 0.2),
        ({"prices": [OWN], "discounts": [{"fraction": 0.5, "gpu": "L4"}]}, 0.2),
    ],
)
def test_prices_of_ones_own(change: dict[str, Any], price: float, facts: Facts) -> None:
    (rental,) = plan(facts, {**AWS, "instance_types": ["g6.xlarge"], **change}).rentals
    assert rental.usd_per_instance_hour == pytest.approx(price)


def test_looser_caps_are_respected_and_never_dearer(facts: Facts) -> None:
    costs = []
    for most in range(4):
        answer = plan(facts, AWS, availability=[{"gpu": "L40S", "max_gpus": most}])
        assert sum(r.instances * r.gpus_per_instance for r in answer.rentals if r.gpu == "L40S") <= most
        costs.append(answer.usd_per_hour or 0.0)
    assert costs == sorted(costs, reverse=True)


def test_what_a_binding_cap_would_save_is_what_solving_again_saves(facts: Facts) -> None:
    answer = plan(facts, AWS, availability=[{"gpu": "L40S", "max_gpus": 0}])
    looser = plan(facts, AWS, availability=[{"gpu": "L40S", "max_gpus": 1}])
    (limit,) = answer.binding_limits
    assert limit.saving_per_unit == pytest.approx((answer.objective or 0) - (looser.objective or 0))


def test_services_share_an_instance_that_is_paid_whole(facts: Facts) -> None:
    node = {"providers": ["aws"], "instance_types": ["p4d.24xlarge"]}
    size = {"input_tokens": [1, 512], "output_tokens": [1, 256], "requests_per_s": 2}
    one, two = ({**SERVICE, "name": name, "tp": [2], "workload": {"buckets": [size]}} for name in ("one", "two"))
    alone, together = plan(facts, node, one), plan(facts, node, one, two)
    assert alone.usd_per_hour == together.usd_per_hour
    (rental,) = together.rentals
    assert (rental.instances, rental.gpus_used) == (1, 4)
    assert any("leaves 4 of 8 GPUs free" in reason for reason in together.explanation)


def test_regions_of_a_service_hold(facts: Facts) -> None:
    answer = plan(facts, {"providers": ["aws"]}, {**SERVICE, "regions": ["us-west-2"]})
    assert {rental.region for rental in answer.rentals} == {"us-west-2"}


def test_spot_stays_within_its_share(facts: Facts) -> None:
    both = {**AWS, "markets": ["on_demand", "spot"]}
    costs = []
    for share in (0.0, 0.3, 1.0):
        answer = plan(facts, both, {**SERVICE, "max_spot_fraction": share})
        market = {unit.unit: unit.market for unit in answer.allocation}
        on_spot = sum(route.requests_per_s for route in answer.routing if market[route.unit] == "spot")
        assert on_spot / answer.requests_per_s <= share + 1e-6
        costs.append(answer.usd_per_hour or 0.0)
    assert costs == sorted(costs, reverse=True)
