"""A serving plan for people: headline, mix, routing, comparison, reasons."""

from __future__ import annotations

from planner.figures import figure
from planner.serving.plan import Allocation, Baseline, Route, ServingPlan
from planner.types import Table, View

_MOST_ROUTES = 40


def view(plan: ServingPlan) -> View:
    """What to show of ``plan``. Everything is here; a surface only decides how to draw it."""
    if plan.outcome in ("infeasible", "no_solution"):
        return _without_mix(plan)
    facts = [("cost", _cost(plan)), ("serves", f"{figure(plan.requests_per_s)} requests/s")]
    if plan.power_w is not None:
        carbon = "" if plan.kg_co2_per_hour is None else f", {plan.kg_co2_per_hour:,.3g} kg CO2/h"
        facts.append(("power", f"{figure(plan.power_w / 1000)} kW with every replica busy{carbon}"))
    facts.append(("proof", _proof(plan)))
    if plan.verification is not None:
        facts.append(("replayed", plan.verification.detail))
    tables = (_mix(plan), _routing(plan.routing), _comparison(plan), _unified_or_split(plan), _limits(plan))
    workloads = tuple(s.workload.description for s in plan.spec.services if s.workload.description)
    return View(
        headline=_headline(plan),
        facts=tuple(facts),
        tables=tuple(table for table in tables if table.rows),
        notes=(*workloads, *plan.explanation),
    )


def _headline(plan: ServingPlan) -> str:
    if not plan.rentals:
        return f"{plan.spec.name}: nothing to rent"
    mix = " + ".join(f"{r.instances} × {r.instance_type} ({r.gpus_per_instance} {r.gpu})" for r in plan.rentals)
    return f"{plan.spec.name}: {mix} for ${plan.usd_per_hour:,.2f}/h"


def _cost(plan: ServingPlan) -> str:
    per_token = plan.usd_per_million_tokens
    tokens = "" if per_token is None else f", ${per_token:,.4f} per million tokens"
    return f"${plan.usd_per_hour:,.2f} an hour, ${plan.usd_per_month:,.0f} a month{tokens}"


def _proof(plan: ServingPlan) -> str:
    gap = "no bound" if plan.gap is None else f"within {plan.gap:.2%} of the proven bound"
    verdict = "not checked" if plan.check is None else "check passed" if plan.check.passed else "CHECK FAILED"
    return f"{plan.outcome}, {gap}; {verdict}; {plan.solver}, {plan.solve_seconds:.2f} s"


def _mix(plan: ServingPlan) -> Table:
    split = any(a.role != "unified" for a in plan.allocation)
    role = ("role",) if split else ()
    return Table(
        title="Mix",
        columns=("service", *role, "replicas", "GPU", "GPUs each", "precision", "engine", "where", "load", "$/h"),
        rows=tuple(
            (a.service, *((a.role,) if split else ()), str(a.replicas), a.gpu, str(a.gpus_per_replica), a.precision,
             a.engine, _place(a), f"{a.utilisation:.0%}", f"{a.usd_per_hour:,.2f}")
            for a in plan.allocation
        ),
        numeric=("replicas", "GPUs each", "load", "$/h"),
    )  # fmt: skip


def _place(unit: Allocation) -> str:
    if unit.provider == "given":
        return "as given"
    market = f" ({unit.market})" if unit.market != "on_demand" else ""
    return f"{unit.provider} {unit.region} {unit.instance_type}{market}"


def _routing(routes: tuple[Route, ...]) -> Table:
    """The sizes with most traffic; the plan itself has all."""
    shown = sorted(routes, key=lambda r: -r.requests_per_s)[:_MOST_ROUTES]
    order = {id(route): i for i, route in enumerate(routes)}
    shown.sort(key=lambda r: order[id(r)])
    more = f" (the {len(shown)} busiest of {len(routes)}; --json has all)" if len(shown) < len(routes) else ""
    return Table(
        title=f"Routing by request size, with the latencies of a replica that is full of this size alone{more}",
        columns=("service", "input", "output", "requests/s", "share", "to", "TTFT ms", "TPOT ms", "origin"),
        rows=tuple(
            (r.service, _span(r.input_tokens), _span(r.output_tokens), f"{r.requests_per_s:.3g}", f"{r.fraction:.0%}",
             _to(r), _ms(r.ttft_ms), _ms(r.tpot_ms), _origin(r))
            for r in shown
        ),
        numeric=("requests/s", "share", "TTFT ms", "TPOT ms"),
    )  # fmt: skip


