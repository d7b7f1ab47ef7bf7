"""A GuideLLM 0.8 report: one measurement per benchmark (per rate) in it. JSON, times in milliseconds.

What GuideLLM calls inter-token latency is (end-to-end − TTFT)/(output tokens − 1) of a request: our TPOT. Its own
``time_per_output_token`` counts the first token too and is not used. Request latency is in seconds.
The report does not name the GPU or the layout: ``--gpu``, ``--tp`` and so on do.
"""

from __future__ import annotations

from pathlib import Path

from profiles.errors import InvalidInput
from profiles.ingest.deployment import deployment
from profiles.ingest.document import Node, read_document
from profiles.ingest.files import modified_on
from profiles.ingest.format import DEPLOYMENT, Format, Ingested, Options
from profiles.ingest.problems import build
from profiles.names import KnownNames
from profiles.types import Batch, Measurement

LOADS = {"concurrent": "closed_loop", "synchronous": "closed_loop", "throughput": "static_batch"}
"""GuideLLM's strategies; the others (constant, poisson, ...) send at a rate: an open loop."""

TIMES = {"ttft": "time_to_first_token_ms", "tpot": "inter_token_latency_ms"}
PERCENTILES = ("p50", "p90", "p99")


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Measurements of the benchmarks in ``path``; raises ``InvalidInput`` for anything but a GuideLLM report."""
    report = read_document(path, FORMAT.name)
    benchmarks = list(report / "benchmarks")
    if not benchmarks:
        raise InvalidInput(
            "holds no benchmarks", field=(report / "benchmarks").where, fix="give a guidellm JSON report"
        )
    version = (report / "metadata" / "guidellm_version").text()
    measurements = []
    notes = []
    for benchmark in benchmarks:
        successful = (benchmark / "metrics" / "request_totals" / "successful").measured()
        if successful is None:
            notes.append(f"{benchmark.path} skipped: no request succeeded")
            continue
        measurements.append(_measurement(benchmark, report, known, options, path, version))
    if not measurements:
        raise InvalidInput("no request succeeded", field=(report / "benchmarks").where, fix="repeat the run")
    return Ingested(Batch(measurements=tuple(dict.fromkeys(measurements))), tuple(notes))


def _measurement(
    benchmark: Node, report: Node, known: KnownNames, options: Options, path: Path, version: str
) -> Measurement:
    backend = benchmark / "config" / "backend" / "model"
    if backend.value is None:
        backend = report / "config" / "spec" / "backend" / "model"
    metrics = benchmark / "metrics"
    e2e_s = _mean(metrics, "request_latency")
    values: dict[str, object] = {
        "load": LOADS.get((benchmark / "config" / "strategy" / "type_").text(), "open_loop"),
        "concurrency": _mean(metrics, "request_concurrency"),
        "input_tokens": _mean(metrics, "prompt_token_count"),
        "output_tokens": _mean(metrics, "output_token_count"),
        "requests_per_s": _mean(metrics, "requests_per_second"),
        "output_tokens_per_s": _mean(metrics, "output_tokens_per_second"),
        "e2e_ms": e2e_s * 1000 if e2e_s else None,
        "source": options.source or f"GuideLLM {version}".strip(),
        "as_of": options.as_of or (benchmark / "start_time").day() or modified_on(path),
    }
    for quantity, metric in TIMES.items():
        values[f"{quantity}_ms"] = _mean(metrics, metric)
        for name in PERCENTILES:
            values[f"{quantity}_{name}_ms"] = (metrics / metric / "successful" / "percentiles" / name).measured()
    served = deployment(options, known, tool="guidellm", model=backend.text())
    return build(Measurement, served | values, {}, f"{path.name}: {benchmark.path}")


def _mean(metrics: Node, metric: str) -> float | None:
    return (metrics / metric / "successful" / "mean").measured()


FORMAT = Format(
    name="guidellm",
    description="a GuideLLM 0.8 report: JSON",
    suffixes=(".json",),
    read=read,
    options=DEPLOYMENT,
)
