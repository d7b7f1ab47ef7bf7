"""The most servers that any placement could place with every budget at a fraction of itself: a linear program.

It leaves out what ties the phases of one row together (balance), and lets patterns be used in fractions; all else is
kept, so that nothing that holds is lost. Phases are exact: only patterns that hold the chance constraint appear
(Gilmore and Gomory, Operations Research 9, 1961). Feeds and PDUs are bounded by planes below their load at risk:
tangents, with σ, which is concave in the counts, replaced by a chord below it.

Sets:        k  kinds of rows;  p  patterns that fit a phase and to which no server can be added;  g  groups
Variables:   n[k, p] ≥ 0  phases with pattern p;   x[k, g] ≥ 0  servers placed
Maximise     Σ x[k, g]
subject to   x[k, g] ≤ Σ_p p[g] · n[k, p]
             Σ_p n[k, p] ≤ rows[k] · phases[k]
             Σ_g x[k, g] ≤ rows[k] · slots[k]
             Σ_k x[k, g] ≤ asked[g]
             Σ_{k, g} plane[k, g] · x[k, g] ≤ fraction · budget          every plane of a feed or PDU

Shapes: K kinds, G groups, P patterns, C circuits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.errors import GpuplanError
from planner.power.feeds.multiplexing import loads_at_risk, tangent
from planner.power.feeds.problem import WHOLE_BUDGET, Circuit, Kind, Problem
from planner.program import Floats, Ints, ProgramBuilder
from planner.solver import solve
from planner.types import SolveOptions

ROUNDS = 4
"""Times that planes are added where the last answer breaks a budget."""

FINE = 5e-4
"""To this part of itself the least fraction is found, and planes are as tight."""


@dataclass(frozen=True, eq=False)
class Relaxed:
    """At most so many servers: ``servers`` (K, G) are an answer.

    ``used``: per kind the patterns (P, G) of that answer; ``worth`` (K, G): by how many servers more could be placed if
    a phase held one more of a group; the patterns worth most are those that good answers are made of.
    """

    placed: float
    servers: Floats
    used: tuple[Ints, ...]
    worth: Floats


@dataclass(frozen=True, eq=False)
class Plane:
    """``watts`` (K, G) per server, in sum never more than the load of a circuit of ``budget_w``."""

    watts: Floats
    budget_w: float


def most_placed(problem: Problem, fraction: float) -> Relaxed:
    """At most so many servers fit with every budget at ``fraction`` of itself."""
    planes = planes_of(problem, even_spread(problem, problem.asked), fraction)
    for _ in range(ROUNDS):
        relaxed = _solve(problem, fraction, planes)
        over = overloaded(problem, relaxed.servers, fraction)
        if not over:
            break
        planes += [_plane(problem, circuit, relaxed.servers, fraction) for circuit in over]
    return relaxed


def even_spread(problem: Problem, total: Floats | Ints) -> Floats:
    """(K, G) of ``total`` (G,) servers, in proportion to the budgets of rows."""
    room_w = np.array([kind.rows.size * kind.num_phases * kind.phase_w for kind in problem.kinds])
    spread: Floats = room_w[:, None] / room_w.sum() * total
    return spread


def overloaded(problem: Problem, servers: Floats, fraction: float) -> list[Circuit]:
    """Feeds and PDUs that ``servers`` (K, G), evenly on each kind's rows, load beyond ``fraction`` of their budgets."""
    shared = [circuit for circuit in problem.circuits if circuit.level != "row"]
    first = [kind.rows[0] for kind in problem.kinds]
    share = np.array([circuit.share[first] for circuit in shared])
    loads_w = loads_at_risk(problem.crowd, share @ servers, share**2 @ servers).tolist()
    return [c for c, load_w in zip(shared, loads_w, strict=True) if load_w > fraction * c.budget_w * (1 + FINE)]


def planes_of(problem: Problem, servers: Floats, fraction: float) -> list[Plane]:
    """Below the load of every feed and PDU, up to ``fraction`` of its budget; tight where ``servers`` (K, G) are."""
    return [_plane(problem, circuit, servers, fraction) for circuit in problem.circuits if circuit.level != "row"]


def least_fraction(problem: Problem, *, low: float = 0.0, high: float = 1.0) -> tuple[float, float]:
    """Below the first fraction of all budgets not everything fits; at the second it might. ``high`` must be such."""
    everything = float(problem.asked.sum())
    while high - low > FINE * high:
        middle = (low + high) / 2
        if most_placed(problem, middle).placed < everything * (1 - 1e-7):
            low = middle
        else:
            high = middle
    return low, high


