"""``gpuplan sweep``: the same question many times with changes, as one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from planner import command
from planner.command import Database, Json, reports_errors
from planner.completion import swept_kinds
from planner.errors import InvalidInput

if TYPE_CHECKING:
    from planner.sweep.spec import SweepAnswer

MOST_ROWS = 50
"""Shown to people; ``--out`` and ``--json`` have all."""

EngineName = Literal["local", "ray"]


@reports_errors
def sweep(
    kind: Annotated[
        str, typer.Argument(help="serving, experts, training, power, or simulation", autocompletion=swept_kinds)
    ],
    spec: Annotated[Path, typer.Argument(help="base spec; for simulation a serving plan, or a file with plan: in it")],
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="PATH=V,V,…",
            help="a field and its values: services[0].slo.tpot_ms=50,100 ([*]: all entries; x2: twice what is there)",
        ),
    ] = None,
    scenarios: Annotated[
        Path | None, typer.Option("--scenarios", metavar="FILE", help="a list of {path: value, …} instead of --vary")
    ] = None,
    engine: Annotated[
        EngineName | None, typer.Option("--engine", metavar="local|ray", help="default: GPUPLAN_ENGINE, or local")
    ] = None,
    time_limit: Annotated[
        float, typer.Option("--time-limit", metavar="S", min=0.1, max=86_400, help="seconds for each scenario")
    ] = 30.0,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="equal seeds give equal plans")] = 0,
    gap: Annotated[float, typer.Option("--gap", min=0, max=1, help="relative gap that counts as optimal")] = 1e-4,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", dir_okay=False, help="also write all rows: .csv or .json")
    ] = None,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Plan a base spec many times with changes: every combination of the values that --vary lists.

    Examples: gpuplan sweep serving examples/chat.yaml --vary 'services[0].workload.requests_per_s=4,8,16' ·
    gpuplan sweep simulation plan.json --vary rate_multiplier=0.5,1,2 --vary options.seed=0,1,2
    """
    from planner.documents import validated
    from planner.draw import draw_table
    from planner.sweep.run import sweep as run_sweep
    from planner.sweep.spec import SweepRequest
    from profiles.store import snapshot

    if out is not None and out.suffix not in (".csv", ".json"):
        raise InvalidInput("must end in .csv or .json", field=str(out))
    request = validated(SweepRequest, {
        "kind": kind, "spec": _base(kind, spec), "vary": [_varied(text) for text in vary or ()],
        "scenarios": _listed(scenarios), "time_limit_s": time_limit, "seed": seed, "gap": gap,
    }, "options")  # fmt: skip
    facts = snapshot(command.open_store(database))
    with command.progressing("sweeping"):
        answer = run_sweep(request, facts, engine)
    text = answer.model_dump_json(indent=2) + "\n"
    if out is not None:
        command.write_whole(out, text if out.suffix == ".json" else _csv(answer))
    if json_output:
        command.print_json(text.rstrip("\n"))
    else:
        from planner.sweep.view import table

        draw_table(table(answer, MOST_ROWS), command.out())
    # Nothing at all came of it: most likely one mistake that all scenarios share.
    raise typer.Exit(InvalidInput.exit_code if answer.num_failed == len(answer.rows) else 0)


def _base(kind: str, path: Path) -> dict[str, Any]:
    """The base spec in a file: as the planner of that kind loads it, or what is replayed."""
    from planner.documents import read_document, validated
    from planner.registry import planner_for

    if kind != "simulation":
        base: dict[str, Any] = planner_for(kind).load([path], {}).model_dump(mode="json")
        return base
    document = read_document(path)
    if isinstance(document, dict) and "outcome" in document:
        return {"plan": document}
    if isinstance(document, dict) and isinstance(document.get("plan"), str):
        return {**document, "plan": read_document(path.parent / document["plan"])}
    from planner.sweep.replays import Replay

    return validated(Replay, document, str(path)).model_dump(mode="json")


def _varied(text: str) -> dict[str, Any]:
    """``PATH=V,V`` as a path and its values: JSON where it is JSON, ``x2`` for twice what is there, else text."""
    path, equals, values = text.partition("=")
    if not (equals and path.strip() and values.strip()):
        raise InvalidInput(f"{text!r:.80} is not PATH=VALUE,VALUE", field="--vary",
                           fix="write --vary 'services[0].workload.requests_per_s=1,2,5'")  # fmt: skip
    try:
        return {"path": path.strip(), "values": json.loads(f"[{values}]")}
    except (ValueError, RecursionError):
        return {"path": path.strip(), "values": [_value(one.strip()) for one in values.split(",")]}


def _value(text: str) -> Any:
    try:
        return {"times": json.loads(text[1:])} if text[:1] in ("x", "×") else json.loads(text)
    except ValueError:
        return text


def _listed(path: Path | None) -> list[Any]:
    from planner.documents import read_document

    if path is None:
        return []
    found = read_document(path)
    if not isinstance(found, list):
        raise InvalidInput("is not a list of scenarios", field=str(path), fix="write [{path: value, …}, …]")
    return found


def _csv(answer: SweepAnswer) -> str:
    """One line per scenario: what changed, the outcome, every figure of the answers."""
    import csv
    import io

    paths = list(dict.fromkeys(path for row in answer.rows for path in row.changes))
    figures = list(dict.fromkeys(name for row in answer.rows for name in row.figures))
    told = ("outcome", "objective", "bound", "gap", "headline", "digest", "error", "field")
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*paths, *told[:4], *figures, *told[4:]])
    for row in answer.rows:
        changes = (json.dumps(row.changes[path]) if path in row.changes else "" for path in paths)
        numbers = (row.figures.get(name, "") for name in figures)
        first, last = ([getattr(row, name) for name in part] for part in (told[:4], told[4:]))
        lines.writerow([*changes, *first, *numbers, *last])
    return text.getvalue()
