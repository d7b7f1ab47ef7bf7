"""What 28 nights of re-planning would have cost, each knowing no more than was known that evening.

    python examples/replan/replay.py               # four minutes; --nights 3 for a first look

Every night is what `gpuplan replan --date D` does, in a store of its own that is gone afterwards. Look at the last
line: what the nights cost against one plan that carries their busiest hour, and in how many hours more came than was
planned for. To make it yours: --service with your own service and its recorded demand, --first with the day to begin.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
from pathlib import Path

from planner.command import initialise_store
from planner.replan import store
from planner.replan.history import read_history
from planner.replan.report import Report
from planner.replan.request import ReplanOptions
from planner.replan.run import replan
from planner.replan.service import SavedService
from planner.replan.service_file import read_service
from planner.types import SolveOptions

SERVICE = Path(__file__).with_name("chat_service.yaml")
FIRST_NIGHT = dt.date(2026, 2, 2)
"""Two weeks into chat_demand.csv, whose four last weeks are planned and then seen."""


def main() -> None:
    """Plan night after night, print a line for each, and all of them together."""
    parser = argparse.ArgumentParser(description="28 nights of re-planning, one after the other")
    parser.add_argument("--service", type=Path, default=SERVICE, help="what `gpuplan services save` takes")
    parser.add_argument("--first", type=dt.date.fromisoformat, default=FIRST_NIGHT, help="the first day planned")
    parser.add_argument("--nights", type=int, default=28)
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="S", help="seconds for each night's solve")
    chosen = parser.parse_args()
    service = read_service(chosen.service)
    options = ReplanOptions(solve=SolveOptions(time_limit_s=chosen.time_limit))
    reports = []
    with tempfile.TemporaryDirectory() as folder:
        engine = initialise_store(f"sqlite:///{folder}/replay.db")[0]
        store.save(engine, service, None)
        for night in range(chosen.nights):
            (report,) = replan(engine, chosen.first + dt.timedelta(days=night), options)
            if not report.hours:
                raise SystemExit(f"{report.date}: {report.decision}: {report.reason}")
            reports.append(report)
            print(line(report, service), flush=True)
        engine.dispose()
    print(summary(reports, service))


def line(report: Report, service: SavedService) -> str:
    """A night: what was decided, what the day costs, and how the demand that came compares with the planned."""
    decided = report.decision.replace("_", " ")
    above = f"{hours_above(report, service):2d} of {len(report.hours)} hours above the plan"
    return f"{report.date:%a %d %b}  {decided:<13}  ${usd(report):7.2f}  {above}"


def summary(reports: list[Report], service: SavedService) -> str:
    """All nights against one plan for their busiest hour."""
    spent = sum(map(usd, reports))
    peak = max(report.usd_static_peak or 0.0 for report in reports) * len(reports)
    hours = sum(len(report.hours) for report in reports)
    above = sum(hours_above(report, service) for report in reports)
    kept = sum(report.decision == "keep" for report in reports)
    return (
        f"{len(reports)} nights, {kept} of them kept as they were: ${spent:,.2f}, {spent / peak:.0%} of the "
        f"${peak:,.2f} of one plan for the busiest hour; {above / hours:.1%} of hours above the plan"
    )


def usd(report: Report) -> float:
    """Of the day, as it was decided."""
    return sum(hour.usd for hour in report.hours)


def hours_above(report: Report, service: SavedService) -> int:
    """In how many hours more came than was planned for; hours that nobody recorded do not count."""
    end = report.hours[-1].start + dt.timedelta(hours=1)
    over = set()
    for demand in service.demand:
        history = read_history(demand, end)
        for i, hour in enumerate(report.hours):
            at = (hour.start - history.start) // dt.timedelta(hours=1)
            over |= {i} if history.requests_per_s[at] > hour.planned_requests_per_s[demand.service] else set()
    return len(over)


if __name__ == "__main__":
    main()
