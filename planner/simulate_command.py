"""``gpuplan simulate``: what requests experience on a plan, before anyone pays for it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from planner import command
from planner.command import Database, Json, reports_errors
from planner.errors import InvalidInput, UnknownName
from planner.progress import progress

if TYPE_CHECKING:
    from planner.serving.plan import ServingPlan
    from planner.serving.spec import Service
    from planner.simulate import Failure, Options, Traffic

Process = Literal["poisson", "gamma", "on-off"]
RoutingRule = Literal["fractions", "shortest-queue"]
"""As in ``planner.simulate``, which is slow to import."""


@reports_errors
def simulate(
    plan: Annotated[Path, typer.Argument(help="a plan written by `gpuplan plan serving ... --out FILE`")],
    trace: Annotated[
        list[str] | None,
        typer.Option(
            "--trace",
            metavar="[SERVICE=]CSV",
            help="requests to replay (time, input and output tokens); with --arrivals only their sizes",
        ),
    ] = None,
    arrivals: Annotated[
        Process | None,
        typer.Option("--arrivals", metavar="poisson|gamma|on-off", help="generate the times of requests"),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="R", help="requests/s of --arrivals; default: as planned")
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option("--duration", metavar="S", help="cut or repeat the trace; default of --arrivals: 3600"),
    ] = None,
    cv: Annotated[
        float, typer.Option("--cv", metavar="C", help="of gamma arrivals: 1 is Poisson, more is burstier")
    ] = 2.0,
    on_s: Annotated[float, typer.Option("--on-s", metavar="S", help="mean length of bursts of on-off arrivals")] = 30.0,
    off_s: Annotated[float, typer.Option("--off-s", metavar="S", help="and of the pauses between them")] = 30.0,
    rate_multiplier: Annotated[
        float, typer.Option("--rate-multiplier", metavar="X", help="as if X times as many users sent the trace")
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="equal seeds give equal results")] = 0,
    routing: Annotated[
        RoutingRule,
        typer.Option(
            "--routing", metavar="fractions|shortest-queue", help="to units by the plan's shares, or least loaded"
        ),
    ] = "fractions",
    token_budget: Annotated[
        int, typer.Option("--token-budget", min=1, metavar="N", help="tokens per iteration: decoded ones, then prompts")
    ] = 2048,
    max_running: Annotated[
        int | None, typer.Option("--max-running", min=1, metavar="N", help="requests at once per replica")
    ] = None,
    start_up: Annotated[float, typer.Option("--start-up", min=0, metavar="S", help="until replicas are ready")] = 0.0,
    fail: Annotated[
        list[str] | None,
        typer.Option("--fail", metavar="UNIT#REPLICA@AT+FOR", help="a replica fails: chat/H100#0@600+120 (seconds)"),
    ] = None,
    mtbf_hours: Annotated[
        float | None, typer.Option("--mtbf-hours", metavar="H", help="mean time between failures of a replica")
    ] = None,
    repair: Annotated[
        float, typer.Option("--repair", min=0, metavar="S", help="time of a repair, with --mtbf-hours")
    ] = 600.0,
    warm_up: Annotated[
        float, typer.Option("--warm-up", min=0, metavar="S", help="do not measure requests before")
    ] = 0.0,
    link_latency_ms: Annotated[
        float, typer.Option("--link-latency-ms", min=0, metavar="MS", help="of a KV transfer")
    ] = 0.0,
    overlap_layers: Annotated[
        bool, typer.Option("--overlap-layers", help="send KV layer by layer while the prompt is computed")
    ] = False,
    requests_out: Annotated[
        Path | None,
        typer.Option("--requests-out", metavar="FILE", dir_okay=False, help="one row per request: .csv or .parquet"),
    ] = None,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Replay a request trace on a serving plan, engine iteration by engine iteration: latencies, SLO, power.

    Examples: gpuplan simulate plan.json --trace requests.csv ·
    gpuplan simulate plan.json --arrivals gamma --rate 20 --cv 3 --duration 1800
    """
    from planner.service import read_plan
    from planner.serving.plan import ServingPlan

    made = read_plan(plan)
    if not isinstance(made, ServingPlan):
        raise InvalidInput(f"is a plan of kind {made.kind}; only serving plans can be replayed", field=str(plan))
    units = [a.unit for a in made.allocation]
    options = _options(
        seed=seed, routing=routing, token_budget=token_budget, max_running=max_running, start_up_s=start_up,
        failures=tuple(failure(text, units) for text in fail or ()), mtbf_hours=mtbf_hours, repair_s=repair,
        warm_up_s=warm_up, link_latency_ms=link_latency_ms, overlap_layers=overlap_layers,
    )  # fmt: skip
    if requests_out is not None:
        _spare(requests_out, [str(plan), *(trace or [])])
    asked = _Asked(arrivals, rate, duration, cv, on_s, off_s, rate_multiplier, seed)
    _run(made, asked.traffic(made, trace or []), options, requests_out, database, json_output)


