"""``gpuplan plan KIND``, and what is done with a plan in a file: ``check`` and ``render``."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from planner import command
from planner.command import Database, Json, reports_errors
from planner.completion import render_targets
from planner.errors import InvalidInput
from planner.figures import counted
from planner.types import EXIT_CODES, SolveOptions

if TYPE_CHECKING:
    from planner.service import Answer


class _Kinds(TyperGroup):
    """The kinds of plans; tells who gave a spec first that its kind comes before it."""

    def resolve_command(self, context: Any, words: list[str]) -> Any:
        first = words[0]
        if first not in self.commands and Path(first).suffix:
            kind = next((word for word in words[1:] if word in self.commands), "KIND")
            context.fail(f"The kind of plan comes first: gpuplan plan {kind} {shlex.quote(first)}")
        return super().resolve_command(context, words)


plan_app = typer.Typer(no_args_is_help=True, help="Make a plan: gpuplan plan serving examples/chat.yaml", cls=_Kinds)

TimeLimit = Annotated[float, typer.Option("--time-limit", metavar="S", min=0.1, max=86_400, help="seconds to solve")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="equal seeds give equal plans")]
Gap = Annotated[float, typer.Option("--gap", min=0, max=1, help="relative gap at which a plan counts as optimal")]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", dir_okay=False, help="also write the plan as JSON")]

MOST_VIOLATIONS = 12
"""Shown to people; a machine gets all."""


@plan_app.command("serving")
@reports_errors
def plan_serving(
    spec: Annotated[Path, typer.Argument(help="spec (YAML or JSON), or a Mélange config")],
    trace: Annotated[
        Path | None,
        typer.Option("--trace", metavar="CSV", help="take the traffic from this trace (time, input and output tokens)"),
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(
            "--verify", metavar="CSV", help="replay this trace on the plan, and plan again until it meets the SLO"
        ),
    ] = None,
    attain: Annotated[
        float, typer.Option("--attain", min=0.01, max=1, help="share of requests that should meet it, with --verify")
    ] = 0.99,
    row: Annotated[
        Path | None,
        typer.Option("--row", metavar="FILE", help="plan within what this row's power carries (power spec or plan)"),
    ] = None,
    time_limit: TimeLimit = 30.0,
    seed: Seed = 0,
    gap: Gap = 1e-4,
    out: Out = None,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Plan the cheapest GPU mix for a service's traffic and SLO.

    Examples: gpuplan plan serving examples/chat.yaml · gpuplan plan serving examples/chat.yaml --trace requests.csv
    """
    options = SolveOptions(time_limit_s=time_limit, seed=seed, gap=gap)
    answered: Answer | None = None
    if row is not None:
        if verify is not None:
            raise InvalidInput("cannot be combined with --verify", field="--row", fix="plan on the row first")
        from planner.on_row import answer_on_row

        answered = partial(answer_on_row, row=row)
    elif verify is not None:
        from planner.replayed import answer_replayed

        answered = partial(answer_replayed, trace=verify, target=attain)
    _plan("serving", [spec], {"trace": trace}, options, out, database, json_output, answered)


