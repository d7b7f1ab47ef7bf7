"""Sweeps: every row is what planning that scenario by itself says, and what fails is a row that says why."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import pytest

from planner.documents import validated
from planner.errors import InvalidInput
from planner.service import answer_from
from planner.serving import ServingSpec
from planner.sweep import engines, run
from planner.sweep.run import base_of, sweep
from planner.sweep.spec import MOST_SCENARIOS, SweepRequest
from planner.types import SolveOptions
from profiles.types import Facts
from tests.planner.sweep.problems import PRICE, RATE, SPEC, facts


@pytest.fixture(scope="module")
def known() -> Facts:
    return facts()


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: what spreads the scenarios out has tests of its own."""
    monkeypatch.setattr(engines, "_num_cpus", lambda: 1)


def request(**given: Any) -> SweepRequest:
    return validated(SweepRequest, {"kind": "serving", "spec": SPEC, **given})


def test_rows_are_what_each_scenario_says_by_itself(known: Facts) -> None:
    rates, prices = [1, 12.5, 40], [3.0, 7.5]
    answer = sweep(request(vary=[{"path": RATE, "values": rates}, {"path": PRICE, "values": prices}]), known)
    assert len(answer.rows) == 6
    for row, (rate, price) in zip(answer.rows, product(rates, prices), strict=True):
        spec = copy.deepcopy(SPEC)
        spec["services"][0]["workload"]["requests_per_s"] = rate
        spec["services"][0]["units"][1]["usd_per_hour"] = price
        plan: Any = answer_from("serving", ServingSpec.model_validate(spec), known, SolveOptions())
        assert row.changes == {RATE: rate, PRICE: price}
        assert (row.outcome, row.objective, row.bound, row.gap) == (plan.outcome, plan.objective, plan.bound, plan.gap)
        assert row.figures["usd_per_hour"] == plan.usd_per_hour
        assert row.digest == run._digest(plan)
    assert len({row.digest for row in answer.rows}) == 6
    assert answer.profile_digest == known.digest


def test_equal_requests_give_equal_answers(known: Facts) -> None:
    asked = request(vary=[{"path": RATE, "values": [5, 6, 7]}])
    assert sweep(asked, known) == sweep(asked, known)


def test_scenarios_are_taken_as_they_are(known: Facts) -> None:
    scenarios = [{RATE: 5}, {}, {RATE: {"times": 3}, PRICE: 1.0}, {"limits.budget_usd_per_hour": 0.01}]
    answer = sweep(request(scenarios=scenarios), known)
    assert [row.changes for row in answer.rows] == scenarios
    assert [row.outcome for row in answer.rows] == ["optimal", "optimal", "optimal", "infeasible"]
    assert answer.rows[0].figures["usd_per_hour"] < answer.rows[1].figures["usd_per_hour"]


def test_a_scenario_that_fails_says_why_and_costs_no_other_its_answer(known: Facts) -> None:
    values = [5, -1, "many", None, True, [1], {"times": 2}, {"times": "x"}, 1e300]
    answer = sweep(request(vary=[{"path": RATE, "values": values}]), known)
    good = [row.changes[RATE] for row in answer.rows if row.outcome == "optimal"]
    assert good == [5, {"times": 2}]
    assert answer.num_failed == len(values) - 2
    by_value = {str(row.changes[RATE]): row for row in answer.rows}
    assert "greater than or equal to 0 (got -1)" in str(by_value["-1"].error)
    assert by_value["-1"].field == RATE
    assert "cannot multiply by 'x'" in str(by_value["{'times': 'x'}"].error)


