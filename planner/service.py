"""The one path from a spec to a saved, checked plan. Every surface goes through here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from planner.documents import read_document, validated
from planner.errors import FailedCheck, InvalidInput
from planner.registry import planner_for
from planner.types import Check, Frozen, Plan, SolveOptions
from profiles.types import Facts

if TYPE_CHECKING:
    from sqlalchemy import Engine

    Answer = Callable[[Frozen, Engine, SolveOptions], Plan]
    """Plans a spec from what a store knows, and checks the plan."""


def make_plan(kind: str, spec: Frozen, engine: Engine, options: SolveOptions) -> Plan:
    """Solve ``spec``, check the answer independently, save both, and return the plan with its check.

    Raises what ``answer`` and ``keep`` raise.
    """
    plan = answer(kind, spec, engine, options)
    keep(plan, spec, engine)
    return plan


def keep(plan: Plan, spec: Frozen, engine: Engine) -> str:
    """Save a plan beside its spec; its id. ``StoreError`` where the store cannot be written."""
    from planner import store

    return store.save(engine, plan.kind, spec.model_dump_json(), plan.model_dump_json(), getattr(spec, "name", None))


def answer(kind: str, spec: Frozen, engine: Engine, options: SolveOptions) -> Plan:
    """Solve ``spec`` from what the store knows and check the answer independently.

    Raises
    ------
    FailedCheck
        The check rejects the plan: a defect.
    InvalidInput, UnknownName, MissingProfile, StoreError
        As the planner and the store say.
    """
    from profiles.store import snapshot

    return answer_from(kind, spec, snapshot(engine), options)


def answer_from(kind: str, spec: Frozen, facts: Facts, options: SolveOptions) -> Plan:
    """Solve ``spec`` from ``facts`` and check the answer independently; raises what ``answer`` raises."""
    planner = planner_for(kind)
    plan: Plan = planner.solve(spec, facts, options)
    plan = plan.model_copy(update={"check": planner.check(plan, facts)})
    if plan.check is not None and not plan.check.passed:
        listing = "".join(f"\n  {v.constraint}: {v.detail}" for v in plan.check.violations[:20])
        raise FailedCheck(f"the {kind} plan breaks its own constraints; this is a defect in gpuplan:{listing}")
    return plan


def read_plan(path: Path) -> Plan:
    """The plan in a file that ``gpuplan plan --out`` wrote; ``InvalidInput`` where it is not one."""
    document = read_document(path)
    if not isinstance(document, dict) or "kind" not in document or "outcome" not in document:
        raise InvalidInput("is not a plan", field=str(path), fix="give a file written by `gpuplan plan ... --out FILE`")
    plan: Plan = validated(planner_for(str(document["kind"])).plan_type, document, str(path))
    return plan


def facts_digest(engine: Engine) -> str:
    """Digest of what the store knows now: plans with another were made from other facts."""
    from profiles.store import snapshot

    return snapshot(engine).digest


def check_plan(plan: Plan, engine: Engine) -> Check:
    """Check ``plan`` again, against what the store knows now."""
    from profiles.store import snapshot

    return planner_for(plan.kind).check(plan, snapshot(engine))
