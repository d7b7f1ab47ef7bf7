"""From a spec to a plan: fill the row, compare, stress, place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from planner.clock import Clock
from planner.power.assume import Demands, End, calibrated, fleet_of, other_at
from planner.power.busiest import profiles_of, safe_limit_w
from planner.power.carry import Answer, Question, carry
from planner.power.confidence import clopper_pearson
from planner.power.family import baselines, classes_of
from planner.power.feeds.placement import place
from planner.power.feeds.shortfall import shortfall
from planner.power.infeasible import conflict
from planner.power.judge import bar_of
from planner.power.optimise import Pick
from planner.power.plan import Judged, Minute, PowerPlan, Sensitivity
from planner.power.policy import Policy
from planner.power.prove import Tried, pareto, tried
from planner.power.rows.fleet import Fleet
from planner.power.rows.row import worst_day
from planner.power.sensitivity import assumptions_of, carried_by, sensitivity
from planner.power.spec import PowerSpec
from planner.power.stress import stress
from planner.power.traces.pools import pools
from planner.power.trials import STRESSING, Effort
from planner.progress import progress
from planner.solver import relative_gap
from planner.types import SolveOptions
from profiles.types import Facts

ENOUGH = Effort()
"""Weeks that are simulated unless told otherwise."""

ENDS: tuple[End, ...] = ("low", "middle", "high")

CAPPING = (
    "what caps do to power and speed is a model, not measured: docs/maths/prediction.md has it",
    "weeks are drawn from the recorded or modelled seconds in blocks, independent of one another",
    "brakes beyond the weeks simulated: extreme-value tail of each week's highest power, bootstrapped",
)
"""Assumptions of every answer."""


def solve(spec: PowerSpec, facts: Facts, options: SolveOptions, effort: Effort = ENOUGH) -> PowerPlan:
    """How many servers the row carries under which policy, and where servers go on a site, as the spec asks.

    Raises what ``pools`` and ``place`` raise, and ``InvalidInput`` for an observed peak that nothing explains. The
    answer depends on spec, facts and seed alone unless time runs out; then less is refined, judged and compared.
    """
    clock = Clock(options.time_limit_s)
    demands = pools(spec, facts)
    found: dict[str, Any] = {"outcome": "feasible", "objective": None, "bound": None}
    other_w: Mapping[str, float] = other_at(spec, spec.assume)
    if spec.row is not None:
        if spec.row.observed is not None:
            other_w = calibrated(spec, facts, demands, effort, options.seed)
        found |= _row(spec, facts, demands, other_w, effort, options.seed, clock)
    if spec.site is not None:
        left = options.model_copy(update={"time_limit_s": max(clock.left_s, LEAST_PLACING_S)})
        found |= _site(spec, demands, other_w, left, alone=spec.row is None)
    return PowerPlan(
        **found,
        gap=relative_gap(found["objective"], found["bound"]),
        solver="gpuplan",
        solve_seconds=clock.elapsed_s,
        profile_digest=facts.digest,
        spec=spec,
        other_w=dict(other_w),
        assumptions=_assumptions(spec, demands),
        seed=options.seed,
    )


LEAST_PLACING_S = 5.0
"""For a placement, however long the row took."""


def _row(spec: PowerSpec, facts: Facts, demands: Demands, other_w: Mapping[str, float], effort: Effort, seed: int,
         clock: Clock) -> dict[str, Any]:  # fmt: skip
    """What the plan says of the row."""
    assert spec.row is not None  # noqa: S101 - the caller asked
    fleet = fleet_of(spec, facts, demands, other_w)
    bar, classes = bar_of(spec), classes_of(spec, facts)
    places = spec.row.max_servers or 2 * max(spec.num_by_rating, 1)
    question = Question(spec, fleet, classes, bar, places, effort, seed, clock)
    answer = carry(question)
    if answer.best is None:
        return _not_found(question, answer)
    policy, best = answer.best
    count = best.num_servers
    servers = [count * workload.share for workload in spec.workloads]
    shown: dict[str, Any] = {}
    if spec.num_servers is None:
        shown["pareto"] = pareto(answer.trials, count, bar, seed)
    shown["baselines"] = _baselines(question, answer, count)
    shown["stress"] = tuple(stress(fleet, policy, count, event, effort, seed) for event in spec.events)
    shown["sensitivity"] = _sensitivity(question, facts, demands, policy, count)
    left_out = [name for name in ("baselines", "sensitivity") if not shown[name]]
    left_out += ["weeks of judging"] if best.weeks < len(effort.judging(bar.horizon)) else []
    return shown | {
        "outcome": "optimal" if count == answer.bound and spec.num_servers is None else "feasible",
        "objective": float(count),
        "bound": float(max(answer.bound, count)),
        "budget_w": spec.budget_w,
        "num_by_rating": spec.num_by_rating,
        "num_servers": count,
        "oversubscription_ratio": best.oversubscription_ratio,
        "policy": policy,
        "capped_time_fraction": best.capped_time_fraction,
        "slowdown": best.slowdown,
        "num_brakes": best.num_brakes,
        "peak_utilisation": best.peak_utilisation,
        "natural_peak_utilisation": _trial(answer, count).natural_peak,
        "confidence": best.confidence,
        "safe_limit_w": safe_limit_w(demands, servers),
        "judged": best,
        "trace": _trace(fleet, policy, count, seed),
        "explanation": (*_explanation(question, answer, best), *_cut(left_out)),
    }


def _trace(fleet: Fleet, policy: Policy, count: int, seed: int) -> tuple[Minute, ...]:
    """The worst day of the weeks for stress."""
    day = worst_day(fleet, policy, count, STRESSING, seed)
    minutes = zip(day.power.tolist(), day.natural_power.tolist(), day.step.tolist(), strict=True)
    return tuple(
        Minute(second=60 * i, utilisation=power, uncapped_utilisation=natural, step=step)
        for i, (power, natural, step) in enumerate(minutes)
    )


def _trial(answer: Answer, count: int) -> Tried:
    return next(one for one in answer.trials if one.num_servers == count)


def _not_found(question: Question, answer: Answer) -> dict[str, Any]:
    """Why the promise cannot be kept with as many servers, or, where that was free, with any."""
    spec, bar, trial = question.spec, question.bar, answer.trials[0]
    gentle = [trial.policies[row] for row in np.argsort(trial.strain, kind="stable")]
    closest = max(gentle, key=lambda policy: trial.judged(policy, bar, question.seed).confidence)
    failed = trial.judged(closest, bar, question.seed)
    count = trial.num_servers
    why = conflict(spec, question.fleet, closest, failed, trial.natural_peak, bar, question.effort, question.seed)
    return {
        "outcome": "no_solution" if question.clock.is_over() else "infeasible",
        "objective": None,
        "bound": float(answer.bound),
        "budget_w": spec.budget_w,
        "num_by_rating": spec.num_by_rating,
        "judged": failed,
        "natural_peak_utilisation": trial.natural_peak,
        "baselines": _baselines(question, answer, count),
        "conflicts": (why,),
        "explanation": (f"{count} servers cannot be promised: {'; '.join(failed.why_not)}",),
    }


def _baselines(question: Question, answer: Answer, count: int) -> tuple[Judged, ...]:
    """Each baseline with as many servers as the plan, and with the most that it seemed to carry, if there is time."""
    if question.clock.is_over():
        return ()
    policies = baselines(question.classes)
    picks = [Pick(policy, n) for policy, most in zip(policies, answer.carried, strict=True) for n in {count, most} if n]
    bar, effort = question.bar, question.effort
    weeks = effort.judging(bar.horizon)[: BASELINE_HORIZONS * bar.horizon]
    found = tried(question.fleet, picks, bar, effort, weeks, question.seed, question.clock)
    return tuple(
        one.judged(policy, bar, question.seed)
        for policy in policies
        for one in reversed(found)
        if policy in one.policies
    )


BASELINE_HORIZONS = 3
"""Simulated of each baseline: enough to see how it fails."""


def _sensitivity(question: Question, facts: Facts, demands: Demands, policy: Policy, count: int
                 ) -> tuple[Sensitivity, ...]:  # fmt: skip
    """Of every assumption, as far as there is time."""
    spec, fleet = question.spec, question.fleet
    ends = {end: fleet_of(spec, facts, demands, other_at(spec, end)) for end in ENDS}
    if spec.row is not None and spec.row.observed is None:
        ends[spec.assume] = fleet
    assumptions = assumptions_of(fleet, ends)
    known: dict[Fleet, tuple[float | None, float]] = {}
    found = []

    def carried(moved: Fleet) -> tuple[float | None, float]:
        return carried_by(policy, moved, count, question.places, question.bar, question.effort, question.seed)

    for i, assumption in enumerate(assumptions):
        if question.clock.is_over():
            break
        found.append(sensitivity(assumption, known, carried))
        progress("moving assumptions", (i + 1) / len(assumptions))
    return tuple(found)


def _site(spec: PowerSpec, demands: Demands, other_w: Mapping[str, float], options: SolveOptions, *, alone: bool
          ) -> dict[str, Any]:  # fmt: skip
    """The placement; it is the plan's objective where no row is asked for."""
    assert spec.site is not None  # noqa: S101 - the caller asked
    asked = {group.workload: group.num_servers for group in spec.site.groups}
    profiles = profiles_of(spec, demands, other_w, [asked.get(w.name, 0) for w in spec.workloads], options.seed)
    placement = place(spec.site, profiles, options)
    if not alone:
        return {"placement": placement}
    short = shortfall(spec.site, profiles, placement)
    everything = placement.num_placed == placement.num_asked
    return {
        "placement": placement,
        "outcome": "optimal" if everything and placement.gap <= options.gap else "feasible",
        "objective": placement.objective,
        "bound": placement.bound,
        "conflicts": () if short is None else (short,),
    }


