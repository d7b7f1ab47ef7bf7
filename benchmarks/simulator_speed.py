"""Requests simulated per CPU-second at iteration fidelity, and how close they are to a slow, obviously right replay.

The Azure conversation trace × 13 (about 70 requests/s) on 40 replicas of Llama-2-70B on eight H100s, each an engine
with continuous batching and chunked prefill; half and half as prefill and decode pools as well.

Run: python benchmarks/simulator_speed.py [--hours 10] [--week] [--reference-s 300]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # the slow replay lives with the tests

from planner.serving.spec import Slo
from planner.simulate import Link, Options, Pool, Simulation, Traffic, from_arrays, simulate_pools, traffic_of_trace
from profiles import catalogue
from profiles.performance import Iteration, PerformanceModel
from profiles.types import Facts
from tests.planner.simulate.reference import Reference

TRACE = Path(__file__).parents[2] / "shared" / "data" / "traces" / "azure_llm_2023_conv.csv"
TIMES, REPLICAS = 13.0, 40
SLO = Slo(ttft_ms=1000, tpot_ms=100)


def cost() -> Iteration:
    known = catalogue.load()
    model = PerformanceModel(Facts(**{name: getattr(known, name) for name in type(known).model_fields}))
    [layout] = model.layouts("meta-llama/Llama-2-70b-hf", gpus=["H100"], tp=[8])
    return model.iteration(layout)


def clusters(iteration: Iteration) -> dict[str, tuple[Pool, ...]]:
    half = REPLICAS // 2
    return {
        "unified": (Pool("unified", iteration, REPLICAS),),
        "split": (Pool("prompts", iteration, half, "prefill"), Pool("tokens", iteration, half, "decode")),
    }


def timed(pools: tuple[Pool, ...], traffic: Traffic) -> tuple[Simulation, float]:
    """The replay, and its CPU-seconds, reading and multiplying the trace included."""
    started = time.process_time()
    found = simulate_pools(pools, traffic, Options(), link=Link(25.0), slo=SLO)
    return found, time.process_time() - started


def told(found: Simulation, cpu_s: float) -> str:
    return (
        f"{found.num_requests:,} requests in {cpu_s:.2f} CPU-s: {found.num_requests / cpu_s:,.0f} per CPU-second; "
        f"TTFT p50 {found.ttft_ms.p50:.0f} p99 {found.ttft_ms.p99:.0f} ms, TPOT p50 {found.tpot_ms.p50:.1f} ms, "
        f"within the SLO {found.slo_attainment:.2%}"
    )


def one(kind: str, duration_s: float | None) -> None:
    """What a fresh process does: prints its speed, and the most memory it ever had."""
    pools = clusters(cost())[kind]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    traffic = traffic_of_trace(TRACE, rate_multiplier=TIMES, duration_s=duration_s)
    print(f"  first in a process: {told(*timed(pools, traffic))}")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  most memory {after:.0f} MiB ({before:.0f} MiB before the replay)")
    if duration_s is None:
        print(f"  again:              {told(*timed(pools, traffic))}")


def in_a_process(kind: str, duration_s: float | None, cache: str) -> None:
    arguments = [sys.executable, __file__, "--one", kind, *(["--duration", str(duration_s)] if duration_s else [])]
    subprocess.run(arguments, check=True, env={**os.environ, "NUMBA_CACHE_DIR": cache})  # noqa: S603


def deviation(kind: str, duration_s: float) -> None:
    """The same requests, one by one, by the slow replay."""
    pools = clusters(cost())[kind]
    chunks = [*traffic_of_trace(TRACE, rate_multiplier=TIMES, duration_s=duration_s).chunks()]
    times, tokens_in, tokens_out = (
        np.concatenate([getattr(chunk, name) for chunk in chunks])
        for name in ("arrival_s", "input_tokens", "output_tokens")
    )
    rows: list[Any] = []
    started = time.process_time()
    found = simulate_pools(
        pools, from_arrays(times, tokens_in, tokens_out), Options(), link=Link(25.0), slo=SLO,
        sink=lambda told: rows.append(told.copy()),
    )  # fmt: skip
    fast_s, started = time.process_time() - started, time.process_time()
    from planner.simulate.cluster import every_route

    slow = Reference(pools, every_route(pools), Options(), Link(25.0))
    expected = slow.run([*zip(times.tolist(), tokens_in.tolist(), tokens_out.tolist(), strict=True)])
    slow_s = time.process_time() - started
    ours = np.sort(np.concatenate(rows), order="request")
    exact = {
        "ttft_ms": np.array([1e3 * (r.first - r.arrival) for r in expected]),
        "e2e_ms": np.array([1e3 * (r.end - r.arrival) for r in expected]),
    }
    exact["tpot_ms"] = (exact["e2e_ms"] - exact["ttft_ms"]) / np.maximum(tokens_out - 1, 1)
    exact["tpot_ms"] = exact["tpot_ms"][tokens_out > 1]
    worst = {name: np.nanmax(np.abs(ours[name] / exact[name] - 1)) for name in ("ttft_ms", "e2e_ms")}
    print(f"{kind}, {len(expected):,} requests against the slow replay ({slow_s:.1f} s, ours {fast_s:.2f} s):")
    print(f"  request by request TTFT and E2E differ by at most {max(worst.values()):.1e}")
    for name, values in exact.items():
        at = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
        errors = [abs(getattr(getattr(found, name), p) / np.quantile(values, q) - 1) for p, q in at.items()]
        print(f"  reported {name} p50, p90, p99 differ by {', '.join(f'{error:.2%}' for error in errors)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=10.0, help="of traffic, to compare memory with one hour")
    parser.add_argument("--week", action="store_true", help="also replay a week of traffic")
    parser.add_argument("--reference-s", type=float, default=300.0, help="of traffic for the slow replay")
    parser.add_argument("--one", choices=["unified", "split"], help=argparse.SUPPRESS)
    parser.add_argument("--duration", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not TRACE.exists():
        print("skipped: shared/data is not here")
        return
    if asked.one:
        one(asked.one, asked.duration)
        return
    for kind in ("unified", "split"):
        with tempfile.TemporaryDirectory() as cache:
            print(f"{kind}, nothing compiled yet:")
            in_a_process(kind, None, cache)
            print(f"{kind}, compiled before:")
            in_a_process(kind, None, cache)
            if kind == "unified":
                print(f"{asked.hours:g} hours of it:")
                in_a_process(kind, asked.hours * 3600, cache)
                if asked.week:
                    print("a week of it:")
                    in_a_process(kind, 7 * 86_400, cache)
        deviation(kind, asked.reference_s)


if __name__ == "__main__":
    main()
