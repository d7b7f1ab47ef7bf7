"""What caps do to the states of servers: the caps that policies ask of each class, power and time of states under them.

A *level* of a class is a cap that some policy puts on it at some step. Level 0 is no cap and level 1 the brake. Power
and slowdown of a server at a level depend on its state alone, so they are tables, made once. All caps of the steps up
to the one in force, and those that are always on, hold together: of several clocks or powers the lowest. Climbing never
loosens a cap. What is the same at all levels of a class is one *response*: states need no more than that to count
slowdowns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.power.demand import StateTable
from planner.power.policy import GpuCap, Policy
from planner.power.rows.slowdown import SLOWDOWN_BINS
from planner.power.spec import Controls
from profiles.performance.answers import Floats
from profiles.performance.capping import PROMPTS, Cap, Phase, capped
from profiles.types import GpuType

Ints = NDArray[np.int64]

NO_CAP, BRAKE = 0, 1
"""Levels that every class has."""

MOST_STATES = 256
WATT_STEP, WORK_STEP, RUNNING_STEP = 2.0**-6, 2.0**-20, 2.0**-10
"""Entries of tables are whole multiples of these, so that sums over servers are exact, whatever their order."""

WORK_OFF_SHARE = 0.5
"""Share of the idle time of a class's servers in which they catch up with what waits. An assumption: new requests are
routed around a server that lags, but those it holds stay with it."""


@dataclass(frozen=True)
class Levels:
    """Caps by class and level, and where the steps of each policy lie.

    Attributes
    ----------
    caps:
        per class, its levels
    at:
        (policies, steps + 2, classes) level in force: first without any step, last under the brake
    """

    caps: tuple[tuple[Cap, ...], ...]
    at: Ints


@dataclass(frozen=True, eq=False)
class Response:
    """How the states of one group answer to the levels of its class.

    Attributes
    ----------
    columns:
        (256, 2 levels) of each state: watts of the server at each level; then, at each level, seconds of work that a
        server in it leaves undone each second, less what it could catch up with
    kind:
        (256,) which response of the class a state is
    running:
        (256,) requests in progress
    """

    columns: Floats
    kind: Ints
    running: Floats


def levels(policies: Sequence[Policy], priorities: Sequence[str], controls: Controls) -> Levels:
    """Every cap that any of ``policies`` puts on each of ``priorities``."""
    most_steps = max((len(policy.steps) for policy in policies), default=0)
    brake = Cap(clock_mhz=controls.brake_clock_mhz)
    caps: list[list[Cap]] = [[Cap(), brake] for _ in priorities]
    at = np.full((len(policies), most_steps + 2, len(priorities)), BRAKE)
    for p, policy in enumerate(policies):
        for c, priority in enumerate(priorities):
            held = list(policy.always)
            for step in range(most_steps + 1):
                if 0 < step <= len(policy.steps):
                    held += policy.steps[step - 1].caps
                cap = together(held, priority)
                if cap not in caps[c]:
                    caps[c].append(cap)
                at[p, step, c] = caps[c].index(cap)
    return Levels(tuple(tuple(of_class) for of_class in caps), at)


def together(caps: Sequence[GpuCap], priority: str) -> Cap:
    """The caps on ``priority`` as one: the lowest clock and the lowest power."""
    mine = [cap for cap in caps if cap.priority == priority]
    return Cap(
        power_w=min((cap.power_w for cap in mine if cap.power_w is not None), default=np.inf),
        clock_mhz=min((cap.clock_mhz for cap in mine if cap.clock_mhz is not None), default=np.inf),
    )


def under(table: StateTable, gpu: GpuType, num_gpus: int, cap: Cap) -> tuple[Floats, Floats]:
    """Watts of a server's ``num_gpus`` GPUs and time factor (1 or more), both (S,), of each state under ``cap``."""
    gpu_w, time_factor = np.empty_like(table.gpu_w), np.empty_like(table.gpu_w)
    phases, phase_of = np.unique(np.stack([table.time_on_clock, table.power_on_clock]), axis=1, return_inverse=True)
    for i, (time_on_clock, power_on_clock) in enumerate(phases.T):
        mine = phase_of.ravel() == i
        answer = capped(Phase(time_on_clock, power_on_clock), table.gpu_w[mine] / num_gpus, gpu, cap)
        gpu_w[mine], time_factor[mine] = answer.power_w * num_gpus, answer.time_factor
    return gpu_w, time_factor


def at_tdp(gpu: GpuType, num_gpus: int) -> StateTable:
    """One state: a job gone wild, all GPUs at TDP, as bound by clocks as prompts are; nobody waits for it."""

    def one(value: float) -> Floats:
        return np.array([value])

    return StateTable(
        one(gpu.tdp_w * num_gpus), one(PROMPTS.time_on_clock), one(PROMPTS.power_on_clock), one(0), one(0)
    )


def responses(
    caps: tuple[Cap, ...], tables: Sequence[tuple[StateTable, GpuType, int, float]], *, num_levels: int
) -> tuple[tuple[Response, ...], Floats]:
    """Tables of the groups of one class, each (table, GPU, GPUs of a server, watts of all else), under ``caps``.

    Also the slowdown (levels, responses) of each response, rounded up to the edge of its bin. Columns are laid out for
    ``num_levels`` levels, as many as the class with the most has; levels that this class lacks stay zero.
    """
    if not tables:
        return (), np.zeros((num_levels, 1))
    watts, factors = [], []
    for table, gpu, num_gpus, other_w in tables:
        answers = [under(table, gpu, num_gpus, cap) for cap in caps]
        watts.append(np.stack([gpu_w for gpu_w, _ in answers], axis=1) + other_w)
        factors.append(np.stack([factor for _, factor in answers], axis=1))
    slowdowns = np.round(np.concatenate(factors) - 1, 12)
    bins, kind = np.unique(np.searchsorted(SLOWDOWN_BINS, slowdowns), axis=0, return_inverse=True)
    ends = np.cumsum([len(each) for each in watts])
    kinds = np.split(kind.ravel(), ends[:-1])
    rows = [_response(*each, num_levels) for each in zip((t for t, *_ in tables), watts, factors, kinds, strict=True)]
    slowdown = np.zeros((num_levels, len(bins)))
    slowdown[: len(caps)] = SLOWDOWN_BINS[bins].T
    return tuple(rows), slowdown


def _response(table: StateTable, watts: Floats, factor: Floats, kind: Ints, num_levels: int) -> Response:
    num_states, num_caps = watts.shape
    needed = np.minimum(table.busy, 1.0)[:, None] * factor
    undone = np.maximum(needed - 1, 0) - WORK_OFF_SHARE * np.maximum(1 - needed, 0)
    columns = np.zeros((MOST_STATES, 2 * num_levels))
    columns[:num_states, :num_caps] = _whole(watts, WATT_STEP)
    columns[:num_states, num_levels : num_levels + num_caps] = _whole(undone, WORK_STEP)
    padding = (0, MOST_STATES - num_states)
    return Response(columns, np.pad(kind, padding), np.pad(_whole(table.running, RUNNING_STEP), padding))


def _whole(values: Floats, step: float) -> Floats:
    return np.asarray(np.round(values / step) * step)
