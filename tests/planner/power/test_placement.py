"""Placement on feeds: against everything tried on small sites, against fresh draws, and as limits move."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import InvalidInput
from planner.power.feeds.multiplexing import Crowd, GroupProfile, crowd_of, loads_at_risk
from planner.power.feeds.placement import place
from planner.power.feeds.shortfall import shortfall
from planner.power.plan import Placement
from planner.power.site import Site
from planner.program import Floats, Ints
from planner.types import SolveOptions

QUICK = SolveOptions(time_limit_s=20)


def profiles(num_moments: int = 100) -> tuple[GroupProfile, ...]:
    """Chat and code move together in part and differ between servers; training moves in step."""
    rng = np.random.Generator(np.random.PCG64(7))
    common = rng.normal(0.0, 0.05, num_moments)
    base = {"chat": (5200.0, 500.0, 6900.0), "code": (4300.0, 700.0, 6600.0), "training": (6000.0, 0.0, 7000.0)}
    return tuple(
        GroupProfile(name, np.minimum(w * (1 + common + rng.normal(0.0, 0.02, num_moments)), peak), spread, peak)
        for name, (w, spread, peak) in base.items()
    )


def site_of(num_rows: int, asked: dict[str, int], *, feeds: int = 2, redundancy: str = "2N", row_w: float = 60e3,
            pdu_w: float = 1e6, feed_w: float = 1e7, phases: int = 3, slots: int = 40, rows_per_pdu: int = 1,
            **more: Any) -> Site:  # fmt: skip
    """Rows on one PDU of every feed, ``rows_per_pdu`` on each."""
    names = [f"F{f}" for f in range(feeds)]
    groups_of_rows = range(math.ceil(num_rows / rows_per_pdu))
    return Site.model_validate(
        {
            "redundancy": redundancy,
            "feeds": [{"name": name, "budget_w": feed_w} for name in names],
            "pdus": [
                {"name": f"{name}-{i}", "feed": name, "budget_w": pdu_w} for i in groups_of_rows for name in names
            ],
            "rows": [
                {"name": f"R{r}", "pdus": [f"{name}-{r // rows_per_pdu}" for name in names], "budget_w": row_w,
                 "slots": slots, "phases": phases}
                for r in range(num_rows)
            ],
            "groups": [{"workload": name, "num_servers": number} for name, number in asked.items()],
        }
        | more
    )  # fmt: skip


def crowd(site: Site) -> Crowd:
    return crowd_of([group.workload for group in site.groups], profiles(), site.max_risk)


def counts_of(site: Site, placement: Placement) -> dict[tuple[str, int], Ints]:
    """Servers per group on every phase."""
    names = [group.workload for group in site.groups]
    counts = {(row.name, p + 1): np.zeros(len(names), dtype=np.int64) for row in site.rows for p in range(row.phases)}
    for item in placement.placed:
        counts[item.row, item.phase][names.index(item.workload)] += item.num_servers
    return counts


def fullest_of(site: Site, counts: dict[tuple[str, int], Ints]) -> float | None:
    """The fullest budget, straight from the definition; None where slots or balance are broken."""
    who = crowd(site)
    feed_of = {pdu.name: pdu.feed for pdu in site.pdus}
    average = who.mean_w.mean(axis=1)
    loads: list[tuple[Floats, Floats, float]] = []
    row_counts = {}
    for row in site.rows:
        phases = [counts[row.name, p + 1] for p in range(row.phases)]
        row_counts[row.name] = sum(phases)
        if row_counts[row.name].sum() > row.slots:
            return None
        drawn = [float(phase @ average) for phase in phases]
        if max(drawn) > (1 + site.max_imbalance) * sum(drawn) / row.phases + 1e-6:
            return None
        loads += [(phase * 1.0, phase * 1.0, row.budget_w / row.phases) for phase in phases]
        loads.append((row_counts[row.name] * 1.0, row_counts[row.name] * 1.0, row.budget_w))
    for failed in [None] if site.redundancy == "N" else [None, *(feed.name for feed in site.feeds)]:
        of_circuit = {name: [np.zeros(average.size), np.zeros(average.size)] for name in (*feed_of, *feed_of.values())}
        for row in site.rows:
            left = [name for name in row.pdus if feed_of[name] != failed]
            share: dict[str, float] = {}
            for name in left:
                share[name] = share.get(name, 0) + 1 / len(left)
                share[feed_of[name]] = share.get(feed_of[name], 0) + 1 / len(left)
            for name, part in share.items():
                of_circuit[name][0] += part * row_counts[row.name]
                of_circuit[name][1] += part**2 * row_counts[row.name]
        loads += [(*of_circuit[item.name], item.budget_w) for item in (*site.feeds, *site.pdus)]  # type: ignore[misc]
    weight, squared = np.array([load[0] for load in loads]), np.array([load[1] for load in loads])
    return float(np.max(loads_at_risk(who, weight, squared) / np.array([load[2] for load in loads])))


def everything_tried(site: Site) -> tuple[int, float]:
    """The most servers, and with them the least fullest budget, over all ways to place them."""
    asked = [group.num_servers for group in site.groups]
    places = [(row.name, p + 1) for row in site.rows for p in range(row.phases)]
    ways = [[way for way in product(range(number + 1), repeat=len(places)) if sum(way) <= number] for number in asked]
    best = (0, 0.0)
    for way in product(*ways):
        num_placed = sum(map(sum, way))
        if num_placed < best[0]:
            continue
        counts = {place_: np.array([group[i] for group in way]) for i, place_ in enumerate(places)}
        fullest = fullest_of(site, counts)
        if fullest is None or fullest > 1 + 1e-9:
            continue
        if num_placed > best[0] or fullest < best[1]:
            best = (num_placed, fullest)
    return best


def holds(site: Site, placement: Placement) -> None:
    counts = counts_of(site, placement)
    fullest = fullest_of(site, counts)
    assert fullest is not None
    assert fullest <= 1 + 1e-9
    assert sum(int(count.sum()) for count in counts.values()) == placement.num_placed
    for g, group in enumerate(site.groups):
        assert sum(int(count[g]) for count in counts.values()) <= group.num_servers
    told = max(load.load_w / load.budget_w for load in placement.loads)
    assert told == pytest.approx(fullest)


SMALL = [
    pytest.param(site_of(1, {"chat": 4, "code": 3}, row_w=45e3, max_imbalance=0.5), id="one row, imbalance 0.5"),
    pytest.param(site_of(1, {"chat": 4, "code": 3}, row_w=45e3, max_imbalance=0.1), id="one row, imbalance 0.1"),
    pytest.param(site_of(2, {"chat": 4, "training": 4}, row_w=30e3, phases=1), id="two rows"),
    pytest.param(site_of(2, {"chat": 4, "training": 4}, row_w=24e3, phases=1), id="two rows, too small"),
    pytest.param(site_of(3, {"chat": 3, "code": 3}, phases=1, pdu_w=16e3), id="PDUs bind"),
    pytest.param(site_of(3, {"chat": 3, "code": 3}, phases=1, feed_w=30e3), id="feeds bind"),
    pytest.param(site_of(3, {"chat": 3, "code": 3}, phases=1, feed_w=18e3, redundancy="N+1", feeds=3), id="N+1"),
    pytest.param(site_of(3, {"chat": 3, "code": 3}, phases=1, feed_w=17e3, redundancy="N"), id="no redundancy"),
    pytest.param(site_of(3, {"chat": 4, "code": 3}, phases=1, slots=3, row_w=17e3), id="slots"),
    pytest.param(site_of(2, {"chat": 5, "code": 3}, phases=1, max_risk=0.05, row_w=22e3), id="large risk"),
]


@pytest.mark.parametrize("site", SMALL)
def test_as_good_as_everything_tried(site: Site) -> None:
    num_placed, fullest = everything_tried(site)
    placement = place(site, profiles(), QUICK)
    holds(site, placement)
    assert placement.num_placed == num_placed
    if num_placed == placement.num_asked:
        assert placement.bound <= fullest * (1 + 1e-6), "a bound that is none"
        assert placement.objective == pytest.approx(fullest, rel=0.01)
    else:
        assert placement.bound >= num_placed, "a bound that is none"
        assert placement.objective == num_placed


LARGER = [
    pytest.param(site_of(8, {"chat": 120, "code": 100, "training": 60}, row_w=230e3, rows_per_pdu=2), id="2N"),
    pytest.param(
        site_of(8, {"chat": 120, "code": 100, "training": 60}, row_w=250e3, redundancy="N+1", feeds=3, pdu_w=260e3,
                rows_per_pdu=2), id="N+1",
    ),
    pytest.param(site_of(8, {"chat": 130, "code": 110, "training": 80}, row_w=220e3, feed_w=1.6e6), id="too much"),
]  # fmt: skip


@pytest.mark.parametrize("site", LARGER)
def test_a_larger_site_is_within_one_percent_of_its_bound(site: Site) -> None:
    placement = place(site, profiles(), QUICK)
    holds(site, placement)
    assert placement.gap <= 0.01
    assert placement.worst_imbalance <= site.max_imbalance + 1e-6
    everything = placement.num_placed == placement.num_asked
    assert (placement.bound <= placement.objective) is everything or placement.gap == 0


@pytest.fixture(scope="module")
def redundant() -> tuple[Site, Placement]:
    site = site_of(6, {"chat": 90, "code": 80, "training": 40}, row_w=225e3, pdu_w=2.15e5, max_risk=1e-2)
    return site, place(site, profiles(), QUICK)


def test_fresh_draws_exceed_no_budget_more_often_than_allowed(redundant: tuple[Site, Placement]) -> None:
    site, placement = redundant
    who, counts = crowd(site), counts_of(site, placement)
    rng = np.random.Generator(np.random.PCG64(3))
    num_draws = 100_000
    moments = rng.integers(0, who.mean_w.shape[1], num_draws)
    drawn = {
        place_: (count @ who.mean_w)[moments]
        + math.sqrt(count @ who.variance_w2) * rng.standard_normal(num_draws)
        for place_, count in counts.items()
    }  # fmt: skip
    error = 4 * math.sqrt(site.max_risk / num_draws)
    exceeded = []
    for row in site.rows:
        phases = [drawn[row.name, p + 1] for p in range(row.phases)]
        exceeded += [float(np.mean(phase > row.budget_w / row.phases)) for phase in phases]
        exceeded += [float(np.mean(sum(phases) > pdu.budget_w)) for pdu in site.pdus if pdu.name in row.pdus]
    assert max(exceeded) <= site.max_risk + error
    told = max(load.load_w / load.budget_w for load in placement.loads)
    scaled = [
        float(np.mean(sum(drawn[row.name, p + 1] for p in range(3)) > told * pdu.budget_w))
        for row in site.rows for pdu in site.pdus if pdu.name in row.pdus
    ]  # fmt: skip
    assert max(scaled) >= 0.3 * site.max_risk, "the fullest budget is far emptier than told"


def test_a_failed_feed_is_what_fills_its_partner(redundant: tuple[Site, Placement]) -> None:
    site, placement = redundant
    by_name = {load.name: load for load in placement.loads}
    assert by_name["F0"].failed_feed == "F1"
    assert by_name["F1-2"].failed_feed == "F0"
    assert by_name["R0"].failed_feed is None
    assert by_name["F0"].load_w < by_name["F0"].sum_of_peaks_w
    rows = [load for load in placement.loads if load.level == "row"]
    assert by_name["F0"].load_w < sum(load.load_w for load in rows), "multiplexing: less than the sum of its rows"
    assert len([load for load in placement.loads if load.level == "phase"]) == 3 * len(site.rows)


@given(st.integers(100, 260), st.sampled_from([1e-4, 1e-3, 1e-2]))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_more_budget_or_more_risk_never_places_fewer(row_kw: int, max_risk: float) -> None:
    def placed(watts: float, risk: float) -> int:
        site = site_of(2, {"chat": 30, "code": 25}, row_w=watts, phases=1, pdu_w=0.9 * watts, max_risk=risk)
        return place(site, profiles(), QUICK).num_placed

    here = placed(row_kw * 500.0, max_risk)
    assert placed(row_kw * 550.0, max_risk) >= here
    assert placed(row_kw * 500.0, max_risk * 10) >= here


def test_equal_inputs_give_equal_placements() -> None:
    site = LARGER[0].values[0]
    assert isinstance(site, Site)
    assert place(site, profiles(), QUICK) == place(site, profiles(), QUICK)


def test_a_time_limit_too_short_still_gives_a_placement_that_holds() -> None:
    site = LARGER[1].values[0]
    assert isinstance(site, Site)
    placement = place(site, profiles(), SolveOptions(time_limit_s=0.001))
    holds(site, placement)


def test_many_groups_need_no_list_of_patterns() -> None:
    first = profiles()[0]
    many = [GroupProfile(f"w{i}", first.mean_w * (0.7 + 0.1 * i), 200.0 + 50 * i, 9000.0) for i in range(7)]
    asked = {f"w{i}": 12 + i for i in range(7)}
    site = site_of(4, asked, row_w=190e3)
    placement = place(site, many, QUICK)
    assert placement.num_placed == placement.num_asked
    assert placement.gap <= 0.05


def test_what_does_not_fit_is_said_with_what_would_help() -> None:
    site = site_of(2, {"chat": 30, "code": 25}, row_w=200e3, feed_w=230e3)
    placement = place(site, profiles(), QUICK)
    assert placement.num_placed < placement.num_asked
    conflict = shortfall(site, profiles(), placement)
    assert conflict is not None
    assert "F0 (when F1 fails)" in conflict.constraints[0]
    relaxation = next(r for r in conflict.relaxations if r.limit == "site.feeds.budget_w")
    enough = site_of(2, {"chat": 30, "code": 25}, row_w=200e3, feed_w=relaxation.needed * 1.01)
    too_little = site_of(2, {"chat": 30, "code": 25}, row_w=200e3, feed_w=relaxation.needed * 0.99)
    assert place(enough, profiles(), QUICK).num_placed == 55
    assert place(too_little, profiles(), QUICK).num_placed < 55


def test_where_everything_fits_nothing_falls_short() -> None:
    site = site_of(1, {"chat": 3})
    assert shortfall(site, profiles(), place(site, profiles(), QUICK)) is None


def test_a_phase_too_small_for_one_server_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no phase carries a single server of 'chat'") as raised:
        place(site_of(2, {"chat": 3}, row_w=15e3), profiles(), QUICK)
    assert raised.value.field == "site.rows"
    assert raised.value.fix is not None


def test_a_group_without_a_profile_is_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown workload 'chats'"):
        place(site_of(2, {"chats": 3}), profiles(), QUICK)
