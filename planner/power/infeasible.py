"""Why so many servers cannot be promised, and what would have to give: the budget, or a limit on slowdown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.power.judge import Bar, chances
from planner.power.plan import Judged
from planner.power.policy import Policy
from planner.power.rows.fleet import Fleet
from planner.power.spec import PowerSpec
from planner.power.trials import Effort, trials
from planner.types import Conflict, Relaxation

ROOM = 1.3
"""Times the uncapped peak: with a larger budget nothing is capped any more."""

RUNGS, ROUNDS = 6, 2
"""Budgets tried in turn, and how often the bracket is cut: to 1/49 of its width."""


def conflict(spec: PowerSpec, fleet: Fleet, policy: Policy, failed: Judged, natural_peak: float, bar: Bar,
             effort: Effort, seed: int) -> Conflict:  # fmt: skip
    """``failed`` is what ``policy`` does, which comes closest; says which limit would have to move how far.

    ``natural_peak``: of as many servers without any cap, as a share of the budget.
    """
    most = max(ROOM * natural_peak, ROOM)
    relaxations = [_budget(fleet, policy, failed.num_servers, most, bar, effort, seed)]
    relaxations += [_slowdown(spec, failed, bar)]
    broken = ["promise.max_brakes"] if any(reason.startswith("brakes") for reason in failed.why_not) else []
    for i, priority in enumerate(spec.priorities):
        seen = failed.slowdown[priority.name]
        for field, value in (("max_slowdown_p50", seen.p50), ("max_slowdown_p99", seen.p99)):
            if value > getattr(priority, field):
                broken.append(f"priorities[{i}].{field}")
    return Conflict(
        constraints=("row.budget_w", *(broken or ["promise.confidence"])),
        detail=f"{failed.num_servers} servers: " + "; ".join(failed.why_not),
        relaxations=tuple(r for r in relaxations if r is not None),
    )


def _budget(fleet: Fleet, policy: Policy, num_servers: int, most: float, bar: Bar, effort: Effort, seed: int
            ) -> Relaxation | None:  # fmt: skip
    """The smallest budget, up to ``most`` times what there is, with which the policy holds on the choosing weeks."""

    def holds(times: float) -> bool:
        wider = replace(fleet, budget_w=fleet.budget_w * times)
        results = trials(wider, (policy,), (num_servers,), effort.choosing, effort, seed)
        return bool(chances(results, (policy,), bar)[0, 0] <= bar.allowed)

    low, high = 1.0, most
    if not holds(high):
        return None
    for _ in range(ROUNDS):
        for times in np.linspace(low, high, RUNGS + 2)[1:-1]:
            if holds(float(times)):
                high = float(times)
                break
            low = float(times)
    needed = fleet.budget_w * high
    return Relaxation(
        limit="row.budget_w",
        current=fleet.budget_w,
        needed=needed,
        detail=f"{num_servers} servers need a budget of {needed:,.0f} W, {high - 1:+.1%}, as far as "
        f"{effort.choosing_weeks} simulated weeks tell",
    )


def _slowdown(spec: PowerSpec, failed: Judged, bar: Bar) -> Relaxation | None:
    """The one slowdown that is too much, where all else holds."""
    if failed.num_brakes > bar.max_brakes:
        return None
    over = [
        (f"priorities[{i}].{field}", getattr(priority, field), value)
        for i, priority in enumerate(spec.priorities)
        for field, value in (
            ("max_slowdown_p50", failed.slowdown[priority.name].p50),
            ("max_slowdown_p99", failed.slowdown[priority.name].p99),
        )
        if value > getattr(priority, field)
    ]
    if len(over) != 1:
        return None
    limit, current, needed = over[0]
    return Relaxation(
        limit=limit, current=current, needed=needed, detail=f"the worst simulated horizon slows by {needed:.1%}"
    )
