"""The command line: which commands there are. Each parses, calls the library and prints; the rest lives behind it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Annotated

import typer

from planner import apply_command, command
from planner.command import Database, Json, reports_errors
from planner.plan_commands import check, plan_app, render
from planner.profile_commands import profiles_app
from planner.replan_command import replan
from planner.services_command import services_app
from planner.simulate_command import simulate
from planner.sweep_command import sweep
from planner.validate_command import validate
from planner.workload_command import workload

PLANS, FACTS, NIGHTLY, RUNNING = "Plans", "Facts", "Every night", "What runs"
"""Parts of ``gpuplan --help``."""

app = typer.Typer(
    name="gpuplan",
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
    """Create or upgrade the profile store and load the built-in catalogue. Safe to repeat."""
    from dataclasses import asdict

    from profiles.db import DEFAULT_URL, shown

    url = database or os.environ.get(command.DATABASE_VARIABLE) or DEFAULT_URL
    with command.working("loading the catalogue"):
        engine, changes = command.initialise_store(url)
    if json_output:
        command.print_json({"database": shown(engine.url), "changes": asdict(changes)})
    else:
        command.out().print(f"{shown(engine.url)}: {changes}", markup=False)


app.add_typer(plan_app, name="plan", rich_help_panel=PLANS)
for plans in (check, simulate, sweep, render):
    app.command(rich_help_panel=PLANS)(plans)
app.command(rich_help_panel=FACTS)(init)
app.add_typer(profiles_app, name="profiles", rich_help_panel=FACTS)
for facts in (workload, validate):
    app.command(rich_help_panel=FACTS)(facts)
app.add_typer(services_app, name="services", rich_help_panel=NIGHTLY)
app.command(rich_help_panel=NIGHTLY)(replan)
for running in (apply_command.apply, apply_command.status, apply_command.rollback, apply_command.withdraw,
                apply_command.deployments):  # fmt: skip
    app.command(rich_help_panel=RUNNING)(running)
import_module("api.commands").register(app)  # by name: the service is built on this package, not the other way round


def main() -> None:
    """Entry point of the ``gpuplan`` command."""
    app()
