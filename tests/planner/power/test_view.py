"""What people see of power plans is what the plans say."""

from __future__ import annotations

import io

from rich.console import Console

from planner.draw import draw
from planner.power.plan import PowerPlan
from planner.power.policy import no_capping, power_capped
from planner.power.view import in_words, view
from planner.types import Check, Table
from tests.planner.power.plans import impossible, row_plan, site_plan


def table(plan: PowerPlan, starts: str) -> Table:
    return next(t for t in view(plan).tables if t.title.startswith(starts))


def drawn(plan: PowerPlan) -> str:
    out = io.StringIO()
    draw(view(plan), Console(file=out, width=400))
    return out.getvalue()


def test_the_headline_says_how_many_servers_fit():
    assert view(row_plan()).headline == "small: 13 servers where 10 fit by rating (+30%)"
    assert view(site_plan()).headline == "small: 11 of 11 servers placed"
    assert view(impossible()).headline == "small: 18 servers cannot be promised"
    open_ended = impossible().spec.model_copy(update={"num_servers": None})
    assert "no number of servers" in view(impossible().model_copy(update={"spec": open_ended})).headline


def test_facts_say_how_surely_and_by_whom_checked():
    plan = row_plan()
    facts = dict(view(plan).facts)
    assert plan.judged is not None
    assert facts["confidence"].startswith(f"{plan.judged.confidence:.2%} that 3 weeks")
    assert facts["brakes"] == "0 in 24 weeks"
    assert facts["budget"] == "65.0 kW; beside the GPUs: dgx 2,400 W"
    assert f"{plan.natural_peak_utilisation:.1%} without caps" in facts["peak"]
    assert "not checked" in facts["proof"]
    failed = plan.model_copy(update={"check": Check(passed=False)})
    assert "CHECK FAILED" in dict(view(failed).facts)["proof"]


def test_steps_are_in_watts_and_words():
    steps = table(row_plan(), "Policy").rows
    assert [row[0] for row in steps] == ["1", "2", "3", "brake"]
    assert steps[0][1:] == ("80.0%", "52,000 W", "75.0%", "low to 1275 MHz")
    assert steps[2][-1] == "high to 1305 MHz if the step before was not enough"
    assert steps[3][-1] == "every GPU to 288 MHz"


def test_slowdowns_stand_beside_their_limits():
    plan = row_plan()
    low, high = table(plan, "Slowdown").rows
    assert low[:1] + low[2:3] + low[4:5] == ("low", "5.0%", "50.0%")
    assert low[3] == f"{plan.slowdown['low'].p99:.1%}"
    assert high[-1] == f"{plan.capped_time_fraction['high']:.1%} of the time"


def test_other_policies_and_what_is_not_measured_are_compared():
    plan = row_plan()
    rows = table(plan, "Against other policies").rows
    assert [row[0] for row in rows[1:]] == [b.policy for b in plan.baselines]
    assert {row[-1] for row in rows} >= {"held"}
    beside = table(plan, "What is not measured").rows[0]
    assert beside[:3] == ("power beside the GPUs", "1,500 / 1,950 / 2,400", "W per server")
    assert [row[0] for row in table(plan, "When something goes wrong").rows] == ["feed_failure", "telemetry_gap"]


def test_the_fullest_loads_come_first():
    full = [float(row[4].rstrip("%")) for row in table(site_plan(), "Loads").rows]
    assert len(full) == 12
    assert full == sorted(full, reverse=True)


def test_what_is_impossible_shows_what_would_have_to_give():
    limits = table(impossible(), "What would have to give").rows
    assert limits[0][0] == "row.budget_w"
    assert "infeasible" in dict(view(impossible()).facts)["proof"]


def test_every_assumption_is_shown_and_drawing_works():
    for plan in (row_plan(), site_plan(), impossible()):
        text = drawn(plan)
        assert view(plan).headline in text
        for assumption in plan.assumptions:
            assert f"assumed: {assumption}" in text


def test_policies_in_words():
    assert in_words(no_capping()) == "no capping: no caps; brake above 100%"
    assert in_words(power_capped(("low",), 300)) == "power cap: always low to 300 W a GPU; brake above 100%"
