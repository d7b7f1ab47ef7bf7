"""Rows of servers through simulated weeks, second by second, under many policies and counts of servers at once.

``simulate`` is the front: what is expensive, adding up what servers draw, is done once per week for the most servers
asked; every pair of a policy and a count is a controller on those sums (``kernel``). Nothing is kept of a week but its
totals, so memory does not grow with the horizon; a week depends on the seed and its number alone.

Readings are the mean power of a telemetry interval, rounded to whole seconds, at its end. What the controller then
tells is in force ``latency_s`` later, one after another: a newer command does not call back an older one that is under
way, it follows it. While telemetry is lost the controller keeps what it told last, until it is lost for longer than
``telemetry_timeout_s``: then it tells the topmost step. The brake overrules every other cap, and like them is told and
released at readings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.errors import InvalidInput, UnknownName
from planner.power.policy import Policy
from planner.power.rows.deal import WEEK_S
from planner.power.rows.fleet import Fleet, Group, pieces
from planner.power.rows.play import histogram, play_week, set_up
from planner.power.rows.slowdown import SLOWDOWN_BINS, slowdown_at
from planner.power.spec import Event
from profiles.performance.answers import Floats

__all__ = ["SLOWDOWN_BINS", "Day", "Fleet", "Group", "Results", "simulate", "slowdown_at", "worst_day"]

Ints = NDArray[np.int64]

NOTHING: Floats = np.empty(0)
NOT_RECORDED: Floats = np.empty((3, 0))
DAY_S, MINUTE_S = 86_400, 60


@dataclass(frozen=True, eq=False)
class Results:
    """Totals of every week; arrays (weeks, policies, counts) unless said otherwise.

    Attributes
    ----------
    num_brakes:
        times that the brake was pulled
    peak:
        highest power of a second, as a share of the budget then in force
    mean:
        mean power, as a share of the budget
    seconds_over:
        seconds above the budget then in force
    capped_seconds:
        (..., classes) seconds in which any cap or the brake was on the class
    slowdown_histogram:
        (..., classes, bins) requests in progress, summed over seconds, by their slowdown: see ``slowdown_at``
    natural_peak:
        (weeks, counts) what ``peak`` would be without caps
    seconds:
        of each week
    """

    num_brakes: Ints
    peak: Floats
    mean: Floats
    seconds_over: Ints
    capped_seconds: Ints
    slowdown_histogram: Floats
    natural_peak: Floats
    seconds: int


@dataclass(frozen=True, eq=False)
class Day:
    """The day with the highest natural power; arrays (1440,), by minute.

    Attributes
    ----------
    week, day:
        which; ``day`` 0 is Monday
    power, natural_power:
        highest of the minute, as a share of the budget, with and without the policy
    step:
        highest in force in the minute; one more than the policy's steps: the brake
    """

    week: int
    day: int
    power: Floats
    natural_power: Floats
    step: Ints


def simulate(
    fleet: Fleet,
    policies: Sequence[Policy],
    counts: Sequence[int],
    weeks: Sequence[int],
    seed: int,
    *,
    events: Sequence[Event] = (),
    seconds_per_week: int = WEEK_S,
) -> Results:
    """Play ``weeks`` (numbers, from 0) with each of ``counts`` servers under each of ``policies``.

    ``events`` strike in every week, ``at_s`` after its beginning; ``seconds_per_week`` cuts weeks short. Neither the
    other policies nor the other counts nor the other weeks asked for change a number. Raises ``InvalidInput`` for
    counts below 1, events outside the week, clock caps of GPUs whose clocks are not known, and fleets at odds with
    themselves.
    """
    _refuse(fleet, policies, counts, weeks, seed, events, seconds_per_week)
    asked, place = np.unique(np.asarray(counts, dtype=np.int64), return_inverse=True)
    setup = set_up(fleet, policies, asked)
    when = pieces(fleet, events, seconds_per_week)
    weeks_totals = []
    histograms = []
    for week in weeks:
        totals = play_week(fleet, setup, when, seed, week, NOT_RECORDED)
        histograms.append(histogram(setup, totals))
        weeks_totals.append(totals._replace(weight=NOTHING, waited=NOTHING))

    def stacked(name: str) -> NDArray[Any]:
        return np.stack([getattr(totals, name) for totals in weeks_totals])[:, :, place]

    return Results(
        num_brakes=stacked("num_brakes"),
        peak=stacked("peak"),
        mean=stacked("energy_ws") / (seconds_per_week * fleet.budget_w),
        seconds_over=stacked("seconds_over"),
        capped_seconds=stacked("capped_seconds"),
        slowdown_histogram=np.stack(histograms)[:, :, place],
        natural_peak=np.stack([totals.natural_peak for totals in weeks_totals])[:, place],
        seconds=seconds_per_week,
    )


def worst_day(fleet: Fleet, policy: Policy, count: int, weeks: Sequence[int], seed: int) -> Day:
    """The day of ``weeks`` on which ``count`` servers would draw most without caps, as it went under ``policy``."""
    _refuse(fleet, [policy], [count], weeks, seed, (), WEEK_S)
    setup, when = set_up(fleet, [policy], np.array([count])), pieces(fleet, (), WEEK_S)
    track = np.empty((3, WEEK_S))
    days = []
    for week in weeks:
        play_week(fleet, setup, when, seed, week, track)
        watts, natural_w, step = (each.reshape(-1, DAY_S // MINUTE_S, MINUTE_S).max(axis=2) for each in track)
        day = int(natural_w.max(axis=1).argmax())
        days.append(Day(week, day, watts[day] / fleet.budget_w, natural_w[day] / fleet.budget_w, step[day].astype(int)))
    return max(days, key=lambda day: float(day.natural_power.max()))


def _refuse(
    fleet: Fleet, policies: Sequence[Policy], counts: Sequence[int], weeks: Sequence[int], seed: int,
    events: Sequence[Event], seconds: int,
) -> None:  # fmt: skip
    for field, items in (("policies", policies), ("counts", counts), ("weeks", weeks), ("groups", fleet.groups)):
        if not len(items):
            raise InvalidInput("nothing to simulate", field=field, fix="give at least one")
    numbers = (("counts", 1, min(counts)), ("weeks", 0, min(weeks)), ("seed", 0, seed), ("budget_w", 1, fleet.budget_w))
    for field, least, number in numbers:
        if not number >= least:
            raise InvalidInput(f"{number:g} is too small", field=field, fix=f"give {least} or more")
    if not 1 <= seconds <= WEEK_S:
        raise InvalidInput(f"{seconds} s is no part of a week", field="seconds_per_week", fix="give 1 to 604,800")
    for group in fleet.groups:
        if group.priority not in fleet.priorities:
            raise UnknownName("priority", group.priority, fleet.priorities, field="priority")
        _refuse_pool(group)
    for i, event in enumerate(events):
        _refuse_event(f"events[{i}]", event, [group.name for group in fleet.groups], seconds)


def _refuse_event(field: str, event: Event, workloads: Sequence[str], seconds: int) -> None:
    if event.at_s >= seconds:
        raise InvalidInput(
            f"comes {event.at_s:g} s into a week of {seconds:,} s", field=f"{field}.at_s", fix="let it come earlier"
        )
    if event.kind == "runaway" and event.workload not in workloads:
        raise UnknownName("workload", event.workload or "", workloads, field=f"{field}.workload")


def _refuse_pool(group: Group) -> None:
    pool = group.pool
    if pool.states.ndim != 3 or not pool.states.size or len(pool.load) != len(pool.states):
        raise InvalidInput(
            f"states of {group.name} are {pool.states.shape}", field="states", fix="levels, servers, seconds"
        )
    if int(pool.states.max()) >= len(pool.table.gpu_w):
        raise InvalidInput(f"the pool of {group.name} has states that its table lacks", field="states")
    if np.any(np.diff(pool.load) <= 0):
        raise InvalidInput(
            f"loads of the pool of {group.name} do not rise", field="load", fix="order its levels by load"
        )
