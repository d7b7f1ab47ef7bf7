"""One result of ``vllm bench serve --save-result``: JSON, times in milliseconds.

``request_rate`` is ``inf`` when requests were not paced: with ``max_concurrency`` that is a closed loop, without it
all requests start together. A finite rate is an open loop. A 0 means that nothing was there to measure.
The file does not name the GPU or the layout: ``--gpu``, ``--tp`` and so on do.
"""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

from profiles.errors import InvalidInput
from profiles.ingest.deployment import deployment
from profiles.ingest.document import Node, read_document
from profiles.ingest.files import modified_on
from profiles.ingest.format import DEPLOYMENT, Format, Ingested, Options
from profiles.ingest.problems import build
from profiles.names import KnownNames
from profiles.types import Batch, Measurement

TIMES = {
    "ttft_ms": "mean_ttft_ms",
    "ttft_p50_ms": "median_ttft_ms",
    "ttft_p90_ms": "p90_ttft_ms",
    "ttft_p99_ms": "p99_ttft_ms",
    "tpot_ms": "mean_tpot_ms",
    "tpot_p50_ms": "median_tpot_ms",
    "tpot_p90_ms": "p90_tpot_ms",
    "tpot_p99_ms": "p99_tpot_ms",
    "itl_p50_ms": "median_itl_ms",
    "itl_p90_ms": "p90_itl_ms",
    "itl_p99_ms": "p99_itl_ms",
    "e2e_ms": "mean_e2el_ms",
    "requests_per_s": "request_throughput",
    "output_tokens_per_s": "output_throughput",
}


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """The measurement in ``path``; raises ``InvalidInput`` where it is no such result or an option is missing."""
    result = read_document(path, FORMAT.name)
    (result / "mean_ttft_ms").required("vllm bench serve --save-result writes it")
    completed = (result / "completed").measured()
    if completed is None:
        raise InvalidInput("no request completed", field=(result / "completed").where, fix="repeat the run")
    measured = build(
        Measurement,
        deployment(options, known, tool="vllm-bench", model=(result / "model_id").text(), engine="vllm")
        | _load(result, completed)
        | {field: (result / key).measured() for field, key in TIMES.items()}
        | {
            "input_tokens": _mean(result / "total_input_tokens", completed),
            "output_tokens": _mean(result / "total_output_tokens", completed),
            "source": options.source or "vllm bench serve",
            "as_of": options.as_of or _date(result) or modified_on(path),
        },
        TIMES,
        path.name,
    )
    return Ingested(Batch(measurements=(measured,)))


def _mean(total: Node, completed: float) -> float | None:
    tokens = total.measured()
    return tokens / completed if tokens else None


def _load(result: Node, completed: float) -> dict[str, object]:
    rate = result / "request_rate"
    # vLLM writes an unpaced rate as the text "inf"; older versions as the number Infinity.
    paced = rate.value is not None and rate.text().lower() not in ("inf", "infinity") and rate.value != math.inf
    in_flight = (result / "max_concurrency").measured()
    if paced:
        return {"load": "open_loop", "concurrency": in_flight}
    if in_flight:
        return {"load": "closed_loop", "concurrency": in_flight}
    return {"load": "static_batch", "concurrency": completed}


def _date(result: Node) -> dt.date | None:
    try:
        return dt.datetime.strptime((result / "date").text(), "%Y%m%d-%H%M%S").date()
    except ValueError:
        return None


FORMAT = Format(
    name="vllm-bench",
    description="one result of vllm bench serve --save-result: JSON",
    suffixes=(".json",),
    read=read,
    options=DEPLOYMENT,
)
