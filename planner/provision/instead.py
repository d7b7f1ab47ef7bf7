"""What to run instead where instances or nodes do not come, for every kind of plan that can be applied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Engine

from planner.provision.driver import UnitState
from planner.provision.history import Applicable
from planner.provision.shortage import next_best, shortages
from planner.provision.training_shortage import missing_nodes, next_best_training
from planner.serving.plan import ServingPlan
from planner.training.plan import TrainingPlan
from planner.types import SolveOptions


@dataclass(frozen=True)
class Instead:
    """The next best plan, which may be ``infeasible``. ``note``: what is short, and what this plan means instead."""

    plan: Applicable
    note: str


def instead_of(plan: Applicable, units: Iterable[UnitState], engine: Engine, options: SolveOptions) -> Instead | None:
    """The next best plan, from the units as they were last seen; None where none of them lacks instances or nodes."""
    found: Applicable
    if isinstance(plan, TrainingPlan):
        missing = missing_nodes(units)
        if not missing:
            return None
        found, short = next_best_training(plan, missing, engine, options), list(map(str, missing))
    else:
        lacking = shortages(plan, units)
        if not lacking:
            return None
        found, short = next_best(plan, lacking, engine, options), list(map(str, lacking))
    return Instead(found, f"Short: {'; '.join(short)}. The next best plan {_means(found)}; this one {_means(plan)}.")


def _means(plan: Applicable) -> str:
    if isinstance(plan, ServingPlan):
        return f"costs {plan.usd_per_hour or 0:.2f} USD/h"
    return f"takes {plan.ranked[0].days_to_train:.3g} days" if plan.ranked else "trains nothing"
