"""Traffic that was seen, by whatever saw it, as a workload to plan for."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from planner.errors import InvalidInput
from planner.serving.spec import Bucket, Workload
from planner.serving.trace import MOST_REQUESTS_PER_S, RateOf, read_trace
from planner.telemetry.files import MOST_TEXT_BYTES, opened
from planner.telemetry.hourly import Hourly, busiest_of_counter, hourly_of_counter, hourly_rates
from planner.telemetry.joint import LEAST_SHARE, joint_shares
from planner.telemetry.vllm_metrics import Labels, Metrics, Points, metrics_of, read_answer, read_text
from planner.types import Frozen

Scrape = dict[Labels, Points]


class Reading(Frozen):
    """How to read what was seen.

    ``rate``: of the busiest ``window_s`` seconds (sizes as over all the time), or the mean. ``requests_per_s`` goes
    before what was seen. ``correlation`` and ``interval_s`` are for metrics: of input and output tokens by rank
    (``planner.telemetry.joint``), and between two scrapes.
    """

    rate: RateOf = "busiest"
    window_s: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 300.0
    requests_per_s: Annotated[float, Field(gt=0, le=MOST_REQUESTS_PER_S, allow_inf_nan=False)] | None = None
    model: str | None = None
    correlation: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] | None = None
    interval_s: Annotated[float, Field(gt=0, le=366 * 86_400, allow_inf_nan=False)] | None = None


class Observed(Frozen):
    """Traffic that was seen. Hours are from ``first_hour`` on (UTC; None where the source counts from its start)."""

    workload: Workload
    requests_per_s: float = Field(description="of the workload: what would be planned for")
    first_hour: dt.datetime | None = None
    hourly_requests_per_s: tuple[float, ...] = Field(
        default=(), description="mean rates; the first and last hour as far as they were seen"
    )


def observe(sources: Sequence[str | Path], reading: Reading | None = None) -> Observed:
    """The traffic in a trace, log or report, or in metrics of vLLM: files of scrapes in their order, or one URL.

    Raises ``InvalidInput`` for what cannot be read or says nothing of a rate, naming what to give as well.
    """
    reading = reading or Reading()
    if not sources:
        raise InvalidInput("is missing", field="SOURCE", fix="give a trace, a log, a report or metrics")
    if len(sources) == 1 and not is_url(str(sources[0])) and not holds_metrics(Path(sources[0])):
        return _of_requests(Path(sources[0]), reading)
    return _of_metrics([str(source) for source in sources], reading)


def holds_metrics(path: Path) -> bool:
    """Whether a file is Prometheus' text format or an answer of its HTTP API."""
    with opened(path) as file:
        head = file.read(65_536).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"{"):
        return b'"status"' in head[:200] and b'"data"' in head[:400]
    return head.startswith((b"# HELP ", b"# TYPE ", b"vllm:", b"vllm_"))


def is_url(source: str) -> bool:
    """Whether it looks like one, of whichever scheme."""
    return "://" in source


def _of_requests(path: Path, reading: Reading) -> Observed:
    if reading.correlation is not None or reading.interval_s is not None or reading.model is not None:
        raise InvalidInput("model, correlation and interval are for metrics; this file has single requests",
                           field=str(path), fix="leave them out")  # fmt: skip
    workload = read_trace(path, rate=reading.rate, window_s=reading.window_s)
    return _observed(workload, reading, hourly_rates(path))


def _observed(workload: Workload, reading: Reading, hourly: Hourly) -> Observed:
    seen = sum(bucket.requests_per_s for bucket in workload.buckets)
    asked = reading.requests_per_s
    if asked is not None:
        buckets = tuple(
            bucket.model_copy(update={"requests_per_s": bucket.requests_per_s * asked / seen})
            for bucket in workload.buckets
        )
        text = f"{workload.description}; at {asked:g} requests/s as asked"
        workload = Workload(buckets=buckets, description=text)
    return Observed(
        workload=workload, requests_per_s=seen if asked is None else asked, first_hour=hourly.start,
        hourly_requests_per_s=tuple(float(rate) for rate in hourly.requests_per_s),
    )  # fmt: skip


