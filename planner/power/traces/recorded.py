"""A recorded series of power as a pool: the hours of a recording, sorted by how much was drawn in them.

A recording of a day or more tells its own day and week: each level holds hours of similar load, whole and with all
servers side by side, so that bursts and what servers have in common stay; the calendar says how loaded each hour of the
week is. A shorter one stands for every hour.
"""

from __future__ import annotations

import numpy as np

from planner.errors import InvalidInput
from planner.power.demand import Calendar, Pool, States, StateTable
from planner.power.traces.weeks import calendar_of, constant_calendar, recorded_calendar
from planner.power.workload import WHOLE, Series, Week
from planner.program import Ints
from profiles.performance.answers import Floats
from profiles.types import GpuType

HOUR_S = 3600
LEAST_HOURS = 24
"""For a recording to tell its own day."""

NUM_LEVELS = 8
MOST_SECONDS = 100_000_000
"""Of servers and levels in a pool: 100 MB. Longer recordings keep as many servers as fit, evenly chosen."""

TOLERANCE = 1.1
"""GPUs go beyond TDP for moments, and sensors err."""

NO_WORK = 0.75
"""A server that never draws more than this share of its idle power was not measured in watts of all its GPUs."""


def recorded_pool(name: str, demand: Series, week: Week, gpu: GpuType, num_gpus: int) -> tuple[Pool, Calendar]:
    """Pool and calendar of workload ``name``; hours that ``week`` gives go before those recorded.

    Raises
    ------
    InvalidInput
        Watts that its GPUs cannot draw, or so few that they must be in another unit.
    """
    watts = _gpu_w(name, demand, gpu, num_gpus)
    notes = [*demand.notes, f"{len(watts)} servers were recorded; those of a larger row are drawn from them"]
    if demand.utilisation is not None:
        notes.append("power is in proportion to utilisation between idle and TDP (assumption)")
    if demand.interval_s > 1:
        notes.append(f"recorded every {demand.interval_s:g} s: what swings faster is not seen")
    seconds = int(watts.shape[1] * demand.interval_s)
    if seconds < 1:
        raise InvalidInput("holds less than a second", field=f"workload {name}: demand", fix="give a longer recording")
    num_hours = seconds // HOUR_S
    if num_hours < LEAST_HOURS:
        notes.append(f"{seconds / HOUR_S:.1f} h were recorded; every hour of the week is taken to be like them")
        calendar = constant_calendar("recorded for less than a day: every hour alike")
        hours, load = np.zeros((1, 1), dtype=np.int64), np.ones(1)
    else:
        by_hour = _by_hour(watts, demand.interval_s, num_hours)
        calendar = calendar_of(week) if week.hours else recorded_calendar(by_hour, int(demand.start_hour), week)
        hours, load = _levels(by_hour)
        seconds = HOUR_S
        notes.append("no hour draws more on average than the busiest recorded ones")
    watts, dropped = _affordable(watts, hours.size * seconds)
    if dropped:
        notes.append(f"{len(watts)} of {len(watts) + dropped} recorded servers are used, evenly chosen")
    table, state = _states(watts, demand, gpu.idle_w * num_gpus)
    states = np.stack([_seconds(state, level, seconds, demand.interval_s) for level in hours])
    pool = Pool(
        workload=name,
        table=table,
        states=states,
        load=load,
        in_step=False,
        origin="measured" if demand.gpu_w is not None else "utilisation measured, power assumed",
        notes=tuple(notes),
    )
    return pool, calendar


