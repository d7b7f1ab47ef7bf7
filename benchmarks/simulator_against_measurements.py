"""How near a replay comes to what real engines did: closed loops of the measured rows, replayed.

``python benchmarks/simulator_against_measurements.py`` fits the performance model to the measured latencies in
shared/data, takes each layout's iteration costs from it, keeps as many requests running as each row did, and compares
time per output token and throughput with the row. Times are those of one iteration after another, so this is the test
of the layer that replays and split pools rest on; how well unseen rows are predicted is in performance_accuracy.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from planner.simulate import Options, Pool, from_arrays, simulate_pools
from profiles.catalogue import load
from profiles.ingest import read
from profiles.names import KnownNames
from profiles.performance import PerformanceModel
from profiles.types import Facts, Measurement

DATA = next((p / "shared/data" for p in Path(__file__).parents if (p / "shared/data").exists()), Path("shared/data"))
TURNS = 4
"""Requests per client: the first and last turns, when the loop fills and drains, weigh little."""


def replayed(model: PerformanceModel, row: Measurement) -> tuple[float, float]:
    """(TPOT in ms, output tokens/s) of the row's closed loop."""
    clients = int(row.concurrency or 1)
    count = TURNS * clients
    tokens_in, tokens_out = (np.full(count, round(tokens or 1)) for tokens in (row.input_tokens, row.output_tokens))
    pool = Pool("measured", model.iteration(row.layout), 1)
    limits = Options(max_running=clients, grace_s=1e9, max_waiting=10_000_000)
    found = simulate_pools([pool], from_arrays(np.zeros(count), tokens_in, tokens_out), limits)
    return found.tpot_ms.mean or np.nan, found.events.completed * int(tokens_out[0]) / found.duration_s


def main() -> None:
    if not DATA.exists():
        print("skipped: shared/data is not here")
        return
    path = DATA / "serving/inference_latency_measured.csv"
    known = load()
    rows = list(
        {m.digest: m for m in read("inference-latency", path, KnownNames.of(known)).batch.measurements}.values()
    )
    model = PerformanceModel(Facts(gpus=known.gpus, models=known.models, measurements=tuple(rows)))
    rows = [m for m in rows if m.ttft_ms and m.tpot_ms and m.output_tokens and m.output_tokens > 1]
    if "--quick" in sys.argv:
        rows = rows[::10]
    missed = []
    for row in rows:
        each_ms, tokens_per_s = replayed(model, row)
        e2e_ms = (row.ttft_ms or 0) + ((row.output_tokens or 1) - 1) * (row.tpot_ms or 0)
        measured = 1e3 * (row.concurrency or 1) * (row.output_tokens or 1) / e2e_ms
        missed.append((abs(each_ms / (row.tpot_ms or np.nan) - 1), abs(tokens_per_s / measured - 1)))
    for name, errors in zip(("TPOT", "throughput"), np.array(missed).T, strict=True):
        print(f"{name:11}{np.nanmean(errors):6.1%} mean, {np.nanmedian(errors):6.1%} median of {len(errors)} rows")


if __name__ == "__main__":
    main()
