"""Measurements as arrays: the operating points of one layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.performance.answers import Floats, Marks, Strings
from profiles.types import Measurement

TYPICAL_INPUT_TOKENS = {"lm-arena-chat": 150.0, "gpqa": 300.0, "sourcegraph-fim": 1000.0}
"""Prompt lengths of the data sets of the ML.ENERGY benchmark, which publishes output lengths only: an assumption.
They matter little (the context is mostly output there) and everything fitted to them is marked extrapolated."""


@dataclass(frozen=True)
class Rows:
    """(rows,) arrays; NaN where a row did not measure. ``guessed`` rows have an assumed input length."""

    input_tokens: Floats
    output_tokens: Floats
    concurrency: Floats
    ttft_ms: Floats
    tpot_ms: Floats
    guessed: Marks
    software: Strings
    """Engine version, or the date where the source names none."""
    static_batch: bool

    def __len__(self) -> int:
        return len(self.concurrency)

    def where(self, kept: Marks) -> Rows:
        """The rows that ``kept`` marks."""
        return self.take(np.flatnonzero(kept))

    def take(self, kept: NDArray[np.intp]) -> Rows:
        """The rows at these places."""
        return Rows(
            self.input_tokens[kept], self.output_tokens[kept], self.concurrency[kept],
            self.ttft_ms[kept], self.tpot_ms[kept], self.guessed[kept], self.software[kept], self.static_batch,
        )  # fmt: skip

    @property
    def decode_ms(self) -> Floats:
        """Time from the first token to the last."""
        return (self.output_tokens - 1) * self.tpot_ms

    @property
    def e2e_ms(self) -> Floats:
        """Time from arrival to the last token."""
        return self.ttft_ms + self.decode_ms


def read_rows(measurements: Sequence[Measurement]) -> Rows:
    """Latency rows among ``measurements`` of one layout; power-only and throughput-less rows are left out."""
    found = [(point, software_of(m)) for m in measurements if (point := _point(m)) is not None]
    points = [point for point, _ in found]
    table = np.array([point[:5] for point in points], dtype=np.float64).reshape(len(points), 5)
    tokens_in, tokens_out, concurrency, ttft_ms, tpot_ms = table.T
    guessed = np.array([point[5] for point in points], dtype=bool)
    software = np.array([name for _, name in found], dtype=np.str_)
    static = bool(points) and any(m.load == "static_batch" for m in measurements)
    return Rows(tokens_in, tokens_out, concurrency, ttft_ms, tpot_ms, guessed, software, static)


def software_of(m: Measurement) -> str:
    """What stands for the software that ``m`` ran on: the engine's version, else the date."""
    return m.engine_version or m.as_of.isoformat()


def prompt_tokens(m: Measurement) -> float | None:
    """Input tokens of ``m``, or what its task is assumed to have; None where neither is known."""
    return TYPICAL_INPUT_TOKENS.get(m.task) if m.input_tokens is None else m.input_tokens


def _point(m: Measurement) -> tuple[float, float, float, float, float, bool] | None:
    """(input, output, concurrency, TTFT, TPOT, guessed) of one measurement, with NaN for a missing time."""
    if m.concurrency is None or m.output_tokens is None:
        return None
    nan = float("nan")
    guessed = m.input_tokens is None
    tokens_in = prompt_tokens(m)
    if tokens_in is None:
        return None
    first = m.ttft_ms or m.ttft_p50_ms or nan
    each = m.tpot_ms or m.tpot_p50_ms
    if each is None and m.e2e_ms and m.output_tokens > 1 and m.e2e_ms > first:
        each = (m.e2e_ms - first) / (m.output_tokens - 1)
    if each is None and guessed and m.output_tokens_per_s:
        each = 1e3 * m.concurrency / m.output_tokens_per_s  # a full batch: each request gets 1/batch of the tokens
    if first != first and each is None:
        return None
    return tokens_in, m.output_tokens, max(m.concurrency, 1.0), first, each or nan, guessed
