"""Time of the store on SQLite: 10,000 measurements in, and again unchanged; a snapshot of them.

Run: python benchmarks/store_speed.py
"""

from __future__ import annotations

import datetime as dt
import random
import tempfile
import time
from collections.abc import Callable

from profiles import store
from profiles.db import initialise
from profiles.types import Batch, GpuType, Measurement

DAY = dt.date(2025, 3, 1)
H100 = GpuType(
    source="datasheet", as_of=DAY, name="H100-SXM", vendor="NVIDIA", architecture="Hopper", memory_gib=80,
    memory_bandwidth_gb_per_s=3350, bf16_tflops=989, tdp_w=700, idle_w=70, interconnect="NVLink 4",
    interconnect_gb_per_s=900,
)  # fmt: skip


def many(count: int) -> tuple[Measurement, ...]:
    draw = random.Random(7).random  # noqa: S311  nothing secret
    return tuple(
        Measurement(
            source="a run", as_of=DAY, model="m", gpu=H100.name,
            concurrency=index + 1, ttft_ms=draw() + 1, tpot_ms=draw() + 1, e2e_ms=100 * draw() + 1,
            output_tokens_per_s=draw() + 1, mean_power_w=draw() + 1,
        )
        for index in range(count)
    )  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = initialise(f"sqlite:///{folder}/store.db")
        batch = Batch(gpus=(H100,), measurements=many(10_000))
        for what, action in (
            ("add 10,000 measurements", lambda: store.add(engine, batch)),
            ("add the same again", lambda: store.add(engine, batch)),
            ("snapshot of 10,000", lambda: store.snapshot(engine)),
        ):
            print(f"{what:>24}: {timed(action):6.3f} s")


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
