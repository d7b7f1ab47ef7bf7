r"""The cheapest fleets for a series of hours as one mixed-integer program.

Sets:
    h hours; o offers, some of them reserved; m machines, that is what offers rent (``Rent``); p pools of a service s
Data:
    θ_sh  demand as a fraction of the service's peak;  price_o per hour;  D start-up time in hours, J = ⌈D⌉
    c     USD per start;  L minimum hours up;  w·y ≤ limit any limit on instances: quota, cap, budget, power
Variables:
    y_oh ∈ ℤ≥0  instances rented of offers that are not reserved
    r_o  ∈ ℤ≥0  reserved instances: the base, paid for in every hour; y_oh stands for r_o below where o is reserved
    v_mh ≥ 0    machines that start to serve in hour h; V_mh = Σ_{o of m} y_oh run
    n_poh ∈ ℤ≥0 replicas, and all else that an hour has in ``planner.serving.model``, but no shares
Objective:
    min Σ_h Σ_{o others} price_o y_oh + H Σ_{o reserved} price_o r_o + Σ_mh (c + D price_m) v_mh
Constraints:
    each hour   packing, spares, least replicas as in ``planner.serving.model``, on at most y_oh instances
    carry       Σ_p min(π_p/θ_sh, 1) U_ph ≥ 1        for the prices π that ``carry`` finds; U: usable replicas
    starts      v_mh ≥ V_mh − V_m,h−1                 V_m,−1: what runs before
    up time     Σ_{h−L < i ≤ h} v_mi ≤ V_mh
    lead        v_mh = 0                              where the order would lie before now
    least       Σ_o price_o y_oh ≥ what the hour costs alone, where that is known: true anyway, it lifts the bound
    limits      Σ_o w_o y_oh + Σ_{j=1..J} Σ_m w_m v_m,h+j ≤ limit: what starts is there, and counts, while it starts

Only counts of alike instances are variables, so equal instances have no order. The rows of starts and up times describe
the convex hull of what one machine may do over time (Rajan and Takriti 2005).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planner.program import Bools, Floats, Ints, Program, ProgramBuilder
from planner.replan.schedule.carry import Cuts, tight
from planner.replan.schedule.rent import Rent
from planner.replan.schedule.types import Terms
from planner.serving.model import formulate
from planner.serving.problem import Problem


@dataclass(frozen=True)
class Fleets:
    """What runs in each hour, H of them."""

    replicas: tuple[Ints, ...]  # per service [H, P, O]
    instances: Ints  # [H, O] rented; reserved ones in every hour


@dataclass(frozen=True)
class OneHour:
    """The serving planner's program of one hour without shares, N columns of it, and what they mean."""

    program: Program
    replicas: tuple[Ints, ...]  # per service [P, O] columns; −1 where there is none
    usable: tuple[Floats, ...]  # per service [P, N]: usable replicas
    instances: Floats  # [O, N]: instances in use
    busy_w: Floats  # [N] power of a replica above that of its idle GPUs


@dataclass(frozen=True)
class Hours:
    """A series of hours to plan for: everything that the program needs except the inequalities of ``carry``.

    ``problem`` has the rates of the peak; ``fraction[s, h]`` of it is the demand of an hour.
    """

    problem: Problem  # every service has traffic in some hour, or none of any size
    fraction: Floats  # [S, H]
    rent: Rent
    terms: Terms
    least_usd: Floats  # [H] what each hour costs at least, were it alone; 0 where that is not known
    one_hour: OneHour  # of the peak: the same for all hours, and for all prices

    @property
    def num_hours(self) -> int:
        """H."""
        return int(self.fraction.shape[1])

    def only(self, hours: Ints) -> Hours:
        """These hours alone."""
        return replace(self, fraction=self.fraction[:, hours], least_usd=self.least_usd[hours])

    def start_usd(self) -> Floats:
        """[M] what a start costs: its own price, and the time until it serves."""
        hourly = flexible(self.rent, self.problem.offers.usd_per_hour)
        return np.asarray(self.terms.usd_per_start + hourly * self.terms.start_up_s / 3600)


