"""``gpuplan services``: the services that ``gpuplan replan`` plans every night."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner import command
from planner.command import Database, Json, reports_errors
from planner.completion import services
from planner.errors import InvalidInput
from planner.types import Table

if TYPE_CHECKING:
    from planner.replan.store import Stored

services_app = typer.Typer(
    no_args_is_help=True, help="Services that are planned every night: gpuplan services save FILE · list · show NAME"
)

ServiceName = Annotated[
    str, typer.Argument(metavar="NAME", help="as `gpuplan services list` shows it", autocompletion=services)
]


@services_app.command("save")
@reports_errors
def save(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="service (YAML or JSON)")],
    if_version: Annotated[
        int | None, typer.Option("--if-version", min=0, help="only over this version; 0: only where there is none")
    ] = None,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Save a service, or replace the one of its name. What runs stays as it is.

    Example: gpuplan services save examples/replan/chat_service.yaml
    """
    from planner.audit import cli_actor, record
    from planner.replan import store
    from planner.replan.service_file import read_service

    engine = command.open_store(database)
    stored = store.save(engine, read_service(file), if_version)
    record(engine, cli_actor(), "service.save", stored.name, detail={"version": stored.version})
    if json_output:
        command.print_json({"name": stored.name, "version": stored.version})
    else:
        command.out().print(f"saved {stored.name}, version {stored.version}", markup=False)


@services_app.command("list")
@reports_errors
def list_services(database: Database = None, json_output: Json = False) -> None:
    """List the saved services, and what was decided for each last.

    Example: gpuplan services list
    """
    from planner.draw import draw_table
    from planner.replan import store

    engine = command.open_store(database)
    found = [(stored, store.decisions(engine, stored.name, limit=1)) for stored in store.load_all(engine)]
    if json_output:
        command.print_json([{**_document(s), "last_decision": d[0].decision if d else None,
                             "last_date": str(d[0].date) if d else None} for s, d in found])  # fmt: skip
        return
    rows = tuple(
        (s.name, str(s.version), s.service.terms.mode, f"{s.service.terms.quantile:g}", _runs(s),
         f"{d[0].date}: {d[0].decision}" if d else "never")
        for s, d in found
    )  # fmt: skip
    columns = ("service", "version", "mode", "quantile", "runs", "last decision")
    draw_table(Table(title="Services", columns=columns, rows=rows, numeric=("version", "quantile")), command.out())


@services_app.command("show")
@reports_errors
def show(
    name: ServiceName,
    nights: Annotated[int, typer.Option("--nights", min=0, max=1000, help="so many decisions")] = 7,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Show a service, what runs, and what was decided on the last nights.

    Example: gpuplan services show chat --nights 14
    """
    import yaml

    from planner.draw import draw_table
    from planner.replan import store
    from planner.replan.service_file import shown

    engine = command.open_store(database)
    stored = store.load(engine, name)
    decided = store.decisions(engine, name, limit=nights) if nights else ()
    if json_output:
        reports = [report.model_dump(mode="json") for report in decided]
        command.print_json({**_document(stored), "decisions": reports})
        return
    console = command.out()
    console.print(yaml.safe_dump(shown(stored.service), sort_keys=False, allow_unicode=True), markup=False)
    console.print(f"version {stored.version}; runs: {_runs(stored)}", markup=False)
    rows = tuple(
        (str(r.date), r.decision, "" if r.usd_saved is None else f"{r.usd_saved:,.2f}", r.reason) for r in decided
    )
    columns = ("date", "decision", "USD saved by changing", "why")
    draw_table(Table(title="Decisions", columns=columns, rows=rows, numeric=("USD saved by changing",)), console)


@services_app.command("running")
@reports_errors
def running(
    name: ServiceName,
    plan: Annotated[
        Path | None, typer.Argument(metavar="[PLAN]", help="a serving plan that runs now, all day; none: nothing runs")
    ] = None,
    nothing: Annotated[bool, typer.Option("--nothing", help="nothing runs")] = False,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Say what runs, where it is not what `gpuplan replan` decided last.

    Example: gpuplan services running chat plan.json
    """
    from planner.audit import cli_actor, record
    from planner.replan import store
    from planner.replan.fleets import all_day, runnable
    from planner.service import keep, read_plan

    if (plan is None) != nothing:
        raise InvalidInput("give either a plan or --nothing", field="PLAN")
    engine = command.open_store(database)
    now_runs = None
    if plan is not None:
        made = runnable(read_plan(plan), str(plan))
        store.load(engine, name)  # an unknown name must not leave a plan behind
        now_runs = all_day(made, keep(made, made.spec, engine))
    stored = store.set_running(engine, name, now_runs)
    record(engine, cli_actor(), "service.running", name, detail={"version": stored.version})
    if json_output:
        command.print_json(_document(stored))
    else:
        command.out().print(f"{name} runs: {_runs(stored)}", markup=False)


@services_app.command("delete")
@reports_errors
def delete(
    name: ServiceName,
    if_version: Annotated[int | None, typer.Option("--if-version", min=1, help="only this version")] = None,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Forget a service and its decisions. What runs goes on running.

    Example: gpuplan services delete chat
    """
    from planner.audit import cli_actor, record
    from planner.replan import store

    engine = command.open_store(database)
    store.remove(engine, name, if_version)
    record(engine, cli_actor(), "service.delete", name)
    if json_output:
        command.print_json({"deleted": name})
    else:
        command.out().print(f"deleted {name}", markup=False)


def _document(stored: Stored) -> dict[str, Any]:
    now_runs = None if stored.running is None else stored.running.model_dump(mode="json")
    return {"name": stored.name, "version": stored.version, "service": stored.service.model_dump(mode="json"),
            "running": now_runs, "updated_at": stored.updated_at.isoformat()}  # fmt: skip


def _runs(stored: Stored) -> str:
    """What runs, in a few words."""
    if stored.running is None:
        return "nothing"
    plans = stored.running.plans
    if len(plans) > 1:
        return f"{len(plans)} fleets by the hour"
    return ", ".join(f"{i.instances} × {i.instance_type} ({i.market})" for i in plans[0].fleet) or "nothing"
