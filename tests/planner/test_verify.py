"""The search for headroom, with replays that are made up: it ends at the cheapest plan that attains, and says so."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.serving import ServingPlan, ServingSpec
from planner.serving.plan import Allocation
from planner.types import Outcome
from planner.verify import MOST_LOAD, Attainment, verified

SPEC = ServingSpec.model_validate({
    "services": [{"name": "s", "model": "m", "max_utilisation": 0.8,
                  "workload": {"buckets": [{"input_tokens": [1, 9], "output_tokens": [1, 9], "requests_per_s": 1}]}}],
})  # fmt: skip


def plan_of(spec: ServingSpec, outcome: Outcome = "optimal", step: float = 1.0) -> ServingPlan:
    """A plan whose replicas are what 100 busy ones need under the utilisation limit, in whole steps."""
    limit = spec.services[0].planned_load
    replicas = int(-(-100 / limit // step) * step)
    unit = Allocation(
        unit="u", service="s", gpu="H100", gpus_per_replica=1, precision="fp8", engine="vllm", provider="p",
        instance_type="i", region="r", market="on_demand", replicas=replicas, utilisation=limit,
        usd_per_hour=float(replicas), power_w=None,
    )  # fmt: skip
    return ServingPlan(
        outcome=outcome, spec=spec, objective=float(replicas), usd_per_hour=float(replicas), allocation=(unit,)
    )


def replay_needing(replicas: float) -> tuple[list[int], object]:
    """A replay that attains from so many replicas on, and the counts that it was asked about."""
    asked: list[int] = []

    def replay(plan: ServingPlan) -> Attainment:
        count = plan.allocation[0].replicas
        asked.append(count)
        return Attainment(1.0 if count >= replicas else 0.9 * count / replicas, count >= replicas / 2)

    return asked, replay


@settings(max_examples=100, deadline=None)
@given(st.floats(26, 2000), st.sampled_from([1.0, 8.0]))
def test_the_plan_attains_and_is_nearly_the_cheapest_that_does(needed: float, step: float) -> None:
    asked, replay = replay_needing(needed)
    found = verified(SPEC, "t", 0.99, make=lambda spec: plan_of(spec, step=step), replay=replay, most_rounds=20)  # type: ignore[arg-type]
    assert found.verification is not None
    assert found.verification.attained
    count = found.allocation[0].replicas
    assert count >= needed
    assert count <= 1.03 * needed + step
    assert len(asked) == len(set(asked)), "the same mix is not replayed twice"
    assert found.spec.services[0].planned_load in [r.planned_load["s"] for r in found.verification.rounds]
    assert ServingSpec.model_validate(found.spec.model_dump()) == found.spec, "the plan can be read again"


def test_room_to_spare_is_trimmed_to_the_end() -> None:
    _, replay = replay_needing(1)
    found = verified(SPEC, "t", 0.99, make=plan_of, replay=replay)  # type: ignore[arg-type]
    assert found.spec.services[0].planned_load == MOST_LOAD
    assert found.usd_per_hour == 100 / MOST_LOAD
    assert found.verification is not None
    assert "trimmed from $125.00/h" in found.verification.detail


def test_where_capacity_does_not_help_it_stops_and_says_how_near_it_came() -> None:
    replays = []

    def replay(plan: ServingPlan) -> Attainment:
        replays.append(plan)
        return Attainment(0.93, stable=True)

    found = verified(SPEC, "t", 0.99, make=plan_of, replay=replay)
    assert len(replays) <= 3
    assert found.verification is not None
    assert not found.verification.attained
    assert "NOT attained: 93.00%" in found.verification.detail


def test_shares_are_told_as_they_are() -> None:
    """Neither is 99.5% rounded to all, nor what was reached."""

    def nearly(plan: ServingPlan) -> Attainment:
        return Attainment(0.99999, stable=True)

    found = verified(SPEC, "t", 0.995, make=plan_of, replay=nearly)
    assert found.verification is not None
    assert "99.99% of requests meet the SLO (99.5% asked)" in found.verification.detail
    found = verified(SPEC, "t", 1.0, make=plan_of, replay=nearly)
    assert found.verification is not None
    assert "NOT attained: 99.99% of requests meet the SLO (100% asked)" in found.verification.detail


def test_an_unstable_plan_never_attains() -> None:
    found = verified(SPEC, "t", 0.5, make=plan_of, replay=lambda plan: Attainment(1.0, stable=False))
    assert found.verification is not None
    assert not found.verification.attained
    assert "more than the mix can carry" in found.verification.detail


def test_a_limit_that_leaves_no_room_ends_the_search() -> None:
    def make(spec: ServingSpec) -> ServingPlan:
        outcome: Outcome = "infeasible" if spec.services[0].max_utilisation < 0.7 else "optimal"
        return plan_of(spec, outcome)

    found = verified(SPEC, "t", 0.99, make=make, replay=lambda plan: Attainment(0.9, stable=True))
    assert found.outcome == "optimal"
    assert found.verification is not None
    assert len(found.verification.rounds) == 1


def test_an_infeasible_request_stays_as_it_is() -> None:
    made = plan_of(SPEC, "infeasible")

    def never(plan: ServingPlan) -> Attainment:
        pytest.fail("nothing to replay")

    assert verified(SPEC, "t", 0.99, make=lambda spec: made, replay=never) is made
