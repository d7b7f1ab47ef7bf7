"""Serving plans that were replayed before anyone pays for them: ``planner.verify`` with a store and a simulator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import InvalidInput
from planner.service import answer_from
from planner.serving import ServingPlan, ServingSpec
from planner.serving.trace import read_trace
from planner.simulate import Options, Traffic, simulate
from planner.simulate.trace_file import traffic_of_trace
from planner.types import Frozen, SolveOptions
from planner.verify import Attainment, verified
from profiles.store import snapshot

if TYPE_CHECKING:
    from sqlalchemy import Engine


SAME_RATE = 1.02
"""Rates within 2% of each other count as one."""


def answer_replayed(spec: Frozen, engine: Engine, options: SolveOptions, *, trace: Path, target: float) -> ServingPlan:
    """Plan ``spec`` with the headroom that ``trace`` shows to be enough for ``target`` of its requests.

    Raises
    ------
    InvalidInput
        The spec has several services, or the trace cannot be read.
    FailedCheck, UnknownName, MissingProfile, StoreError
        As ``planner.service.answer`` says.
    """
    if not isinstance(spec, ServingSpec):
        raise TypeError(f"only serving plans can be replayed, not {spec!r}")
    if len(spec.services) != 1:
        raise InvalidInput(
            f"cannot tell which of {len(spec.services)} services the trace is for", field="--verify",
            fix="plan each service by itself, or replay the plan with `gpuplan simulate PLAN --trace SERVICE=CSV`",
        )  # fmt: skip
    facts, traffic = snapshot(engine), _at_least_as_planned(spec, trace, options.seed)

    def make(tuned: ServingSpec) -> ServingPlan:
        plan = answer_from("serving", tuned, facts, options)
        if not isinstance(plan, ServingPlan):
            raise TypeError("the serving planner makes serving plans")
        return plan

    def replay(plan: ServingPlan) -> Attainment:
        found = simulate(plan, traffic, facts, Options(seed=options.seed))
        return Attainment(found.slo_attainment, found.stable)

    return verified(spec, traffic.description, target, make=make, replay=replay)


def _at_least_as_planned(spec: ServingSpec, trace: Path, seed: int) -> Traffic:
    """The requests of ``trace``, as if as many users sent them as bring it, at its busiest, to the rate of the spec.

    A replay of less than what was asked for would prove nothing about it; a trace that brings more stays as it is.
    """
    planned = sum(bucket.requests_per_s for bucket in spec.services[0].workload.all_buckets())
    busiest = sum(bucket.requests_per_s for bucket in read_trace(trace).buckets)
    slower = busiest > 0 and planned > busiest * SAME_RATE
    return traffic_of_trace(trace, rate_multiplier=planned / busiest if slower else 1.0, seed=seed)
