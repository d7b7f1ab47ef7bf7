r"""Good schedules from fleets of single hours: a small program whose relaxation is near the truth.

A *fleet* is what one hour runs: instances of each offer, and the replicas on them. With fleets k ∈ K_h that carry hour
h, instead of replicas, the program of ``model`` becomes

    min  Σ_h Σ_o price_o y_oh + H Σ_o price_o r_o + Σ_mh usd_m v_mh
    with Σ_k z_kh = 1,   y_oh ≥ Σ_k Y_ko z_kh,   r_o ≥ Σ_k Y_ko z_kh,   z binary,   and the rows that link hours.

Its relaxation is the convex hull of every hour's whole counts (Dantzig and Wolfe 1960). Fleets are found when they are
wanted: with duals ρ of the rows of y and r and μ of the sums, the cheapest fleet of an hour at prices ρ_h improves the
relaxation if it costs less than μ_h. Bounds are proven elsewhere (``optimise``): this way they take too many rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from planner.program import Floats, Ints, Program, ProgramBuilder
from planner.replan.schedule.carry import TOLERANCE, carried
from planner.replan.schedule.model import Fleets, Hours, Links, link_hours
from planner.serving.problem import ServiceNumbers
from planner.solver import solve
from planner.types import SolveOptions

_SAMPLE = 24
"""Hours that stand for all while fleets are sought."""
_ROUNDS = 5
"""Of seeking fleets. On 24 hours of `examples/chat.yaml` the first finds the best schedule; on `shared_nodes.yaml` four
come within 1% of it."""
_LAST_SHARE = 0.2
"""Of the time limit, kept for choosing among the fleets that were found."""
_STEP = 0.3
"""How far from the best duals towards those of the fleets known. A choice, not tuned."""


@dataclass(frozen=True)
class Mix:
    """One fleet, with what it carries as fractions of the peak."""

    replicas: tuple[Ints, ...]  # per service [P, O]
    instances: Ints  # [O]
    carries: Floats  # [S]


def mix_of(hours: Hours, fleets: Fleets) -> Mix:
    """The fleet of the first hour of ``fleets``."""
    replicas = tuple(counts[0] for counts in fleets.replicas)
    carries = [_carries(service, counts) for service, counts in zip(hours.problem.services, replicas, strict=True)]
    used = fleets.instances[0]
    return Mix(replicas, used, np.array(carries))


def _carries(service: ServiceNumbers, counts: Ints) -> float:
    if not service.rate.any():
        return np.inf
    total = counts.sum(axis=1)
    usable = np.where(total > 0, total - service.spare_replicas, 0).astype(float)
    return carried(service, usable).most


@dataclass(frozen=True)
class Choice:
    """The program of a pool of fleets, with the meaning of its columns."""

    program: Program
    mix: Ints  # [Z] fleet of each column z
    hour: Ints  # [Z] hour of each column z
    links: Links
    sums: Ints  # [H] rows of the sums of z
    in_use: Ints  # [O, H] rows that tie y and r to fleets

    def prices(self, duals: Floats) -> tuple[Floats, Floats]:
        """(ρ [O, H], μ [H])."""
        return np.maximum(duals[self.in_use], 0.0), duals[self.sums]


def formulate_choice(hours: Hours, pool: list[Mix]) -> Choice:
    """Write the program for the fleets known so far."""
    instances = np.array([mix.instances for mix in pool], dtype=float)  # [K, O]
    mix, hour = _usable(hours, pool, instances)
    builder = ProgramBuilder()
    z = builder.columns("run", 0.0, count=mix.size, upper=1.0, integer=True)
    sums = builder.rows("one_fleet", 1.0, 1.0, count=hours.num_hours)
    builder.entries(sums[hour], z, 1.0)
    links = link_hours(builder, hours)
    within = builder.rows("within", 0.0, np.inf, count=links.run.size).reshape(links.run.shape)
    builder.entries(within, links.run, 1.0)
    column, offer = np.nonzero(instances[mix])
    builder.entries(within[offer, hour[column]], z[column], -instances[mix[column], offer])
    if links.power.size:
        builder.entries(links.power[hour], z, np.array([_busy_w(hours, mix) for mix in pool])[mix])
    return Choice(builder.program(), mix, hour, links, sums, within)


def _busy_w(hours: Hours, mix: Mix) -> float:
    """Power of a fleet's replicas above that of its idle instances."""
    return float(sum(
        service.active_w @ counts.sum(axis=1)
        for service, counts in zip(hours.problem.services, mix.replicas, strict=True)
    ))  # fmt: skip


