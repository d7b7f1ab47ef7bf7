"""vLLM's Prometheus metrics: how many requests ended, and how many tokens they had, each side by itself.

Read from a server's ``/metrics`` text (one scrape, or several for a rate) or from an answer of Prometheus itself
(``query`` or ``query_range`` of the raw series). Counters only grow; where one falls, its server was started again.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from planner.documents import parse_json
from planner.errors import InvalidInput
from planner.telemetry.hourly import HOUR_S, MOST_HOURS
from planner.telemetry.joint import Histogram

INPUT, OUTPUT = "request_prompt_tokens", "request_generation_tokens"
ENDED = "request_success_total"
WANTED = re.compile(rf"vllm[:_](({INPUT}|{OUTPUT})(_bucket|_sum|_count)|{ENDED})$")
"""The metrics that are read; other collectors write the colon as an underscore."""

MOST_COUNTED = 1e15
"""Requests or tokens of any server's life; what is more was not counted."""
MOST_TOKENS = 10_000_000
"""Of a request, as specs have it; the last range ends at twice its beginning."""
LATEST_S = 1e11
"""Since 1970, the year 5138: later times are not seconds."""

ASK_RAW = "query the raw series, as {__name__=~'vllm:request_(prompt_tokens|generation_tokens|success).*'}"

Labels = frozenset[tuple[str, str]]
Points = list[tuple[float, float]]
"""Seconds since 1970 (or since the first scrape) and the value then, by time."""


@dataclass(frozen=True)
class Metrics:
    """What the counters say happened, from the first to the last point.

    ``time_s`` and ``ended``: points of time, and the requests that ended up to each since the first. One point only
    where there was one scrape: then counts are since the servers started and no rate is known.
    """

    model: str
    inputs: Histogram
    outputs: Histogram
    time_s: np.ndarray
    ended: np.ndarray
    num_requests: float


def read_text(text: str, time_s: float, source: str) -> dict[Labels, Points]:
    """The series of one scrape; ``InvalidInput`` where it is not Prometheus' text format."""
    series: dict[Labels, Points] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if WANTED.match(sample.name):
                    _add(series, sample.name, sample.labels, [(time_s, float(sample.value))], source)
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise InvalidInput(f"is not Prometheus' text format: {str(error)[:100]}", field=source) from None
    return series


def read_answer(text: str, source: str) -> dict[Labels, Points]:
    """The series in an answer of Prometheus' HTTP API; ``InvalidInput`` where it holds none of ours."""
    document = parse_json(text, source)
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or document.get("status") != "success":
        said = document.get("error") if isinstance(document, dict) else None
        raise InvalidInput(f"is no answer of Prometheus{f': {said!r:.200}' if said else ''}", field=source, fix=ASK_RAW)
    series: dict[Labels, Points] = {}
    try:
        for entry in data["result"]:
            labels = {str(name): str(value) for name, value in entry["metric"].items()}
            name = labels.pop("__name__", "")
            if WANTED.match(name):
                pairs = entry["values"] if "values" in entry else [entry["value"]]
                _add(series, name, labels, [(float(at), float(value)) for at, value in pairs], source)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise InvalidInput("is not shaped like an answer of Prometheus", field=source, fix=ASK_RAW) from None
    return series


def _add(series: dict[Labels, Points], name: str, labels: Mapping[str, str], points: Points, source: str) -> None:
    if not all(0 <= value <= MOST_COUNTED for _, value in points):
        raise InvalidInput(
            f"counts must be finite and not negative, {MOST_COUNTED:g} at most", field=f"{source}: {name}"
        )
    if not all(0 <= at <= LATEST_S for at, _ in points):
        raise InvalidInput("times must be seconds since 1970", field=f"{source}: {name}")
    metric = name.removeprefix("vllm").lstrip(":_")
    series.setdefault(frozenset({*labels.items(), ("__name__", metric)}), []).extend(points)