@plan_app.command("experts")
@reports_errors
def plan_experts(
    files: Annotated[
        list[Path], typer.Argument(help="a spec, or recorded loads (.json with logical_count, .npy, .npz, .pt)")
    ],
    gpus: Annotated[int | None, typer.Option("--gpus", help="GPUs that hold experts")] = None,
    nodes: Annotated[int | None, typer.Option("--nodes", help="nodes they are in")] = None,
    slots_per_gpu: Annotated[int | None, typer.Option("--slots-per-gpu", help="expert copies a GPU holds")] = None,
    groups: Annotated[int | None, typer.Option("--groups", help="expert groups (group-limited routing)")] = None,
    current: Annotated[
        Path | None, typer.Option("--current", metavar="PLAN", help="the placement that runs now")
    ] = None,
    max_moves: Annotated[int | None, typer.Option("--max-moves", help="copies that may move per layer")] = None,
    time_limit: TimeLimit = 30.0,
    seed: Seed = 0,
    gap: Gap = 1e-4,
    out: Out = None,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Plan which GPU holds which MoE expert and its copies. Several load files are several workloads, planned robustly.

    Example: gpuplan plan experts prefill.json decode.json --gpus 32 --nodes 4 --slots-per-gpu 9
    """
    options = SolveOptions(time_limit_s=time_limit, seed=seed, gap=gap)
    extra = {"gpus": gpus, "nodes": nodes, "slots_per_gpu": slots_per_gpu, "groups": groups, "current": current,
             "max_moves": max_moves}  # fmt: skip
    _plan("experts", files, extra, options, out, database, json_output)


@plan_app.command("training")
@reports_errors
def plan_training(
    spec: Annotated[Path, typer.Argument(help="spec (YAML or JSON)")],
    time_limit: TimeLimit = 60.0,
    seed: Seed = 0,
    gap: Gap = 1e-4,
    out: Out = None,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Plan how to train a model: parallel degrees, micro-batch, recomputation, and which rank runs on which GPU.

    Example: gpuplan plan training examples/training.yaml
    """
    options = SolveOptions(time_limit_s=time_limit, seed=seed, gap=gap)
    _plan("training", [spec], {}, options, out, database, json_output)


@plan_app.command("power")
@reports_errors
def plan_power(
    spec: Annotated[Path, typer.Argument(help="spec (YAML or JSON)")],
    time_limit: TimeLimit = 300.0,
    seed: Seed = 0,
    gap: Gap = 1e-4,
    out: Out = None,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Plan how many servers a row's power carries, under which capping, and on which feeds they go.

    Example: gpuplan plan power examples/power.yaml
    """
    options = SolveOptions(time_limit_s=time_limit, seed=seed, gap=gap)
    _plan("power", [spec], {}, options, out, database, json_output)


def _plan(
    kind: str, files: list[Path], extra: dict[str, Any], options: SolveOptions, out: Path | None, database: str | None,
    json_output: bool, answered: Answer | None = None,
) -> None:  # fmt: skip
    from planner.registry import planner_for
    from planner.service import answer, keep

    planner = planner_for(kind)
    engine = command.open_store(database)
    with command.progressing("reading the request"):
        spec = planner.load(files, extra)
    with command.progressing("planning", options.time_limit_s):
        plan = answered(spec, engine, options) if answered else answer(kind, spec, engine, options)
    if out is not None:
        command.write_whole(out, plan.model_dump_json(indent=2) + "\n")
    if json_output:
        command.print_json(plan.model_dump_json(indent=2))
    else:
        from planner.draw import draw

        draw(planner.view(plan), command.out())
    keep(plan, spec, engine)  # last: a store that cannot be written must not cost a finished plan
    raise typer.Exit(EXIT_CODES[plan.outcome])


@reports_errors
def check(
    plan: Annotated[Path, typer.Argument(help="a plan written by `gpuplan plan ... --out FILE`")],
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Check a plan again, independently of the solver, against what the store knows now.

    Example: gpuplan check plan.json
    """
    from planner.service import check_plan, facts_digest, read_plan

    made = read_plan(plan)
    engine = command.open_store(database)
    with command.progressing("checking"):
        result = check_plan(made, engine)
    if json_output:
        command.print_json({"kind": made.kind, "outcome": made.outcome, **result.model_dump(mode="json")})
    elif result.passed:
        command.out().print(f"{plan}: holds ({made.outcome})", markup=False)
    else:
        command.out().print(f"{plan}: {counted(len(result.violations), 'violation')}", markup=False)
        if made.profile_digest != facts_digest(engine):
            command.out().print("  the store has changed since this plan was made: plan again", markup=False)
        for violation in result.violations[:MOST_VIOLATIONS]:
            command.out().print(f"  {violation.constraint}: {violation.detail}", markup=False)
        if len(result.violations) > MOST_VIOLATIONS:
            command.out().print(f"  and {len(result.violations) - MOST_VIOLATIONS} more: --json has all", markup=False)
    raise typer.Exit(0 if result.passed else 1)


@reports_errors
def render(
    plan: Annotated[Path, typer.Argument(help="a plan written by `gpuplan plan ... --out FILE`")],
    target: Annotated[str, typer.Option("--target", help="the system to write for", autocompletion=render_targets)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder for the files")],
    json_output: Json = False,
) -> None:
    """Write a plan as the files that a real system reads.

    Example: gpuplan render plan.json --target kubernetes --out manifests
    """
    from planner.render.targets import render_plan
    from planner.service import read_plan

    with command.progressing("rendering"):
        files = render_plan(read_plan(plan), target)
    for name, text in files.items():
        command.write_whole(out / name, text)
    if json_output:
        command.print_json({"files": [str(out / name) for name in files]})
    else:
        command.out().print("\n".join(str(out / name) for name in files), markup=False)