def _usable(hours: Hours, pool: list[Mix], instances: Floats) -> tuple[Ints, Ints]:
    """(fleet, hour) of every fleet that carries an hour, where no other does with no more instances of any offer."""
    carries = np.array([mix.carries for mix in pool])
    fits = (hours.fraction[None] <= carries[:, :, None] * (1 + TOLERANCE)).all(axis=1)  # [K, H]
    no_more = (instances[:, None] <= instances[None]).all(axis=2)  # [K, K] the first stands in for the second
    same = no_more & no_more.T
    no_more &= ~same | (np.arange(len(pool))[:, None] < np.arange(len(pool)))
    mix, hour = np.nonzero(fits & ~(no_more.T.astype(np.int64) @ fits > 0))
    return mix, hour


Cheapest = Callable[[int, Floats], tuple[Mix | None, float]]
"""(hour, prices [O]) → the cheapest fleet for the hour at these prices, and a proven bound of its price."""


@dataclass(frozen=True)
class Duals:
    """Prices of instances in every hour, what all else in the dual is worth, and what is known of their bound."""

    prices: Floats  # [O, H]
    rest: float
    bound: float = -np.inf

    @property
    def known(self) -> bool:
        """Whether its bound was worked out."""
        return self.bound > -np.inf

    def towards(self, other: Duals, weight: float) -> Duals:
        """A point between: the dual's constraints are convex, its objective without fleets is linear."""
        return Duals((1 - weight) * self.prices + weight * other.prices, (1 - weight) * self.rest + weight * other.rest)


def choose(
    hours: Hours, pool: list[Mix], cheapest: Cheapest, best: Duals, options: SolveOptions, until: float
) -> Fleets | None:
    """Good fleets for every hour, if any fit together. ``pool`` carries every hour to begin with, and grows.

    Duals of few fleets jump about, so new ones are sought between them and ``best``, the best ones so far (Wentges
    1997). A few rounds find good fleets; to prove that there are no better ones this way would take many.
    """
    for _ in range(_ROUNDS):
        choice = formulate_choice(hours, pool)
        relaxed = solve(_relaxed(choice.program), _remaining(options, until))
        if relaxed.objective is None or relaxed.row_duals is None or time.perf_counter() > until:
            break
        prices, sums = choice.prices(relaxed.row_duals)
        found = best.towards(Duals(prices, relaxed.objective - float(sums.sum())), _STEP if best.known else 0.0)
        least, grown = _priced(hours, pool, cheapest, found, until=until)
        if not best.known or found.rest + least > best.bound:
            best = replace(found, bound=found.rest + least)
        if not grown or best.bound >= relaxed.objective * (1 - options.gap / 3):
            break
    choice = formulate_choice(hours, pool)
    solution = solve(choice.program, _remaining(options, until + _LAST_SHARE * options.time_limit_s))
    return None if solution.values is None else _fleets(hours, pool, choice, solution.values)


def _priced(hours: Hours, pool: list[Mix], cheapest: Cheapest, duals: Duals, *, until: float) -> tuple[float, bool]:
    """(about what the cheapest fleets of all hours cost at these duals, and whether ``pool`` grew)."""
    instances = np.array([mix.instances for mix in pool], dtype=float)
    carries = np.array([mix.carries for mix in pool])
    fits = (hours.fraction[None] <= carries[:, :, None] * (1 + TOLERANCE)).all(axis=1)
    known = np.where(fits, instances @ duals.prices, np.inf).min(axis=0)  # [H]
    least, grown = known.copy(), False
    for hour in spread(hours):
        if time.perf_counter() > until:
            break
        mix, least[hour] = cheapest(int(hour), duals.prices[:, hour])
        if mix is not None and mix.instances @ duals.prices[:, hour] < known[hour] - 1e-7 * abs(known[hour]) - 1e-9:
            pool.append(mix)
            grown = True
    return float(least.sum()), grown


def spread(hours: Hours) -> Ints:
    """Some hours over the range of demand, from the lowest to the highest."""
    order = np.argsort(hours.fraction.sum(axis=0), kind="stable")
    picked = np.linspace(0, order.size - 1, min(_SAMPLE, order.size)).round().astype(int)
    peaks = hours.fraction.argmax(axis=1)  # each service's own
    return np.unique(np.r_[order[picked], peaks])


def _fleets(hours: Hours, pool: list[Mix], choice: Choice, values: Floats) -> Fleets:
    runs = np.flatnonzero(values[: choice.mix.size] > 0.5)
    mixes = [pool[choice.mix[i]] for i in runs[np.argsort(choice.hour[runs])]]
    replicas = tuple(np.array([mix.replicas[s] for mix in mixes]) for s in range(len(hours.problem.services)))
    return Fleets(replicas, choice.links.instances(values))


def _relaxed(program: Program) -> Program:
    return replace(program, integer=np.zeros(program.cost.size, bool))


def _remaining(options: SolveOptions, until: float) -> SolveOptions:
    return options.model_copy(update={"time_limit_s": max(until - time.perf_counter(), 0.05)})
