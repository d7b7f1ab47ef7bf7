"""``gpuplan profiles measure``: an endpoint under load, or a GPU itself."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner import command
from planner.command import Database, Json, reports_errors
from planner.errors import InvalidInput, UnknownName
from planner.figures import counted

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from profiles.names import KnownNames

measure_app = typer.Typer(
    no_args_is_help=True,
    help="Measure an endpoint or a GPU; the same command again resumes a run that was cut off.",
)

Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE.jsonl", help="journal of the run, resumed where it exists; has a default name"),
]
Store = Annotated[bool, typer.Option("--store/--no-store", help="also put what was measured into the profile store")]


@measure_app.command("endpoint")
@reports_errors
def measure_endpoint(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="of an OpenAI-compatible server, e.g. http://localhost:8000")
    ],
    model: Annotated[str, typer.Option(help="as the server names it")],
    gpu: Annotated[str, typer.Option(help="GPU type that serves, e.g. H100")],
    stored_as: Annotated[str | None, typer.Option("--as", metavar="NAME", help="the model's own name")] = None,
    tp: Annotated[int, typer.Option(min=1, help="tensor-parallel degree")] = 1,
    pp: Annotated[int, typer.Option(min=1, help="pipeline-parallel degree")] = 1,
    dp: Annotated[int, typer.Option(min=1, help="attention data-parallel degree")] = 1,
    ep: Annotated[int, typer.Option(min=1, help="expert-parallel degree")] = 1,
    precision: Annotated[str, typer.Option(help="bf16, fp8, fp4 …")] = "unknown",
    engine: Annotated[str, typer.Option(help="vllm, sglang, trtllm …")] = "unknown",
    engine_version: Annotated[str, typer.Option(help="such as 0.11.0")] = "",
    input_tokens: Annotated[str, typer.Option("--input", help="tokens of prompts")] = "512,2048",
    output_tokens: Annotated[str, typer.Option("--output", help="tokens of answers")] = "128,512",
    concurrency: Annotated[str, typer.Option("--concurrency", help="requests in flight")] = "1,8,64",
    requests: Annotated[
        int | None, typer.Option("--requests", help="a point's; default 5 × concurrency, 20 or more")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="a point's at most")] = 300.0,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="environment variable that holds the key")
    ] = None,
    nvml: Annotated[
        str | None, typer.Option(metavar="0,1", help="GPUs of this machine that serve: samples power")
    ] = None,
    out: Out = None,
    store: Store = True,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Measure TTFT, TPOT and throughput of a server over a grid of lengths and concurrencies, through GuideLLM.

    Example: gpuplan profiles measure endpoint http://localhost:8000 --model meta-llama/Llama-3.1-8B --gpu H100 --tp 2
    """
    from profiles.ingest.format import Options
    from profiles.ingest.problems import build
    from profiles.measure import endpoint
    from profiles.measure.target import Target

    grid = endpoint.Grid(
        _numbers("--input", input_tokens), _numbers("--output", output_tokens), _numbers("--concurrency", concurrency),
        requests, seconds,
    )  # fmt: skip
    target = Target(url, model, api_key_env)
    connection, known = _store(database)
    said = {"tp": tp, "pp": pp, "dp": dp, "ep": ep, "precision": precision, "engine": engine,
            "engine_version": engine_version}  # fmt: skip
    checked = build(Options, said, {name: f"--{name.replace('_', '-')}" for name in said}, "")
    if (tp * dp) % ep:
        raise InvalidInput(f"{ep} does not divide tp × dp = {tp * dp}", field="--ep")
    served: dict[str, Any] = {"model": known.model(stored_as or model), "gpu": known.gpu(gpu, "--gpu"),
              **said, "precision": checked.precision}  # fmt: skip
    name = served["model"].rsplit("/", 1)[-1]
    journal = out or Path(f"measured-{name}-{served['gpu']}-tp{tp}.jsonl")
    outcome = endpoint.run(
        target, grid, served, known, journal, _say, _numbers("--nvml", nvml, least=0) if nvml else ()
    )
    _conclude(journal, asdict(outcome), connection if store else None, known, json_output)


