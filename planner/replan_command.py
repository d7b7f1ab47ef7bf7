"""``gpuplan replan``: the nightly job. Plans every saved service for a day, and says what is to change."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner import command
from planner.command import Database, Json, reports_errors
from planner.completion import services
from planner.errors import InvalidInput
from planner.types import SolveOptions

if TYPE_CHECKING:
    from planner.replan.report import Report


@reports_errors
def replan(
    date: Annotated[
        str | None, typer.Option("--date", metavar="D", help="day to plan, such as 2026-03-01; default: today (UTC)")
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option("--service", metavar="NAME", help="only this one; repeat", autocompletion=services),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", file_okay=False, help="write NAME-DATE.md and .json there")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="decide, but keep nothing of it")] = False,
    again: Annotated[bool, typer.Option("--again", help="decide anew what is decided")] = False,
    time_limit: Annotated[
        float, typer.Option("--time-limit", metavar="S", min=0.1, max=86_400, help="seconds for each service's solve")
    ] = 60.0,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="equal seeds give equal plans")] = 0,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Plan every saved service for a day: forecast, plan, compare with what runs, decide, report.

    A day that is decided stays as it is: running this again reports the same. Exit code: 0 all is well · 3 a service is
    infeasible · 4 no plan within the time limit · 5 missing profile · 2 bad input · 1 a defect; of several the worst.

    Example: gpuplan replan --out reports
    """
    from planner.replan.report import as_markdown, exit_code
    from planner.replan.request import ReplanOptions
    from planner.replan.run import replan as run

    engine = command.open_store(database)
    options = ReplanOptions(again=again, dry_run=dry_run, solve=SolveOptions(time_limit_s=time_limit, seed=seed))
    with command.progressing("planning"):
        reports = run(engine, _day(date), options, service or None)
    if out is not None:
        for report in reports:
            name = f"{report.service}-{report.date}"
            command.write_whole(out / f"{name}.json", report.model_dump_json(indent=2) + "\n")
            command.write_whole(out / f"{name}.md", as_markdown(report))
    if json_output:
        command.print_json([report.model_dump(mode="json") for report in reports])
    else:
        _show(reports)
    raise typer.Exit(exit_code(reports))


def _day(date: str | None) -> dt.date:
    if date is None:
        return dt.datetime.now(dt.UTC).date()
    from planner.replan.request import FIRST_DAY, LAST_DAY

    try:
        day = dt.date.fromisoformat(date)
    except ValueError:
        raise InvalidInput(f"{date[:40]!r} is no date", field="--date", fix="write it as 2026-03-01") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise InvalidInput(f"{day} is not between {FIRST_DAY} and {LAST_DAY}", field="--date", fix="correct the year")
    return day


def _show(reports: tuple[Report, ...]) -> None:
    from planner.replan.report import money

    console = command.out()
    if not reports:
        console.print("no service is saved yet: gpuplan services save examples/replan/chat_service.yaml")
    for report in reports:
        console.print(f"{report.service} {report.date}: [bold]{report.decision.replace('_', ' ')}[/]")
        console.print(f"  {report.reason}", markup=False)
        if report.problem is not None:
            where = f"{report.problem.field}: " if report.problem.field else ""
            console.print(f"  {where}{report.problem.detail}", markup=False)
            if report.problem.fix:
                console.print(f"  fix: {report.problem.fix}", markup=False)
        costs = ", ".join(f"{of} ${usd}" for of, usd in money(report))
        if costs:
            days = "a day" if report.horizon_days == 1 else f"{report.horizon_days} days"
            console.print(f"  over {days}: {costs}", markup=False)
        for change in report.changes:
            console.print(
                f"  {change.provider}/{change.region}/{change.instance_type} ({change.market}): instance-hours "
                f"{change.instance_hours_before:,} → {change.instance_hours_after:,}",
                markup=False,
            )
        for warning in report.warnings:
            console.print(f"  mind: {warning}", markup=False)
