"""``gpuplan profiles``: what is known, importing measurements and prices, exporting them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner import command, completion
from planner.command import Database, Json, reports_errors
from planner.errors import InvalidInput, UnknownName
from planner.figures import counted
from planner.measure_command import measure_app
from planner.types import Table
from profiles.types import Facts, GpuType, ModelCard, Price

if TYPE_CHECKING:
    from profiles.names import KnownNames

profiles_app = typer.Typer(
    no_args_is_help=True,
    help="What is known: gpuplan profiles list · show H100 · import vllm-bench FILE --model M --gpu H100",
)

profiles_app.add_typer(measure_app, name="measure")

KINDS = {
    "gpus": ("gpus", ("name", "memory_gib", "memory_bandwidth_gb_per_s", "bf16_tflops", "fp8_tflops", "tdp_w")),
    "instances": ("instances", ("provider", "name", "gpu", "num_gpus", "interconnect")),
    "prices": ("prices", ("provider", "instance_type", "region", "market", "usd_per_hour", "as_of")),
    "grid": ("grid", ("provider", "region", "g_co2_per_kwh")),
    "models": ("models", ("name", "num_layers", "hidden_size", "num_experts", "num_parameters", "max_context_tokens")),
    "measurements": ("measurements", ("model", "gpu", "tp", "precision", "engine", "input_tokens", "output_tokens",
                                      "concurrency", "ttft_ms", "tpot_ms", "mean_power_w")),
    "layer-measurements": ("layer_measurements", ("model", "gpu", "num_gpus", "phase", "size", "ms_per_layer")),
    "rate-profiles": ("rate_profiles", ("name", "model", "gpu", "usd_per_hour", "slo")),
    "gemms": ("gemms", ("gpu", "precision", "m", "n", "k", "time_us", "tflops", "mean_power_w")),
    "bandwidths": ("bandwidths", ("gpu", "access", "num_bytes", "time_us", "gb_per_s", "mean_power_w")),
    "training-measurements": ("training_measurements", (
        "model", "gpu", "num_gpus", "framework", "tp", "pp", "dp", "micro_batch", "global_batch", "sequence_length",
        "recompute", "measured_step_ms",
    )),
    "collectives": ("collectives", ("gpu", "operation", "num_gpus", "num_nodes", "num_bytes", "time_us",
                                    "bus_bandwidth_gb_per_s")),
}  # fmt: skip
"""What can be listed: the field of Facts, and the columns shown."""


@profiles_app.command("list")
@reports_errors
def list_profiles(
    kind: Annotated[
        str | None,
        typer.Argument(
            help=f"one of: {', '.join(KINDS)}; left out: a summary",
            autocompletion=lambda incomplete: [kind for kind in KINDS if kind.startswith(incomplete)],
        ),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="only this model")] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", help="only this GPU type")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="rows shown")] = 100,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """List what the store knows.

    Examples: gpuplan profiles list · gpuplan profiles list measurements --gpu H100
    """
    from planner.draw import draw_table
    from profiles.names import KnownNames
    from profiles.store import counts, snapshot

    engine = command.open_store(database)
    if kind is None:
        known = counts(engine)
        if json_output:
            command.print_json(known)
        else:
            summary = tuple((name, f"{count:,}") for name, count in known.items())
            draw_table(
                Table(title="In the store", columns=("what", "rows"), rows=summary, numeric=("rows",)), command.out()
            )
        return
    if kind not in KINDS:
        raise UnknownName("kind of profile", kind, KINDS, field="KIND", fix=f"one of {', '.join(KINDS)}")
    facts = snapshot(engine)
    names = KnownNames.of(facts)
    field, columns = KINDS[kind]
    wanted_model, wanted_gpu = _wanted_model(model, facts, names), (names.gpu(gpu, "--gpu") if gpu else None)
    gpu_of_instance = {(instance.provider, instance.name): instance.gpu for instance in facts.instances}
    found = [
        fact
        for fact in getattr(facts, field)
        if wanted_gpu in (None, _gpu_of(fact, gpu_of_instance)) and wanted_model in (None, _model_of(fact))
    ]
    if json_output:
        command.print_json([fact.model_dump(mode="json") for fact in found])
        return
    more = f" (the first {limit} of {len(found)}; --limit shows more)" if len(found) > limit else ""
    rows = tuple(tuple(_cell(getattr(fact, column)) for column in columns) for fact in found[:limit])
    draw_table(
        Table(title=f"{kind}{more}", columns=columns, rows=rows, numeric=_numeric(found, columns)), command.out()
    )


@profiles_app.command("show")
@reports_errors
def show(
    name: Annotated[str, typer.Argument(help="a GPU, model, or instance type", autocompletion=completion.gpus)],
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Show everything known about one GPU, model or instance type, with its source and date.

    Example: gpuplan profiles show H100
    """
    from planner.draw import draw_table
    from profiles.names import KnownNames
    from profiles.store import snapshot

    facts = snapshot(command.open_store(database))
    names = KnownNames.of(facts)
    found: list[tuple[str, Any]] = []
    if names.model_card(name):
        found.append(("model", names.model_card(name)))
    found += [("instance type", i) for i in facts.instances if i.name == name]
    try:
        found.append(("GPU", names.gpu_type(name)))
    except UnknownName:
        if not found:
            known = [g.name for g in facts.gpus] + [m.name for m in facts.models] + [i.name for i in facts.instances]
            raise UnknownName("GPU, model or instance type", name, known, field="NAME") from None
    if json_output:
        command.print_json([{"kind": kind, **fact.model_dump(mode="json")} for kind, fact in found])
        return
    for kind, fact in found:
        rows = tuple((key, _cell(value)) for key, value in fact if value not in (None, ()))
        draw_table(Table(title=f"{kind} {fact.name}", columns=("field", "value"), rows=rows), command.out())
        behind = [m for m in facts.measurements if fact.name in (m.model, m.gpu)]
        if behind:
            layouts = sorted({(m.model, m.layout.label) for m in behind})
            listed = tuple((model, label) for model, label in layouts)
            title = f"measured: {counted(len(behind), 'point')} of {counted(len(layouts), 'layout')}"
            draw_table(Table(title=title, columns=("model", "layout"), rows=listed), command.out())