def _gpu_w(name: str, demand: Series, gpu: GpuType, num_gpus: int) -> Floats:
    """(servers, intervals) watts."""
    values = demand.values.array()
    tdp_w, idle_w = gpu.tdp_w * num_gpus, gpu.idle_w * num_gpus
    if demand.gpu_w is None:
        return np.asarray(idle_w + values / WHOLE * (tdp_w - idle_w))
    if values.max() > TOLERANCE * tdp_w:
        server, interval = np.unravel_index(int(values.argmax()), values.shape)
        raise InvalidInput(
            f"server {server + 1} draws {values.max():,} W after {interval * demand.interval_s:g} s, but {num_gpus} "
            f"{gpu.name} draw {tdp_w:,.0f} W at most",
            field=f"workload {name}: demand",
            fix="give watts of the GPUs alone; of a whole server, say other_w beside the file: the rest is taken off",
        )
    if values.max() < NO_WORK * idle_w:
        raise InvalidInput(
            f"no server ever draws more than {values.max():,} W, but {num_gpus} {gpu.name} draw {idle_w:,.0f} W idle",
            field=f"workload {name}: demand",
            fix="give watts, not kW, and of all GPUs of a server together",
        )
    return values.astype(np.float64)


def _by_hour(watts: Floats, interval_s: float, num_hours: int) -> Floats:
    """(hours,) mean watts of a server."""
    edges = np.floor(np.arange(num_hours) * HOUR_S / interval_s).astype(np.int64)
    mean_w = watts.mean(axis=0)[: int(np.ceil(num_hours * HOUR_S / interval_s))]
    return np.asarray(np.add.reduceat(mean_w, edges) / np.diff(np.append(edges, len(mean_w))))


def _levels(by_hour: Floats) -> tuple[Ints, Floats]:
    """(levels, hours) which recorded hours each level holds, and (levels,) their load as a share of the busiest's.

    Levels hold as many hours each and cover all of them, from the least loaded to the busiest.
    """
    num_levels = min(NUM_LEVELS, len(by_hour))
    size = -(-len(by_hour) // num_levels)
    first = np.rint(np.linspace(0, len(by_hour) - size, num_levels)).astype(np.int64)
    hours = np.argsort(by_hour, kind="stable")[first[:, None] + np.arange(size)]
    load = by_hour[hours].mean(axis=1) / by_hour.max()
    apart = np.concatenate([[True], np.diff(load) > 1e-9])
    return hours[apart], load[apart]


def _affordable(watts: Floats, seconds: int) -> tuple[Floats, int]:
    """As many servers as fit in memory for ``seconds`` each, and how many are left out."""
    most = max(1, MOST_SECONDS // seconds)
    if most >= len(watts):
        return watts, 0
    chosen = np.linspace(0, len(watts) - 1, most).astype(np.int64)
    return watts[chosen], len(watts) - most


def _states(watts: Floats, demand: Series, idle_w: float) -> tuple[StateTable, States]:
    """256 steps of power; each state is the mean of what lies in it.

    A server is taken to be as busy as its power above idle is, next to the most that was recorded.
    """
    low, high = watts.min(), watts.max()
    step = np.minimum((watts - low) / max(high - low, 1e-9) * 256, 255).astype(np.int64)
    _, state = np.unique(step, return_inverse=True)
    flat = state.ravel()
    gpu_w = np.bincount(flat, weights=watts.ravel()) / np.bincount(flat)
    busy = np.clip((gpu_w - idle_w) / max(high - idle_w, 1e-9), 0.0, 1.0)
    table = StateTable(
        gpu_w=gpu_w,
        time_on_clock=np.full(len(gpu_w), demand.time_on_clock),
        power_on_clock=np.full(len(gpu_w), demand.power_on_clock),
        running=busy,
        busy=busy,
    )
    return table, state.reshape(watts.shape).astype(np.uint8)


def _seconds(state: States, hours: Ints, seconds: int, interval_s: float) -> States:
    """(servers, len(hours) × seconds) the state of every second of these hours.

    Of intervals shorter than a second the first is taken, so that peaks are not averaged away.
    """
    second = (hours[:, None] * HOUR_S + np.arange(seconds)).ravel()
    return state[:, np.minimum((second / interval_s + 1e-9).astype(np.int64), state.shape[1] - 1)]
