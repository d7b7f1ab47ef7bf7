"""Schedules against trying everything, and what must hold of any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InvalidInput, UnknownName
from planner.replan.schedule import optimise
from planner.replan.schedule.make import make_schedule
from planner.replan.schedule.types import HourlyDemand, Terms
from planner.types import SolveOptions
from tests.planner.replan.schedule.asked import (
    EXACT,
    FACTS,
    PROMPT,
    START,
    cheapest,
    demand_of,
    made,
    rented,
    spec_of,
)

units = st.tuples(st.sampled_from([0.5, 1.0, 1.7, 3.1]), st.sampled_from([1.0, 1.9, 2.5, 4.0]))
demands = st.lists(st.sampled_from([0.0, 0.4, 1.0, 2.2, 3.0, 4.5]), min_size=4, max_size=4)
terms = st.builds(
    Terms,
    start_up_s=st.sampled_from([0.0, 900.0, 3600.0]),
    usd_per_start=st.sampled_from([0.0, 0.3, 2.0]),
    min_up_hours=st.integers(1, 3),
)


@given(st.lists(units, min_size=2, max_size=2), demands, terms, st.tuples(st.integers(0, 2), st.integers(0, 2)))
@settings(max_examples=40, deadline=None)
def test_nothing_is_cheaper(
    offered: list[tuple[float, float]], rates: list[float], asked: Terms, before: tuple[int, int]
) -> None:
    running = tuple(rented(unit, count) for unit, count in enumerate(before) if count)
    found = made(spec_of(*offered), tuple(rates), asked, running)
    assert found.outcome == "optimal"
    assert found.usd == pytest.approx(cheapest(offered, rates, asked, list(before), most=5), abs=1e-6)
    assert found.bound == pytest.approx(found.usd, abs=1e-6)


@given(st.lists(units, min_size=2, max_size=2), demands, terms, st.sampled_from([2.0, 3.5, 5.0]))
@settings(max_examples=30, deadline=None)
def test_a_budget_holds_while_instances_start(
    offered: list[tuple[float, float]], rates: list[float], asked: Terms, budget: float
) -> None:
    found = made(spec_of(*offered, limits={"budget_usd_per_hour": budget}), tuple(rates), asked)
    expected = cheapest(offered, rates, asked, [0, 0], most=5, budget=budget)
    assert (found.outcome == "infeasible") == (expected is None)
    if expected is None:
        assert "limits.budget_usd_per_hour" in found.conflicts[0].constraints
    else:
        assert found.usd == pytest.approx(expected, abs=1e-6)


@given(demands, demands, terms)
@settings(max_examples=15, deadline=None)
def test_more_demand_never_costs_less(rates: list[float], more: list[float], asked: Terms) -> None:
    spec = spec_of((1.0, 1.9), (1.7, 4.0))
    higher = tuple(a + b for a, b in zip(rates, more, strict=True))
    assert (made(spec, higher, asked).usd or 0.0) >= (made(spec, tuple(rates), asked).usd or 0.0) - 1e-6


@given(demands, terms)
@settings(max_examples=15, deadline=None)
def test_longer_up_times_never_cost_less(rates: list[float], asked: Terms) -> None:
    spec = spec_of((1.0, 1.9), (1.7, 4.0))
    longer = asked.model_copy(update={"min_up_hours": asked.min_up_hours + 1})
    assert (made(spec, tuple(rates), longer).usd or 0.0) >= (made(spec, tuple(rates), asked).usd or 0.0) - 1e-6


@given(demands)
@settings(max_examples=15, deadline=None)
def test_hours_that_nothing_links_are_alone(rates: list[float]) -> None:
    spec = spec_of((1.0, 1.9), (1.7, 4.0))
    alone = sum(made(spec, (rate,), PROMPT).usd or 0.0 for rate in rates)
    assert made(spec, tuple(rates), PROMPT).usd == pytest.approx(alone, abs=1e-6)


def test_fleets_put_together_are_as_good_as_the_whole_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large programs begin with fleets of single hours; the same small ones, both ways."""
    spec, asked = spec_of((1.0, 1.9), (1.7, 4.0)), Terms(usd_per_start=0.3, min_up_hours=2)
    rates = tuple(np.random.default_rng(3).uniform(0, 12, 10).tolist())
    whole = made(spec, rates, asked)
    monkeypatch.setattr(optimise, "_SMALL", 0)
    together = made(spec, rates, asked)
    assert whole.usd == pytest.approx(together.usd)
    assert whole.outcome == together.outcome == "optimal"


