"""Limits on uneven links: only mapped configurations can miss them, and only the fastest links can prove it."""

from __future__ import annotations

import pytest

from api.examples import SPECS
from planner.training.plan import TrainingPlan
from planner.training.solve import solve
from planner.training.spec import TrainingSpec
from planner.types import SolveOptions
from profiles.types import Facts

SPEC = TrainingSpec.model_validate(SPECS["training"])


def by(deadline_days: float | None, facts: Facts) -> TrainingPlan:
    return solve(SPEC.model_copy(update={"deadline_days": deadline_days}), facts, SolveOptions())


def test_a_mapping_keeps_a_deadline_that_typical_links_miss(facts: Facts) -> None:
    free = by(None, facts)
    assert free.objective is not None
    assert free.bound is not None
    just = by(free.objective * 1.02, facts)
    assert just.objective == pytest.approx(free.objective, rel=0.02)

    too_early = by(free.bound * 0.9, facts)
    assert too_early.outcome == "infeasible"
    assert too_early.conflicts[0].relaxations[0].needed > free.bound

    assert by((free.bound + free.objective) / 2, facts).outcome == "no_solution"
