"""Requests that cannot be met: the limits in conflict are named, and what is said to fix it does."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from planner.serving.check import check
from planner.serving.plan import ServingPlan
from planner.serving.solve import solve
from planner.serving.spec import ServingSpec
from planner.types import SolveOptions
from profiles import catalogue
from profiles.types import Facts

AWS = {"providers": ["aws"], "regions": ["us-east-1"]}
SMALL = {"providers": ["aws"], "gpus": ["L4", "A10G"]}
CHAT = {
    "requests_per_s": 12,
    "distribution": {
        "input_tokens": [1, 512, 2048, 8192], "output_tokens": [1, 128, 512],
        "fractions": [[0.3, 0.2], [0.2, 0.1], [0.1, 0.1]],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def facts() -> Facts:
    return Facts(**dict(catalogue.load()))


def plan(facts: Facts, *, limits: dict[str, Any] | None = None, offers: Any = AWS, **service: Any) -> ServingPlan:
    given = {"name": "chat", "model": "meta-llama/Llama-3.1-8B-Instruct", "slo": {"ttft_ms": 2000, "tpot_ms": 100},
             "allow_roofline": True, "workload": CHAT, **service}  # fmt: skip
    spec = ServingSpec.model_validate({"services": [given], "offers": offers, "limits": limits or {}})
    answer = solve(spec, facts, SolveOptions(time_limit_s=10))
    assert check(answer, facts).passed
    return answer


def needed(answer: ServingPlan) -> list[dict[str, float]]:
    """Per conflict, what each limit in it would have to be."""
    assert (answer.outcome, answer.rentals, answer.objective) == ("infeasible", (), None)
    return [{fix.limit: fix.needed for fix in conflict.relaxations} for conflict in answer.conflicts]


@pytest.mark.parametrize("name", ["budget_usd_per_hour", "power_w"])
def test_one_limit_too_tight_gets_the_value_that_is_just_enough(name: str, facts: Facts) -> None:
    (fixes,) = needed(plan(facts, limits={name: 0.5}))
    assert list(fixes) == [f"limits.{name}"]
    enough = fixes[f"limits.{name}"]
    assert plan(facts, limits={name: enough * 1.001}).outcome == "optimal"
    assert plan(facts, limits={name: enough * 0.99}).outcome == "infeasible"


@pytest.mark.parametrize("service", [{"min_replicas": 5}, {"spare_replicas": 4}])
def test_replicas_that_a_cap_leaves_no_room_for(service: dict[str, int], facts: Facts) -> None:
    cap: dict[str, Any] = {"max_gpus": 3, "provider": "aws"}
    (fixes,) = needed(plan(facts, limits={"availability": [cap]}, **service))
    ((path, enough),) = fixes.items()
    assert path == "limits.availability[0].max_gpus"
    assert enough >= 5
    assert plan(facts, limits={"availability": [{**cap, "max_gpus": int(enough)}]}, **service).outcome == "optimal"
    assert plan(facts, limits={"availability": [{**cap, "max_gpus": int(enough) - 1}]}, **service).rentals == ()


def test_limits_that_only_together_are_too_tight(facts: Facts) -> None:
    """Either resolves it, and each alone could be met."""
    cap = {"gpu": "L40S", "max_gpus": 1}
    offers = {**AWS, "gpus": ["L4", "L40S", "H100"]}
    cheapest = plan(facts, offers=offers)
    assert cheapest.usd_per_hour is not None
    budget = cheapest.usd_per_hour + 0.01
    limits = {"budget_usd_per_hour": budget, "availability": [cap]}
    answer = plan(facts, limits=limits, offers=offers)
    (fixes,) = needed(answer)
    assert set(fixes) == {"limits.budget_usd_per_hour", "limits.availability[0].max_gpus"}
    more_money = {**limits, "budget_usd_per_hour": fixes["limits.budget_usd_per_hour"] + 0.001}
    more_gpus = {**limits, "availability": [{**cap, "max_gpus": int(fixes["limits.availability[0].max_gpus"])}]}
    assert plan(facts, limits=more_money, offers=offers).outcome == "optimal"
    assert plan(facts, limits=more_gpus, offers=offers).outcome == "optimal"


def test_independent_conflicts_are_told_apart(facts: Facts) -> None:
    power, budget = needed(plan(facts, limits={"budget_usd_per_hour": 1, "power_w": 100}))
    assert len(power) == len(budget) == 1
    assert {*power, *budget} == {"limits.power_w", "limits.budget_usd_per_hour"}


def test_spot_share_against_budget(facts: Facts) -> None:
    markets = {"providers": ["aws"], "markets": ["on_demand", "spot"]}
    on_demand = plan(facts, offers=markets, max_spot_fraction=0)
    free = plan(facts, offers=markets)
    assert on_demand.usd_per_hour is not None
    assert free.usd_per_hour is not None
    between = {"budget_usd_per_hour": (on_demand.usd_per_hour + free.usd_per_hour) / 2}
    (fixes,) = needed(plan(facts, offers=markets, max_spot_fraction=0, limits=between))
    share = fixes["services[0].max_spot_fraction"]
    assert 0 < share <= 1
    assert plan(facts, offers=markets, max_spot_fraction=share, limits=between).outcome in ("optimal", "feasible")


@pytest.mark.parametrize(
    "slo", [{"tpot_ms": 1}, {"ttft_ms": 30}, {"ttft_ms": 30, "tpot_ms": 60}, {"e2e_ms": 500, "percentile": "p99"}]
)
def test_the_nearest_slo_works_and_is_near(slo: dict[str, Any], facts: Facts) -> None:
    answer = plan(facts, slo=slo, offers=SMALL)
    (fixes,) = needed(answer)
    ((limit, value),) = fixes.items()
    name = limit.removeprefix("services[0].slo.")
    assert value > slo[name]
    assert plan(facts, slo={**slo, name: value}, offers=SMALL).outcome in ("optimal", "feasible")
    assert plan(facts, slo={**slo, name: value * 0.9}, offers=SMALL).outcome == "infeasible"
    assert "% of requests)" in answer.conflicts[0].detail


def test_two_latencies_out_of_reach_are_fixed_together(facts: Facts) -> None:
    answer = plan(facts, slo={"ttft_ms": 30, "tpot_ms": 1}, offers=SMALL)
    assert needed(answer) == [{}]
    together = yaml.safe_load("{" + answer.conflicts[0].detail.split("together these would: ")[1] + "}")
    assert plan(facts, slo=together, offers=SMALL).outcome in ("optimal", "feasible")


def test_a_rare_size_that_no_gpu_serves_is_named_with_its_share(facts: Facts) -> None:
    sizes = [{"input_tokens": [1, 512], "output_tokens": [1, 128], "requests_per_s": 9.9},
             {"input_tokens": [513, 200_000], "output_tokens": [1, 128], "requests_per_s": 0.1}]  # fmt: skip
    answer = plan(facts, workload={"buckets": sizes})
    assert needed(answer) == [{}]
    (conflict,) = answer.conflicts
    assert conflict.constraints == ("services[0].workload",)
    assert "513–200,000 in, 1–128 out (1.00% of requests); they are longer than the model's context" in conflict.detail


def test_goodput_below_the_smallest_mix_rents_nothing(facts: Facts) -> None:
    service = {"name": "chat", "model": "meta-llama/Llama-3.1-8B-Instruct", "allow_roofline": True, "workload": CHAT,
               "slo": {"ttft_ms": 2000, "tpot_ms": 100}}  # fmt: skip
    spec = {"objective": "goodput", "services": [service], "offers": AWS, "limits": {"budget_usd_per_hour": 0.5}}
    answer = solve(ServingSpec.model_validate(spec), facts, SolveOptions())
    assert check(answer, facts).passed
    assert (answer.outcome, answer.objective, answer.usd_per_hour, answer.rentals) == ("optimal", 0, 0, ())
    assert "Loosen a limit" in answer.explanation[0]