def _assumptions(spec: PowerSpec, demands: Demands) -> tuple[str, ...]:
    found = list(CAPPING if spec.row is not None else ())
    for pool, calendar in demands:
        found += [f"{pool.workload}: power is {pool.origin}", f"{pool.workload}: week is {calendar.origin}"]
        found += pool.notes
    return tuple(dict.fromkeys(found))


def _cut(left_out: list[str]) -> tuple[str, ...]:
    """What the time limit cost, if anything."""
    if not left_out:
        return ()
    return (f"the time limit came first; less or none of: {', '.join(left_out)} (a longer one gives more)",)


def _explanation(question: Question, answer: Answer, best: Judged) -> tuple[str, ...]:
    bar, spec = question.bar, question.spec
    low, high = clopper_pearson(best.failed_horizons, best.num_horizons)
    lines = [
        f"{best.num_servers} servers where {bar.num_by_rating} fit by their rated power "
        f"({best.oversubscription_ratio - 1:+.0%})",
        f"promised: {bar.horizon} weeks with at most {bar.max_brakes} brakes and every slowdown within its limit, with "
        f"{bar.confidence:.2%}; proven {best.confidence:.2%} (lower end of the 95% interval)",
        f"counted: {best.failed_horizons} of {best.num_horizons} simulated horizons failed, which alone shows "
        f"{low:.1%} to {high:.1%}",
        f"chosen on {question.effort.choosing_weeks} weeks, judged on {best.weeks} others",
        f"at most {answer.bound} servers: {_bound_by(question, answer)}",
    ]
    if spec.row is not None and spec.row.observed is not None:
        lines.append(
            f"power beside the GPUs is such that {spec.row.observed.num_servers} servers peak at "
            f"{spec.row.observed.peak_utilisation:.1%}, as observed"
        )
    return tuple(lines)


def _bound_by(question: Question, answer: Answer) -> str:
    if answer.bound == question.places:
        return "the row has no more places"
    return "with more, even everything at its lowest caps would exceed the budget (simulated on the same weeks)"
