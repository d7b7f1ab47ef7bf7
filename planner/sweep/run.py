"""Runs a sweep: each scenario is planned (or replayed) from the same facts and checked like any other plan."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import Any

from planner.documents import validated
from planner.errors import GpuplanError
from planner.registry import planner_for
from planner.service import answer_from
from planner.settings import Engine
from planner.sweep.engines import Lost, run_all
from planner.sweep.paths import changed
from planner.sweep.spec import Changes, SweepAnswer, SweepRequest, SweepRow, SweptKind
from planner.types import Frozen, Plan, SolveOptions
from profiles.types import Facts

TIMES_TAKEN = {"solve_seconds", "wall_seconds"}
"""What differs between two runs of one question."""

NO_FIGURES = {*TIMES_TAKEN, "objective", "bound", "gap", "seed"}
"""Numbers of an answer that a row has elsewhere, or that say nothing of it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Base:
    """What all scenarios share: the spec with all its defaults as plain lists and dicts, and how to answer it."""

    kind: SweptKind
    document: dict[str, Any]
    options: SolveOptions
    facts: Facts


def base_of(request: SweepRequest) -> dict[str, Any]:
    """The base spec with all its defaults, as plain lists and dicts.

    Raises ``InvalidInput`` where the base is not a spec of its kind, or a path of a scenario leads nowhere in it: with
    the path, and what is there. The new values are not looked at: a row says what is wrong with them.
    """
    document: dict[str, Any] = validated(_spec_type(request.kind), request.spec, "spec").model_dump(mode="json")
    for entry in request.vary:
        changed(document, entry.path, entry.values[0])
    for scenario in request.scenarios:
        _applied(document, scenario)
    return document


def sweep(request: SweepRequest, facts: Facts, engine: Engine | None = None) -> SweepAnswer:
    """A row for each scenario, in their order. Tells ``planner.progress``; who listens may raise to stop.

    Raises what ``base_of`` and ``run_all`` raise. A scenario that fails is a row that says why.
    """
    base = _Base(request.kind, base_of(request), request.options, facts)
    scenarios = list(request.all_scenarios())
    rows = run_all(_row, base, scenarios, label="scenarios", engine=engine)
    return SweepAnswer(
        swept=request.kind,
        name=str(base.document.get("name", "")),
        profile_digest=facts.digest,
        rows=tuple(
            SweepRow(changes=changes, outcome="failed", error=row.reason) if isinstance(row, Lost) else row
            for changes, row in zip(scenarios, rows, strict=True)
        ),
    )


def _spec_type(kind: SweptKind) -> type[Frozen]:
    if kind == "simulation":
        from planner.sweep.replays import Replay  # compiles kernels: not for sweeps of plans

        return Replay
    found: type[Frozen] = planner_for(kind).spec_type
    return found


def _applied(document: dict[str, Any], changes: Changes) -> dict[str, Any]:
    for path, value in changes.items():
        document = changed(document, path, value)
    return document


def _row(base: _Base, changes: Changes) -> SweepRow:
    """What comes of one scenario."""
    try:
        spec = validated(_spec_type(base.kind), _applied(base.document, changes))
        return _replayed(base, spec, changes) if base.kind == "simulation" else _planned(base, spec, changes)
    except GpuplanError as error:
        said = error.detail if error.fix is None else f"{error.detail} (fix: {error.fix})"
        return SweepRow(changes=changes, outcome="failed", error=said, field=error.field)
    except Exception as error:  # a defect in one scenario must not cost the others their answers
        _log.exception("a scenario of a sweep failed")
        return SweepRow(changes=changes, outcome="failed", error=f"a defect in gpuplan ({type(error).__name__})")


def _planned(base: _Base, spec: Frozen, changes: Changes) -> SweepRow:
    plan: Plan = answer_from(base.kind, spec, base.facts, base.options)
    return SweepRow(
        changes=changes, outcome=plan.outcome, objective=plan.objective, bound=plan.bound, gap=plan.gap,
        figures=_figures(plan), headline=planner_for(base.kind).view(plan).headline, digest=_digest(plan),
    )  # fmt: skip


def _replayed(base: _Base, spec: Frozen, changes: Changes) -> SweepRow:
    from planner.simulate.view import view
    from planner.sweep.replays import Replay, replayed

    assert isinstance(spec, Replay)  # noqa: S101
    found = replayed(spec, base.facts)
    times = {
        f"{name}.{statistic}": value
        for name in ("ttft_ms", "tpot_ms", "e2e_ms")
        for statistic, value in _figures(getattr(found, name)).items()
    }
    return SweepRow(
        changes=changes, outcome="replayed", figures=_figures(found) | times,
        headline=view(found, spec.plan.spec).headline, digest=_digest(found),
    )  # fmt: skip


def _figures(answer: Frozen) -> dict[str, float]:
    """The numbers at the top of an answer."""
    return {
        name: value
        for name, value in answer
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in NO_FIGURES
    }


def _digest(answer: Frozen) -> str:
    document = answer.model_dump(mode="json", exclude=TIMES_TAKEN)
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]
