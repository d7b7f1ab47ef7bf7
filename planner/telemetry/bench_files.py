"""Requests in the reports of benchmark tools: GuideLLM 0.8, AIPerf 0.13 records, ``vllm bench serve``.

``profiles.ingest`` reads how fast these were answered; here it is only when they came and how large they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from planner.errors import InvalidInput
from planner.telemetry.json_lines import first_object
from profiles.ingest.document import Node, read_document, read_lines

Request = tuple[float, float, float]
"""Seconds, input tokens, output tokens."""


def is_aiperf(path: Path) -> bool:
    """Whether a file of JSON lines holds AIPerf's records."""
    first = first_object(path)
    return isinstance(first.get("metadata"), dict) and isinstance(first.get("metrics"), dict)


def requests_of_aiperf(path: Path) -> Iterator[Request]:
    """The requests of ``profile_export.jsonl``, those of warm-up phases and cancelled ones left out."""
    for record in read_lines(path, "aiperf"):
        metadata, metrics = record / "metadata", record / "metrics"
        if (metadata / "benchmark_phase").text() == "warmup" or (metadata / "was_cancelled").value:
            continue
        start_ns = _number(metadata / "request_start_ns")
        sizes = (_number(metrics / name / "value") for name in ("input_sequence_length", "output_sequence_length"))
        yield (start_ns / 1e9, *sizes)  # type: ignore[misc]


def requests_of_report(path: Path) -> Iterator[Request]:
    """The requests of a JSON report of GuideLLM or ``vllm bench serve --save-detailed``."""
    report = read_document(path, "benchmark report")
    if "benchmarks" in report:
        yield from _guidellm(report)
    elif "input_lens" in report:
        yield from _vllm_bench(report)
    else:
        raise InvalidInput(
            "holds no single requests", field=str(path),
            fix="give a GuideLLM report, profile_export.jsonl of AIPerf, or a file of vllm bench serve --save-detailed",
        )  # fmt: skip


def _guidellm(report: Node) -> Iterator[Request]:
    for benchmark in report / "benchmarks":
        for request in benchmark / "requests" / "successful":
            yield (
                _number(request / "request_start_time"), _number(request / "prompt_tokens"),
                _number(request / "output_tokens"),
            )  # fmt: skip


def _vllm_bench(report: Node) -> Iterator[Request]:
    """The file says how long the run took, not when each request came: they are spread evenly over it."""
    inputs, outputs = list(report / "input_lens"), list(report / "output_lens")
    if len(inputs) != len(outputs):
        raise InvalidInput(f"has {len(outputs)} lengths for {len(inputs)} inputs", field=(report / "output_lens").where)
    failed = {i for i, error in enumerate(report / "errors") if error.text()}
    came = [i for i in range(len(inputs)) if i not in failed]
    distance_s = _number(report / "duration") / max(len(came), 1)
    for count, i in enumerate(came):
        yield count * distance_s, _number(inputs[i]), _number(outputs[i])


def _number(node: Node) -> float:
    value = node.required("every request needs its time and its tokens").number()
    assert value is not None  # noqa: S101  # just required
    return value
