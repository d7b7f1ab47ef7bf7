"""A placement counted again: every server, slot, phase and budget, in every failure, with busy moments drawn afresh.

Loads come from the definition of the risk: at random moments of the busiest hour all servers of a workload have the
mean of that moment, and each its own deviation. The chance to exceed a budget is the mean over moments of normal tails.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from planner.power.check_row import Servers, mean_gpu_w
from planner.power.plan import Loaded, Placement, PowerPlan
from planner.power.site import Site
from planner.types import Violation, broken
from profiles.performance.answers import Floats

STREAM = 7_000_001
"""Of random numbers."""

NUM_MOMENTS = 2000

ROUNDING = 1e-6

NEAR = 0.03
"""Loads at risk of other random moments differ by some percent: a rare moment is rare in both."""


Part = tuple[str, float, int]
"""Workload, share of a server's power, number of servers."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What one server of a workload draws: mean at each moment (M,), spread between servers, the most of all."""

    mean_w: Floats
    spread_w: float
    peak_w: float


@dataclass(frozen=True)
class Element:
    """A feed, PDU, row or phase in one failure, with the servers that draw through it."""

    name: str
    level: str
    budget_w: float
    failed_feed: str | None
    parts: tuple[Part, ...]


def check_placement(plan: PowerPlan, placement: Placement, fleet: Sequence[Servers]) -> Iterator[Violation]:
    """What is wrong with ``placement`` on the site of ``plan``."""
    site = plan.spec.site
    assert site is not None  # noqa: S101 - the caller asked
    wrong = tuple(_counts(site, placement))
    yield from wrong
    if wrong:  # loads of servers that are nowhere mean nothing
        return
    asked = {group.workload: group.num_servers for group in site.groups}
    names = [workload.name for workload in plan.spec.workloads]
    moments = moments_of(names, fleet, [asked.get(name, 0) for name in names], plan.seed)
    yield from _loads(site, placement, moments)
    yield from _imbalance(site, placement, moments)
    yield from _objective(placement)


def _counts(site: Site, placement: Placement) -> Iterator[Violation]:
    """Places exist, hold no more than they have slots for, and no more servers are placed than were asked for."""
    rows = {row.name: row for row in site.rows}
    asked = {group.workload: group.num_servers for group in site.groups}
    on_row, of_group = Counter[str](), Counter[str]()
    for i, place in enumerate(placement.placed):
        if place.row not in rows or place.workload not in asked or place.num_servers < 1:
            yield broken(f"placement.placed[{i}]", f"{place.num_servers} of {place.workload} on {place.row}: no such")
        elif not 1 <= place.phase <= rows[place.row].phases:
            yield broken(f"placement.placed[{i}]", f"{place.row} has no phase {place.phase}")
        on_row[place.row] += place.num_servers
        of_group[place.workload] += place.num_servers
    for name in rows:
        if on_row[name] > rows[name].slots:
            yield broken("slots", f"{name} has {on_row[name]} servers in {rows[name].slots} slots")
    for name, most in asked.items():
        if of_group[name] > most:
            yield broken("groups", f"{of_group[name]} servers of {name} are placed, {most} were asked for")
    told = (placement.num_placed, placement.num_asked)
    if told != (on_row.total(), sum(asked.values())):
        yield broken("placement.num_placed", f"says {told[0]} of {told[1]}, {on_row.total()} are placed")


def _loads(site: Site, placement: Placement, moments: dict[str, Moments]) -> Iterator[Violation]:
    """Every budget is listed once, holds in its worst failure, and carries about what is said."""
    worst: dict[tuple[str, str], tuple[float, Element]] = {}
    of_failure: dict[tuple[str, str, str | None], Element] = {}
    loads_w: dict[tuple[Part, ...], float] = {}  # many phases hold the same
    for element in elements_of(site, placement):
        key = (element.level, element.name)
        of_failure[(*key, element.failed_feed)] = element
        if element.parts not in loads_w:
            loads_w[element.parts] = load_at_risk_w(element, moments, site.max_risk)
        if key not in worst or loads_w[element.parts] > worst[key][0]:
            worst[key] = (loads_w[element.parts], element)
    if Counter((load.level, load.name) for load in placement.loads) != Counter(worst.keys()):
        yield broken("placement.loads", "does not list every feed, PDU, row and phase once")
        return
    for load in placement.loads:
        field = f"load of {load.name}"
        load_w, element = worst[load.level, load.name]
        said = of_failure.get((load.level, load.name, load.failed_feed))
        if said is None:
            yield broken(field, f"is for a failure of {load.failed_feed}: no such")
            continue
        yield from _one_load(field, load, said, load_w, moments)
        if load_w > element.budget_w * (1 + NEAR):
            down = f" when {element.failed_feed} is down" if element.failed_feed else ""
            yield broken(field, f"{load_w:,.0f} W are exceeded as often as may be{down}, its budget is "
                                f"{element.budget_w:,.0f} W")  # fmt: skip


