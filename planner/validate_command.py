"""``gpuplan validate``: how wrong the predictions are about a file of measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner import command
from planner.command import Database, Json, reports_errors
from planner.completion import validated_parts
from planner.errors import InvalidInput, MissingProfile, UnknownName

if TYPE_CHECKING:
    from profiles.validate import Report


@reports_errors
def validate(
    part: Annotated[
        str,
        typer.Argument(metavar="serving|power|training", help="what the file measures", autocompletion=validated_parts),
    ],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="CSV",
            help="measurements, in the columns of inference-latency, inference-power, training-iterations or "
            "fsdp-throughput",
        ),
    ],
    hold_out: Annotated[
        str | None,
        typer.Option(
            "--hold-out",
            metavar="tp|lengths|concurrency|batch|model|gpu|gpus|random",
            help="cross-validate: predict each of these from the other rows of the file, not from the store",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="of the random folds")] = 0,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", dir_okay=False, help="predicted against measured: .html or .png"),
    ] = None,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Predict every row of a file of measurements and report the error; rows that cannot be predicted are named.

    Examples: gpuplan validate serving latency.csv · gpuplan validate power power.csv --hold-out batch --plot power.html
    · gpuplan validate training steps.csv --hold-out model
    """
    from profiles.store import snapshot
    from profiles.validate import PARTS
    from profiles.validate import validate as run

    if part not in PARTS:
        raise UnknownName("kind of file", part, PARTS, fix=f"one of {', '.join(PARTS)}")
    _check_plot(plot)
    facts = snapshot(command.open_store(database))
    with command.progressing(f"predicting the rows of {file.name}"):
        report = run(PARTS[part], file, facts, hold_out=hold_out, seed=seed)
    if plot is not None:  # first: whoever reads the report may close the pipe early
        _draw_plot(report, plot)
    if json_output:
        command.print_json(report.document())
    else:
        from planner.draw import draw
        from planner.validate_view import view

        draw(view(report), command.out())
    _require_predictions(report)


def _check_plot(plot: Path | None) -> None:
    """Refuse, before any work, a picture that cannot be drawn."""
    from profiles.validate import require_matplotlib

    if plot is None:
        return
    if plot.suffix.lower() not in (".html", ".png"):
        raise InvalidInput("must end in .html or .png", field="--plot", fix=f"name it {plot.stem or 'parity'}.html")
    if plot.suffix.lower() == ".png":
        require_matplotlib()


def _draw_plot(report: Report, plot: Path) -> None:
    from profiles.validate import parity_html, parity_png

    drawn = parity_png(report) if plot.suffix.lower() == ".png" else parity_html(report)
    command.write_whole(plot, drawn, option="--plot")
    command.err().print(f"{plot} written", markup=False)


def _require_predictions(report: Report) -> None:
    """Fail where nothing was predicted: for want of usable rows, or of anything known about their models and GPUs."""
    if report.judged:
        return
    first = report.unpredicted[0]
    told = f"none of the {len(report.unpredicted)} rows can be predicted; line {first.row}: {first.reason}"
    if report.rows_readable:
        raise MissingProfile(
            told,
            field=report.file,
            fix="import measurements of these models, or their shapes (gpuplan profiles import hf-config), first",
        )
    raise InvalidInput(told, field=report.file, fix="correct the rows named above")
