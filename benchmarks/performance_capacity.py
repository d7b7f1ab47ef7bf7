"""How fast the performance model answers: fitting, predictions and capacity tables."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from performance_accuracy import DATA, measured, model_of

from profiles.performance import PerformanceModel, Slo


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603


def main() -> None:
    if not DATA.exists():
        print("skipped: shared/data is not here")
        return
    ours = 1e3 * seconds(lambda: python("import profiles.performance"))
    base = 1e3 * seconds(lambda: python("import numpy, profiles.types"))
    rows = measured("inference-latency", "serving/inference_latency_measured.csv")
    layouts = list({m.layout: None for m in rows})
    model: PerformanceModel = model_of(rows)
    fit = seconds(lambda: [model.predict(layout, 1024, 128, 8) for layout in layouts])
    points = np.geomspace(1, 200, 1_000_000)
    one = seconds(lambda: model.predict(layouts[0], 1024, 128, points)) / len(points)
    buckets = [axis.ravel() for axis in np.meshgrid(np.geomspace(16, 8192, 20), np.geomspace(16, 2048, 10))]
    slo = Slo(ttft_ms=2000, tpot_ms=50, percentile="p90")
    table = seconds(lambda: [model.capacity(layout, *buckets, slo) for layout in layouts[:60]])
    print(f"import {ours:.0f} ms (numpy and profiles.types alone {base:.0f} ms)")
    print(f"fit {len(layouts)} layouts from {len(rows)} rows: {fit:.2f} s (scipy's import included)")
    print(f"one latency estimate: {1e6 * one:.2f} µs of a million at once")
    print(f"capacity of 60 layouts × {len(buckets[0])} request sizes: {table:.2f} s")


if __name__ == "__main__":
    main()