@dataclass(frozen=True)
class Links:
    """Columns that every formulation over time has, and the rows that replicas count in."""

    run: Ints  # [O, H] column of y_oh, or of r_o in every hour
    starts: Ints  # [M, H]
    power: Ints  # [H] rows to which the power of busy replicas is added; empty without a limit

    def instances(self, values: Floats) -> Ints:
        """[H, O] instances rented."""
        return np.rint(values[self.run.T]).astype(np.int64)


def link_hours(builder: ProgramBuilder, hours: Hours) -> Links:
    """Columns y, r and v with their prices, and every row that does not ask what the instances are for."""
    rent, num_hours, usd = hours.rent, hours.num_hours, hours.problem.offers.usd_per_hour
    base, others = np.flatnonzero(rent.reserved), np.flatnonzero(~rent.reserved)
    run = np.zeros((usd.size, num_hours), np.int64)
    run[others] = builder.columns(
        "rented",
        np.repeat(usd[others], num_hours),
        count=others.size * num_hours,
        upper=np.repeat(rent.most[others], num_hours),
        integer=True,
    ).reshape(others.size, num_hours)
    reserved = builder.columns("reserved", num_hours * usd[base], count=base.size, upper=rent.most[base], integer=True)
    run[base] = reserved[:, None]
    builder.entries(builder.rows("kept", rent.least_reserved[base], np.inf, count=base.size), reserved, 1.0)
    if hours.least_usd.any():
        least = builder.rows("least", hours.least_usd, np.inf, count=num_hours)
        builder.entries(least[None, :], run, usd[:, None])
    starts = _starts(builder, hours, run)
    return Links(run, starts, _limits(builder, hours, run, starts))


def _starts(builder: ProgramBuilder, hours: Hours, run: Ints) -> Ints:
    """[M, H] columns v, with the rows that tie them to what runs."""
    rent, terms, num_hours = hours.rent, hours.terms, hours.num_hours
    late = -1 if terms.lead_s is None else int(np.ceil((terms.start_up_s - terms.lead_s) / 3600))
    upper = np.where(np.arange(num_hours) < late, 0.0, np.inf)
    usd = hours.start_usd()
    starts = np.zeros((rent.num_machines, num_hours), np.int64)
    for m in range(rent.num_machines):
        own = np.flatnonzero(rent.machine == m)
        others = own[~rent.reserved[own]]
        starts[m] = builder.columns(f"starts_{m}", usd[m], count=num_hours, upper=upper)
        rows = builder.rows(f"starts_{m}", -np.inf, np.r_[rent.running[m], np.zeros(num_hours - 1)], count=num_hours)
        builder.entries(rows[0], run[own, 0], 1.0)
        builder.entries(rows[None, 1:], run[others, 1:], 1.0)  # what is reserved does not change after that
        builder.entries(rows[None, 1:], run[others, :-1], -1.0)
        builder.entries(rows, starts[m], -1.0)
        if terms.min_up_hours > 1:
            rows = builder.rows(f"up_time_{m}", -np.inf, 0.0, count=num_hours)
            builder.entries(rows[None, :], run[own], -1.0)
            for before in range(min(terms.min_up_hours, num_hours)):
                builder.entries(rows[before:], starts[m, : num_hours - before], 1.0)
    return starts


