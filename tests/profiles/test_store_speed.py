"""The store keeps up: with the largest file that anyone imports, and with a plan that needs every fact."""

from __future__ import annotations

import datetime as dt
import random
import time

from sqlalchemy import Engine

from profiles import store
from profiles.store import Change
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


def test_ten_thousand_measurements_go_in_within_two_seconds(engine: Engine) -> None:
    batch = Batch(gpus=(H100,), measurements=many(10_000))
    start = time.perf_counter()
    assert store.add(engine, batch).measurements == Change(added=10_000)
    assert store.add(engine, batch).measurements == Change(unchanged=10_000)
    assert time.perf_counter() - start < 2 * 2


def test_snapshot_of_two_thousand_measurements_is_quick(engine: Engine) -> None:
    store.add(engine, Batch(gpus=(H100,), measurements=many(2_000)))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        store.snapshot(engine)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.15
