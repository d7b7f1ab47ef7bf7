"""What is done for each kind of job: from the request as it lies in the queue to what is answered.

A function per kind, and one that says after how many seconds it must have ended: generous, because it only ends what
hangs. Requests were validated before they were queued; here they are read again, since the queue outlives versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.jobs.work import Done
from planner import service
from planner.documents import validated
from planner.identity import now
from planner.lazy import lazily
from planner.registry import planner_for
from planner.replan.request import ReplanJob
from planner.replan.request import limit_s as replanned_within_s
from planner.sweep.spec import SweepRequest
from planner.types import Frozen, SolveOptions
from profiles.store import snapshot

if TYPE_CHECKING:
    from sqlalchemy import Engine

OVERHEAD_S = 60.0
"""For all that is no solving: reading, checking, saving; on a machine that does much else."""
SIMULATED_ROWS_S = 1800.0
"""For the weeks that a power plan is judged on: minutes on an idle machine, and a workers' machine is not."""
SIMULATION_S = 3600.0
"""A day of heavy traffic replays within minutes."""

VALIDATION_S = 600.0
"""A thousand rows, cross-validated, take half a minute."""

simulation = lazily("api.simulating", "simulation")
validation = lazily("api.validating", "validation")
_sweep = lazily("planner.sweep.run", "sweep")
_replan = lazily("planner.replan.run", "replan")
_deploy = lazily("planner.provision.job", "run")
deployment_limit_s = lazily("planner.provision.job", "limit_s")


def plan(request: dict[str, Any], engine: Engine) -> Done:
    """Answer ``{kind, spec, time_limit_s?, seed?, gap?}`` with a saved, checked plan; raises what planners raise."""
    kind = str(request["kind"])
    spec: Frozen = validated(planner_for(kind).spec_type, request["spec"], "spec")
    made = service.answer(kind, spec, engine, _options(request))
    figures = {"kind": kind, "outcome": made.outcome, "gap": made.gap, "solve_s": made.solve_seconds}
    return Done(service.keep(made, spec, engine), figures)


def plan_limit_s(request: dict[str, Any]) -> float:
    """Twice what its solver may take, and the overhead; rows are simulated whatever the limit."""
    overhead_s = SIMULATED_ROWS_S if request["kind"] == "power" else OVERHEAD_S
    return 2 * _options(request).time_limit_s + overhead_s


def simulation_limit_s(_request: dict[str, Any]) -> float:
    """The same for all."""
    return SIMULATION_S


def validation_limit_s(_request: dict[str, Any]) -> float:
    """The same for all."""
    return VALIDATION_S


def sweep(request: dict[str, Any], engine: Engine) -> Done:
    """Answer a ``SweepRequest`` with a ``SweepAnswer``; raises what ``planner.sweep.run.sweep`` raises."""
    return Done(result=_sweep(validated(SweepRequest, request), snapshot(engine)).model_dump(mode="json"))


def sweep_limit_s(request: dict[str, Any]) -> float:
    """Its scenarios one after the other."""
    asked = validated(SweepRequest, request)
    return 2 * asked.time_limit_s * asked.num_scenarios + OVERHEAD_S


def replan(request: dict[str, Any], engine: Engine) -> Done:
    """Answer a ``ReplanJob`` with its reports; raises what ``planner.replan.run.replan`` raises."""
    asked = validated(ReplanJob, request)
    reports = _replan(engine, asked.date or now().date(), asked.options, asked.services, asked.actor)
    return Done(result={"reports": [report.model_dump(mode="json") for report in reports]})


def replan_limit_s(request: dict[str, Any]) -> float:
    """As ``planner.replan`` says."""
    return replanned_within_s(validated(ReplanJob, request))


def deployment(request: dict[str, Any], engine: Engine) -> Done:
    """Apply, roll back or withdraw; raises what ``planner.provision.job.run`` raises."""
    plan_id, result = _deploy(request, engine)
    return Done(plan_id, result)


def _options(request: dict[str, Any]) -> SolveOptions:
    asked = {name: request[name] for name in SolveOptions.model_fields if name in request}
    return validated(SolveOptions, asked, "options")
