"""What each workload of a spec draws, as a pool of recorded or modelled seconds, and its week."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.errors import InvalidInput
from planner.power.demand import Calendar, Pool
from planner.power.policy import Policy
from planner.power.spec import PowerSpec, Server
from planner.power.traces.inference import inference_pool
from planner.power.traces.recorded import recorded_pool
from planner.power.traces.requests import requests_of
from planner.power.traces.training_swings import training_pool
from planner.power.traces.weeks import calendar_of, constant_calendar
from planner.power.workload import Trace, Training
from profiles.names import KnownNames
from profiles.performance import performance_of
from profiles.performance.capping import HIGHEST_CLOCK_MHZ
from profiles.types import Facts, GpuType, ModelCard


def pools(spec: PowerSpec, facts: Facts) -> tuple[tuple[Pool, Calendar], ...]:
    """Pool and calendar of every workload, in the order of ``spec.workloads``; the same for the same spec and facts.

    Raises
    ------
    UnknownName
        A GPU or model that the facts do not have.
    MissingProfile
        Nothing is known of a model on its GPU.
    InvalidInput
        Recorded watts that cannot be, or a budget below what idle servers draw.
    """
    gpus = gpus_of(spec, facts)
    check_budget(spec, gpus)
    performance, names = performance_of(facts), KnownNames.of(facts)
    replayed: dict[tuple[Trace, Server], Pool] = {}
    found = []
    for workload in spec.workloads:
        demand, server = workload.demand, spec.server_of(workload)
        gpu = gpus[server.name]
        if isinstance(demand, Trace):
            server = server.model_copy(update={"gpu": gpu.name})
            if (demand, server) not in replayed:
                pool = inference_pool(workload.name, demand, server, performance)
                too_long = _too_long(demand, names.model_card(demand.model))
                replayed[demand, server] = replace(pool, notes=(*pool.notes, *too_long))
            pool, calendar = replayed[demand, server], calendar_of(workload.week)
        elif isinstance(demand, Training):
            pool = training_pool(workload.name, demand, gpu, server.num_gpus)
            calendar = constant_calendar("a job that runs day and night")
        else:
            pool, calendar = recorded_pool(workload.name, demand, workload.week, gpu, server.num_gpus)
        notes = tuple(f"{workload.name}: {note}" for note in pool.notes)
        found.append((replace(pool, workload=workload.name, notes=notes), calendar))
    return tuple(found)


def _too_long(demand: Trace, card: ModelCard | None) -> tuple[str, ...]:
    requests = requests_of(demand)
    most = np.inf if card is None else card.max_context_tokens
    share = float((requests.input_tokens + requests.output_tokens > most).mean())
    if share == 0:
        return ()
    return (
        f"{share:.0%} of the requests are longer than the {most:,} tokens that the model takes; replayed all the same",
    )


def gpus_of(spec: PowerSpec, facts: Facts) -> dict[str, GpuType]:
    """The GPU of each kind of server, by the server's name; raises ``UnknownName``."""
    names = KnownNames.of(facts)
    return {s.name: names.gpu_type(s.gpu, f"servers[{i}].gpu") for i, s in enumerate(spec.servers)}


def check_budget(spec: PowerSpec, gpus: dict[str, GpuType]) -> None:
    """Raise ``InvalidInput`` where the row's budget cannot carry idle servers: one of each kind, or those observed."""
    if spec.row is None:
        return
    idle_w = {s.name: s.num_gpus * gpus[s.name].idle_w + s.other_range_w[0] for s in spec.servers}
    _check_ratings(spec, gpus)
    _check_caps(spec, gpus)
    most = max(idle_w, key=lambda name: idle_w[name])
    if spec.num_servers is not None:
        idle = spec.num_servers * sum(w.share * idle_w[w.server] for w in spec.workloads)
        if idle > spec.budget_w:
            raise InvalidInput(
                f"{spec.num_servers} idle servers draw {idle:,.0f} W, more than the budget of {spec.budget_w:,.0f} W",
                field="num_servers", fix=f"give {int(spec.budget_w * spec.num_servers / idle)} or fewer",
            )  # fmt: skip
    if spec.budget_w < idle_w[most]:
        raise InvalidInput(
            f"{spec.budget_w:,.0f} W is less than one idle {most} draws, {idle_w[most]:,.0f} W",
            field="row.budget_w", fix="give watts of the whole row; budgets on nameplates are often in kW",
        )  # fmt: skip
    observed = spec.row.observed
    if observed is None:
        return
    idle = observed.num_servers * sum(w.share * idle_w[w.server] for w in spec.workloads)
    if idle > observed.peak_utilisation * spec.budget_w:
        raise InvalidInput(
            f"{observed.num_servers} servers draw {idle:,.0f} W when idle, more than the observed peak of "
            f"{observed.peak_utilisation:.0%} of {spec.budget_w:,.0f} W",
            field="row.observed.peak_utilisation", fix="give the peak as a share of the row's budget, or lower other_w",
        )  # fmt: skip


def _check_ratings(spec: PowerSpec, gpus: dict[str, GpuType]) -> None:
    """A nameplate says at least what GPUs may draw, and not ten times of it."""
    for i, server in enumerate(spec.servers):
        gpus_w = server.num_gpus * gpus[server.name].tdp_w
        if not gpus_w <= server.rated_w <= RATED_OVER * (gpus_w + server.other_range_w[1]):
            raise InvalidInput(
                f"{server.rated_w:,.0f} W is no rating of a server with GPUs that may draw {gpus_w:,.0f} W",
                field=f"servers[{i}].rated_w", fix="give the watts of one server's nameplate",
            )  # fmt: skip


RATED_OVER = 4.0
"""No nameplate says more than so many times what is in the server."""


def _check_caps(spec: PowerSpec, gpus: dict[str, GpuType]) -> None:
    """Caps are within what every GPU type of the row can be set to."""
    steps = spec.policy.steps if isinstance(spec.policy, Policy) else ()
    caps = [*(spec.policy.always if isinstance(spec.policy, Policy) else ()), *(c for step in steps for c in step.caps)]
    clocks = [("policy", cap.clock_mhz) for cap in caps if cap.clock_mhz is not None]
    clocks.append(("controls.brake_clock_mhz", spec.controls.brake_clock_mhz))
    for gpu in gpus.values():
        highest = HIGHEST_CLOCK_MHZ.get(gpu.name, np.inf)
        for field, clock_mhz in clocks:
            if not LOWEST_SET_MHZ <= clock_mhz <= highest:
                raise InvalidInput(
                    f"{clock_mhz:g} MHz is no clock of {gpu.name}, which runs from {LOWEST_SET_MHZ:g} to {highest:g}",
                    field=field, fix="give a clock in that range",
                )  # fmt: skip
        for cap in caps:
            if cap.power_w is not None and not gpu.idle_w <= cap.power_w <= gpu.tdp_w:
                raise InvalidInput(
                    f"{cap.power_w:g} W is no limit of {gpu.name}, which has {gpu.idle_w:g} idle and {gpu.tdp_w:g} TDP",
                    field="policy", fix="give the watts of one GPU",
                )  # fmt: skip


LOWEST_SET_MHZ = 100.0
"""Below it no GPU of the catalogue can be set (A100: 210 MHz)."""
