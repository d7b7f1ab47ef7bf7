"""The one path: load, solve, check, save, on both databases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from planner import registry, service, store
from planner.errors import FailedCheck, InvalidInput
from planner.registry import PLANNERS, planner_for
from planner.serving import ServingPlan
from planner.types import Check, SolveOptions, Violation
from profiles import catalogue
from profiles.store import add

EXAMPLE = Path(__file__).parents[2] / "examples" / "chat.yaml"
OPTIONS = SolveOptions()


def without_time(plan: ServingPlan) -> ServingPlan:
    return plan.model_copy(update={"solve_seconds": 0.0})


@pytest.fixture
def stocked(any_engine: Engine) -> Engine:
    add(any_engine, catalogue.load())
    return any_engine


def test_a_plan_is_checked_and_saved(stocked: Engine) -> None:
    spec = planner_for("serving").load(EXAMPLE, {})
    plan = service.make_plan("serving", spec, stocked, OPTIONS)
    assert plan.check == Check(passed=True)
    (summary,) = store.list_plans(stocked).plans
    saved = store.load_plan(stocked, summary.id)
    assert ServingPlan.model_validate(saved.plan) == plan
    assert saved.spec["name"] == "chat"


def test_equal_facts_give_equal_plans(stocked: Engine, tmp_path: Path) -> None:
    """Whichever database holds the facts: same digest, same plan as from a fresh SQLite store."""
    from profiles.db import initialise

    spec = planner_for("serving").load(EXAMPLE, {})
    here = service.make_plan("serving", spec, stocked, OPTIONS)
    other = initialise(f"sqlite:///{tmp_path / 'other.db'}")
    add(other, catalogue.load())
    there = service.make_plan("serving", spec, other, OPTIONS)
    assert here.profile_digest == there.profile_digest
    assert without_time(here) == without_time(there)  # type: ignore[arg-type]


def test_planning_twice_saves_one_plan(engine: Engine) -> None:
    add(engine, catalogue.load())
    spec = planner_for("serving").load(EXAMPLE, {})
    for _ in range(2):
        service.make_plan("serving", spec, engine, OPTIONS)
    assert len(store.list_plans(engine).plans) == 1


def test_a_plan_that_fails_its_check_is_not_shown_nor_saved(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    add(engine, catalogue.load())
    refuse = Check(passed=False, violations=(Violation(constraint="capacity", detail="too little"),))
    broken = replace(PLANNERS["serving"], check=lambda _plan, _facts: refuse)
    monkeypatch.setitem(registry.PLANNERS, "serving", broken)
    spec = planner_for("serving").load(EXAMPLE, {})
    with pytest.raises(FailedCheck, match="capacity: too little"):
        service.make_plan("serving", spec, engine, OPTIONS)
    assert store.list_plans(engine).plans == ()


def test_a_saved_file_is_read_back(engine: Engine, tmp_path: Path) -> None:
    add(engine, catalogue.load())
    plan = service.make_plan("serving", planner_for("serving").load(EXAMPLE, {}), engine, OPTIONS)
    file = tmp_path / "plan.json"
    file.write_text(plan.model_dump_json())
    assert service.read_plan(file) == plan
    assert service.check_plan(service.read_plan(file), engine).passed


@pytest.mark.parametrize("text", ["{}", "[]", '{"kind": "serving"}', '{"kind": "serving", "outcome": "optimal"}'])
def test_what_is_no_plan_is_said_so(text: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=r"plan\.json"):
        service.read_plan(file)
