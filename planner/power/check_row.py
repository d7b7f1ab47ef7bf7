"""A row lived through again: days of fresh seeds, drawn and controlled as ``policy``, ``demand`` and ``row`` say.

Written from their words and with none of their code: plain numpy for what servers draw, one loop over seconds for the
controller. T seconds of a block, S states of a table, K priority classes, N stages: no step, each step, the brake.

Blocks of ten minutes are independent of one another but for the load of their hour, so one of each hour tells as much
of a week as is needed here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.power.demand import Calendar, Pool, States
from planner.power.policy import GpuCap, Policy
from planner.power.spec import Controls, PowerSpec
from profiles.performance.answers import Floats, Marks
from profiles.performance.capping import Cap, Phase, capped
from profiles.types import GpuType

BLOCK_S, DAY_HOURS, WEEK_HOURS = 600, 24, 168
"""A block is drawn from one moment of the pool."""

STREAM = 7_000_000
"""Of random numbers: the check's own, whatever the seed of the plan."""

ROUNDING = 1e-6
"""Of slowdowns."""

REQUEST_S, CAUGHT_UP = 5.0, 0.5
"""Assumptions of the simulation that are not the check's to question: how long a request takes, against which its wait
counts, and the share of idle time in which servers catch up."""


@dataclass(frozen=True, eq=False)
class Servers:
    """All servers of a workload: ``other_w`` beside the GPUs of each."""

    count: int
    priority: int
    gpu: GpuType
    num_gpus: int
    other_w: float
    pool: Pool
    calendar: Calendar


@dataclass(frozen=True, eq=False)
class Answers:
    """What a workload's states do in each stage.

    ``columns`` (S, 2 N + 1): watts of a server in each stage, seconds of work that it leaves undone each second, and
    its watts without any cap. ``slowdown`` (S, N).
    """

    columns: Floats
    slowdown: Floats


@dataclass(frozen=True, eq=False)
class CheckedRow:
    """Servers under a policy. ``answers``: per workload; ``is_capped`` (K, N).

    ``limits`` (limits, K): slowdowns of each class; what share of its requests is slower is counted.
    """

    fleet: tuple[Servers, ...]
    policy: Policy
    controls: Controls
    budget_w: float
    limits: Floats
    answers: tuple[Answers, ...]
    is_capped: Marks


@dataclass(frozen=True, eq=False)
class Lived:
    """What blocks came to. Powers: shares of the budget. (K,) per class, ``beyond`` (limits, K) shares of requests."""

    num_brakes: int
    peak: float
    natural_peak: float
    mean: float
    capped: Floats
    beyond: Floats


def servers_of(spec: PowerSpec, demands: Sequence[tuple[Pool, Calendar]], gpus: dict[str, GpuType],
               other_w: dict[str, float], count: int) -> tuple[Servers, ...]:  # fmt: skip
    """``count`` servers dealt to workloads by their shares; what is left over goes to the largest remainders."""
    exact = np.array([workload.share * count for workload in spec.workloads])
    counts = np.floor(exact + 1e-9).astype(int)
    for late in np.argsort(counts - exact, kind="stable")[: count - counts.sum()]:
        counts[late] += 1
    classes = [priority.name for priority in spec.priorities]
    return tuple(
        Servers(
            count=int(counts[i]),
            priority=classes.index(workload.priority),
            gpu=gpus[workload.server],
            num_gpus=spec.server_of(workload).num_gpus,
            other_w=other_w[workload.server],
            pool=pool,
            calendar=calendar,
        )
        for i, (workload, (pool, calendar)) in enumerate(zip(spec.workloads, demands, strict=True))
    )


def week_of_loads(fleet: Sequence[Servers], seed: int, week: int) -> Floats:
    """(workloads, 168) load of every hour: the calendar's, times log-normal factors of the day and of the hour."""
    rng = np.random.Generator(np.random.PCG64((STREAM, seed, week)))
    common_day, common_hour = rng.standard_normal(7), rng.standard_normal(WEEK_HOURS)
    loads = []
    for servers in fleet:
        calendar = servers.calendar
        shared, own = math.sqrt(calendar.correlation), math.sqrt(1 - calendar.correlation)
        day = np.repeat(shared * common_day + own * rng.standard_normal(7), DAY_HOURS)
        hour = shared * common_hour + own * rng.standard_normal(WEEK_HOURS)
        loads.append(calendar.shape * np.exp(calendar.daily_spread * day + calendar.hourly_spread * hour))
    return np.array(loads)