@measure_app.command("gpu")
@reports_errors
def measure_gpu(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="gemm, bandwidth or decoder")] = "gemm",
    gpu: Annotated[str | None, typer.Option(help="GPU type, where its own name is not a known one")] = None,
    device: Annotated[str, typer.Option(help="cuda:N; cpu tries the tool and stores nothing")] = "cuda:0",
    precision: Annotated[str | None, typer.Option(help="e.g. bf16,fp8; default: all that the device has")] = None,
    shapes: Annotated[int, typer.Option(help="gemm: how many (m, n, k)")] = 300,
    largest: Annotated[int, typer.Option(help="gemm: bound of m, n and k")] = 16_384,
    seed: Annotated[int, typer.Option(help="gemm: which shapes")] = 0,
    largest_gib: Annotated[float, typer.Option("--largest-gib", help="bandwidth: largest buffer")] = 4.0,
    model: Annotated[str | None, typer.Option(help="decoder: a known model, whose shape it gets")] = None,
    batch: Annotated[str, typer.Option(help="decoder: requests in a step")] = "1,8,32,128",
    context: Annotated[str, typer.Option(help="decoder: tokens of each request")] = "512,2048,8192",
    out: Out = None,
    store: Store = True,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Measure a GPU with torch: matrix products, memory bandwidth, or a decoder with random weights.

    Example: gpuplan profiles measure gpu decoder --model meta-llama/Llama-3.1-8B
    """
    from profiles.measure.gpu_sweep import SWEEPS, Sweep, run

    if kind not in SWEEPS:
        raise UnknownName("kind of sweep", kind, SWEEPS, field="KIND", fix=f"one of {', '.join(SWEEPS)}")
    connection, known = _store(database)
    card = None
    if kind == "decoder" and model is not None:
        found = known.model_card(model)
        if found is None:
            raise UnknownName("model", model, {c.name for c in known.models.values()}, field="--model")
        card = found.model_dump(mode="json")
    sweep = Sweep(
        kind, device, tuple(part.strip() for part in (precision or "").split(",") if part.strip()), shapes, largest,
        largest_gib, _numbers("--batch", batch), _numbers("--context", context), seed, card,
    )  # fmt: skip
    if gpu is not None:
        known.gpu(gpu, "--gpu")
    journal = out or Path(f"measured-{kind}-{device.replace(':', '')}.jsonl")
    outcome = run(sweep, journal, _say)
    facts = None if outcome.device.startswith("CPU") or not store else connection
    _conclude(journal, asdict(outcome), facts, known, json_output, gpu=gpu)


def _store(database: str | None) -> tuple[Engine, KnownNames]:
    from profiles.names import KnownNames
    from profiles.store import snapshot

    connection = command.open_store(database)
    return connection, KnownNames.of(snapshot(connection))


def _conclude(
    journal: Path, outcome: dict[str, Any], connection: Engine | None, known: KnownNames, json_output: bool,
    **options: object,
) -> None:  # fmt: skip
    """Put what was measured into the store, and say how the run ended. Exit code 1 when no point has a result."""
    from profiles import ingest, store

    num_good = outcome["num_resumed"] + outcome["num_measured"]
    stored = "nothing stored"
    if connection is not None and num_good:
        stored = str(store.add(connection, ingest.read("gpuplan-journal", journal, known, **options).batch))
    for problem in outcome["problems"]:
        command.err().print(problem, markup=False)
    for note in outcome.get("notes", (outcome.get("note"),)):
        if note:
            command.err().print(f"note: {note}", markup=False)
    if json_output:
        command.print_json({"journal": str(journal), **outcome, "stored": stored})
    else:
        command.out().print(
            f"{journal}: {counted(outcome['num_resumed'], 'point')} before, {outcome['num_measured']} now, "
            f"{len(outcome['problems'])} with problems; {stored}",
            markup=False,
        )
    if not num_good:
        raise typer.Exit(1)


def _say(line: str) -> None:
    command.err().print(line, markup=False)


def _numbers(flag: str, text: str, least: int = 1) -> tuple[int, ...]:
    """Whole numbers separated by commas; ``InvalidInput`` at ``flag`` for anything else or less than ``least``."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InvalidInput(f"must be whole numbers separated by commas, not {text!r}", field=flag) from None
    for number in numbers:
        if number < least:
            raise InvalidInput(f"must be {least} or more, not {number}", field=flag)
    return tuple(dict.fromkeys(numbers))