def _one_load(
    field: str, load: Loaded, element: Element, load_w: float, moments: dict[str, Moments]
) -> Iterator[Violation]:
    peaks_w = sum(share * count * moments[name].peak_w for name, share, count in element.parts)
    if not math.isclose(load.budget_w, element.budget_w, rel_tol=ROUNDING):
        yield broken(field, f"its budget is {element.budget_w:,.0f} W, not {load.budget_w:,.0f} W")
    if not math.isclose(load.sum_of_peaks_w, peaks_w, rel_tol=ROUNDING, abs_tol=1e-6):
        yield broken(field, f"its peaks add up to {peaks_w:,.0f} W, not {load.sum_of_peaks_w:,.0f} W")
    if load.load_w > min(load.budget_w, load.sum_of_peaks_w) * (1 + ROUNDING):
        yield broken(field, f"{load.load_w:,.0f} W are above its budget or the sum of its peaks")
    if not math.isclose(load.load_w, load_w, rel_tol=NEAR, abs_tol=1e-6):
        yield broken(field, f"says {load.load_w:,.0f} W, other random moments give {load_w:,.0f} W")


def _imbalance(site: Site, placement: Placement, moments: dict[str, Moments]) -> Iterator[Violation]:
    """No phase carries much more than the others of its row, on average."""
    watts: dict[str, list[float]] = {row.name: [0.0] * row.phases for row in site.rows}
    for place in placement.placed:
        watts[place.row][place.phase - 1] += place.num_servers * float(moments[place.workload].mean_w.mean())
    worst = max((max(phases) / (sum(phases) / len(phases)) - 1 for phases in watts.values() if any(phases)), default=0)
    if abs(placement.worst_imbalance - worst) > NEAR:
        yield broken("placement.worst_imbalance", f"says {placement.worst_imbalance:.3f}, phases give {worst:.3f}")
    if placement.worst_imbalance > site.max_imbalance + ROUNDING or worst > site.max_imbalance + NEAR:
        yield broken("max_imbalance", f"a phase carries {worst:.1%} more than the mean of its row's")


def _objective(placement: Placement) -> Iterator[Violation]:
    """The fullest budget where everything is placed, else how many servers are; on the right side of its bound."""
    fullest = max((load.load_w / load.budget_w for load in placement.loads), default=0.0)
    everything = placement.num_placed == placement.num_asked
    if everything and math.isclose(placement.objective, fullest, rel_tol=ROUNDING):
        wrong_side = placement.bound > placement.objective * (1 + ROUNDING)
    elif math.isclose(placement.objective, placement.num_placed, rel_tol=ROUNDING):
        wrong_side = placement.bound < placement.objective * (1 - ROUNDING)
    else:
        yield broken("placement.objective", f"{placement.objective:g} is neither {fullest:g}, the fullest budget, nor "
                                            f"{placement.num_placed} servers")  # fmt: skip
        return
    if wrong_side:
        yield broken("placement.bound", f"{placement.bound:g} is on the wrong side of {placement.objective:g}")
    gap = abs(placement.objective - placement.bound) / max(abs(placement.objective), 1e-12)
    if not math.isclose(placement.gap, gap, rel_tol=1e-3, abs_tol=1e-6):
        yield broken("placement.gap", f"says {placement.gap:g}, objective and bound give {gap:g}")


def elements_of(site: Site, placement: Placement) -> Iterator[Element]:
    """Everything that has a budget, in every failure of one feed that the site must survive."""
    on_row: defaultdict[str, Counter[str]] = defaultdict(Counter)
    on_phase: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for place in placement.placed:
        on_row[place.row][place.workload] += place.num_servers
        on_phase[place.row, place.phase][place.workload] += place.num_servers
    for row in site.rows:
        yield Element(row.name, "row", row.budget_w, None, _whole(on_row[row.name]))
        for phase in range(1, row.phases + 1):
            name, budget_w = f"{row.name} phase {phase}", row.budget_w / row.phases
            yield Element(name, "phase", budget_w, None, _whole(on_phase[row.name, phase]))
    yield from _shared(site, on_row, None)
    if site.redundancy != "N":
        for feed in site.feeds:
            yield from _shared(site, on_row, feed.name)


