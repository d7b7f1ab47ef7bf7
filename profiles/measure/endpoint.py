"""Measure an OpenAI-compatible endpoint over a grid of request sizes and concurrencies, one point after another."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiles import ingest
from profiles.errors import InvalidInput
from profiles.measure import journal, load
from profiles.measure.sensors import Sensors, sampled_power
from profiles.measure.target import Target
from profiles.names import KnownNames

FAILED_SHARE = 0.01
"""A point of which more requests fail is a problem, not a measurement: those that succeed then had room."""

SETTINGS = ("model", "gpu", "tp", "pp", "dp", "ep", "precision", "engine", "engine_version")


@dataclass(frozen=True)
class Grid:
    """Every input × output × concurrency; ``num_requests`` None: five times the concurrency, at least 20.

    Raises ``InvalidInput`` for a size, count or time that is not above zero, or a list that is empty.
    """

    input_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    concurrency: tuple[int, ...]
    num_requests: int | None = None
    seconds: float = 300.0

    def __post_init__(self) -> None:
        lists = {"--input": self.input_tokens, "--output": self.output_tokens, "--concurrency": self.concurrency}
        for flag, values in lists.items():
            if not values:
                raise InvalidInput("is empty", field=flag, fix="give numbers, e.g. 512,2048")
        single = {"--requests": () if self.num_requests is None else (self.num_requests,), "--seconds": (self.seconds,)}
        for flag, value in ((flag, value) for flag, values in (lists | single).items() for value in values):
            if not 0 < value <= 10_000_000:
                raise InvalidInput(f"must be above zero and at most 10 million, not {value}", field=flag)
        if self.num_requests is not None and self.num_requests < max(self.concurrency):
            raise InvalidInput(f"{self.num_requests} requests never fill a concurrency of {max(self.concurrency)}",
                               field="--requests", fix="ask for several times the concurrency")  # fmt: skip

    def loads(self) -> list[load.Load]:
        """The points, concurrency by concurrency within each size."""
        return [
            load.Load(i, o, c, self.num_requests or max(20, 5 * c), self.seconds)
            for i, o, c in itertools.product(self.input_tokens, self.output_tokens, self.concurrency)
        ]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: points with a result before it and now, those with a problem, and what is worth knowing."""

    num_resumed: int
    num_measured: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def run(
    target: Target,
    grid: Grid,
    served: dict[str, Any],
    known: KnownNames,
    out: Path,
    report: Callable[[str], None],
    nvml: Sequence[int] = (),
) -> Outcome:
    """Measure every point of ``grid`` that the journal at ``out`` lacks; ``report`` is told of each.

    ``served`` has the fields of ``profiles.types.Layout`` with the ``gpu`` by its catalogue name; ``nvml`` the
    indices of the GPUs of this machine that serve, for power. A point that fails is a problem in the journal, and
    the run goes on.

    Raises
    ------
    InvalidInput
        If GuideLLM is missing, the endpoint cannot be reached or lacks the model, or ``out`` is of another run.
    """
    software = f"GuideLLM {load.version()}"
    if nvml and len(nvml) != (num_gpus := served["tp"] * served["pp"] * served["dp"]):
        raise InvalidInput(f"{len(nvml)} GPUs named, {num_gpus} serve", field="--nvml", fix="name each that serves")
    gpus = [Sensors(index) for index in nvml]
    notes = [f"no power: {gpu.why_blind}" for gpu in gpus if gpu.why_blind][:1]
    if not nvml:
        notes = ["no power: --nvml names the GPUs of this machine that serve, where they are here"]
    if blind := any(gpu.why_blind for gpu in gpus):
        gpus = []
    target.greet()
    machine = {} if blind or not gpus else {"driver": gpus[0].driver(), "power_limit_w": gpus[0].power_limit_w()}
    head = {"kind": "endpoint", "url": target.base, "served_model": target.model, "software": software,
            **served, **machine, "as_of": journal.day_of_run(out)}  # fmt: skip
    log = journal.Journal(out, head)
    num_resumed, problems, num_measured = len(log), [], 0
    loads = grid.loads()
    try:
        for index, asked in enumerate(loads, start=1):
            point = {"input_tokens": asked.input_tokens, "output_tokens": asked.output_tokens,
                     "concurrency": asked.concurrency}  # fmt: skip
            if point in log:
                continue
            told = f"[{index}/{len(loads)}] " + " ".join(f"{name} {value}" for name, value in point.items())
            report(f"{told}: {asked.num_requests} requests, at most {asked.seconds:g} s")
            try:
                result = _measured(asked, target, served, known, gpus)
            except load.LoadFailed as failure:
                log.add_problem(point, str(failure))
                problems.append(f"{told}: {failure}")
            else:
                log.add(point, result)
                num_measured += 1
                report(f"{told}: TTFT {result['ttft_ms']:,.1f} ms, {result['output_tokens_per_s']:,.1f} tokens/s")
    finally:
        log.close()
    return Outcome(num_resumed, num_measured, tuple(problems), tuple(notes))


def _measured(
    asked: load.Load, target: Target, served: dict[str, Any], known: KnownNames, gpus: Sequence[Sensors]
) -> dict[str, Any]:
    """The fields of a ``Measurement`` that one point gave; raises ``LoadFailed`` when it gave nothing to keep."""
    with tempfile.TemporaryDirectory(prefix="gpuplan-measure-") as folder:
        with sampled_power(gpus) as power:
            path = load.run(asked, target, Path(folder))
        totals, (begun_s, ended_s) = _totals(path)
        _refuse_failures(totals, asked)
        try:
            batch = ingest.read("guidellm", path, known, gpu=served["gpu"], model=served["model"]).batch
        except InvalidInput as error:
            raise load.LoadFailed(f"GuideLLM's report is of no use: {error.detail}") from error
    (measured,) = batch.measurements
    if measured.ttft_ms is None or measured.output_tokens_per_s is None:
        raise load.LoadFailed("the endpoint answered without a single token")
    values = measured.model_dump(mode="json", exclude_defaults=True, exclude={"source", "as_of", *SETTINGS})
    values["concurrency"] = asked.concurrency  # what the loop kept up; the mean is less for its last requests
    drawn = power(begun_s, ended_s)
    state = {"mean_power_w": drawn.mean_power_w, "peak_power_w": drawn.peak_power_w,
             "sm_clock_mhz": drawn.sm_clock_mhz, "temperature_c": drawn.temperature_c}  # fmt: skip
    return values | {name: value for name, value in state.items() if value is not None}


def _totals(path: Path) -> tuple[dict[str, int], tuple[float, float]]:
    """How many requests ended how, and when the first began and the last ended, in seconds since 1970."""
    try:
        benchmark = json.loads(path.read_text(encoding="utf-8"))["benchmarks"][0]
        totals = {name: int(count) for name, count in benchmark["metrics"]["request_totals"].items()}
        window = float(benchmark["start_time"]), float(benchmark["end_time"])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        raise load.LoadFailed("GuideLLM's report is of no use: it names no requests") from None
    return totals, window


def _refuse_failures(totals: dict[str, int], asked: load.Load) -> None:
    good, bad, unfinished = (totals.get(name, 0) for name in ("successful", "errored", "incomplete"))
    if not good:
        raise load.LoadFailed(f"no request succeeded: {bad} failed, {unfinished} unfinished after {asked.seconds:g} s")
    if bad > FAILED_SHARE * (good + bad):
        raise load.LoadFailed(f"{bad} of {good + bad} requests failed")
    if good < asked.concurrency:
        raise load.LoadFailed(f"only {good} requests finished within {asked.seconds:g} s: give more --seconds")
