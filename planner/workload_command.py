"""``gpuplan workload``: what traffic was seen, as the workload of a serving spec."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from planner import command
from planner.command import Json, reports_errors
from planner.errors import InvalidInput

if TYPE_CHECKING:
    from planner.serving.observed import Observed
    from planner.types import View

MOST_BUCKETS = 30
"""Shown to people, those with most requests; ``--out`` and ``--json`` have all."""


@reports_errors
def workload(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|URL …",
            help="a trace, log or benchmark report (CSV, JSON lines, Parquet, GuideLLM, AIPerf, vllm bench), or vLLM's "
            "metrics: a URL, a Prometheus answer, or scrapes in their order",
        ),
    ],
    of: Annotated[
        Literal["busiest", "mean"], typer.Option("--of", metavar="busiest|mean", help="which rate to plan for")
    ] = "busiest",
    window: Annotated[float, typer.Option("--window", metavar="S", help="that the busiest is sought among")] = 300.0,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="R", help="requests/s, instead of what was seen")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="of metrics of several models")] = None,
    correlation: Annotated[
        float | None,
        typer.Option("--correlation", metavar="R", help="of metrics: rank correlation of input and output tokens; 0"),
    ] = None,
    interval: Annotated[
        float | None, typer.Option("--interval", metavar="S", help="between scrapes; a URL is scraped twice")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", dir_okay=False, help="write it as YAML, to go into a spec")
    ] = None,
    json_output: Json = False,
) -> None:
    """Show the request sizes and rates in a trace, a log, a benchmark report or vLLM's metrics.

    Examples: gpuplan workload requests.jsonl · gpuplan workload http://localhost:8000/metrics --interval 60
    """
    from planner.documents import validated
    from planner.draw import draw
    from planner.serving.observed import Reading, observe

    reading = validated(Reading, {
        "rate": of, "window_s": window, "requests_per_s": rate, "model": model, "correlation": correlation,
        "interval_s": interval,
    }, "options")  # fmt: skip
    if out is not None and out.suffix not in (".yaml", ".yml"):
        raise InvalidInput("must end in .yaml", field=str(out))
    with command.progressing("reading"):
        seen = observe(sources, reading)
    if out is not None:
        command.write_whole(out, _yaml(seen))
    if json_output:
        command.print_json(seen.model_dump_json(indent=2))
    else:
        draw(_view(seen), command.out())


def _yaml(seen: Observed) -> str:
    import yaml

    document: dict[str, Any] = {"workload": seen.workload.model_dump(mode="json", exclude_defaults=True)}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _view(seen: Observed) -> View:
    from planner.types import Table, View

    buckets = sorted(seen.workload.buckets, key=lambda bucket: -bucket.requests_per_s)
    more = f" (the {MOST_BUCKETS} largest of {len(buckets)})" if len(buckets) > MOST_BUCKETS else ""
    sizes = Table(
        title=f"Request sizes{more}",
        columns=("input tokens", "output tokens", "requests/s", "mean input", "mean output"),
        rows=tuple(
            (f"{b.input_tokens[0]:,}–{b.input_tokens[1]:,}", f"{b.output_tokens[0]:,}–{b.output_tokens[1]:,}",
             f"{b.requests_per_s:.4g}", f"{b.size[0]:,.0f}", f"{b.size[1]:,.0f}")
            for b in buckets[:MOST_BUCKETS]
        ),
        numeric=("input tokens", "output tokens", "requests/s", "mean input", "mean output"),
    )  # fmt: skip
    hours = seen.hourly_requests_per_s
    facts = [("planned for", f"{seen.requests_per_s:.4g} requests/s")]
    if hours:
        first = f" from {seen.first_hour:%Y-%m-%d %H:00} UTC" if seen.first_hour else ""
        facts.append(("hours seen", f"{len(hours)}{first}: {min(hours):.3g} to {max(hours):.3g} requests/s"))
    return View(headline=seen.workload.description, facts=tuple(facts), tables=(sizes,))