def test_a_defect_in_one_scenario_is_a_row(known: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(kind: str, spec: Any, *rest: Any) -> Any:
        if spec.services[0].workload.requests_per_s == 2:
            raise ZeroDivisionError("secret path /home/x")
        return answer_from(kind, spec, *rest)

    monkeypatch.setattr(run, "answer_from", broken)
    rows = sweep(request(vary=[{"path": RATE, "values": [1, 2, 3]}]), known).rows
    assert [row.outcome for row in rows] == ["optimal", "failed", "optimal"]
    assert rows[1].error == "a defect in gpuplan (ZeroDivisionError)"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "either vary"),
        ({"vary": [{"path": RATE, "values": [1]}], "scenarios": [{}]}, "either vary"),
        ({"vary": [{"path": RATE, "values": []}]}, "vary[0].values: needs at least 1"),
        ({"vary": [{"path": RATE, "values": [1]}, {"path": RATE, "values": [2]}]}, "appears twice"),
        ({"vary": [{"path": p, "values": [*range(101)]} for p in (RATE, PRICE)]}, "10,201 combinations"),
        ({"scenarios": [{}] * (MOST_SCENARIOS + 1)}, "at most 10000"),
        ({"scenarios": [{f"a{i}": 1 for i in range(101)}]}, "more than 100 fields"),
        ({"vary": [{"path": RATE, "values": [1]}], "kind": "lunch"}, "kind: must be 'serving'"),
        ({"vary": [{"path": RATE, "values": [1]}], "time_limit_s": 0}, "time_limit_s: must be greater than 0"),
        ({"vary": [{"path": RATE, "values": [1]}], "seed": -1}, "seed: "),
        ({"vary": [{"path": "", "values": [1]}]}, "vary[0].path: must not be empty"),
        ({"vary": [{"path": RATE, "values": [1]}], "spec": [1]}, "spec: "),
        ({"vary": [{"path": RATE, "values": [1]}], "unknown": 1}, "unknown: unknown field"),
    ],
)
def test_requests_that_cannot_be_meant(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        request(**given)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"vary": [{"path": "services[0].rate", "values": [1]}]}, "services[0] has no field 'rate'"),
        ({"scenarios": [{}, {"service": 1}]}, "did you mean 'services'?"),
        ({"vary": [{"path": RATE, "values": [1]}], "spec": {}}, "spec: services: is missing"),
        ({"vary": [{"path": RATE, "values": [1]}], "spec": {**SPEC, "kind": "power"}}, "spec: kind: "),
    ],
)
def test_a_base_or_path_that_cannot_be_meant_stops_the_sweep(known: Facts, given: dict[str, Any], said: str) -> None:
    asked = request(**given)
    for attempt in (lambda: base_of(asked), lambda: sweep(asked, known)):
        with pytest.raises(InvalidInput) as error:
            attempt()
        assert said in str(error.value)


def test_replays_of_one_plan(known: Facts) -> None:
    bucket = {"input_tokens": [1, 512], "output_tokens": [1, 128], "requests_per_s": 4}
    service = {"name": "chat", "model": "meta-llama/Llama-3.1-8B-Instruct", "slo": {"ttft_ms": 2000, "tpot_ms": 100},
               "workload": {"buckets": [bucket]}}  # fmt: skip
    spec = {"services": [service], "offers": {"providers": ["aws"], "regions": ["us-east-1"]}}
    plan = answer_from("serving", ServingSpec.model_validate(spec), known, SolveOptions())
    base = {"plan": plan.model_dump(mode="json"), "duration_s": 60}
    vary = [{"path": "rate_multiplier", "values": [0.5, 40]}, {"path": "options.seed", "values": [0, 1, 1]}]
    rows = sweep(request(kind="simulation", spec=base, vary=vary), known).rows
    assert {row.outcome for row in rows} == {"replayed"}
    light, heavy = rows[:3], rows[3:]
    assert min(row.figures["slo_attainment"] for row in light) > max(row.figures["slo_attainment"] for row in heavy)
    assert rows[1].digest == rows[2].digest != rows[0].digest
    assert all(row.figures["ttft_ms.p50"] <= row.figures["ttft_ms.p99"] for row in rows)
