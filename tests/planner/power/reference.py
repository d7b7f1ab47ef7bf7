"""Slow, obviously right simulation of a row: plain loops over seconds, written from the definition of a policy.

Shares with the code under test the draws of a week and the physics of one capped GPU, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.power.policy import GpuCap, Policy
from planner.power.rows import deal, kernel
from planner.power.rows.fleet import Fleet
from planner.power.rows.slowdown import SLOWDOWN_BINS
from planner.power.spec import Event
from profiles.performance.answers import Floats
from profiles.performance.capping import Cap, Phase, capped

SPAN_S, REQUEST_S, WORK_OFF = 8, 5.0, 0.5


@dataclass(eq=False)
class Told:
    """What is expected of one week, one policy and one count."""

    num_brakes: int
    watts: Floats
    budget_w: Floats
    capped_seconds: NDArray[np.int64]
    histogram: Floats
    step: NDArray[np.int64]


def cap_of(policy: Policy, priority: str, step: int, brake: bool, brake_clock_mhz: float) -> Cap:
    if brake:
        return Cap(clock_mhz=brake_clock_mhz)
    held: list[GpuCap] = [*policy.always]
    for below in policy.steps[:step]:
        held.extend(below.caps)
    clocks = [cap.clock_mhz for cap in held if cap.priority == priority and cap.clock_mhz is not None]
    powers = [cap.power_w for cap in held if cap.priority == priority and cap.power_w is not None]
    return Cap(power_w=min([*powers, math.inf]), clock_mhz=min([*clocks, math.inf]))


def states_of(fleet: Fleet, count: int, week: int, seed: int, num_seconds: int) -> list[NDArray[np.uint8]]:
    """Per group (servers, seconds): what each plays."""
    found = []
    dealt = deal.order([group.share for group in fleet.groups], count)
    for g, group in enumerate(fleet.groups):
        drawn = deal.draw(group.pool, group.calendar, seed, week, g)
        num_servers = int((dealt == g).sum())
        _, num_columns, length = group.pool.states.shape
        rows = np.empty((num_servers, num_seconds), dtype=np.uint8)
        for first in range(0, num_seconds, deal.BLOCK_S):
            block = first // deal.BLOCK_S
            end = min(first + deal.BLOCK_S, num_seconds)
            seconds = (drawn.offset[block] + np.arange(end - first)) % length
            columns = kernel.deal(drawn.key[block], num_servers, num_columns)
            for i in range(num_servers):
                upper = (drawn.tilt[block] + i * kernel.GOLDEN) % 1.0 < drawn.upper_share[block]
                column = columns[0] if group.pool.in_step else columns[i]
                rows[i, first:end] = group.pool.states[drawn.lower[block] + upper, column, seconds]
        found.append(rows)
    return found


def during(events: Sequence[Event], kind: str, t: int) -> list[Event]:
    return [e for e in events if e.kind == kind and round(e.at_s) <= t < round(e.at_s + e.duration_s)]


class Row:
    """Power, slowdown and work left undone of every class at every second under any cap: tables of whole states."""

    def __init__(self, fleet: Fleet, count: int, week: int, seed: int, num_seconds: int, events: Sequence[Event]):
        self.fleet = fleet
        self.states = states_of(fleet, count, week, seed, num_seconds)
        self.events = events
        self.known: dict[tuple[int, Cap], tuple[Floats, Floats, Floats]] = {}

    def under(self, g: int, cap: Cap) -> tuple[Floats, Floats, Floats]:
        """Watts, slowdown and undone seconds of work of each state of a group; last: of a server that ran away."""
        if (g, cap) not in self.known:
            group, table = self.fleet.groups[g], self.fleet.groups[g].pool.table
            rows = [
                (table.gpu_w[s], Phase(table.time_on_clock[s], table.power_on_clock[s]), table.busy[s])
                for s in range(len(table.gpu_w))
            ]
            rows.append((group.gpu.tdp_w * group.num_gpus, Phase(1.0, 1.0), 0.0))
            answers = []
            for gpu_w, phase, busy in rows:
                answer = capped(phase, np.array([gpu_w / group.num_gpus]), group.gpu, cap)
                watts = round((answer.power_w[0] * group.num_gpus + group.other_w) * 64) / 64
                needed = min(busy, 1.0) * answer.time_factor[0]
                undone = max(needed - 1, 0) - WORK_OFF * max(1 - needed, 0)
                answers.append((watts, answer.time_factor[0] - 1, undone))
            watts, slowdown, undone = (np.array(column) for column in zip(*answers, strict=True))
            self.known[g, cap] = watts, slowdown, undone
        return self.known[g, cap]

    def of_class(self, priority: str, t: int, cap: Cap) -> tuple[float, float, list[tuple[float, float]], int]:
        """Watts, undone work, (slowdown, requests) of each server, and the number of servers."""
        watts, undone, answers, servers = 0.0, 0.0, [], 0
        for g, group in enumerate(self.fleet.groups):
            if group.priority != priority:
                continue
            of_watts, of_slowdown, of_undone = self.under(g, cap)
            wild = any(e.workload == group.name for e in during(self.events, "runaway", t))
            for state in self.states[g][:, t]:
                s = len(of_watts) - 1 if wild else int(state)
                watts += of_watts[s]
                undone += of_undone[s]
                answers.append((of_slowdown[s], 0.0 if wild else group.pool.table.running[s]))
                servers += 1
        return watts, undone, answers, servers


def next_step(policy: Policy, told: int, in_force: int, reading: float) -> int:
    climbed = [
        i + 1
        for i, rung in enumerate(policy.steps)
        if i + 1 > told and reading > rung.at and (not rung.waits or in_force >= i)
    ]
    if climbed:
        return climbed[-1]
    return told - 1 if told and reading < policy.steps[told - 1].release else told


def simulate_one(
    fleet: Fleet, policy: Policy, count: int, week: int, seed: int, num_seconds: int, events: Sequence[Event] = ()
) -> Told:
    row = Row(fleet, count, week, seed, num_seconds, events)
    controls, priorities = fleet.controls, fleet.priorities
    interval_s = round(controls.telemetry_interval_s)
    commands: list[tuple[float, int]] = [(-math.inf, 0)]  # when a step was told, and which
    brakes: list[tuple[float, bool]] = [(-math.inf, False)]
    found = Told(0, np.zeros(num_seconds), np.zeros(num_seconds), np.zeros(len(priorities), np.int64),
                 np.zeros((len(priorities), len(SLOWDOWN_BINS))), np.zeros(num_seconds, np.int64))  # fmt: skip
    last_reading = 0.0
    undone = [0.0] * len(priorities)
    ends = {round(at_s) for e in events for at_s in (e.at_s, e.at_s + e.duration_s)} | {num_seconds}
    spans: list[list[tuple[float, int]]] = [[] for _ in priorities]
    for t in range(num_seconds):
        step = [what for when, what in commands if when + controls.latency_s <= t][-1]
        brake = [what for when, what in brakes if when + controls.brake_latency_s <= t][-1]
        budget_w = fleet.budget_w * min([e.remaining for e in during(events, "feed_failure", t)], default=1.0)
        found.step[t] = len(policy.steps) + 1 if brake else step
        found.budget_w[t] = budget_w
        for k, priority in enumerate(priorities):
            cap = cap_of(policy, priority, step, brake, controls.brake_clock_mhz)
            watts, work, _, servers = row.of_class(priority, t, cap)
            found.watts[t] += watts
            found.capped_seconds[k] += cap != Cap()
            undone[k] = max(0.0, undone[k] + work)
            spans[k].append((undone[k] / max(servers, 1), hash(cap)))
        now = t + 1
        if now % interval_s == 0:
            if during(events, "telemetry_gap", t):
                if now - last_reading > controls.telemetry_timeout_s:
                    commands.append((now, len(policy.steps)))
            else:
                last_reading = now
                reading = found.watts[now - interval_s : now].mean() / budget_w
                to = next_step(policy, commands[-1][1], step, reading)
                if to != commands[-1][1]:
                    commands.append((now, to))
                if brakes[-1][1] and reading < policy.brake_release:
                    brakes.append((now, False))
                elif not brakes[-1][1] and reading > policy.brake_at:
                    brakes.append((now, True))
                    found.num_brakes += 1
        if len(spans[0]) == SPAN_S or now in ends or now % deal.BLOCK_S == 0:
            _count(found.histogram, spans, row, now)
    return found


def _count(histogram: Floats, spans: list[list[tuple[float, int]]], row: Row, now: int) -> None:
    """Every cap of a span answers for all its requests, with the share of the span in which it was on."""
    by_key = {hash(cap): cap for _, cap in row.known}
    for k, span in enumerate(spans):
        wait = max(waiting for waiting, _ in span) / REQUEST_S
        for key in {key for _, key in span}:
            share = sum(mine == key for _, mine in span) / len(span)
            for t in range(now - len(span), now):
                for slowdown, running in row.of_class(row.fleet.priorities[k], t, by_key[key])[2]:
                    known = SLOWDOWN_BINS[np.searchsorted(SLOWDOWN_BINS, max(0.0, round(slowdown, 12)))]
                    histogram[k, np.searchsorted(SLOWDOWN_BINS, known + wait)] += share * running
        span.clear()