def test_what_runs_is_kept_where_a_start_costs_more_than_it_saves() -> None:
    spec, asked = spec_of((1.0, 2.0), (1.1, 2.0)), Terms(start_up_s=0.0, usd_per_start=5.0)
    kept = made(spec, (1.5, 1.5), asked, (rented(1, 1),))
    assert [hour.starts for hour in kept.hours] == [(), ()]
    assert kept.hours[0].rentals[0].instance_type == "chat/unit1"
    fresh = made(spec, (1.5, 1.5), asked)
    assert fresh.hours[0].rentals[0].instance_type == "chat/unit0"
    assert fresh.usd == pytest.approx(2 + 5)


def test_orders_cannot_lie_before_now() -> None:
    late = Terms(start_up_s=5400.0, lead_s=0.0)
    assert made(spec_of((1.0, 2.0)), (0.0, 0.0, 1.0), late).outcome == "optimal"
    short = made(spec_of((1.0, 2.0)), (0.0, 1.0, 1.0), late)
    assert short.outcome == "infeasible"
    assert "terms.lead_s" in short.conflicts[0].constraints
    assert made(spec_of((1.0, 2.0)), (0.0, 1.0, 1.0), late, (rented(0, 1),)).outcome == "optimal"


def test_infeasible_names_hours_and_what_would_do() -> None:
    spec = spec_of((1.0, 2.0), limits={"availability": [{"provider": None, "gpu": "L4", "max_instances": 2}]})
    found = made(spec, (1.0, 9.0, 3.0, 5.0), PROMPT)
    assert found.outcome == "infeasible"
    assert found.hours == ()
    conflict = found.conflicts[0]
    for named in ("2 of 4 hours", "T01:00", "T03:00"):
        assert named in conflict.detail
    assert conflict.relaxations[0].limit == "limits.availability[0].max_instances"
    assert conflict.relaxations[0].needed == 5


def test_spares_stand_by_in_every_hour() -> None:
    found = made(spec_of((1.0, 2.0), spare_replicas=1), (0.5, 3.0), PROMPT)
    assert [hour.rentals[0].instances for hour in found.hours] == [2, 3]


def test_a_service_that_is_not_named_keeps_its_rate() -> None:
    spec = spec_of((1.0, 2.0))
    other = spec.services[0].model_copy(update={"name": "other"})
    found = make_schedule(
        spec.model_copy(update={"services": (*spec.services, other)}), FACTS,
        demand_of(1.0, 5.0), PROMPT, EXACT,
    )  # fmt: skip
    assert [hour.requests_per_s["other"] for hour in found.hours] == [1.0, 1.0]
    assert found.usd == pytest.approx(1 + 3 + 2)


def test_each_hour_is_a_plan_that_carries_it() -> None:
    found = made(spec_of((1.0, 2.0), (1.7, 4.0)), (1.0, 3.0, 1.0, 7.0), Terms(usd_per_start=0.1))
    for h, rate in enumerate((1.0, 3.0, 1.0, 7.0)):
        assert found.carries(h)["chat"] >= rate
        assert sum(r.fraction for r in found.plans[found.hours[h].plan].routing) == pytest.approx(1.0)
    assert found.usd == pytest.approx(sum(found.usd_per_hour))


def test_the_time_limit_ends_a_search() -> None:
    rates = tuple(np.random.default_rng(0).uniform(1, 60, 48).tolist())
    found = made(
        spec_of((1.0, 1.9), (1.7, 3.3), (2.3, 4.7)), rates, Terms(usd_per_start=1.0, min_up_hours=3),
        options=SolveOptions(time_limit_s=0.3, gap=0.0),
    )  # fmt: skip
    assert found.outcome in ("feasible", "optimal", "no_solution")


@pytest.mark.parametrize(
    ("change", "field"),
    [({"objective": "power"}, "objective"), ({"limits": {"max_gpu_types": 1}}, "limits.max_gpu_types")],
)
def test_what_has_no_meaning_over_time_is_refused(change: dict[str, object], field: str) -> None:
    spec = type(spec_of((1.0, 2.0))).model_validate({**spec_of((1.0, 2.0)).model_dump(), **change})
    with pytest.raises(InvalidInput) as caught:
        make_schedule(spec, FACTS, demand_of(1.0), PROMPT, EXACT)
    assert caught.value.field == field


def test_demand_must_be_of_services_that_exist() -> None:
    demand = HourlyDemand(start=START, services={"chta": (1.0,)})
    with pytest.raises(UnknownName, match="chat"):
        make_schedule(spec_of((1.0, 2.0)), FACTS, demand, PROMPT, EXACT)


@pytest.mark.parametrize(
    "services", [{}, {"a": ()}, {"a": (1.0,), "b": (1.0, 2.0)}, {"a": (-1.0,)}, {"a": (float("nan"),)},
                 {"a": (1.0,) * 745}],
)  # fmt: skip
def test_demand_that_cannot_be_meant(services: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="services"):
        HourlyDemand(start=START, services=services)
