"""Commands that change what runs: ``gpuplan apply``, ``status``, ``rollback``, ``withdraw``, ``deployments``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from planner import command
from planner.command import Database, Json, reports_errors
from planner.completion import deploy_targets, plan_ids
from planner.completion import deployments as deployment_names
from planner.figures import counted

if TYPE_CHECKING:
    from planner.provision.apply import Applied
    from planner.provision.changes import Change

Target = Annotated[
    str,
    typer.Option(
        "--target",
        help="local[:DIR], kubernetes[:CONTEXT/NAMESPACE], skypilot[:DIR] or slurm[:DIR]",
        autocompletion=deploy_targets,
    ),
]
SomeTarget = Annotated[
    str | None,
    typer.Option("--target", help="where; not needed where it is at one target only", autocompletion=deploy_targets),
]
Name = Annotated[str, typer.Argument(help="name of the deployment", autocompletion=deployment_names)]
Yes = Annotated[bool, typer.Option("--yes", help="do it; without this, only show what would change")]
Wait = Annotated[
    float,
    typer.Option(
        "--wait",
        metavar="S",
        min=0,
        max=86_400,
        help="seconds for units to be ready; 0: change all at once",
    ),
]
TakeOver = Annotated[bool, typer.Option("--take-over", help="also what others changed since")]


@reports_errors
def apply(
    plan: Annotated[
        str,
        typer.Argument(help="file of a serving or training plan, or the id of a saved one", autocompletion=plan_ids),
    ],
    target: Target,
    name: Annotated[str | None, typer.Option("--name", help="name of the deployment; default: the spec's")] = None,
    yes: Yes = False,
    wait: Wait = 600.0,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="where an instance type is short, go on with the next best plan")
    ] = False,
    take_over: TakeOver = False,
    time_limit: Annotated[
        float, typer.Option("--time-limit", metavar="S", min=0.1, max=86_400, help="seconds to find the next best plan")
    ] = 30.0,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Make a target run a plan: shows what would change, and does it with --yes.

    Example: gpuplan apply plan.json --target local --yes
    """
    from planner.audit import cli_actor
    from planner.provision.apply import How, apply_plan, checked_plan, would_change
    from planner.provision.draw import draw_changes
    from planner.provision.names import checked_name, name_for
    from planner.provision.targets import driver_for
    from planner.types import SolveOptions

    engine = command.open_store(database)
    driver = driver_for(target)
    wanted = checked_plan(command.plan_named(plan, database), driver, engine)
    name = name_for(wanted.spec.name) if name is None else checked_name(name)
    found = would_change(engine, driver, wanted, name, take_over)
    if not yes:
        _show_changes(found, f"{name} at {driver.target}", json_output)
        return
    if not json_output:
        draw_changes(found, f"{name} at {driver.target}", command.out())
    how = How(cli_actor(), wait, take_over, fallback, SolveOptions(time_limit_s=time_limit))
    with command.progressing("applying"):
        applied = apply_plan(engine, driver, wanted, name, how)
    _show_applied(applied, json_output)