def _shared(site: Site, on_row: dict[str, Counter[str]], failed: str | None) -> Iterator[Element]:
    """Feeds and PDUs that are up when ``failed`` is down: rows draw evenly from their PDUs that are left."""
    feed_of = {pdu.name: pdu.feed for pdu in site.pdus}
    through: defaultdict[tuple[str, str], Counter[tuple[str, float]]] = defaultdict(Counter)
    for row in site.rows:
        left = [name for name in row.pdus if feed_of[name] != failed]
        carried = [("pdu", name, 1) for name in left]
        carried += [("feed", feed, times) for feed, times in Counter(feed_of[name] for name in left).items()]
        for level, name, times in carried:
            for workload, count in on_row[row.name].items():
                through[level, name][workload, times / len(left)] += count
    for pdu in site.pdus:
        if pdu.feed != failed:
            yield Element(pdu.name, "pdu", pdu.budget_w, failed, _parts(through["pdu", pdu.name]))
    for feed in site.feeds:
        if feed.name != failed:
            yield Element(feed.name, "feed", feed.budget_w, failed, _parts(through["feed", feed.name]))


def _parts(counts: Counter[tuple[str, float]]) -> tuple[Part, ...]:
    return tuple((workload, share, count) for (workload, share), count in sorted(counts.items()))


def _whole(counts: Counter[str]) -> tuple[Part, ...]:
    return _parts(Counter({(workload, 1.0): count for workload, count in counts.items()}))


def load_at_risk_w(element: Element, moments: dict[str, Moments], max_risk: float) -> float:
    """Watts that ``element`` draws more than with a chance of at most ``max_risk``; never above the sum of peaks."""
    if not element.parts:
        return 0.0
    mean_w = sum(share * count * moments[name].mean_w for name, share, count in element.parts)
    variance = sum((share * moments[name].spread_w) ** 2 * count for name, share, count in element.parts)
    peaks_w = sum(share * count * moments[name].peak_w for name, share, count in element.parts)
    sigma_w = math.sqrt(variance)
    highest = float(np.max(mean_w))
    if sigma_w < 1e-9 * highest:
        return min(highest, peaks_w)

    def too_often(watts: float) -> float:
        return float(special.ndtr((mean_w - watts) / sigma_w).mean()) - max_risk

    return min(float(optimize.brentq(too_often, float(np.min(mean_w)) - 5 * sigma_w, highest + 9 * sigma_w)), peaks_w)


def moments_of(names: Sequence[str], fleet: Sequence[Servers], counts: Sequence[int], seed: int) -> dict[str, Moments]:
    """Seconds of the busiest hours of ``counts`` servers of each workload; day and hour move workloads together."""
    rng = np.random.Generator(np.random.PCG64((STREAM, seed)))
    watts = [count * mean_gpu_w(s.pool, s.calendar.shape) for count, s in zip(counts, fleet, strict=True)]
    hour = int(np.sum(watts, axis=0).argmax())
    common = rng.standard_normal((2, NUM_MOMENTS))
    found = {}
    for name, servers in zip(names, fleet, strict=True):
        calendar, pool = servers.calendar, servers.pool
        own = rng.standard_normal((2, NUM_MOMENTS))
        day, of_hour = math.sqrt(calendar.correlation) * common + math.sqrt(1 - calendar.correlation) * own
        load = calendar.shape[hour] * np.exp(calendar.daily_spread * day + calendar.hourly_spread * of_hour)
        place = np.interp(load, pool.load, np.arange(len(pool.load)))
        lower = np.minimum(place.astype(int), max(len(pool.load) - 2, 0))
        upper = np.minimum(lower + 1, len(pool.load) - 1)
        second = rng.integers(pool.states.shape[2], size=NUM_MOMENTS)
        columns = np.arange(1 if pool.in_step else pool.states.shape[1])[:, None]
        share = place - lower
        of_lower, of_upper = (pool.table.gpu_w[pool.states[level, columns, second]] for level in (lower, upper))
        mean_w = ((1 - share) * of_lower + share * of_upper).mean(axis=0)
        square = ((1 - share) * of_lower**2 + share * of_upper**2).mean(axis=0)
        spread_w = 0.0 if pool.in_step else math.sqrt(max(float((square - mean_w**2).mean()), 0.0))
        found[name] = Moments(mean_w + servers.other_w, spread_w, float(pool.table.gpu_w.max()) + servers.other_w)
    return found