def _of_metrics(sources: Sequence[str], reading: Reading) -> Observed:
    if len(sources) == 1 and reading.interval_s is not None and not is_url(sources[0]):
        raise InvalidInput("is between scrapes, and there is one file", field="interval", fix="give a second one")
    interval_s = reading.interval_s or 0.0
    scrapes = [_scrape(source, i * interval_s) for i, source in enumerate(sources)]
    if len(sources) > 1 and interval_s == 0 and any(_num_times(scrape) == 1 for scrape in scrapes):
        raise InvalidInput("are scrapes without times", field="SOURCE", fix="give --interval: seconds between them")
    if len(sources) == 1 and is_url(sources[0]) and interval_s and _num_times(scrapes[0]) == 1:
        started = time.monotonic()
        time.sleep(interval_s)
        scrapes.append(_scrape(sources[0], time.monotonic() - started))
    source = sources[0].partition("?")[0] if is_url(sources[0]) else Path(sources[0]).name
    metrics = metrics_of(scrapes, reading.model, source)
    rate, basis = _rate(metrics, reading)
    if rate is None and reading.requests_per_s is None:
        raise InvalidInput(
            "is one scrape, which says nothing of a rate", field=source,
            fix="give a second one and --interval between them in seconds, a range query, or --rate",
        )  # fmt: skip
    if rate is not None and rate > MOST_REQUESTS_PER_S:
        raise InvalidInput(f"counts {rate:.3g} requests/s, which nothing answers", field=source, fix="check its times")
    hourly = Hourly(None, np.zeros(0)) if rate is None else hourly_of_counter(metrics.time_s, metrics.ended)
    return _observed(_workload(metrics, rate or 1.0, basis, reading, source), reading, hourly)


def _rate(metrics: Metrics, reading: Reading) -> tuple[float | None, str]:
    """Requests/s to plan for, and in words what of; None where one scrape says nothing of it."""
    time_s, ended = metrics.time_s, metrics.ended
    if len(time_s) < 2:
        return None, ""
    mean = float((ended[-1] - ended[0]) / (time_s[-1] - time_s[0]))
    busiest = busiest_of_counter(time_s, ended, reading.window_s) if reading.rate == "busiest" else None
    if busiest is None:
        return mean, f"; {mean:.3g} requests/s on average, planned for that"
    return busiest, (
        f"; {mean:.3g} requests/s on average; planned for its busiest {reading.window_s:g} s, {busiest:.3g} requests/s"
    )


def _scrape(source: str, time_s: float) -> Scrape:
    """The series of one source; text has no times of its own."""
    if is_url(source):
        from planner.telemetry.scrape import fetch  # only URLs need the network

        text = fetch(source)
    else:
        with opened(Path(source)) as file:
            content = file.read(MOST_TEXT_BYTES + 1)
        if len(content) > MOST_TEXT_BYTES:
            raise InvalidInput(f"is larger than {MOST_TEXT_BYTES >> 20} MiB", field=source, fix="ask for less")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InvalidInput("is not text", field=source, fix="give a scrape, or an answer of Prometheus") from None
    return read_answer(text, source) if text.lstrip().startswith("{") else read_text(text, time_s, source)


def _num_times(scrape: Scrape) -> int:
    return len({at for points in scrape.values() for at, _ in points})


def _workload(metrics: Metrics, rate: float, basis: str, reading: Reading, source: str) -> Workload:
    correlation = reading.correlation or 0.0
    inputs, outputs = metrics.inputs, metrics.outputs
    shares = joint_shares(inputs, outputs, correlation)
    mean_in, mean_out = inputs.mean, outputs.mean
    buckets = tuple(
        Bucket(
            input_tokens=(int(inputs.edges[i]) + 1, int(inputs.edges[i + 1])),
            output_tokens=(int(outputs.edges[j]) + 1, int(outputs.edges[j + 1])),
            requests_per_s=rate * float(shares[i, j] / shares[shares >= LEAST_SHARE].sum()),
            mean_input_tokens=float(mean_in[i]),
            mean_output_tokens=float(mean_out[j]),
        )
        for i, j in zip(*np.nonzero(shares >= LEAST_SHARE), strict=True)
    )
    joined = (
        f"joined by a Gaussian copula with rank correlation {correlation:g}"
        if correlation
        else "joined as if independent (maximum entropy)"
    )
    of_model = f" of {metrics.model}" if metrics.model else ""
    return Workload(
        buckets=buckets,
        description=f"{source}: metrics{of_model}, {metrics.num_requests:,.0f} requests; histograms of input and of "
        f"output tokens, {joined}{basis}",
    )