def busiest_day(fleet: Sequence[Servers], seed: int, weeks: range) -> Floats:
    """(workloads, 24) loads of the day of ``weeks`` with the highest mean power in one hour."""
    best_w, best = -1.0, np.zeros(0)
    for week in weeks:
        loads = week_of_loads(fleet, seed, week)
        watts = sum(servers.count * mean_gpu_w(servers.pool, load) for servers, load in zip(fleet, loads, strict=True))
        by_day = np.asarray(watts).reshape(7, DAY_HOURS).max(axis=1)
        if by_day.max() > best_w:
            day = int(by_day.argmax())
            best_w, best = float(by_day.max()), loads[:, day * DAY_HOURS : (day + 1) * DAY_HOURS]
    return best


def mean_gpu_w(pool: Pool, load: Floats) -> Floats:
    """Watts of a server's GPUs on average at each load, any shape."""
    levels = [float(pool.table.gpu_w[states].mean()) for states in pool.states]
    return np.asarray(np.interp(load, pool.load, levels))


def row_of(spec: PowerSpec, policy: Policy, fleet: tuple[Servers, ...], budget_w: float, limits: Floats) -> CheckedRow:
    """``fleet`` under ``policy``, with what each state does in each stage."""
    stages = [_caps(policy, priority.name, spec.controls) for priority in spec.priorities]
    return CheckedRow(
        fleet=fleet,
        policy=policy,
        controls=spec.controls,
        budget_w=budget_w,
        limits=limits,
        answers=tuple(_answers(servers, stages[servers.priority]) for servers in fleet),
        is_capped=np.array([[cap != Cap() for cap in of_class] for of_class in stages]),
    )


def live(row: CheckedRow, loads: Floats, seed: tuple[int, int]) -> Lived:
    """Blocks with ``loads`` (workloads, blocks), one after another.

    A reading is the mean power of a telemetry interval. What it makes the controller tell is in force ``latency_s``
    later. It climbs to the highest step whose threshold is exceeded, and leaves the top step below its release.
    """
    rng = np.random.Generator(np.random.PCG64((STREAM, *seed, 1)))
    policy, controls, budget_w, fleet = row.policy, row.controls, row.budget_w, row.fleet
    num_classes, num_stages = row.is_capped.shape
    brake = num_stages - 1
    num_servers = np.bincount([s.priority for s in fleet], [s.count for s in fleet], num_classes)
    is_capped: list[list[bool]] = row.is_capped.tolist()
    interval_s = max(1, round(controls.telemetry_interval_s))
    told_steps, told_brakes = (
        [0] * (math.ceil(wait_s) + 1) for wait_s in (controls.latency_s, controls.brake_latency_s)
    )
    told = braking = num_brakes = second = 0
    interval_ws = 0.0
    undone = [0.0] * num_classes
    peak = natural_peak = total_ws = 0.0
    capped_s, requests = np.zeros(num_classes), np.zeros(num_classes)
    beyond = np.zeros((len(row.limits), num_classes))
    for block in range(loads.shape[1]):
        played = [_played(servers, loads[g, block], rng) for g, servers in enumerate(fleet)]
        watts_w, natural_w, undone_s = _sums(row, played)
        watts_of, undone_of = watts_w.tolist(), undone_s.tolist()
        stage, wait, drawn = np.zeros(BLOCK_S, dtype=int), np.zeros((num_classes, BLOCK_S)), np.zeros(BLOCK_S)
        for t in range(BLOCK_S):
            in_force = told_steps[second % len(told_steps)]
            now = brake if told_brakes[second % len(told_brakes)] else in_force
            watts = watts_of[t][now]
            stage[t], drawn[t] = now, watts
            for k in range(num_classes):
                if undone[k] or is_capped[k][now]:
                    undone[k] = max(0.0, undone[k] + undone_of[k][t][now])
                    wait[k, t] = undone[k]
            interval_ws += watts
            second += 1
            if second % interval_s == 0:
                reading = interval_ws / interval_s / budget_w
                told = _told(policy, told, in_force, reading)
                if not braking and reading > policy.brake_at:
                    braking, num_brakes = 1, num_brakes + 1
                elif braking and reading < policy.brake_release:
                    braking = 0
                interval_ws = 0.0
            told_steps[(second - 1) % len(told_steps)] = told
            told_brakes[(second - 1) % len(told_brakes)] = braking
        peak, natural_peak = max(peak, drawn.max()), max(natural_peak, natural_w.max())
        total_ws += drawn.sum()
        capped_s += row.is_capped[:, stage].sum(axis=1)
        wait /= np.maximum(num_servers, 1)[:, None] * REQUEST_S
        for servers, (states, times), answer in zip(fleet, played, row.answers, strict=True):
            k, weight = servers.priority, times[:, None] * servers.pool.table.running[states]
            slowdown = answer.slowdown[states, stage] + wait[k]
            requests[k] += weight.sum()
            beyond[:, k] += [weight[slowdown > limit + ROUNDING].sum() for limit in row.limits[:, k]]
    return Lived(
        num_brakes=num_brakes,
        peak=float(peak) / budget_w,
        natural_peak=float(natural_peak) / budget_w,
        mean=float(total_ws) / second / budget_w,
        capped=capped_s / second,
        beyond=beyond / np.maximum(requests, 1e-12),
    )


