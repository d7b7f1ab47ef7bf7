"""Replays of plans and of explicit pools: the two ways in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from planner.errors import InvalidInput, UnknownName
from planner.serving.plan import ServingPlan
from planner.serving.spec import Service, Slo
from planner.simulate.cluster import Link, Options, Pool, SizeRoutes, every_route
from planner.simulate.of_plan import planned, planned_services
from planner.simulate.replay import Progress, Replayed, RowSink, replay
from planner.simulate.report import Part, report
from planner.simulate.result import Simulation
from planner.simulate.traffic import Traffic
from profiles.performance import performance_of
from profiles.types import Facts

ServiceRows = Callable[[str, tuple[Pool, ...]], RowSink]
"""Called with each service and its pools before its replay: where its rows go."""


def simulate(
    plan: ServingPlan,
    traffic: Traffic | Mapping[str, Traffic],
    facts: Facts,
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    rows: ServiceRows | None = None,
) -> Simulation:
    """Replay ``traffic`` on ``plan``: of its one service, or of each service by name.

    ``options`` left out are the defaults. ``rows`` takes what happened to every single request.

    Raises
    ------
    InvalidInput, UnknownName
        The plan cannot be replayed (no mix, nothing rented, units without layout, a layout nothing is known about),
        several services share one traffic, the traffic is empty or not of its service, or an option cannot be meant.
    """
    started, options = time.perf_counter(), options or Options()
    services = planned_services(plan)
    flows = _by_service(traffic, services)
    performance, parts, notes = performance_of(facts), [], []
    if plan.profile_digest and facts.digest and plan.profile_digest != facts.digest:
        notes.append("the store has changed since the plan was made: times are those it predicts now")
    silent = [name for name in services if name not in flows]
    if silent:
        notes.append(f"without traffic, and left out: {', '.join(silent)}")
    units = {a.unit for a in plan.allocation}
    for i, failure in enumerate(options.failures):
        if failure.unit not in units:
            raise UnknownName("unit", failure.unit, units, field=f"failures[{i}].unit",
                              fix=f"units: {'; '.join(sorted(units))}")  # fmt: skip
    for i, (name, flow) in enumerate(flows.items()):
        setting = planned(plan, services[name], performance, facts, options)
        own = {pool.unit for pool in setting.pools}
        replayed = replay(
            setting.pools, setting.routes, flow,
            options.model_copy(update={
                "seed": options.seed + i, "failures": tuple(f for f in options.failures if f.unit in own),
            }),
            link=setting.link, slo=setting.service.slo, max_context_tokens=setting.max_context_tokens,
            progress=progress and _part_of(progress, i, len(flows)), sink=rows and rows(name, setting.pools),
        )  # fmt: skip
        parts.append(_part(name, flow, replayed))
        notes += setting.notes
    return report(
        parts, seed=options.seed, warm_up_s=options.warm_up_s, wall_seconds=time.perf_counter() - started, notes=notes
    )


def simulate_pools(
    pools: Sequence[Pool],
    traffic: Traffic,
    options: Options | None = None,
    *,
    routes: Sequence[SizeRoutes] | None = None,
    link: Link | None = None,
    slo: Slo | None = None,
    max_context_tokens: float = math.inf,
    progress: Progress | None = None,
    sink: RowSink | None = None,
) -> Simulation:
    """Replay ``traffic`` on explicit pools, without a plan.

    Without ``routes``, requests of any size go to the shortest queue of all unified and all prefill pools, and from
    a prefill pool over ``link`` to the shortest queue of all decode pools.

    Raises
    ------
    InvalidInput
        The traffic is empty or not in order, or an option cannot be meant.
    ValueError
        Two pools have one name, a route has a decode unit and there is no link, or there is nowhere to start.
    """
    started, options = time.perf_counter(), options or Options()
    if len({pool.unit for pool in pools}) < len(pools):
        raise ValueError("names of pools must differ")
    if routes is None:
        routes, options = every_route(tuple(pools)), options.model_copy(update={"routing": "shortest-queue"})
    if not routes or not all(size.choices for size in routes):
        raise ValueError("no pool takes requests: prefill pools need decode pools")
    replayed = replay(
        pools, routes, traffic, options, link=link, slo=slo, max_context_tokens=max_context_tokens, progress=progress,
        sink=sink,
    )  # fmt: skip
    return report(
        [_part("", traffic, replayed)], seed=options.seed, warm_up_s=options.warm_up_s,
        wall_seconds=time.perf_counter() - started, notes=(),
    )  # fmt: skip


def _part_of(progress: Progress, i: int, count: int) -> Progress:
    """Progress of the i-th replay of ``count`` as progress of all."""
    return lambda share: progress((i + share) / count)


def _part(name: str, traffic: Traffic, replayed: Replayed) -> Part:
    if replayed.num_requests == 0:
        raise InvalidInput("has no requests", field=f"traffic: {traffic.description}", fix="give some traffic")
    return Part(name, traffic.description, replayed)


def _by_service(traffic: Traffic | Mapping[str, Traffic], services: Mapping[str, Service]) -> dict[str, Traffic]:
    if isinstance(traffic, Traffic):
        if len(services) > 1:
            raise InvalidInput(
                f"the plan has {len(services)} services ({', '.join(services)}): say whose the traffic is",
                field="traffic", fix=f"name the service: --trace {next(iter(services))}=FILE",
            )  # fmt: skip
        return dict.fromkeys(services, traffic)
    for name in traffic:
        if name not in services:
            raise UnknownName("service", name, services, field="traffic", fix=f"services: {', '.join(services)}")
    if not traffic:
        raise InvalidInput("no service has traffic", field="traffic")
    return {name: traffic[name] for name in services if name in traffic}
