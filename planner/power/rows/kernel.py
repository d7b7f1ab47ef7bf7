"""The compiled part of the simulation: what groups of servers draw at every level of capping, and controllers on top.

A week is played in *pieces*: seconds in a row of one block, under one budget. ``play`` adds up, over the servers of a
group, a row of numbers per second: watts at each level and work left undone at each level. As they do not depend on
what a controller does, any number of controllers then run on the same sums (``control``), each at the cost of a few
numbers per second, and next to nothing where power stays so low that nothing can happen.

Slowdowns are counted in spans of eight seconds: the part of a span that a class spends at a level gets that part of the
span's weight. Work that capped servers cannot do in its second waits, as one sum per class, and slows all its requests
by the time that its servers need for it. The sum errs on the high side: what a server leaves undone is taken before the
idle time of others could help, only half of that is used to catch up, and a span counts the most that waited in it. As
it is spread over the servers evenly, the one that lags most may lag more.

Axes: P policies, C counts of servers, K classes, L levels, R responses, T seconds of the piece, S spans.

All compiled code is in this one file, because the cache of machine code watches no other.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numba
import numpy as np
from numpy.typing import NDArray

from planner.compiled import Function, compiled, inner
from profiles.performance.answers import Floats, Marks

Ints = NDArray[np.int64]
Bytes = NDArray[np.int8]

SPAN_S = 8
"""A power of two, so that shares of it, and sums of them, are exact."""

REQUEST_S = 5.0
"""How long a request takes uncapped, at least, as a measure of its waiting. An assumption: half of the conversations of
the Azure trace say 129 tokens or more, at 40 ms each or more."""

GOLDEN = 0.6180339887498949
"""Multiples of it, less whole numbers, fill 0 to 1 evenly, however many there are."""

MIX = np.uint64(0x9E3779B97F4A7C15)
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
SHIFT_1, SHIFT_2, SHIFT_3, HIGH = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


def woven(function: Function) -> Function:
    """Compile into what calls it: a call with many arrays, each with its owners to count, costs more than these do."""
    return cast("Function", numba.njit(error_model="numpy", inline="always")(function))


class Sums(NamedTuple):
    """What all servers of each class do in a piece, for each count of servers."""

    columns: Floats
    """(K, C, T, 2 L): watts at each level, then seconds of work left undone at each level"""
    answers: Floats
    """(K, C, S, R): requests in progress by response"""
    servers: Ints
    """(K, C)"""
    slowdown: Floats
    """(K, L, R) of each response at each level"""


class Ladder(NamedTuple):
    """Policies as arrays, and the controls of the row. Thresholds are shares of the budget."""

    num_steps: Ints
    """(P,)"""
    at: Floats
    """(P, steps)"""
    release: Floats
    """(P, steps)"""
    waits: Marks
    """(P, steps)"""
    brake_at: Floats
    """(P,)"""
    brake_release: Floats
    """(P,)"""
    level: Ints
    """(P, steps + 2, K) in force: first without a step, last under the brake"""
    base: Ints
    """(P,) row of ``base_level``"""
    base_level: Ints
    """(bases, K) levels in force without a step that any policy has"""
    interval_s: int
    timeout_s: float


class State(NamedTuple):
    """Where each controller stands; (P, C) each."""

    told: Bytes
    """step that the servers were last told; 0 is none"""
    braking: Bytes
    """whether they were told to brake"""
    steps: Bytes
    """(P, C, latency + 1) what was told a latency ago, by second modulo their number: so it comes into force"""
    brakes: Bytes
    """(P, C, brake latency + 1)"""
    calm_s: Ints
    """seconds since anything but step 0 was told"""
    silent_s: Ints
    """seconds since the last reading"""
    interval_ws: Floats
    """watt-seconds since the last interval ended"""
    undone_s: Floats
    """(P, C, K) seconds of work that wait"""


class Totals(NamedTuple):
    """What is reported of a week; (P, C) each."""

    num_brakes: Ints
    peak: Floats
    energy_ws: Floats
    seconds_over: Ints
    capped_seconds: Ints
    """(P, C, K)"""
    weight: Floats
    """(P, C, K, L, R) of what did not wait, by level and response"""
    waited: Floats
    """(P, C, K, bins) of what did, by slowdown"""
    natural_peak: Floats
    """(C,)"""


@inner
def mixed(key: np.uint64) -> np.uint64:
    """A number that looks random (the finaliser of SplitMix64: Steele et al., OOPSLA 2014)."""
    key = (key ^ (key >> SHIFT_1)) * MIX_1
    key = (key ^ (key >> SHIFT_2)) * MIX_2
    return key ^ (key >> SHIFT_3)


@compiled
def deal(key: np.uint64, num_servers: int, num_columns: int) -> Ints:
    """Column of the pool of each server (num_servers,): all columns in random order, then all again in another."""
    column = np.empty(num_servers, dtype=np.int64)
    deck = np.arange(num_columns)
    draws = key
    for i in range(num_servers):
        at = i % num_columns
        draws += MIX
        left = np.uint64(num_columns - at)
        other = at + np.int64(((mixed(draws) >> HIGH) * left) >> HIGH)
        deck[at], deck[other] = deck[other], deck[at]
        column[i] = deck[at]
    return column


@compiled
def play(
    states: NDArray[np.uint8], lower: int, upper_share: float, offset: int, tilt: float, key: np.uint64, in_step: bool,
    joins: Ints, columns: Floats, kind: Ints, running: Floats, sums: Floats, answers: Floats,
) -> None:  # fmt: skip
    """Add to ``sums`` (C, T, 2 L) and ``answers`` (C, S, R) what the servers of a group do.

    ``joins`` (servers,) is the place of the first count that has the server: it is added there only. Servers that
    play the same column of ``states`` (levels, columns, seconds) are one with their number as weight.
    """
    num_levels, num_columns, length = states.shape
    num_counts, num_seconds = sums.shape[:2]
    weight = np.zeros((num_counts, num_levels, num_columns))
    column = deal(key, len(joins), num_columns)
    for i in range(len(joins)):
        level = lower + int((tilt + i * GOLDEN) % 1.0 < upper_share)
        weight[joins[i], level, column[0 if in_step else i]] += 1
    for count, level, mine in np.argwhere(weight > 0):
        times = weight[count, level, mine]
        t, place = 0, offset
        while t < num_seconds:
            run = min(num_seconds - t, length - place)
            played = states[level, mine, place : place + run]
            _add(times, played, columns, sums[count, t : t + run])
            _add_answers(times, played, kind, running, answers[count], t)
            t, place = t + run, 0


@inner
def _add(times: float, played: NDArray[np.uint8], columns: Floats, sums: Floats) -> None:
    for u in range(len(played)):
        total, row = sums[u], columns[played[u]]
        for j in range(len(row)):  # of a length unknown to the compiler: only then does it use vectors
            total[j] += times * row[j]


@inner
def _add_answers(
    times: float, played: NDArray[np.uint8], kind: Ints, running: Floats, answers: Floats, first: int
) -> None:
    for u in range(len(played)):
        state = played[u]
        answers[(first + u) // SPAN_S, kind[state]] += times * running[state]


@compiled
def control(
    sums: Sums, ladder: Ladder, state: State, totals: Totals, edges: Floats, first_s: int, budget_w: float, blind: bool,
    track: Floats,
) -> None:  # fmt: skip
    """Let every controller live through a piece that begins at second ``first_s`` of the week.

    ``track`` (3, T), or (3, 0) for not: watts, natural watts and step of every second for the last policy and count.
    """
    num_classes, num_counts, num_seconds, width = sums.columns.shape
    num_bases = len(ladder.base_level)
    base_w, base_peak_w, base_ws = np.empty((num_bases, num_seconds)), np.empty(num_bases), np.empty(num_bases)
    base_waits = np.empty(num_bases, dtype=np.bool_)
    for c in range(num_counts):
        natural_w = _watts(sums, c, np.zeros(num_classes, dtype=np.int64))
        totals.natural_peak[c] = max(totals.natural_peak[c], natural_w.max() / budget_w)
        if track.shape[1]:
            track[1] = natural_w
        answers = np.zeros((num_classes, sums.answers.shape[3]))
        for k in range(num_classes):
            for span in range(sums.answers.shape[2]):
                answers[k] += sums.answers[k, c, span]
        for b in range(num_bases):
            base_w[b] = _watts(sums, c, ladder.base_level[b])
            base_peak_w[b], base_ws[b] = base_w[b].max(), base_w[b].sum()
            base_waits[b] = False
            for k in range(num_classes):
                base_waits[b] |= sums.columns[k, c, :, width // 2 + ladder.base_level[b, k]].max() > 0
        for p in range(len(ladder.num_steps)):
            b = ladder.base[p]
            lowest = ladder.brake_at[p] if ladder.num_steps[p] == 0 else min(ladder.at[p, 0], ladder.brake_at[p])
            nothing_happens = (
                not blind and not base_waits[b] and num_seconds >= ladder.interval_s and not track.shape[1]
                and state.calm_s[p, c] >= state.steps.shape[2] and state.calm_s[p, c] >= state.brakes.shape[2]
                and not state.undone_s[p, c].any() and base_peak_w[b] <= budget_w * min(lowest, 1.0) * (1 - 1e-12)
            )  # fmt: skip
            if nothing_happens:
                _pass_by(
                    ladder, state, totals, p, c, first_s, base_w[b], base_peak_w[b] / budget_w, base_ws[b], answers
                )
            else:
                _watch(sums, ladder, state, totals, edges, p, c, first_s, budget_w, blind, track)


@inner
def _watts(sums: Sums, c: int, level: Ints) -> Floats:
    watts = np.zeros(sums.columns.shape[2])
    for k in range(len(level)):
        watts += sums.columns[k, c, :, level[k]]
    return watts


@woven
def _pass_by(
    ladder: Ladder, state: State, totals: Totals, p: int, c: int, first_s: int, watts: Floats, peak: float,
    energy_ws: float, answers: Floats,
) -> None:  # fmt: skip
    """A piece below all thresholds and the budget, with nothing told before that is yet to come or to go."""
    num_seconds = len(watts)
    totals.energy_ws[p, c] += energy_ws
    totals.peak[p, c] = max(totals.peak[p, c], peak)
    for k in range(len(answers)):
        level = ladder.level[p, 0, k]
        totals.capped_seconds[p, c, k] += num_seconds * (level > 0)
        totals.weight[p, c, k, level] += answers[k]
    state.calm_s[p, c] += num_seconds
    since = (first_s + num_seconds) % ladder.interval_s
    state.silent_s[p, c] = since
    state.interval_ws[p, c] = watts[num_seconds - since :].sum()


@inner
def _watch(
    sums: Sums, ladder: Ladder, state: State, totals: Totals, edges: Floats, p: int, c: int, first_s: int,
    budget_w: float, blind: bool, track: Floats,
) -> None:  # fmt: skip
    """A piece second by second. What is told at the end of a second is in force from the next, plus its latency, on.

    What changes each second is a local variable here: several times as fast as the arrays of all controllers.
    """
    columns, answers, slowdown, servers = sums.columns, sums.answers, sums.slowdown, sums.servers
    weight, waited, capped_seconds = totals.weight, totals.waited, totals.capped_seconds
    num_classes, _, num_seconds, width = columns.shape
    num_levels = width // 2
    steps, brakes, undone_s = state.steps[p, c], state.brakes[p, c], state.undone_s[p, c]
    step_slot, brake_slot = first_s % len(steps), first_s % len(brakes)
    until_reading_s = ladder.interval_s - first_s % ladder.interval_s
    told, braking = int(state.told[p, c]), bool(state.braking[p, c])
    silent_s, calm_s, interval_ws = state.silent_s[p, c], state.calm_s[p, c], state.interval_ws[p, c]
    energy_ws, peak_w, seconds_over = 0.0, 0.0, 0
    levels = ladder.level[p]
    stage, level = -1, levels[0]
    num_steps = ladder.num_steps[p]
    brake_at, brake_release, num_brakes = ladder.brake_at[p], ladder.brake_release[p], 0
    interval_s, timeout_s = ladder.interval_s, ladder.timeout_s
    since, spent_s, waiting_s = 0, np.zeros((num_classes, num_levels)), np.zeros(num_classes)
    for t in range(num_seconds):
        step = steps[step_slot]
        now = len(levels) - 1 if brakes[brake_slot] else step
        if now != stage:
            for k in range(num_classes):
                spent_s[k, level[k]] += t - since
            since, stage, level = t, now, levels[now]
        watts = 0.0
        for k in range(num_classes):
            watts += columns[k, c, t, level[k]]
            if level[k] > 0 or undone_s[k] > 0:
                undone_s[k] = max(0.0, undone_s[k] + columns[k, c, t, num_levels + level[k]])
                waiting_s[k] = max(waiting_s[k], undone_s[k])
        energy_ws += watts
        peak_w = max(peak_w, watts)
        seconds_over += watts > budget_w
        if track.shape[1]:
            track[0, t], track[2, t] = watts, stage
        if t % SPAN_S == SPAN_S - 1 or t == num_seconds - 1:
            for k in range(num_classes):
                spent_s[k, level[k]] += t + 1 - since
            since = t + 1
            _count_span(
                answers, slowdown, servers, weight, waited, capped_seconds, edges, p, c, t // SPAN_S, spent_s, waiting_s
            )

        interval_ws += watts
        silent_s += 1
        until_reading_s -= 1
        if until_reading_s == 0:
            was_braking = braking
            told, braking = _decide(
                ladder.at, ladder.release, ladder.waits, brake_at, brake_release, p, num_steps, told, braking, step,
                interval_ws / (interval_s * budget_w), blind, silent_s > timeout_s,
            )  # fmt: skip
            num_brakes += braking and not was_braking
            until_reading_s, interval_ws, silent_s = interval_s, 0.0, silent_s if blind else 0
        steps[step_slot], brakes[brake_slot] = told, braking
        step_slot = step_slot + 1 if step_slot + 1 < len(steps) else 0
        brake_slot = brake_slot + 1 if brake_slot + 1 < len(brakes) else 0
        calm_s = 0 if told or braking else calm_s + 1
    state.told[p, c], state.braking[p, c] = told, braking
    state.silent_s[p, c], state.calm_s[p, c], state.interval_ws[p, c] = silent_s, calm_s, interval_ws
    totals.num_brakes[p, c] += num_brakes
    totals.energy_ws[p, c] += energy_ws
    totals.peak[p, c] = max(totals.peak[p, c], peak_w / budget_w)
    totals.seconds_over[p, c] += seconds_over


@woven
def _decide(
    at: Floats, release: Floats, waits: Marks, brake_at: float, brake_release: float, p: int, num_steps: int, told: int,
    braking: bool, in_force: int, reading: float, blind: bool, silent_for_too_long: bool,
) -> tuple[int, bool]:  # fmt: skip
    """What the controller tells at the end of an interval: a step, and whether to brake."""
    if blind:
        return num_steps if silent_for_too_long else told, braking
    step = told
    if told > 0 and reading < release[p, told - 1]:
        step = told - 1
    for i in range(told, num_steps):
        if reading > at[p, i] and (not waits[p, i] or in_force >= i):
            step = i + 1
    return step, reading > brake_at or (braking and not reading < brake_release)


@woven
def _count_span(
    answers: Floats, slowdown: Floats, servers: Ints, weight: Floats, waited: Floats, capped_seconds: Ints,
    edges: Floats, p: int, c: int, span: int, spent_s: Floats, waiting_s: Floats,
) -> None:  # fmt: skip
    """Count a span by the time that each class ``spent_s`` (K, L) at its levels; forget both for the next span.

    What waits slows all servers of the class alike.
    """
    num_classes, num_levels, num_responses = slowdown.shape
    for k in range(num_classes):
        wait = waiting_s[k] / max(servers[k, c], 1) / REQUEST_S
        all_s = spent_s[k].sum()
        for level in range(num_levels):
            if spent_s[k, level] == 0:
                continue
            share = spent_s[k, level] / all_s
            if level > 0:
                capped_seconds[p, c, k] += int(spent_s[k, level])
            if wait == 0:
                for r in range(num_responses):
                    weight[p, c, k, level, r] += share * answers[k, c, span, r]
            else:
                for r in range(num_responses):
                    at = np.searchsorted(edges, slowdown[k, level, r] + wait)
                    waited[p, c, k, at] += share * answers[k, c, span, r]
            spent_s[k, level] = 0
        waiting_s[k] = 0
