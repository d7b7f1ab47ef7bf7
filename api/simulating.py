"""Jobs that replay traffic on a serving plan: from what was asked over HTTP to ``planner.simulate``."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from api.jobs.work import Done
from api.requests import Arrivals, GivenRequests, SimulationRequest
from planner import store
from planner.documents import validated
from planner.errors import InvalidInput, UnknownName
from planner.progress import progress
from planner.serving import ServingPlan
from planner.simulate import Options, Sizes, Traffic, from_arrays, generated, simulate
from planner.simulate.of_plan import planned_services
from profiles.store import snapshot

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from planner.serving.spec import Service


def simulation(request: dict[str, Any], engine: Engine) -> Done:
    """Replay what a ``SimulationRequest`` asks for; raises what ``planner.simulate.simulate`` raises."""
    asked = validated(SimulationRequest, request)
    plan = asked.plan or _saved(engine, asked.plan_id or "")
    services = planned_services(plan)
    for name in asked.traffic:
        if name not in services:
            raise UnknownName("service", name, services, field="traffic", fix=f"services: {', '.join(services)}")
    given = asked.traffic or dict.fromkeys(services, Arrivals())
    options = _options(asked)
    traffic = {
        name: _traffic(given[name], service, options.seed + i)
        for i, (name, service) in enumerate(services.items())
        if name in given
    }
    found = simulate(plan, traffic, snapshot(engine), options, progress=lambda share: progress("replaying", share))
    return Done(result=json.loads(found.model_dump_json()))


def _saved(engine: Engine, plan_id: str) -> ServingPlan:
    saved = store.load_plan(engine, plan_id)
    if saved.kind != "serving":
        raise InvalidInput(f"is a plan of kind {saved.kind}; only serving plans can be replayed", field="plan_id")
    return validated(ServingPlan, saved.plan, "plan")


def _options(asked: SimulationRequest) -> Options:
    document = asked.options.model_dump()
    failures = [{**f, "for_s": math.inf if f["for_s"] is None else f["for_s"]} for f in document.pop("failures")]
    return validated(Options, {**document, "failures": failures}, "options")


def _traffic(given: Arrivals | GivenRequests, service: Service, seed: int) -> Traffic:
    if isinstance(given, GivenRequests):
        return from_arrays(given.arrival_s, given.input_tokens, given.output_tokens)
    planned = sum(bucket.requests_per_s for bucket in service.workload.all_buckets())
    return generated(
        given.arrivals, Sizes.of_service(service), requests_per_s=given.requests_per_s or planned,
        duration_s=given.duration_s, seed=seed, cv=given.cv, on_s=given.on_s, off_s=given.off_s,
    )  # fmt: skip