def _limits(builder: ProgramBuilder, hours: Hours, run: Ints, starts: Ints) -> Ints:
    """Quotas, budget and power of every hour, with what starts in it; the rows of power."""
    problem, rent, num_hours = hours.problem, hours.rent, hours.num_hours

    def limit(name: str, weight: Floats, upper: float) -> Ints:
        rows = builder.rows(name, -np.inf, upper, count=num_hours)
        some = np.flatnonzero(weight)
        builder.entries(rows[None, :], run[some], weight[some, None])
        starting = flexible(rent, weight)
        machines = np.flatnonzero(starting)
        for ahead in range(1, min(hours.terms.hours_ahead, num_hours - 1) + 1):
            builder.entries(rows[None, : num_hours - ahead], starts[machines, ahead:], starting[machines, None])
        return rows

    for k, cap in enumerate(problem.caps):
        if np.isfinite(cap.limit):
            limit(f"cap_{k}", cap.weight, cap.limit)
    if problem.budget_usd_per_hour is not None:
        limit("budget", problem.offers.usd_per_hour, problem.budget_usd_per_hour)
    if problem.power_w is None:
        return np.zeros(0, np.int64)
    return limit("power", problem.offers.idle_w, problem.power_w)


@dataclass(frozen=True)
class TimedFormulation:
    """A program with the meaning of its columns."""

    program: Program
    one_hour: OneHour
    fleet: Ints  # [H, N] columns of each hour
    links: Links
    within: Ints  # [O, H] rows that keep what is in use within what is rented

    def fleets(self, values: Floats) -> Fleets:
        """Read counts out of a solution vector."""
        padded = np.concatenate([values[self.fleet], np.zeros((self.fleet.shape[0], 1))], axis=1)
        replicas = tuple(np.rint(padded[:, cells]).astype(np.int64) for cells in self.one_hour.replicas)
        return Fleets(replicas, self.links.instances(values))

    def values(self, hours: Hours, fleets: Fleets) -> Floats:
        """The solution vector of fleets that are known: a point to begin from."""
        one, found = self.one_hour, np.zeros(self.program.cost.size)
        found[self.links.run] = fleets.instances.T
        running = fleets.instances @ (hours.rent.machine[:, None] == np.arange(hours.rent.num_machines))
        before = np.concatenate([hours.rent.running[None], running[:-1]])
        found[self.links.starts] = np.maximum(running - before, 0.0).T
        fleet = np.zeros(self.fleet.shape)
        for cells, counts in zip(one.replicas, fleets.replicas, strict=True):
            fleet[:, cells[cells >= 0]] = counts[:, cells >= 0]
        own = [cells[cells >= 0] for cells in one.replicas]
        counted = np.setdiff1d(np.arange(self.fleet.shape[1]), np.concatenate(own))
        offers = one.instances[:, counted].argmax(axis=0)
        fleet[:, counted] = np.where(one.instances[offers, counted] > 0, fleets.instances[:, offers], 0.0)
        for usable in one.usable:  # spares: a pool in use holds some back
            pools, spare = np.nonzero(usable < 0)
            fleet[:, spare] = (fleet @ np.maximum(usable, 0.0).T > 0)[:, pools]
        found[self.fleet] = fleet
        return found

    def usable(self, values: Floats) -> tuple[Floats, ...]:
        """Per service [H, P] usable replicas, fractions included."""
        return tuple(values[self.fleet] @ usable.T for usable in self.one_hour.usable)


def formulate_hours(hours: Hours, cuts: Cuts, *, names: bool = False) -> TimedFormulation:
    """Write the program with the inequalities found so far."""
    num_hours, one = hours.num_hours, hours.one_hour
    builder = ProgramBuilder()
    links = link_hours(builder, hours)
    within = builder.rows("within", 0.0, np.inf, count=links.run.size).reshape(links.run.shape)
    size, height = one.program.cost.size, one.program.row_lower.size
    fleet = builder.columns(
        "fleet", 0.0, count=size * num_hours, upper=np.tile(one.program.upper, num_hours), integer=True
    ).reshape(num_hours, size)
    rows = builder.rows(
        "hour", np.tile(one.program.row_lower, num_hours), np.tile(one.program.row_upper, num_hours),
        count=height * num_hours,
    ).reshape(num_hours, height)  # fmt: skip
    builder.entries(rows[:, one.program.row], fleet[:, one.program.column], one.program.value)
    offers, columns = np.nonzero(one.instances)
    builder.entries(within, links.run, 1.0)
    builder.entries(within[offers], fleet[:, columns].T, -one.instances[offers, columns][:, None])
    _carry(builder, one, fleet, hours.fraction, cuts)
    if links.power.size:
        drawing = np.flatnonzero(one.busy_w)
        builder.entries(links.power[:, None], fleet[:, drawing], one.busy_w[drawing])
    return TimedFormulation(builder.program(names=names), one, fleet, links, within)