def _solve(problem: Problem, fraction: float, planes: list[Plane]) -> Relaxed:
    num_groups = problem.asked.size
    build = ProgramBuilder()
    x = build.columns("servers", -1.0, count=len(problem.kinds) * num_groups).reshape(-1, num_groups)
    build.entries(build.rows("asked", -np.inf, problem.asked.astype(float), count=num_groups)[None, :], x, 1.0)
    columns: list[tuple[Ints, Ints]] = []
    helds: list[Ints] = []
    for k, kind in enumerate(problem.kinds):
        num_rows = kind.rows.size
        build.entries(build.rows("slots", -np.inf, float(num_rows * kind.slots)), x[k], 1.0)
        if kind.patterns is None:
            watts = _phase_plane(problem, kind, fraction)
            room_w = fraction * kind.phase_w * num_rows * kind.num_phases
            build.entries(build.rows("phases_w", -np.inf, room_w), x[k], watts)
            columns.append((np.zeros((0, num_groups), dtype=np.int64), np.zeros(0, dtype=np.int64)))
            helds.append(np.zeros(0, dtype=np.int64))
            continue
        full = _full(kind.patterns.counts[kind.patterns.load_w <= fraction * kind.phase_w * WHOLE_BUDGET])
        n = build.columns("phases", 0.0, count=len(full))
        build.entries(build.rows("phases", -np.inf, float(num_rows * kind.num_phases)), n, 1.0)
        held = build.rows("held", -np.inf, 0.0, count=num_groups)
        build.entries(held, x[k], 1.0)
        build.entries(held[None, :], n[:, None], -full.astype(float))
        columns.append((full, n))
        helds.append(held)
    for plane in planes:
        seen = plane.watts > 0
        build.entries(build.rows("plane", -np.inf, fraction * plane.budget_w), x[seen], plane.watts[seen])
    solution = solve(build.program(), SolveOptions())
    if solution.values is None or solution.row_duals is None:
        raise GpuplanError("a linear program in which nothing placed is always an answer was not solved")
    values, duals = solution.values, solution.row_duals
    used = tuple(full[values[n] > 1e-7] for full, n in columns)
    worth = np.array([-duals[held] if held.size else np.zeros(num_groups) for held in helds])
    return Relaxed(float(values[x].sum()), values[x], used, worth)


def _full(counts: Ints) -> Ints:
    """The patterns among ``counts`` (P, G), closed below, to which no server can be added."""
    base = np.cumprod(np.concatenate([[1], counts.max(axis=0)[:-1] + 2]))
    codes = counts @ base
    return counts[~np.isin(codes[:, None] + base[None, :], codes).any(axis=1)]


def _plane(problem: Problem, circuit: Circuit, servers: Floats, fraction: float) -> Plane:
    """Tight where ``servers`` (K, G) are, but for the chord."""
    share = circuit.share[[kind.rows[0] for kind in problem.kinds]]
    watts = _under(problem, share, servers, problem.asked.astype(float), fraction * circuit.budget_w)
    return Plane(watts, circuit.budget_w)


def _phase_plane(problem: Problem, kind: Kind, fraction: float) -> Floats:
    mix = problem.asked / (problem.asked @ problem.crowd.average_w) * kind.phase_w
    most = np.full(problem.asked.size, float(kind.slots))
    watts: Floats = _under(problem, np.ones(1), mix[None, :], most, fraction * kind.phase_w)[0]
    return watts


def _under(problem: Problem, share: Floats, servers: Floats, most: Floats, budget_w: float) -> Floats:
    """(K, G) watts per server whose sum is at most the load at risk, for all counts whose load is within ``budget_w``.

    Two lower chords of σ are known, and the one closer at ``servers`` is taken: from zero to the largest σ that
    ``most`` (G,) servers could have; and, as the average load is never above the load at risk, over the simplex of
    counts whose average load is ``budget_w`` (a concave function is above the plane through its values at the corners).
    """
    crowd = problem.crowd
    touching = tangent(crowd, share @ servers, share**2 @ servers)
    if touching.per_sigma < 0:  # σ would have to be bounded from above: rare, and the average always holds
        return np.outer(share, crowd.average_w)
    variance = np.outer(share**2, crowd.variance_w2)
    largest = (share.max() ** 2 * crowd.variance_w2) @ most
    corner = budget_w / np.maximum(np.outer(share, crowd.average_w), 1e-12)
    chords = (variance / np.sqrt(max(largest, 1e-12)), np.sqrt(variance / corner))
    chord = max(chords, key=lambda per_server: float(np.sum(per_server * servers)))
    plane = np.outer(share, touching.watts) + touching.per_sigma * chord
    limited: Floats = np.minimum(plane, np.outer(share, crowd.peak_w))
    return limited
