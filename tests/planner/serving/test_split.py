"""Prefill and decode on pools of their own: the program against brute force, and plans end to end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import UnknownName
from planner.serving import PLANNER, ServingPlan, ServingSpec
from planner.serving.optimise import optimise
from planner.serving.problem import DECODE, PREFILL, UNIFIED, Problem
from planner.serving.split import matched
from planner.types import SolveOptions
from profiles import catalogue
from profiles.performance import PerformanceModel
from profiles.types import Facts
from tests import oracle
from tests.planner.serving.problems import capacities, offers, prices, problem, rates, service

OPTIONS = SolveOptions(gap=1e-6)
MODEL = "meta-llama/Llama-3.1-70B-Instruct"


@st.composite
def split_problems(draw: st.DrawFn) -> Problem:
    """One unified pool, and two groups of a prefill and one or two decode pools; each on an offer of its own."""
    roles = [UNIFIED, PREFILL, DECODE, PREFILL, DECODE]
    groups = [-1, 0, 0, draw(st.sampled_from([0, 1])), 1]
    buckets = draw(st.integers(1, 2))
    rate = draw(st.lists(rates, min_size=buckets, max_size=buckets))
    capacity = [[draw(capacities) for _ in range(buckets)] for _ in roles]
    made = service(
        rate, capacity, np.eye(len(roles), dtype=bool).tolist(),
        role=np.array(roles), group=np.array(groups),
        spot=draw(st.sampled_from([[False] * 5, [True, False, False, True, True]])),
        max_spot_fraction=draw(st.sampled_from([1.0, 0.5])),
        spare_replicas=draw(st.sampled_from([0, 0, 1])),
    )  # fmt: skip
    usd = draw(st.lists(prices, min_size=len(roles), max_size=len(roles)))
    return problem([made], offers(usd, [1] * len(roles)))


@settings(max_examples=40, deadline=None)
@given(split_problems())
def test_split_pools_cost_what_brute_force_finds(small: Problem) -> None:
    if np.isinf(small.services[0].least_load).any():
        return  # such requests never reach the solver
    found = optimise(small, OPTIONS)
    cost = None if found.answer is None else float(found.answer.instances @ small.per_instance)
    best = oracle.cheapest(small, most=2, below=None if cost is None else cost + 1e-3)
    if best is not None:
        assert cost == pytest.approx(best, rel=1e-5)
    if found.answer is not None and max(counts.max() for counts in found.answer.replicas) <= 2:
        assert best is not None


def test_a_group_decodes_what_it_reads() -> None:
    made = service(
        [2.0, 1.0], [[0, 0], [2.0, 2.0], [1.0, 1.0], [2.0, 2.0], [1.0, 1.0]], np.eye(5, dtype=bool).tolist(),
        role=np.array([UNIFIED, PREFILL, DECODE, PREFILL, DECODE]), group=np.array([-1, 0, 0, 1, 1]),
    )  # fmt: skip
    found = optimise(problem([made], offers([1.0] * 5, [1] * 5)), OPTIONS)
    assert found.answer is not None
    share = found.answer.share[0]
    assert share[[1, 3]].sum(axis=0) == pytest.approx([1.0, 1.0])
    assert share[1] == pytest.approx(share[2], abs=1e-6)
    assert share[3] == pytest.approx(share[4], abs=1e-6)
    assert np.isinf(replace(made, group=np.array([-1, 0, 1, 0, 2])).least_load).all()


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=5), st.lists(st.floats(0.01, 1), min_size=1, max_size=5))
def test_matching_hands_over_everything_once(read: list[float], decoded: list[float]) -> None:
    decoded = [share * sum(read) / sum(decoded) for share in decoded]
    pairs = matched(list(enumerate(read)), list(enumerate(decoded)))
    for i, share in enumerate(read):
        assert sum(moved for p, _, moved in pairs if p == i) == pytest.approx(share, abs=1e-9)
    for j, share in enumerate(decoded):
        assert sum(moved for _, d, moved in pairs if d == j) == pytest.approx(share, abs=1e-9)
    assert len(pairs) <= len(read) + len(decoded) - 1


@pytest.fixture(scope="module")
def facts() -> Facts:
    return Facts(**dict(catalogue.load()), digest="catalogue")


def spec(split: str, **service_options: Any) -> ServingSpec:
    buckets = [
        {"input_tokens": [1, 1024], "output_tokens": [1, 256], "requests_per_s": 20.0},
        {"input_tokens": [1025, 4096], "output_tokens": [1, 64], "requests_per_s": 15.0},
    ]
    options: dict[str, Any] = {
        "slo": {"ttft_ms": 3000, "tpot_ms": 60},
        "engines": ["vllm", "trtllm"],
        **service_options,
    }
    entry = {"name": "chat", "model": MODEL, "workload": {"buckets": buckets}, "split": split, **options}
    return ServingSpec.model_validate({"services": [entry], "offers": {"providers": ["nebius", "runpod"]}})


@pytest.fixture(scope="module")
def always(facts: Facts) -> ServingPlan:
    return solved(spec("always"), facts)


def solved(asked: ServingSpec, facts: Facts) -> ServingPlan:
    made = PLANNER.solve(asked, facts, SolveOptions(gap=1e-3))
    assert made.outcome == "optimal", made.conflicts
    found = PLANNER.check(made, facts)
    assert found.passed, found.violations
    return made


def test_a_split_plan_reads_and_decodes_elsewhere(always: ServingPlan) -> None:
    roles = {a.unit: a.role for a in always.allocation}
    assert set(roles.values()) == {"prefill", "decode"}
    for route in always.routing:
        assert roles[route.unit] == "prefill"
        assert roles[route.decode_unit or ""] == "decode"
        assert route.kv_transfer_ms is not None
        assert route.kv_transfer_ms > 0
    assert any("reads the prompts" in sentence for sentence in always.explanation)


def test_more_freedom_never_costs_more(facts: Facts, always: ServingPlan) -> None:
    never, allowed = (solved(spec(split), facts) for split in ("never", "allowed"))
    assert never.usd_per_hour is not None
    assert always.usd_per_hour is not None
    assert allowed.usd_per_hour is not None
    assert allowed.usd_per_hour <= 1.002 * min(never.usd_per_hour, always.usd_per_hour)
    alone = {baseline.pools: baseline.usd_per_hour for baseline in allowed.pool_baselines}
    assert alone["unified"] == pytest.approx(never.usd_per_hour, rel=2e-3)
    assert alone["split"] == pytest.approx(always.usd_per_hour, rel=2e-3)


def test_a_slow_link_costs_no_less(facts: Facts, always: ServingPlan) -> None:
    slow = solved(spec("always", kv_link_gb_per_s=2.0), facts)
    assert slow.usd_per_hour is not None
    assert slow.usd_per_hour >= 0.998 * (always.usd_per_hour or 0)
    assert min(r.kv_transfer_ms or 0 for r in slow.routing) > max(r.kv_transfer_ms or 0 for r in always.routing) / 12.5


def test_goodput_for_the_same_money(facts: Facts) -> None:
    asked = spec("allowed").model_copy(update={"objective": "goodput"})
    asked = ServingSpec.model_validate({**asked.model_dump(), "limits": {"budget_usd_per_hour": 60}})
    made = solved(asked, facts)
    goodput = {baseline.pools: baseline.objective for baseline in made.pool_baselines}
    assert set(goodput) == {"unified", "split"}
    assert made.objective is not None
    assert made.objective >= max(value or 0 for value in goodput.values()) * 0.999


def first(plan: ServingPlan, **changes: object) -> ServingPlan:
    return plan.model_copy(update={"routing": (plan.routing[0].model_copy(update=changes), *plan.routing[1:])})


def test_the_check_notices_tampering(facts: Facts, always: ServingPlan) -> None:
    def broken(plan: ServingPlan) -> set[str]:
        return {violation.constraint for violation in PLANNER.check(plan, facts).violations}

    route = always.routing[0]
    assert "split" in broken(first(always, decode_unit=None))
    assert "demand" in broken(first(always, decode_unit="nowhere"))
    assert "split" in broken(first(always, decode_unit=route.unit))
    assert "slo" in broken(first(always, kv_transfer_ms=0.0))
    assert "slo" in broken(first(always, tpot_ms=1.0))
    assert "slo" in broken(first(always, requests_per_s_per_replica=1e5))
    assert "kv_link_gb_per_s" in broken(first(always, requests_per_s_per_replica=1e5))
    assert "capacity" in broken(first(always, decode_requests_per_s_per_replica=1e5))
    assert "memory" in broken(first(always, concurrency=1e7))
    unit = always.allocation[0].model_copy(update={"role": "unified"})
    assert "split" in broken(always.model_copy(update={"allocation": (unit, *always.allocation[1:])}))
    forbidden = always.spec.model_copy(
        update={"services": (always.spec.services[0].model_copy(update={"split": "never"}),)}
    )
    assert "split" in broken(always.model_copy(update={"spec": forbidden}))


def test_a_plan_whose_spec_lost_a_service_breaks_the_check(facts: Facts, always: ServingPlan) -> None:
    renamed = always.spec.services[0].model_copy(update={"name": "other"})
    found = PLANNER.check(
        always.model_copy(update={"spec": always.spec.model_copy(update={"services": (renamed,)})}), facts
    )
    assert "split" in {violation.constraint for violation in found.violations}


def test_an_unservable_split_says_what_would_do(facts: Facts) -> None:
    asked = spec("always", slo={"ttft_ms": 10, "tpot_ms": 60})
    made = PLANNER.solve(asked, facts, SolveOptions())
    assert made.outcome == "infeasible"
    relaxation = made.conflicts[0].relaxations[0]
    assert relaxation.limit == "services[0].slo.ttft_ms"
    fixed = PLANNER.solve(
        spec("always", slo={"ttft_ms": relaxation.needed, "tpot_ms": 60}), facts, SolveOptions(gap=0.05)
    )
    assert fixed.outcome in ("optimal", "feasible")


@pytest.mark.parametrize(("field", "value", "message"), [
    ("split", True, "never"), ("split", "maybe", "never"), ("kv_link_gb_per_s", 0, "greater than 0"),
    ("kv_link_gb_per_s", "fast", "number"),
])  # fmt: skip
def test_bad_choices_are_named(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec("always", **{field: value}) if field != "split" else spec(value)  # type: ignore[arg-type]


def test_given_rates_cannot_be_split() -> None:
    entry = {
        "name": "s", "split": "allowed",
        "workload": {"requests_per_s": 1, "distribution": {"input_tokens": [1, 9], "output_tokens": [1, 9],
                                                           "fractions": [[1.0]]}},
        "units": [{"name": "u", "gpu": "H100", "usd_per_hour": 1, "requests_per_s": [[1.0]]}],
    }  # fmt: skip
    with pytest.raises(ValueError, match="split needs profiles"):
        ServingSpec.model_validate({"services": [entry]})


def test_iterations_know_what_a_transfer_moves(facts: Facts) -> None:
    performance = PerformanceModel(facts)
    layout = performance.layouts(MODEL)[0]
    card = next(card for card in facts.models if card.name == MODEL)
    heads = 2 * card.num_layers * card.num_kv_heads * card.head_dim
    assert performance.iteration(layout).kv_bytes_per_token / heads in (1.0, 2.0)


def test_unknown_models_are_named(facts: Facts) -> None:
    with pytest.raises(UnknownName, match="acme/none"):
        PLANNER.solve(spec("always", model="acme/none"), facts, SolveOptions())