def _run(
    plan: ServingPlan, traffic: dict[str, Traffic], options: Options, requests_out: Path | None, database: str | None,
    json_output: bool,
) -> None:  # fmt: skip
    import planner.simulate
    from planner.draw import draw
    from planner.simulate import simulate as replay
    from planner.simulate.requests_file import requests_file
    from planner.simulate.view import view
    from profiles.store import snapshot

    facts = snapshot(command.open_store(database))
    if not any(Path(planner.simulate.__file__).parent.glob("__pycache__/kernel.*.nbi")):
        command.err().print("compiling the replay: some ten seconds, the first time only")
    with requests_file(requests_out) if requests_out else nullcontext() as rows, command.progressing("replaying"):
        found = replay(plan, traffic, facts, options, progress=partial(progress, ""), rows=rows)
    if json_output:
        command.print_json(found.model_dump_json(indent=2))
    else:
        draw(view(found, plan.spec), command.out())


def _options(**values: object) -> Options:
    from planner.documents import validated
    from planner.simulate import Options

    return validated(Options, values, "options")


def failure(text: str, units: list[str]) -> Failure:
    """A failure as ``UNIT#REPLICA@AT+FOR``; without ``+FOR`` the replica never comes back. Units may hold # and @, and
    be cut short where that leaves one.
    """
    from planner.simulate import Failure

    unit, hash_mark, rest = text.rpartition("#")
    replica, at_sign, times = rest.partition("@")
    at_s, plus, for_s = times.partition("+")
    try:
        if not (hash_mark and at_sign):
            raise ValueError
        meant = [name for name in units if name.startswith(unit)]
        unit = meant[0] if len(meant) == 1 and unit not in units else unit
        return Failure(unit=unit, replica=int(replica), at_s=float(at_s), for_s=float(for_s) if plus else float("inf"))
    except ValueError:  # of pydantic too
        raise InvalidInput(
            f"{text!r} is not a failure", field="--fail", fix="write UNIT#REPLICA@AT+FOR, times in seconds, e.g. "
            "'chat/H100 ×2 fp8 vllm @ aws/us-east-1/p5.48xlarge/on_demand#0@600+120'",
        ) from None  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    """What the command line says about traffic."""

    arrivals: Process | None
    rate: float | None
    duration: float | None
    cv: float
    on_s: float
    off_s: float
    rate_multiplier: float
    seed: int

    def check(self, traces: list[str]) -> None:
        if self.arrivals is None and not traces:
            raise InvalidInput(
                "there is no traffic to replay", field="--trace", fix="give --trace CSV, or --arrivals poisson"
            )
        if self.rate is not None and self.arrivals is None:
            raise InvalidInput(
                "a trace has its own rate", field="--rate", fix="give --rate-multiplier, or --arrivals with --rate"
            )

    def traffic(self, plan: ServingPlan, traces: list[str]) -> dict[str, Traffic]:
        """Of each service that has some. Raises ``InvalidInput`` where options contradict each other."""
        from planner.simulate import traffic_of_trace
        from planner.simulate.of_plan import planned_services

        self.check(traces)
        services = planned_services(plan)
        files = _files(traces, list(services))
        if self.arrivals is None:
            return {
                name: traffic_of_trace(
                    file, rate_multiplier=self.rate_multiplier, duration_s=self.duration, seed=self.seed + i
                )
                for i, (name, file) in enumerate(files.items())
            }
        if self.rate is not None and len(services) > 1:
            raise InvalidInput(f"does not say which of {len(services)} services it is for", field="--rate",
                               fix="leave it out to replay each at its planned rate")  # fmt: skip
        return {
            name: self._generated(self.arrivals, service, files.get(name), i)
            for i, (name, service) in enumerate(services.items())
        }

    def _generated(self, process: Process, service: Service, file: Path | None, number: int) -> Traffic:
        from planner.simulate import Sizes, generated, sizes_of_trace

        sizes = Sizes.of_service(service) if file is None else sizes_of_trace(file)
        rate = (
            sum(bucket.requests_per_s for bucket in service.workload.all_buckets()) if self.rate is None else self.rate
        )
        return generated(
            process, sizes, requests_per_s=rate * self.rate_multiplier,
            duration_s=3600.0 if self.duration is None else self.duration,
            seed=self.seed + number, cv=self.cv, on_s=self.on_s, off_s=self.off_s,
        )  # fmt: skip


def _files(traces: list[str], services: list[str]) -> dict[str, Path]:
    """Trace of each service: ``SERVICE=CSV``, or a lone file where there is one service."""
    files: dict[str, Path] = {}
    for text in traces:
        name, equals, file = text.partition("=")
        if not (equals and (name in services or not Path(text).exists())):
            name, file = services[0], text
            if len(services) > 1:
                raise InvalidInput(
                    f"does not say which of the services {', '.join(services)} it is for", field=f"--trace {text}",
                    fix=f"write --trace {services[0]}={text}",
                )  # fmt: skip
        if name not in services:
            raise UnknownName("service", name, services, field="--trace", fix=f"services: {', '.join(services)}")
        if name in files:
            raise InvalidInput(f"service {name!r} has two traces", field="--trace", fix="give one")
        files[name] = Path(file)
    return files


def _spare(written: Path, read: list[str]) -> None:
    """Refuse to write over what is read: the plan, or a trace given as ``[SERVICE=]CSV``."""
    if written.resolve() in {Path(name).resolve() for text in read for name in (text, text.partition("=")[2])}:
        raise InvalidInput("is read here and would be overwritten", field=str(written),
                           fix="choose another --requests-out")  # fmt: skip
