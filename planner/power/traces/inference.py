"""Power of servers that answer requests, second by second: requests replayed at several levels of load.

A group of servers gets the requests of the busiest hour as often as a level asks (``requests.at_rate``). What lasts
longer than ``SPREAD_S``, bursts and lulls, hits all servers together as it did when recorded; what is shorter is
independent from server to server, as it is among many users. Every second is booked by the replay (``replica``): time
on prompts at the power of prompts, time decoding at the power of so many running requests, and idling between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.errors import InvalidInput, MissingProfile
from planner.power.demand import Pool, States, StateTable
from planner.power.spec import Server
from planner.power.traces.replica import (
    DECODING_J,
    DECODING_S,
    PROMPTS_S,
    RUNNING_S,
    TOKENS,
    Capacity,
    capacity,
    replay,
)
from planner.power.traces.requests import Requests, at_rate, requests_of, warmed_up
from planner.power.workload import Trace
from profiles.performance import Iteration, PerformanceModel
from profiles.performance.answers import Floats
from profiles.performance.capping import DECODING, PROMPTS
from profiles.performance.power import Power
from profiles.types import Layout

LOADS = np.array([0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3])
"""Levels, as shares of the busiest hour: dense where caps are decided."""

SPREAD_S = 30.0
"""An assumption: bursts shorter than this are chance, which other users would not share."""

WARM_UP_S = 300.0
"""Of replay before seconds count: longer than long answers take."""

MOST_SERVERS, LEAST_SERVERS, LEAST_SECONDS = 40, 8, 900
MOST_ITERATIONS = 3e7
"""Of the replay, some ten seconds: models with short iterations are replayed on fewer servers, then for less time."""

SAMPLED_REQUESTS = 4000
"""From which the capacity of a replica is told."""

PROMPT_BINS, RUNNING_BINS = 12, 21
LEAST_RUNNING = 0.1
"""States are cells of the share of the second on prompts, and of running requests in equal factors from the least on:
252 at most. The two say nearly all about power and about how much a server has to do."""


Spent = NDArray[np.floating[Any]]
"""What servers do in a second: see ``replica``."""


@dataclass(frozen=True, eq=False)
class _Engine:
    """One replica, and how many of them a server holds."""

    iteration: Iteration
    power: Power
    decode_w: Floats
    capacity: Capacity
    per_server: int
    measured: bool


def inference_pool(name: str, demand: Trace, server: Server, performance: PerformanceModel) -> Pool:
    """Seconds of servers of workload ``name`` at each of ``LOADS``.

    Raises
    ------
    MissingProfile
        Nothing is known of the model on this GPU; says what to measure.
    UnknownName
        No such GPU or model.
    """
    requests = requests_of(demand)
    engine = _engine(name, demand, server, performance, requests)
    peak = demand.peak_load * engine.capacity.requests_per_s
    if demand.peak_requests_per_s is not None:
        peak = demand.peak_requests_per_s / engine.per_server
    num_servers, seconds = _size(engine, int(np.ceil(requests.arrival_s[-1])))
    requests = requests.at(requests.arrival_s < seconds)
    spent = np.empty((TOKENS + 1, len(LOADS), num_servers, seconds), dtype=np.float32)  # half the memory will do
    for seed, load in enumerate(LOADS):
        spent[:, seed] = _spent(requests, engine, load * peak, num_servers, seconds, seed)
    table, states = _states(spent, LOADS * peak * engine.per_server, engine)
    layout, share = engine.iteration.layout, peak / engine.capacity.requests_per_s
    known = f"{'measured rows and ' if engine.measured else ''}datasheets"
    notes = [
        f"in its busiest hour a server gets {peak * engine.per_server:.3g} requests/s, {share:.0%} of what it "
        "can carry",
        f"bursts longer than {SPREAD_S:g} s hit all servers together, shorter ones are independent",
    ]
    if not engine.measured:
        notes.append(f"nothing was measured of {layout.model} on {server.gpu}: times are from datasheets, "
                     f"±{engine.iteration.relative_error:.0%}")  # fmt: skip
    return Pool(
        workload=name,
        table=table,
        states=states,
        load=LOADS,
        in_step=False,
        origin=f"modelled: {layout.model} on {layout.label}, from {known}; prompts draw "
        f"{engine.power.prompt_w():.0f} W, decoding {engine.decode_w[1]:.0f} to {engine.decode_w[-1]:.0f} W",
        notes=tuple(notes),
    )


def _engine(name: str, demand: Trace, server: Server, performance: PerformanceModel, requests: Requests) -> _Engine:
    measured = _measured(demand, server, performance)
    layout = measured or Layout(
        model=demand.model, gpu=server.gpu, tp=demand.tp, pp=demand.pp, precision=demand.precision, engine=demand.engine
    )
    try:
        iteration, power = performance.iteration(layout), performance.power(layout)
    except InvalidInput:
        iteration, power = None, None
    if iteration is None or power is None:
        raise MissingProfile(
            f"nothing is known of {demand.model} on {layout.label}",
            field=f"workload {name}: demand",
            fix=f"measure times and power of {demand.model} on {server.gpu} at tp {demand.tp} and import them with "
            "`gpuplan profiles import`, import its card, or give a recorded series of power instead",
        )
    running = np.arange(len(iteration.decode_ms), dtype=np.float64)
    context = np.full_like(running, requests.input_tokens.mean() + requests.output_tokens.mean() / 2)
    sample = requests.at(slice(None, None, -(-len(requests.arrival_s) // SAMPLED_REQUESTS)))
    return _Engine(
        iteration,
        power,
        power.decode_w(running, context),
        capacity(sample, iteration),
        server.num_gpus // layout.num_gpus,
        measured is not None,
    )


def _measured(demand: Trace, server: Server, performance: PerformanceModel) -> Layout | None:
    """The first measured layout that ``demand`` allows."""
    offered = performance.layouts(
        demand.model,
        gpus=[server.gpu],
        precisions=None if demand.precision == "unknown" else [demand.precision],
        engines=None if demand.engine == "unknown" else [demand.engine],
        tp=[demand.tp],
    )
    return next((layout for layout in offered if layout.pp == demand.pp and layout.dp == 1), None)


def _size(engine: _Engine, seconds: int) -> tuple[int, int]:
    """How many servers to replay, and for how many seconds."""
    iterations_per_s = engine.per_server * 1e3 / engine.iteration.decode_ms[1]
    affordable = MOST_ITERATIONS / (len(LOADS) * iterations_per_s)
    num_servers = int(np.clip(affordable / seconds, LEAST_SERVERS, MOST_SERVERS))
    return num_servers, int(np.clip(affordable / num_servers, min(LEAST_SECONDS, seconds), seconds))


def _spent(
    requests: Requests, engine: _Engine, requests_per_s: float, num_servers: int, seconds: int, seed: int
) -> Floats:
    """(5, servers, seconds) what servers do when each of their replicas gets ``requests_per_s``."""
    num_replicas = num_servers * engine.per_server
    arriving = at_rate(requests, requests_per_s * num_replicas, seconds, SPREAD_S, seed)
    arriving = warmed_up(arriving, seconds, WARM_UP_S)
    if len(arriving.arrival_s) == 0:
        return np.zeros((TOKENS + 1, num_servers, seconds))
    spent = replay(arriving, engine.iteration, engine.decode_w, num_replicas, seconds)
    return np.asarray(spent.reshape(len(spent), num_servers, engine.per_server, seconds).sum(axis=2))


def _states(spent: Spent, requests_per_s: Floats, engine: _Engine) -> tuple[StateTable, States]:
    """Quantised ``spent`` (5, levels, servers, seconds): each state is the mean of the seconds in its cell.

    ``requests_per_s`` (levels,) of a server.
    """
    idle_w = engine.power.idle_w
    prompt_j = spent[PROMPTS_S] * (engine.power.prompt_w() - idle_w)
    decode_j = spent[DECODING_J] - spent[DECODING_S] * idle_w
    gpu_w = engine.per_server * idle_w + prompt_j + decode_j
    prompt_bin = np.minimum(spent[PROMPTS_S] / engine.per_server * PROMPT_BINS, PROMPT_BINS - 1).astype(np.int64)
    edges = np.geomspace(LEAST_RUNNING, max(spent[RUNNING_S].max(), 1.0), RUNNING_BINS)[:-1]
    running_bin = np.searchsorted(edges, spent[RUNNING_S], side="right")
    _, state = np.unique(running_bin * PROMPT_BINS + prompt_bin, return_inverse=True)
    flat = state.ravel()
    count = np.bincount(flat)

    def mean(values: Spent) -> Floats:
        return np.asarray(np.bincount(flat, weights=values.ravel()) / count)

    running, prompt_w, decode_w = mean(spent[RUNNING_S]), mean(prompt_j), mean(decode_j)
    on_clock = mean(spent[RUNNING_S] * _time_on_clock(spent, requests_per_s))
    asked_s = mean(spent[PROMPTS_S] + spent[TOKENS] * engine.capacity.decode_s_per_token)
    on_clock_w = prompt_w * PROMPTS.power_on_clock + decode_w * DECODING.power_on_clock
    table = StateTable(
        gpu_w=mean(gpu_w),
        time_on_clock=_ratio(on_clock, running, DECODING.time_on_clock),
        power_on_clock=_ratio(on_clock_w, prompt_w + decode_w, DECODING.power_on_clock),
        running=running,
        busy=np.minimum(asked_s / engine.per_server, 1.0),
    )
    return table, state.reshape(gpu_w.shape).astype(np.uint8)


def _time_on_clock(spent: Spent, requests_per_s: Floats) -> Floats:
    """(levels, servers, seconds) share of the time of requests in progress that follows the clocks.

    Nobody feels a single second of others' prompts: it is the mean over as long as a request takes, by Little's law.
    """
    work_s = spent[PROMPTS_S] + spent[DECODING_S]
    on_clock_s = spent[PROMPTS_S] * PROMPTS.time_on_clock + spent[DECODING_S] * DECODING.time_on_clock
    found = np.empty(work_s.shape)
    for level, rate in enumerate(requests_per_s):
        request_s = spent[RUNNING_S, level].mean() / max(rate, 1e-9)
        around = int(np.clip(round(request_s / 2), 0, (work_s.shape[2] - 1) // 2))
        found[level] = _ratio(
            _sum_around(on_clock_s[level], around), _sum_around(work_s[level], around), DECODING.time_on_clock
        )
    return found


def _sum_around(values: Spent, around: int) -> Floats:
    """(servers, seconds) sum of so many seconds before and after each, and itself; the end goes round to the start."""
    wrapped = np.take(values, np.arange(-around - 1, values.shape[1] + around), axis=1, mode="wrap")
    total = np.cumsum(wrapped, axis=1)
    return np.asarray(total[:, 2 * around + 1 :] - total[:, : -2 * around - 1])


def _ratio(part: Floats, whole: Floats, otherwise: float) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, otherwise), where=whole > 1e-9)
