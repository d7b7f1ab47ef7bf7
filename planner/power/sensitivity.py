"""What each thing that nobody measured is worth: the most servers, and the row's natural peak, across its range.

Each assumption is moved alone, and the plan's policy kept. What it then carries is told on the weeks for choosing, the
same for all values; it is not judged again on others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from planner.power.assume import End
from planner.power.demand import StateTable
from planner.power.judge import Bar, fails
from planner.power.optimise import most_servers
from planner.power.plan import Interval, Sensitivity
from planner.power.policy import Policy, no_capping
from planner.power.rows.fleet import Fleet, Group
from planner.power.rows.row import Results
from planner.power.trials import Effort, trials
from profiles.performance.answers import Floats
from profiles.performance.capping import DECODING

TIME_ON_CLOCK = (0.05, DECODING.time_on_clock, 0.30)
"""Share of decoding's time that follows the clocks: an assumption, and by how much it may be wrong another."""

POWER_ON_CLOCK = (0.30, DECODING.power_on_clock, 0.70)
"""The same of its power above idle: with less, caps save less."""

LATENCIES_S = (2.0, 40.0)
"""Caps in band and out of band."""

PEAK_LOADS = (0.9, 1.0, 1.1)
"""Times the load of the busiest hour."""

AROUND = (0.75, 1.33)
"""Times the plan's servers: between them the most is looked for."""


Values = tuple[float, float, float]
"""At the low end, in the middle, at the high end."""


@dataclass(frozen=True, eq=False)
class Assumption:
    """One thing to move: its values, and the row with each."""

    name: str
    unit: str
    values: Values
    fleets: tuple[Fleet, Fleet, Fleet]


def assumptions_of(fleet: Fleet, other: Mapping[End, Fleet]) -> tuple[Assumption, ...]:
    """What the row at hand takes on trust. ``other``: the row at each end of the watts beside the GPUs."""

    def moved(name: str, unit: str, values: Values, own: float, move: Callable[[float], Fleet]) -> Assumption:
        low, middle, high = (fleet if value == own else move(value) for value in values)
        return Assumption(name, unit, values, (low, middle, high))

    low, middle, high = (other[end] for end in ("low", "middle", "high"))

    def beside_w(end: Fleet) -> float:
        return sum(g.share * g.other_w for g in end.groups)

    latency_s = fleet.controls.latency_s
    correlation = float(np.mean([g.calendar.correlation for g in fleet.groups]))
    found = [
        Assumption("power beside the GPUs", "W per server", (beside_w(low), beside_w(middle), beside_w(high)),
                   (low, middle, high)),
        moved("share of decoding's time that follows the clocks", "share", TIME_ON_CLOCK, DECODING.time_on_clock,
              lambda value: _tables(fleet, time_on_clock=value)),
        moved("share of decoding's power that follows the clocks", "share", POWER_ON_CLOCK, DECODING.power_on_clock,
              lambda value: _tables(fleet, power_on_clock=value)),
        moved("time until a cap is in force", "s",
              (min(LATENCIES_S[0], latency_s), latency_s, max(LATENCIES_S[1], latency_s)), latency_s,
              lambda value: _latency(fleet, value)),
        moved("correlation of workloads", "share", (0.0, correlation, 1.0), correlation,
              lambda value: _calendars(fleet, correlation=value)),
        moved("load of the busiest hour", "times", PEAK_LOADS, 1.0, lambda value: _calendars(fleet, load=value)),
    ]  # fmt: skip
    return tuple(a for a in found if a.values[0] < a.values[2])


def sensitivity(assumption: Assumption, known: dict[Fleet, tuple[float | None, float]],
                carried: Callable[[Fleet], tuple[float | None, float]]) -> Sensitivity:  # fmt: skip
    """The band over one assumption. ``carried``: what a row carries and how high it peaks; kept in ``known``."""
    for fleet in assumption.fleets:
        if fleet not in known:
            known[fleet] = carried(fleet)
    found = [known[fleet] for fleet in assumption.fleets]
    return Sensitivity(
        assumption=assumption.name,
        unit=assumption.unit,
        values=_interval(assumption.values),
        num_servers=_interval([most for most, _ in found]),
        natural_peak_utilisation=_interval([peak for _, peak in found]),
    )


def carried_by(policy: Policy, fleet: Fleet, num_servers: int, places: int, bar: Bar, effort: Effort, seed: int
               ) -> tuple[float | None, float]:  # fmt: skip
    """The most servers of ``fleet`` that ``policy`` carries, and how high ``num_servers`` peak uncapped."""
    low, high = (min(max(round(num_servers * times), 1), places) for times in AROUND)

    def ask(policies: Sequence[Policy], counts: Sequence[int]) -> Results:
        return trials(fleet, policies, counts, effort.choosing, effort, seed)

    most = int(most_servers(ask, (policy,), partial(fails, bar=bar), low, high)[0])
    peak = float(ask((no_capping(),), (num_servers,)).natural_peak.max())
    return (float(most) if most >= low else None, peak)


def _interval(values: Sequence[float | None]) -> Interval:
    return Interval(low=values[0], middle=values[1], high=values[2])


def _tables(fleet: Fleet, *, time_on_clock: float | None = None, power_on_clock: float | None = None) -> Fleet:
    """The row where decoding answers to clocks by other shares; states that mix prompts in move in proportion."""

    def moved(shares: Floats, now: float, new: float | None) -> Floats:
        return shares if new is None else np.clip(1 - (1 - shares) * (1 - new) / (1 - now), 0.0, 1.0)

    def table(old: StateTable) -> StateTable:
        return replace(
            old,
            time_on_clock=moved(old.time_on_clock, DECODING.time_on_clock, time_on_clock),
            power_on_clock=moved(old.power_on_clock, DECODING.power_on_clock, power_on_clock),
        )

    def of_inference(group: Group) -> Group:
        replayed = not group.pool.in_step and group.pool.table.busy.any()
        return replace(group, pool=replace(group.pool, table=table(group.pool.table))) if replayed else group

    return _groups(fleet, of_inference)


def _latency(fleet: Fleet, latency_s: float) -> Fleet:
    return replace(fleet, controls=fleet.controls.model_copy(update={"cap_latency_s": latency_s}))


def _calendars(fleet: Fleet, *, correlation: float | None = None, load: float = 1.0) -> Fleet:
    def moved(group: Group) -> Group:
        calendar = group.calendar
        own = calendar.correlation if correlation is None else correlation
        return replace(group, calendar=replace(calendar, correlation=own, shape=calendar.shape * load))

    return _groups(fleet, moved)


def _groups(fleet: Fleet, moved: Callable[[Group], Group]) -> Fleet:
    return replace(fleet, groups=tuple(moved(group) for group in fleet.groups))
