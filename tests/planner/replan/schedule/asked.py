"""Small questions over time, and their answers found by trying everything."""

from __future__ import annotations

import datetime as dt
import itertools

from planner.replan.schedule.make import make_schedule
from planner.replan.schedule.types import HourlyDemand, Instances, Schedule, Terms
from planner.serving.spec import ServingSpec
from planner.types import SolveOptions
from profiles import catalogue
from profiles.types import Facts

START = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
FACTS = Facts(**dict(catalogue.load()), digest="catalogue")
EXACT = SolveOptions(time_limit_s=60, gap=0.0)
PROMPT = Terms(start_up_s=0.0)
"""Starts at once and for nothing."""


def spec_of(*units: tuple[float, float], limits: dict[str, object] | None = None, **service: object) -> ServingSpec:
    """One service with one size of request, on units of (USD per hour, requests/s) each an offer of its own."""
    return ServingSpec.model_validate({
        "services": [{
            "name": "chat", "max_utilisation": 1.0,
            "workload": {
                "requests_per_s": 1.0,
                "distribution": {"input_tokens": [1, 1000], "output_tokens": [1, 100], "fractions": [[1.0]]},
            },
            "units": [
                {"name": f"unit{i}", "gpu": "L4", "usd_per_hour": usd, "requests_per_s": [[rate]]}
                for i, (usd, rate) in enumerate(units)
            ],
            **service,
        }],
        "limits": limits or {},
    })  # fmt: skip


def demand_of(*rates: float) -> HourlyDemand:
    return HourlyDemand(start=START, services={"chat": rates})


def made(
    spec: ServingSpec, rates: tuple[float, ...], terms: Terms, running: tuple[Instances, ...] = (),
    options: SolveOptions = EXACT,
) -> Schedule:  # fmt: skip
    """A schedule; ``make_schedule`` raises where its check does not pass."""
    return make_schedule(spec, FACTS, demand_of(*rates), terms, options, running)


def rented(unit: int, instances: int) -> Instances:
    """Some instances of a unit of ``spec_of``."""
    return Instances(
        provider="given", instance_type=f"chat/unit{unit}", region="given", market="on_demand", instances=instances
    )


def cheapest(
    units: list[tuple[float, float]],
    rates: list[float],
    terms: Terms,
    before: list[int],
    most: int = 3,
    budget: float = float("inf"),
) -> float | None:
    """Least USD over every number of instances, up to ``most`` of each unit, in every hour; None where none carries.

    Counts only: hour by hour, from every state reached so far. A state is the ages of all instances, up to the least
    that matters, so that minimum up times are followed instance by instance.
    """
    old = terms.min_up_hours
    counts = list(itertools.product(range(most + 1), repeat=len(units)))
    states: dict[tuple[tuple[int, ...], ...], float] = {tuple((old,) * count for count in before): 0.0}
    ahead = 1 if terms.start_up_s > 0 else 0
    for hour, rate in enumerate(rates):
        reached: dict[tuple[tuple[int, ...], ...], float] = {}
        for ages, spent in states.items():
            for count in counts:
                if sum(n * carries for n, (_, carries) in zip(count, units, strict=True)) < rate - 1e-9:
                    continue
                state, usd, there = [], spent, 0.0
                for own, n, (price, _) in zip(ages, count, units, strict=True):
                    kept = sorted(own, reverse=True)[: len(own)]
                    stopped = max(len(own) - n, 0)
                    if any(age < old for age in kept[:stopped]):
                        break
                    starts = max(n - len(own), 0)
                    there += (len(own) + starts * ahead) * price
                    usd += n * price + starts * (terms.usd_per_start + price * terms.start_up_s / 3600)
                    state.append(tuple(sorted(min(age + 1, old) for age in (*kept[stopped:], *[0] * starts))))
                else:
                    now = sum(n * price for n, (price, _) in zip(count, units, strict=True))
                    if max(now, there if hour else 0.0) <= budget + 1e-9:
                        key = tuple(state)
                        reached[key] = min(usd, reached.get(key, float("inf")))
        states = reached
    return min(states.values(), default=None)