@reports_errors
def rollback(
    name: Name,
    target: SomeTarget = None,
    yes: Yes = False,
    wait: Wait = 600.0,
    take_over: TakeOver = False,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Go back to the plan that was applied before. Each rollback goes one plan further back.

    Example: gpuplan rollback chat --yes
    """
    from planner.audit import cli_actor
    from planner.provision import store
    from planner.provision.apply import How, roll_back, would_change
    from planner.provision.draw import draw_changes
    from planner.provision.history import applicable_plan, plan_to_go_back_to, target_of
    from planner.provision.targets import driver_for

    engine = command.open_store(database)
    driver = driver_for(target or target_of(engine, name))
    plan_id = plan_to_go_back_to(store.history(engine, name, driver.target))
    found = would_change(engine, driver, applicable_plan(engine, plan_id), name, take_over)
    title = f"{name} at {driver.target}, back to plan {plan_id}"
    if not yes:
        _show_changes(found, title, json_output)
        return
    if not json_output:
        draw_changes(found, title, command.out())
    with command.progressing("rolling back"):
        applied = roll_back(engine, driver, name, How(cli_actor(), wait, take_over))
    _show_applied(applied, json_output)


@reports_errors
def withdraw(
    name: Name,
    target: SomeTarget = None,
    yes: Yes = False,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Remove everything that was applied under a name, and nothing else.

    Example: gpuplan withdraw chat --yes
    """
    from planner.audit import cli_actor
    from planner.provision import apply as applying
    from planner.provision.history import target_of
    from planner.provision.targets import driver_for

    engine = command.open_store(database)
    driver = driver_for(target or target_of(engine, name))
    if not yes:
        found = applying.would_change(engine, driver, None, name)
        _show_changes(found, f"{name} at {driver.target}", json_output)
        return
    with command.progressing("removing"):
        removed = applying.withdraw(engine, driver, name, cli_actor())
    if json_output:
        command.print_json(_json(removed))
    else:
        command.out().print(f"{name} is removed from {driver.target}", markup=False)


@reports_errors
def status(name: Name, target: SomeTarget = None, database: Database = None, json_output: Json = False) -> None:
    """Say how a deployment stands: what differs from its plan, field by field, and what is ready.

    Exit code 0 where all is as planned, 6 where something differs or is not ready.

    Example: gpuplan status chat
    """
    from planner.provision.draw import draw_changes, draw_units
    from planner.provision.history import target_of
    from planner.provision.status import status as status_of
    from planner.provision.targets import driver_for

    engine = command.open_store(database)
    driver = driver_for(target or target_of(engine, name))
    with command.progressing("asking the target"):
        found = status_of(engine, driver, name)
    if json_output:
        command.print_json({**_json(found), "as_planned": found.as_planned})
    else:
        last, console = found.deployment, command.out()
        state = "being changed now" if found.changing else (
            "interrupted: the same command goes on" if last.state == "applying" else last.state)  # fmt: skip
        console.print(f"{name} at {last.target}: {state} ({last.purpose}, plan {last.plan_id})", markup=False)
        if last.reason:
            console.print(f"  {last.reason}", markup=False)
        draw_units(found.units, console)
        if found.drift:
            draw_changes(found.drift, "differs from its plan; what applying it again would do", console)
    raise typer.Exit(0 if found.as_planned else 6)


@reports_errors
def deployments(database: Database = None, json_output: Json = False) -> None:
    """List what was applied where: the newest state of each deployment.

    Example: gpuplan deployments
    """
    from planner.draw import draw_table
    from planner.provision import store
    from planner.types import Table

    found = store.newest(command.open_store(database))
    if json_output:
        command.print_json([_json(deployment) for deployment in found])
        return
    columns = ("name", "target", "state", "plan", "since")
    rows = tuple((each.name, each.target, each.state, each.plan_id[:12], f"{each.created_at:%Y-%m-%d %H:%M} UTC")
                 for each in found)  # fmt: skip
    draw_table(Table(title=counted(len(found), "deployment"), columns=columns, rows=rows), command.out())


def _json(value: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(type(value)).dump_python(value, mode="json")


def _show_changes(found: tuple[Change, ...], title: str, json_output: bool) -> None:
    from planner.provision.draw import draw_changes

    if json_output:
        command.print_json({"applied": False, "changes": [_json(change) for change in found]})
        return
    draw_changes(found, title, command.out())
    if any(change.action != "leave" for change in found):
        command.err().print("nothing was changed: --yes does it")


def _show_applied(applied: Applied, json_output: bool) -> None:
    from planner.provision.draw import draw_units, printable

    if json_output:
        document = {key: _json(getattr(applied, key)) for key in ("deployment", "units", "notes")}
        command.print_json({"applied": True, **document})
        return
    console = command.out()
    draw_units(applied.units, console)
    for note in applied.notes:
        console.print(Text(f"• {printable(note)}"), soft_wrap=True)
    last = applied.deployment
    console.print(f"{last.name} runs plan {last.plan_id} at {last.target}", markup=False, soft_wrap=True)
