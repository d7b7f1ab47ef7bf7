"""The recorded expert loads that the experts benchmarks share; they skip by name where the data are not there."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from planner.program import Floats, Ints

MOE = Path(__file__).parents[2] / "shared" / "data" / "moe"


def workloads() -> tuple[tuple[str, ...], Floats]:
    """Names and tokens per expert [W, 58, 256] of the DeepSeek-V3 files, dense layers left out."""
    files = sorted(MOE.glob("deepseek_v3_*.json"))
    if not files:
        sys.exit(f"skipped: no deepseek_v3_*.json in {MOE}")
    counts = np.array([json.loads(path.read_text())["logical_count"] for path in files], dtype=float)
    return tuple(path.stem.removeprefix("deepseek_v3_") for path in files), counts[:, 3:]


def mixtral_trace() -> Ints:
    """Experts used [tokens, 32, 2] by Mixtral 8x7B on GSM8K."""
    path = MOE / "mixtral_8x7b_routing_gsm8k.npy"
    if not path.exists():
        sys.exit(f"skipped: no {path}")
    return np.load(path).astype(np.int64)


@contextmanager
def stopwatch(record: list[float]) -> Iterator[None]:
    """Append the CPU seconds of the block: the machine is shared, wall time is not ours alone."""
    started = time.process_time()
    yield
    record.append(time.process_time() - started)


def verdict(name: str, value: float, bar: float, *, at_least: bool = True) -> None:
    """Print one bar and whether it is met."""
    met = value >= bar if at_least else value <= bar
    sign = "≥" if at_least else "≤"
    print(f"{'met ' if met else 'MISS'}  {name}: {value:.4f} (bar {sign} {bar:g})")
