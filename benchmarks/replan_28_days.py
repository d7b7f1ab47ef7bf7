"""28 nights of re-planning on demand of a real shape, against a static plan for the peak and against perfect foresight.

Nine weeks of hourly demand are generated (``planner.replan.schedule.generated``: days, weeks, growth, noise that lasts,
one spike, one holiday). Every night of the last four weeks, the next day is forecast from what was known, a quantile of
it is scheduled in one optimisation, and the day then brings what it brings. Printed are all figures of this run: money,
hours and requests beyond what was carried, and two references:

- static: one plan that carries the highest hour of the four weeks, known beforehand, in every hour;
- bound: what someone who knows every hour pays at least to carry as much as was carried.

    python benchmarks/replan_28_days.py [--quantile 0.95] [--reserved-discount 0.4] [--seed 1]
"""

from __future__ import annotations

import argparse
import datetime as dt
import time
from pathlib import Path

import numpy as np
import yaml

from planner.program import Floats
from planner.replan.forecast import forecast
from planner.replan.history import History
from planner.replan.schedule.bounds import perfect_foresight, static_peak
from planner.replan.schedule.generated import Shape, generated
from planner.replan.schedule.make import make_schedule
from planner.replan.schedule.replay import Replayed, replay
from planner.replan.schedule.types import HourlyDemand, Instances, Terms
from planner.serving.spec import ServingSpec
from planner.types import SolveOptions
from profiles import catalogue
from profiles.types import Facts

EXAMPLE = Path(__file__).parents[1] / "examples" / "chat.yaml"
START = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)  # a Monday
FIRST_DAY, NUM_DAYS = 35, 63


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quantile", type=float, default=0.95)
    parser.add_argument("--reserved-discount", type=float, default=None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mean", type=float, default=20.0, help="requests/s")
    parser.add_argument("--night-s", type=float, default=30.0, help="time limit of each night's schedule")
    parser.add_argument("--bound-s", type=float, default=240.0, help="time for the bound")
    arguments = parser.parse_args()
    document = yaml.safe_load(EXAMPLE.read_text())
    document["offers"]["markets"] = ["on_demand", "spot"]
    document["services"][0]["max_spot_fraction"] = 0.5
    spec = ServingSpec.model_validate(document)
    facts = Facts(**dict(catalogue.load()), digest="catalogue")
    shape = Shape(mean_requests_per_s=arguments.mean, spike_day=FIRST_DAY + 17, holiday=FIRST_DAY + 9)
    rates = generated(shape, NUM_DAYS, arguments.seed)
    terms = Terms(
        start_up_s=600, usd_per_start=0.2, min_up_hours=2, reserved_discount=arguments.reserved_discount, reserve=False
    )
    options = SolveOptions(time_limit_s=arguments.night_s, gap=0.01)
    print(f"{shape}\n{terms}\nseed {arguments.seed}, quantile {arguments.quantile}", flush=True)

    def quantile(past: Floats, midnight: dt.datetime, hours: int) -> Floats:
        known = History(START, past)
        return np.array(forecast(known, midnight, hours, (arguments.quantile,)).quantiles[arguments.quantile])

    base: tuple[Instances, ...] = ()
    if arguments.reserved_discount is not None:  # chosen once, for the week before: reservations are for long
        week = rates[24 * (FIRST_DAY - 7) : 24 * FIRST_DAY]
        base = make_schedule(
            spec, facts, demand_of(spec, week, FIRST_DAY - 7), terms.model_copy(update={"reserve": True}),
            options.model_copy(update={"time_limit_s": 60}),
        ).reserved  # fmt: skip
    started, cpu = time.perf_counter(), time.process_time()
    replayed = replay(spec, facts, rates, START, FIRST_DAY, terms, options, quantile, base)
    print(f"28 nights: {time.perf_counter() - started:.0f} s wall, {time.process_time() - cpu:.0f} s CPU", flush=True)
    report(replayed)
    actual = rates[24 * FIRST_DAY :]
    peak = static_peak(spec, facts, demand_of(spec, actual, FIRST_DAY), Terms(), options)
    static_usd = (peak.usd or 0.0) * actual.size
    free = terms.model_copy(update={"reserve": True})
    known = perfect_foresight(
        spec, facts, demand_of(spec, replayed.served, FIRST_DAY), free,
        options.model_copy(update={"time_limit_s": arguments.bound_s}),
    )  # fmt: skip
    print(f"replanned nightly            {replayed.usd:10.2f} $")
    print(f"static plan for the peak     {static_usd:10.2f} $   replanned costs {replayed.usd / static_usd:.1%} of it")
    for label, usd in (("bound", known.bound), ("found", known.usd)):
        if usd:
            print(f"perfect foresight, {label}     {usd:10.2f} $   replanned costs {replayed.usd / usd:.1%} of it")


def demand_of(spec: ServingSpec, rates: Floats, day: int) -> HourlyDemand:
    """These rates, from a day on."""
    return HourlyDemand(start=START + dt.timedelta(days=day), services={spec.services[0].name: tuple(rates.tolist())})


def report(replayed: Replayed) -> None:
    """Every day in a line, then all of them."""
    for day in replayed.days:
        starts = sum(some.instances for hour in day.schedule.hours for some in hour.starts)
        gap = "unknown" if day.schedule.gap is None else f"{day.schedule.gap:.2%}"
        print(
            f"{day.schedule.demand.start:%a %d %b}  {day.schedule.usd:8.2f} $  gap {gap}"
            f"  {starts:3d} starts  {int((day.short > 0).sum()):2d} hours short"
        )
    above = np.mean([day.actual > day.planned for day in replayed.days])
    print(f"hours above the planned quantile {above:.1%}; hours beyond what is carried {replayed.short_hours:.1%}; ",
          f"requests beyond what is carried {replayed.short_requests:.2%}", sep="")  # fmt: skip


if __name__ == "__main__":
    main()