def _to(route: Route) -> str:
    units = (route.unit, route.decode_unit) if route.decode_unit else (route.unit,)
    return " → ".join(unit.split(" @ ")[0].removeprefix(f"{route.service}/") for unit in units)


def _span(limits: tuple[int, int]) -> str:
    return f"{limits[0]:,}–{limits[1]:,}"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def _origin(route: Route) -> str:
    return route.origin if route.relative_error is None else f"{route.origin} ±{route.relative_error:.0%}"


_OBJECTIVE_UNITS = {"cost": "$/h", "power": "W", "carbon": "g CO2/h", "goodput": "requests/s"}


def _comparison(plan: ServingPlan) -> Table:
    """Each GPU type alone, by cost and, where that is not the objective, by what was asked for."""
    unit = _OBJECTIVE_UNITS[plan.spec.objective]

    def row(baseline: Baseline) -> tuple[str, ...]:
        if baseline.objective is None or baseline.usd_per_hour is None:
            return (baseline.gpu, "–", *(("–",) if unit != "$/h" else ()), baseline.detail)
        factor = f"{baseline.objective / plan.objective:.2f} × the mix" if plan.objective else ""
        asked = (f"{figure(baseline.objective)}",) if unit != "$/h" else ()
        return (baseline.gpu, f"{baseline.usd_per_hour:,.2f}", *asked, factor)

    return Table(
        title="Against a single GPU type",
        columns=("GPU", "$/h", *((unit,) if unit != "$/h" else ()), ""),
        rows=tuple(row(baseline) for baseline in plan.baselines),
        numeric=("$/h", unit),
    )


def _unified_or_split(plan: ServingPlan) -> Table:
    """What the best plan with unified pools only, and the best with split pools only, would be."""
    unit = _OBJECTIVE_UNITS[plan.spec.objective]
    asked = (unit,) if unit != "$/h" else ()
    return Table(
        title="Unified or split",
        columns=("pools", "$/h", *asked, ""),
        rows=tuple(
            (b.pools, f"{b.usd_per_hour:,.2f}", *((f"{figure(b.objective)}",) if asked else ()), "")
            if b.usd_per_hour is not None and b.objective is not None
            else (b.pools, "–", *("–" for _ in asked), b.detail)
            for b in plan.pool_baselines
        ),
        numeric=("$/h", unit),
    )


def _limits(plan: ServingPlan) -> Table:
    worth = "gains requests/s" if plan.spec.objective == "goodput" else f"saves {_OBJECTIVE_UNITS[plan.spec.objective]}"
    return Table(
        title="Limits that bind",
        columns=("limit", "used", "of", "one more unit", worth),
        rows=tuple(
            (
                b.limit,
                f"{b.used:,.6g}",
                f"{b.value:,.6g}",
                b.unit,
                "?" if b.saving_per_unit is None else f"{figure(b.saving_per_unit)}",
            )
            for b in plan.binding_limits
        ),
        numeric=("used", "of", worth),
    )


def _without_mix(plan: ServingPlan) -> View:
    fixes = Table(
        title="Any one of these changes would fix it"
        if len(plan.conflicts) == 1
        else "These changes would fix it, one for each conflict",
        columns=("limit", "now", "needed", "why"),
        rows=tuple(
            (r.limit, f"{r.current:,.6g}", f"{r.needed:,.6g}", r.detail)
            for conflict in plan.conflicts for r in conflict.relaxations
        ),
        numeric=("now", "needed"),
    )  # fmt: skip
    reason = "no mix meets the request" if plan.outcome == "infeasible" else "no mix was found within the time limit"
    return View(
        headline=f"{plan.spec.name}: {reason}",
        tables=(fixes,) if fixes.rows else (),
        notes=tuple(conflict.detail for conflict in plan.conflicts)
        or ("Whether there is one is not known: give it longer with --time-limit.",),
    )