def metrics_of(scrapes: Iterable[Mapping[Labels, Points]], model: str | None, source: str) -> Metrics:
    """What the series of one or several scrapes say of one model.

    Raises ``InvalidInput`` where the histograms are missing, several models are served and none is named, or no
    request ended.
    """
    seen: defaultdict[Labels, Points] = defaultdict(list)
    for scrape in scrapes:
        for labels, points in scrape.items():
            seen[labels].extend(points)
    model, series = _of_model(seen, model, source)
    all_times = [at for points in series.values() for at, _ in points]
    begun_s = min(all_times) if len(set(all_times)) > 1 else -np.inf
    increased = {labels: _increase(sorted(points), begun_s) for labels, points in series.items()}
    inputs, outputs = (_histogram(increased, side, source) for side in (INPUT, OUTPUT))
    ends = [labels for labels in series if ("__name__", ENDED) in labels]
    ends = ends or [labels for labels in series if ("__name__", f"{OUTPUT}_count") in labels]
    times = np.unique([at for labels in ends for at, _ in series[labels]])
    if len(times) and times[-1] - times[0] > MOST_HOURS * HOUR_S:
        raise InvalidInput(f"spans {(times[-1] - times[0]) / HOUR_S / 8766:,.0f} years", field=source,
                           fix="ask for less")  # fmt: skip
    steps = np.zeros(len(times))
    for labels in ends:
        for at, more in increased[labels]:
            steps[np.searchsorted(times, at)] += more
    return Metrics(model, inputs, outputs, times, np.cumsum(steps), float(inputs.count.sum()))


def _of_model(series: Mapping[Labels, Points], model: str | None, source: str) -> tuple[str, dict[Labels, Points]]:
    models = sorted({value for labels in series for name, value in labels if name == "model_name"})
    if model is None and len(models) > 1:
        raise InvalidInput(
            f"holds {len(models)} models: {', '.join(models[:10])}", field=source, fix="name one: --model"
        )
    if model is not None and model not in models:
        raise InvalidInput(f"holds no model {model!r} but {', '.join(models[:10]) or 'none'}", field=source)
    chosen = model if model is not None else next(iter(models), "")
    kept = {labels: points for labels, points in series.items() if not chosen or ("model_name", chosen) in labels}
    if not kept:
        raise InvalidInput("holds none of vLLM's request metrics", field=source,
                           fix=f"give a scrape of /metrics with vllm:{INPUT}, or {ASK_RAW}")  # fmt: skip
    return chosen, kept


def _increase(points: Points, begun_s: float) -> Points:
    """By how much a counter grew up to each point, from the point before.

    A counter that fell began again at 0, and so did one that was not there when the first of all points was taken, at
    ``begun_s`` (-inf where all were taken at once: then it grew from 0).
    """
    grown: Points = []
    before = 0.0 if points[0][0] > begun_s else points[0][1]
    for at, value in points:
        grown.append((at, value - before if value >= before else value))
        before = value
    return grown


def _histogram(increased: Mapping[Labels, Points], side: str, source: str) -> Histogram:
    """All servers' requests by tokens. The last range, without an end, gets twice its beginning as its end."""
    servers: defaultdict[Labels, dict[float, float]] = defaultdict(dict)
    token_sum: float | None = None
    for labels, points in increased.items():
        by_name, total = dict(labels), sum(more for _, more in points)
        if by_name["__name__"] == f"{side}_bucket":
            servers[labels - {("le", by_name.get("le", ""))}][_edge(by_name.get("le", ""), source)] = total
        elif by_name["__name__"] == f"{side}_sum":
            token_sum = (token_sum or 0.0) + total
    ranges = {tuple(sorted(server)) for server in servers.values()}
    if len(ranges) != 1:
        what = "is missing" if not ranges else "has other ranges on some servers than on others"
        raise InvalidInput(what, field=f"{source}: vllm:{side}_bucket", fix="give metrics of servers of one version")
    ends = np.array(ranges.pop())
    cumulative = np.sum([[server[end] for end in sorted(server)] for server in servers.values()], axis=0)
    count = np.maximum(np.diff(cumulative, prepend=0.0), 0.0)
    if count.sum() == 0:
        raise InvalidInput("no request ended", field=f"{source}: vllm:{side}", fix="give metrics of a busier time")
    if not np.isfinite(ends[-1]):
        ends[-1] = 2 * (ends[-2] if len(ends) > 1 else 1)
    edges = np.concatenate([[0.0], np.floor(ends)])
    if not (np.diff(edges) > 0).all():
        raise InvalidInput("has ranges of less than a token", field=f"{source}: vllm:{side}_bucket")
    return Histogram(edges, count, token_sum)


def _edge(text: str, source: str) -> float:
    try:
        edge = float(text)
        if 0 < edge <= MOST_TOKENS / 2 or edge == np.inf:
            return edge
    except ValueError:
        pass
    raise InvalidInput(f"{text!r:.40} is no upper end of a range of tokens", field=f"{source}: le")
