"""The command line: which commands there are. Each parses, calls the library and prints; the rest lives behind it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Annotated

import typer
from typer.core import TyperGroup

from planner import apply_command, command
from planner.command import Database, Json, reports_errors
from planner.compare_command import compare
from planner.dashboard_command import dashboard
from planner.doctor_command import doctor
from planner.plan_commands import check, plan_app, render
from planner.profile_commands import profiles_app
from planner.replan_command import replan
from planner.services_command import services_app
from planner.simulate_command import simulate
from planner.sweep_command import sweep
from planner.validate_command import validate
from planner.workload_command import workload

ORDER = (
    "plan", "check", "compare", "simulate", "sweep", "render",
    "dashboard", "serve", "worker", "keys",
    "profiles", "workload", "validate",
    "services", "replan",
    "apply", "status", "rollback", "withdraw", "deployments",
    "init", "doctor", "backup", "restore",
)  # fmt: skip
"""In which ``gpuplan --help`` lists the commands: as people come to need them."""


class _InOrder(TyperGroup):
    """Lists commands in ``ORDER``; left alone, every group of commands would come last."""

    def list_commands(self, _: object) -> list[str]:
        return sorted(self.commands, key=ORDER.index)


app = typer.Typer(
    name="gpuplan",
    cls=_InOrder,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        command.out().print(f"gpuplan {version('gpuplan')}", markup=False)
        raise typer.Exit


@app.callback()
def gpuplan(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Plan GPU clusters from measured performance: proven, checked plans.

    Start with: gpuplan plan serving examples/chat.yaml
    """


@reports_errors
def init(database: Database = None, json_output: Json = False) -> None:
    """Create or upgrade the profile store and load the built-in catalogue. Safe to repeat.

    Example: gpuplan init --database postgresql://user@host/gpuplan
    """
    from dataclasses import asdict

    from profiles.db import DEFAULT_URL, shown

    url = database or os.environ.get(command.DATABASE_VARIABLE) or DEFAULT_URL
    with command.progressing("loading the catalogue"):
        engine, changes = command.initialise_store(url)
    if json_output:
        command.print_json({"database": shown(engine.url), "changes": asdict(changes)})
    else:
        command.out().print(f"{shown(engine.url)}: {changes}", markup=False)


for name, typers, panel in (
    ("plan", plan_app, command.PLANS),
    ("profiles", profiles_app, command.FACTS),
    ("services", services_app, command.NIGHTLY),
):
    app.add_typer(typers, name=name, rich_help_panel=panel)
for panel, functions in {
    command.PLANS: (check, compare, simulate, sweep, render),
    command.SERVICE: (dashboard,),
    command.FACTS: (workload, validate),
    command.NIGHTLY: (replan,),
    command.RUNNING: (apply_command.apply, apply_command.status, apply_command.rollback, apply_command.withdraw,
                      apply_command.deployments),
    command.STORE: (init, doctor),
}.items():  # fmt: skip
    for function in functions:
        app.command(rich_help_panel=panel)(function)
import_module("api.commands").register(app)  # by name: the service is built on this package, not the other way round


def main() -> None:
    """Entry point of the ``gpuplan`` command."""
    app()


if __name__ == "__main__":
    main()
