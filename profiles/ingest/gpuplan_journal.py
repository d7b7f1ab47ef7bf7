"""What ``gpuplan profiles measure`` and ``profiles.measure.gpu_sweep`` wrote: JSON lines, one measured point on each.

Points that had a problem are counted, not read. The GPU is the one that was measured, where its name is known;
``--gpu`` says it otherwise. What was measured on a CPU is refused: it is no fact about any GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from profiles.errors import InvalidInput, UnknownName
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.problems import build, counted
from profiles.measure import journal
from profiles.names import KnownNames
from profiles.types import BandwidthMeasurement, Batch, GemmMeasurement, Measurement

Values = dict[str, Any]


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Facts of the journal at ``path``; raises ``InvalidInput`` for anything but a whole, meaningful journal."""
    head, *lines = journal.read(path)
    run = head["run"]
    kind = _KINDS.get(str(run.get("kind")))
    if kind is None:
        raise InvalidInput(f"is a journal of {run.get('kind')!r}, which this gpuplan does not know", field=path.name)
    field, fact, values_of = kind
    common = {
        "gpu": _gpu(run, known, options, path),
        "source": options.source or f"gpuplan profiles measure, {run['kind']} on {run.get('device', 'an endpoint')}",
        "as_of": options.as_of or run.get("as_of"),
        "driver": run.get("driver"),
        "software": run.get("software"),
        "power_limit_w": run.get("power_limit_w"),
    }
    facts = [
        build(fact, common | values_of(run, line["point"], line["result"], known), {}, f"{path.name}:{number}")
        for number, line in enumerate(lines, start=2)
        if "result" in line
    ]
    if not facts:
        raise InvalidInput("holds no measured point", field=path.name, fix="repeat the run")
    # A point that is measured again after a problem is in the journal twice: as problem, and as result.
    measured = {repr(line["point"]) for line in lines if "result" in line}
    failed = {repr(line["point"]) for line in lines} - measured
    notes = (f"{counted(len(failed), 'point')} with problems left out",) if failed else ()
    return Ingested(Batch(**{field: tuple(dict.fromkeys(facts))}), notes)


def _gpu(run: Values, known: KnownNames, options: Options, path: Path) -> str:
    device = str(run.get("device", ""))
    if device.startswith("CPU"):
        raise InvalidInput("was measured on a CPU: for trying the tool, no fact about a GPU", field=path.name,
                           fix="measure a GPU")  # fmt: skip
    if options.gpu is not None:
        return known.gpu(options.gpu, "--gpu")
    named = str(run.get("gpu") or device)
    try:
        return known.gpu(named)
    except UnknownName:
        raise InvalidInput(f"was measured on {named!r}, which is no known GPU type", field=path.name,
                           fix="add --gpu NAME, e.g. --gpu H100") from None  # fmt: skip


def _gemm(run: Values, point: Values, result: Values, known: KnownNames) -> Values:  # noqa: ARG001
    return _machine(result) | {name: point.get(name) for name in ("m", "n", "k", "precision")}


def _bandwidth(run: Values, point: Values, result: Values, known: KnownNames) -> Values:  # noqa: ARG001
    return _machine(result) | {name: point.get(name) for name in ("access", "num_bytes")}


def _machine(result: Values) -> Values:
    return {name: result.get(name) for name in ("time_us", "mean_power_w", "sm_clock_mhz", "temperature_c")}


def _decoder(run: Values, point: Values, result: Values, known: KnownNames) -> Values:
    """A prefill step is the TTFT of a batch of prompts, a decode step the TPOT of a batch at one context."""
    time_ms = _number(result, "time_us") / 1e3
    batch, context = _number(point, "batch"), _number(point, "context")
    values = _machine(result) | {
        "model": known.model(str(run.get("model", ""))), "precision": run.get("precision"), "engine": "torch",
        "load": "static_batch", "task": f"{point.get('phase')} steps, random weights",
        "input_tokens": context, "concurrency": batch,
    }  # fmt: skip
    del values["time_us"]
    if point.get("phase") == "prefill":
        return values | {"output_tokens": 1, "ttft_ms": time_ms}
    return values | {"tpot_ms": time_ms, "output_tokens_per_s": 1e3 * batch / time_ms}


def _endpoint(run: Values, point: Values, result: Values, known: KnownNames) -> Values:  # noqa: ARG001
    deployment = ("model", "tp", "pp", "dp", "ep", "precision", "engine", "engine_version", "driver", "power_limit_w")
    served = {name: run[name] for name in deployment if run.get(name) is not None}
    return served | result | {"model": known.model(str(run.get("model", "")))}


def _number(values: Values, name: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InvalidInput(f"must be a number above zero, not {value!r}", field=name)
    return float(value)


_KINDS: dict[str, tuple[str, type[Any], Callable[[Values, Values, Values, KnownNames], Values]]] = {
    "gemm": ("gemms", GemmMeasurement, _gemm),
    "bandwidth": ("bandwidths", BandwidthMeasurement, _bandwidth),
    "decoder": ("measurements", Measurement, _decoder),
    "endpoint": ("measurements", Measurement, _endpoint),
}
"""By kind of run: the field of ``Batch``, the type of fact, and its fields out of the run, a point and its result."""

FORMAT = Format(
    name="gpuplan-journal",
    description="what `gpuplan profiles measure` wrote: JSON lines",
    suffixes=(".jsonl",),
    read=read,
    options=("gpu",),
)