def _sums(row: CheckedRow, played: Sequence[tuple[States, Floats]]) -> tuple[Floats, Floats, Floats]:
    """Of a block: (T, N) watts of all servers in each stage, (T,) without a cap, (K, T, N) work left undone."""
    num_classes, num_stages = row.is_capped.shape
    watts_w, natural_w = np.zeros((BLOCK_S, num_stages)), np.zeros(BLOCK_S)
    undone_s = np.zeros((num_classes, BLOCK_S, num_stages))
    for servers, (states, times), answer in zip(row.fleet, played, row.answers, strict=True):
        total = np.zeros((BLOCK_S, answer.columns.shape[1]))
        for mine, weight in zip(states, times, strict=True):
            total += weight * answer.columns[mine]
        watts_w += total[:, :num_stages]
        undone_s[servers.priority] += total[:, num_stages:-1]
        natural_w += total[:, -1]
    return watts_w, natural_w, undone_s


def _told(policy: Policy, told: int, in_force: int, reading: float) -> int:
    """The step that a reading makes the controller tell."""
    for i in reversed(range(told, len(policy.steps))):
        if reading > policy.steps[i].at and (in_force >= i or not policy.steps[i].waits):
            return i + 1
    return told - 1 if told and reading < policy.steps[told - 1].release else told


def _caps(policy: Policy, priority: str, controls: Controls) -> list[Cap]:
    """What holds on a class in each stage: all caps up to the step, the lowest of several; the brake overrules them."""
    stages = []
    for step in range(len(policy.steps) + 1):
        held: list[GpuCap] = [*policy.always, *(cap for below in policy.steps[:step] for cap in below.caps)]
        clocks = [c.clock_mhz for c in held if c.priority == priority and c.clock_mhz is not None]
        powers = [c.power_w for c in held if c.priority == priority and c.power_w is not None]
        stages.append(Cap(power_w=min(powers, default=np.inf), clock_mhz=min(clocks, default=np.inf)))
    return [*stages, Cap(clock_mhz=controls.brake_clock_mhz)]


def _answers(servers: Servers, stages: Sequence[Cap]) -> Answers:
    table = servers.pool.table
    watts, slowdown = np.empty((len(table.gpu_w), len(stages))), np.empty((len(table.gpu_w), len(stages)))
    for n, cap in enumerate(stages):
        for s, gpu_w in enumerate(table.gpu_w):
            phase = Phase(float(table.time_on_clock[s]), float(table.power_on_clock[s]))
            under = capped(phase, np.array([gpu_w / servers.num_gpus]), servers.gpu, cap)
            watts[s, n] = under.power_w[0] * servers.num_gpus + servers.other_w
            slowdown[s, n] = under.time_factor[0] - 1
    needed = np.minimum(table.busy, 1.0)[:, None] * (1 + slowdown)
    undone_s = np.maximum(needed - 1, 0) - CAUGHT_UP * np.maximum(1 - needed, 0)
    natural_w = table.gpu_w[:, None] + servers.other_w
    return Answers(np.concatenate([watts, undone_s, natural_w], axis=1), slowdown)


def _played(servers: Servers, load: float, rng: np.random.Generator) -> tuple[States, Floats]:
    """States (recordings, T) through a block, and how many servers play each recording: one moment of the pool.

    Servers are at the two levels nearest the load, and play different columns of the pool as far as it has them; those
    of a job in step all play one.
    """
    pool = servers.pool
    num_levels, num_columns, length = pool.states.shape
    place = float(np.interp(load, pool.load, np.arange(num_levels)))
    lower = min(int(place), max(num_levels - 2, 0))
    level = lower + (rng.random(servers.count) < place - lower)
    decks = [rng.permutation(num_columns) for _ in range(-(-servers.count // num_columns))]
    column = np.concatenate([*decks, np.zeros(0, dtype=int)])[: servers.count]
    if pool.in_step:
        column = np.full(servers.count, rng.integers(num_columns))
    seconds = (rng.integers(length) + np.arange(BLOCK_S)) % length
    pairs, times = np.unique(np.stack([level, column]), axis=1, return_counts=True)
    return pool.states[pairs[0][:, None], pairs[1][:, None], seconds], times.astype(np.float64)
