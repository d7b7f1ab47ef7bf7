"""A serving plan for a row of servers: the row's power is planned first, and what it carries limits the plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from planner.documents import read_document
from planner.errors import FailedCheck, InvalidInput
from planner.figures import figure
from planner.power import PowerPlan, PowerSpec
from planner.registry import planner_for
from planner.service import answer, answer_from, check_plan, keep, read_plan
from planner.serving import ServingPlan, ServingSpec
from planner.types import Frozen, SolveOptions
from profiles.store import snapshot

if TYPE_CHECKING:
    from sqlalchemy import Engine


def answer_on_row(spec: Frozen, engine: Engine, options: SolveOptions, *, row: Path) -> ServingPlan:
    """Plan ``spec`` within the GPU watts that a row safely carries. ``row``: a power spec, or a plan made from one.

    A spec is planned, checked and saved first. The limit is what the row's simulated weeks carry in their busiest hour;
    a smaller ``limits.power_w`` of the spec stays.

    Raises
    ------
    InvalidInput
        ``row`` is no power spec or plan, or its plan carries nothing.
    FailedCheck, UnknownName, MissingProfile, StoreError
        As ``planner.service.answer`` says, of either plan.
    """
    if not isinstance(spec, ServingSpec):
        raise TypeError(f"only serving plans go on rows, not {spec!r}")
    planned = _row_plan(row, engine, options)
    limit_w = planned.safe_limit_w
    if limit_w is None:
        raise InvalidInput(
            f"the power plan is {planned.outcome} and says no limit for what runs on the row", field=str(row),
            fix="see `gpuplan plan power` for what would make the row carry servers",
        )  # fmt: skip
    asked = spec.limits.power_w
    within = limit_w if asked is None else min(limit_w, asked)
    limited = spec.model_copy(update={"limits": spec.limits.model_copy(update={"power_w": within})})
    plan = answer_from("serving", limited, snapshot(engine), options)
    if not isinstance(plan, ServingPlan):
        raise TypeError("the serving planner makes serving plans")
    said = (
        f"Row {planned.spec.name} carries {planned.num_servers} servers whose GPUs may draw "
        f"{figure(limit_w / 1000)} kW: limits.power_w is {figure(within / 1000)} kW."
    )
    return plan.model_copy(update={"explanation": (*plan.explanation, said)})


def _row_plan(row: Path, engine: Engine, options: SolveOptions) -> PowerPlan:
    """The power plan in ``row``, or one for the power spec in it."""
    document = read_document(row)
    if isinstance(document, dict) and document.get("kind") != "power":
        raise InvalidInput(f"is of kind {document.get('kind')!r}, not power", field=str(row),
                           fix="give a power spec, as examples/power.yaml, or a plan made from one")  # fmt: skip
    planner = planner_for("power")
    if isinstance(document, dict) and "outcome" in document:
        plan = read_plan(row)
        found = check_plan(plan, engine)
        if not found.passed:
            raise FailedCheck(f"{row}: the power plan fails its check: {found.violations[0].detail}")
    else:
        asked: PowerSpec = planner.load(row, {})
        plan = answer("power", asked, engine, options)
        keep(plan, asked, engine)
    if not isinstance(plan, PowerPlan):
        raise TypeError("the power planner makes power plans")
    return plan
