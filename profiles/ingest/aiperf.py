"""An AIPerf 0.13 run: its summary (``profile_export_aiperf.json``) or its records (``profile_export.jsonl``).

Times are in milliseconds, or in whatever each metric's ``unit`` says. What AIPerf calls inter-token latency is
(end-to-end − TTFT)/(output tokens − 1) of a request: our TPOT; its inter-chunk latency is the gap between streamed
pieces: our ITL. The files do not name the GPU or the layout: ``--gpu``, ``--tp`` and so on do; records do not name
the model either. Records of warm-up phases and cancelled requests are left out.
"""

from __future__ import annotations

import datetime as dt
from array import array
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from profiles.errors import InvalidInput
from profiles.ingest.deployment import deployment
from profiles.ingest.document import Node, read_document, read_lines
from profiles.ingest.files import modified_on, utc_day
from profiles.ingest.format import DEPLOYMENT, Format, Ingested, Options
from profiles.ingest.problems import build, counted
from profiles.names import KnownNames
from profiles.types import Batch, Measurement

TO_MS = {"ms": 1.0, "s": 1e3, "sec": 1e3, "us": 1e-3, "ns": 1e-6}
TTFT, TPOT, ITL, E2E = "time_to_first_token", "inter_token_latency", "inter_chunk_latency", "request_latency"
INPUT, OUTPUT = "input_sequence_length", "output_sequence_length"
PERCENTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """The measurement of one run; raises ``InvalidInput`` for anything but an AIPerf file or for a missing option."""
    if path.suffix == ".jsonl":
        return _from_records(path, known, options)
    profile = read_document(path, FORMAT.name)
    (profile / TTFT).required("give profile_export_aiperf.json of a streaming run")
    phases = [phase for phase in profile / "input_config" / "phases" if (phase / "kind").text() != "warmup"]
    in_flight = (phases[0] / "concurrency").measured() if phases else None
    model = next(((item / "name").text() for item in profile / "input_config" / "models" / "items"), "")
    values = {
        "load": "closed_loop" if in_flight else "open_loop",
        "concurrency": in_flight or _average(profile / "effective_concurrency"),
        "input_tokens": _average(profile / INPUT),
        "output_tokens": _average(profile / OUTPUT),
        "requests_per_s": _average(profile / "request_throughput"),
        "output_tokens_per_s": _average(profile / "output_token_throughput"),
        "ttft_ms": _ms(profile / TTFT, "avg"),
        "tpot_ms": _ms(profile / TPOT, "avg"),
        "e2e_ms": _ms(profile / E2E, "avg"),
        "source": options.source or f"AIPerf {(profile / 'aiperf_version').text()}".strip(),
        "as_of": options.as_of or _day(profile / "start_time") or modified_on(path),
    }
    for name in PERCENTILES:
        values[f"ttft_{name}_ms"] = _ms(profile / TTFT, name)
        values[f"tpot_{name}_ms"] = _ms(profile / TPOT, name)
        values[f"itl_{name}_ms"] = _ms(profile / ITL, name)
    served = deployment(options, known, tool=FORMAT.name, model=model)
    return Ingested(Batch(measurements=(build(Measurement, served | values, {}, path.name),)))


def _from_records(path: Path, known: KnownNames, options: Options) -> Ingested:
    served = deployment(options, known, tool="aiperf records")
    # Numbers only: a record of 2 KB leaves some tens of bytes behind, so that long runs fit in memory.
    seen: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
    num_left_out = 0
    for record in read_lines(path, FORMAT.name):
        metadata, metrics = record / "metadata", record / "metrics"
        (metrics / E2E).required("give profile_export.jsonl of an AIPerf run")
        if (metadata / "benchmark_phase").text() == "warmup" or (metadata / "was_cancelled").value:
            num_left_out += 1
            continue
        seen["start_ns"].append((metadata / "request_start_ns").required("AIPerf writes it").number() or 0)
        seen["end_ns"].append((metadata / "request_end_ns").required("AIPerf writes it").number() or 0)
        for name in (INPUT, OUTPUT):
            seen[name].append((metrics / name / "value").measured() or 0)
        for name in (TTFT, TPOT, E2E):
            value = _ms(metrics / name, "value")
            if value is not None:
                seen[name].append(value)
        factor = _to_ms(metrics / ITL)
        seen[ITL].extend(gap * factor for element in metrics / ITL / "value" if (gap := element.measured()))
    if not seen[E2E]:
        raise InvalidInput("no request completed", field=path.name, fix="repeat the run")
    duration_s = (max(seen["end_ns"]) - min(seen["start_ns"])) / 1e9
    values = _rates(seen, duration_s) | {
        "load": "closed_loop",
        "source": options.source or "AIPerf records",
        "as_of": options.as_of or utc_day(min(seen["start_ns"]) / 1e9, path.name),
    }
    measured = build(Measurement, served | values, {}, path.name)
    notes = (f"{counted(num_left_out, 'warm-up or cancelled request')} left out",) if num_left_out else ()
    return Ingested(Batch(measurements=(measured,)), notes)


def _rates(seen: Mapping[str, array[float]], duration_s: float) -> dict[str, object]:
    """Fields of a measurement from the times (ms) and lengths of each request over ``duration_s`` of wall clock."""
    values: dict[str, object] = {
        "input_tokens": _mean(seen[INPUT]) or None,
        "output_tokens": _mean(seen[OUTPUT]) or None,
    }
    if duration_s > 0:
        values["requests_per_s"] = len(seen[E2E]) / duration_s
        values["output_tokens_per_s"] = sum(seen[OUTPUT]) / duration_s or None
        # Little's law: requests in flight on average = time spent in the system per second.
        values["concurrency"] = sum(seen[E2E]) / 1e3 / duration_s
    for name, quantity in ((TTFT, "ttft"), (TPOT, "tpot"), (ITL, "itl")):
        if seen[name]:
            ordered = sorted(seen[name])
            values |= {f"{quantity}_{percentile}_ms": _at(ordered, share) for percentile, share in PERCENTILES.items()}
    return values | {
        "ttft_ms": _mean(seen[TTFT]) or None,
        "tpot_ms": _mean(seen[TPOT]) or None,
        "e2e_ms": _mean(seen[E2E]),
    }


def _mean(numbers: array[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def _at(ordered: list[float], share: float) -> float:
    """The value below which ``share`` of ``ordered`` lies, interpolated as NumPy and AIPerf do."""
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def _average(metric: Node) -> float | None:
    return (metric / "avg").measured()


def _ms(metric: Node, statistic: str) -> float | None:
    value = (metric / statistic).measured()
    return value * _to_ms(metric) if value is not None else None


def _to_ms(metric: Node) -> float:
    unit = (metric / "unit").text() or "ms"
    if unit not in TO_MS:
        raise InvalidInput(f"{unit!r} is no unit of time", field=(metric / "unit").where, fix=f"use {', '.join(TO_MS)}")
    return TO_MS[unit]


def _day(node: Node) -> dt.date | None:
    try:
        return dt.datetime.fromisoformat(node.text()).date()
    except ValueError:
        return None


FORMAT = Format(
    name="aiperf",
    description="an AIPerf 0.13 run, its summary (JSON) or its records (JSON lines)",
    suffixes=(".json", ".jsonl"),
    read=read,
    options=DEPLOYMENT,
)