@profiles_app.command("import", context_settings={"allow_extra_args": False})
@reports_errors
def import_file(
    format_name: Annotated[
        str,
        typer.Argument(metavar="FORMAT", help="see `gpuplan profiles formats`", autocompletion=completion.formats),
    ],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="gpuhunt may do without: it asks the installed package")
    ] = None,
    model: Annotated[str | None, typer.Option(help="model, where the file does not say it")] = None,
    gpu: Annotated[str | None, typer.Option(help="GPU type, where the file does not say it")] = None,
    tp: Annotated[int | None, typer.Option(help="tensor-parallel degree")] = None,
    pp: Annotated[int | None, typer.Option(help="pipeline-parallel degree")] = None,
    dp: Annotated[int | None, typer.Option(help="attention data-parallel degree")] = None,
    ep: Annotated[int | None, typer.Option(help="expert-parallel degree")] = None,
    precision: Annotated[str | None, typer.Option(help="bf16, fp8, fp4 …")] = None,
    engine: Annotated[str | None, typer.Option(help="vllm, sglang, trtllm …")] = None,
    engine_version: Annotated[str | None, typer.Option(help="such as 0.11.0")] = None,
    provider: Annotated[str | None, typer.Option(help="cloud, for price lists")] = None,
    input_tokens: Annotated[str | None, typer.Option(help="upper bounds of input ranges, e.g. 128,512,2048")] = None,
    output_tokens: Annotated[str | None, typer.Option(help="upper bounds of output ranges")] = None,
    operation: Annotated[str | None, typer.Option(help="collective that nccl-tests ran, e.g. all_gather")] = None,
    num_parameters: Annotated[float | None, typer.Option(help="of a model, where its config does not say it")] = None,
    num_active_parameters: Annotated[float | None, typer.Option(help="per token, of a mixture of experts")] = None,
    source: Annotated[str | None, typer.Option(help="where the file is from")] = None,
    as_of: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="when it was measured or published")] = None,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Import a file, wholly or not at all. Importing it again changes nothing.

    Example: gpuplan profiles import vllm-bench result.json --model meta-llama/Llama-3.1-8B --gpu H100
    """
    from dataclasses import asdict

    from profiles import store
    from profiles.ingest import read
    from profiles.names import KnownNames

    connection = command.open_store(database)
    options = {
        "model": model, "gpu": gpu, "tp": tp, "pp": pp, "dp": dp, "ep": ep, "precision": precision, "engine": engine,
        "engine_version": engine_version, "provider": provider, "input_tokens": input_tokens,
        "output_tokens": output_tokens, "num_parameters": num_parameters,
        "num_active_parameters": num_active_parameters, "operation": operation, "source": source, "as_of": as_of,
    }  # fmt: skip
    name = file.name if file is not None else format_name
    with command.progressing(f"reading {name}"):
        ingested = read(format_name, file, KnownNames.of(store.snapshot(connection)), **options)
        changes = store.add(connection, ingested.batch)
    if json_output:
        command.print_json({"changes": asdict(changes), "notes": list(ingested.notes)})
        return
    command.out().print(f"{name}: {changes}", markup=False)
    for note in ingested.notes:
        command.err().print(f"note: {note}", markup=False)


@profiles_app.command("formats")
@reports_errors
def formats(json_output: Json = False) -> None:
    """List the file formats that can be imported, with their options.

    Example: gpuplan profiles formats
    """
    from planner.draw import draw_table
    from profiles.ingest import FORMATS, flag

    rows = tuple((f.name, f.description, " ".join(flag(option) for option in f.options)) for f in FORMATS.values())
    if json_output:
        command.print_json([dict(zip(("name", "description", "options"), row, strict=True)) for row in rows])
        return
    draw_table(Table(title="Formats", columns=("format", "what it is", "options"), rows=rows), command.out())


@profiles_app.command("export")
@reports_errors
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=".csv: measurements; .json: everything")],
    model: Annotated[str | None, typer.Option("--model", help="only measurements of this model")] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", help="only measurements on this GPU type")] = None,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Export in our own format; `gpuplan profiles import gpuplan FILE` is the inverse.

    Example: gpuplan profiles export measured.csv --gpu H100
    """
    from profiles.ingest import write
    from profiles.names import KnownNames
    from profiles.store import snapshot
    from profiles.types import Batch

    if file.suffix not in (".csv", ".json"):
        raise InvalidInput("must end in .csv or .json", field=str(file))
    facts = snapshot(command.open_store(database))
    names = KnownNames.of(facts)
    wanted_model, wanted_gpu = _wanted_model(model, facts, names), (names.gpu(gpu, "--gpu") if gpu else None)
    measurements = tuple(
        m for m in facts.measurements if wanted_model in (None, m.model) and wanted_gpu in (None, m.gpu)
    )
    if file.suffix == ".json" and model is None and gpu is None:
        batch = Batch(**{field: getattr(facts, field) for field in Batch.model_fields})
    else:
        batch = Batch(measurements=measurements)
    write(batch, file)
    report = {"file": str(file), "measurements": len(measurements)}
    if json_output:
        command.print_json(report)
    else:
        command.out().print(f"{file}: {counted(len(measurements), 'measurement')}", markup=False)