def _carry(builder: ProgramBuilder, one: OneHour, fleet: Ints, fraction: Floats, cuts: Cuts) -> None:
    for s, worths in enumerate(cuts):
        busy = np.flatnonzero(fraction[s] > 0)
        for worth in worths:
            coefficients = tight(worth, fraction[s, busy]).T @ one.usable[s]  # [busy hours, N]
            used = np.flatnonzero(coefficients.any(axis=0))
            rows = builder.rows(f"carry_{s}", 1.0, np.inf, count=busy.size)
            builder.entries(rows[:, None], fleet[np.ix_(busy, used)], coefficients[:, used])


def one_hour_of(problem: Problem) -> OneHour:
    """The program of the peak without prices, without shares, and without the rows that only shares fill."""
    free = np.zeros(problem.per_instance.size)
    limitless = replace(problem, per_instance=free, caps=(), budget_usd_per_hour=None, power_w=None)
    formulation = formulate(limitless)
    program = formulation.program
    is_share = np.zeros(program.cost.size, bool)
    for cells in formulation.share:
        is_share[cells[cells >= 0]] = True
    routing = np.zeros(program.row_lower.size, bool)
    routing[program.row[is_share[program.column]]] = True
    where = np.where(is_share, -1, np.cumsum(~is_share) - 1)
    inside = ~routing[program.row]
    small = replace(
        program, cost=program.cost[~is_share], upper=program.upper[~is_share], value=program.value[inside],
        row=(np.cumsum(~routing) - 1)[program.row[inside]], column=where[program.column[inside]],
        row_lower=program.row_lower[~routing], row_upper=program.row_upper[~routing],
    )  # fmt: skip
    replicas = tuple(where[cells] * (cells >= 0) - (cells < 0) for cells in formulation.replicas)
    size = small.cost.size
    instances = np.zeros((free.size, size))
    busy_w = np.zeros(size)
    counted = np.flatnonzero(formulation.instances >= 0)
    instances[counted, where[formulation.instances[counted]]] = 1.0
    for service, cells, fills in zip(problem.services, replicas, formulation.filled, strict=True):
        p, o = np.nonzero(cells >= 0)
        instances[o, cells[p, o]] += fills[p, o]
        busy_w[cells[p, o]] = service.active_w[p]
    return OneHour(small, replicas, _usable(problem, program, is_share, routing, where, replicas), instances, busy_w)


def _usable(
    problem: Problem, program: Program, is_share: Bools, routing: Bools, where: Ints, replicas: tuple[Ints, ...]
) -> tuple[Floats, ...]:
    """Per service [P, N]: what stands against the shares of a pool in its row of capacity: replicas, less spares."""
    stands = routing[program.row] & ~is_share[program.column]
    row, column = program.row[stands], where[program.column[stands]]
    capacity = np.zeros((program.row_lower.size, int((~is_share).sum())))
    capacity[row, column] = -program.value[stands]
    row_of = np.zeros(capacity.shape[1], np.int64)
    row_of[column] = row
    return tuple(
        np.where(service.hosted[:, None], capacity[row_of[cells.max(axis=1)]], 0.0)
        for service, cells in zip(problem.services, replicas, strict=True)
    )


def flexible(rent: Rent, per_offer: Floats) -> Floats:
    """[M] a number of the offer under which a machine starts: the one that is not reserved, where there is one."""
    found = np.zeros(rent.num_machines)
    for reserved in (True, False):
        chosen = rent.reserved == reserved
        found[rent.machine[chosen]] = per_offer[chosen]
    return found