def _wanted_model(model: str | None, facts: Facts, names: KnownNames) -> str | None:
    """The model meant by ``--model``: one with a card, or one that only measurements know."""
    if model is None:
        return None
    name = names.model(model)
    known = {card.name for card in facts.models}
    for measured in (facts.measurements, facts.layer_measurements, facts.rate_profiles, facts.training_measurements):
        known |= {fact.model for fact in measured if fact.model is not None}
    if name not in known:
        raise UnknownName("model", model, known, field="--model", fix="see `gpuplan profiles list models`")
    return name


def _gpu_of(fact: Any, gpu_of_instance: dict[tuple[str, str], str]) -> str | None:
    """GPU that a fact is about: its own name, a field, or, of a price, the instance type's."""
    if isinstance(fact, GpuType):
        return fact.name
    if isinstance(fact, Price):
        return gpu_of_instance.get((fact.provider, fact.instance_type))
    gpu: str | None = getattr(fact, "gpu", None)
    return gpu


def _model_of(fact: Any) -> str | None:
    """Model that a fact is about."""
    model: str | None = fact.name if isinstance(fact, ModelCard) else getattr(fact, "model", None)
    return model


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)


def _numeric(facts: list[Any], columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(c for c in columns if any(isinstance(getattr(fact, c), int | float) for fact in facts))
