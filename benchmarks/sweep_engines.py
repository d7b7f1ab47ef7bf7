"""Sweeps on both engines: the same rows, and how many scenarios a second each answers.

    python benchmarks/sweep_engines.py [SCENARIOS]

A small serving problem with given rates, so that handing over shows. Start-up of workers (and of Ray) is in the times,
and shown apart by a sweep of a few scenarios.
"""

from __future__ import annotations

import os
import sys
import time

from planner.documents import validated
from planner.settings import Engine
from planner.sweep.run import sweep
from planner.sweep.spec import SweepAnswer, SweepRequest
from profiles import catalogue
from profiles.types import Facts

SPEC = {
    "services": [{
        "name": "a",
        "workload": {"requests_per_s": 10, "distribution": {
            "input_tokens": [1, 128, 512], "output_tokens": [1, 128, 512], "fractions": [[0.4, 0.3], [0.2, 0.1]],
        }},
        "units": [
            {"name": "small", "gpu": "L4", "usd_per_hour": 0.7, "requests_per_s": [[2, 1], [1, 0.5]]},
            {"name": "large", "gpu": "H100", "usd_per_hour": 7.5, "requests_per_s": [[25, 12], [14, 9]]},
        ],
    }],
}  # fmt: skip
FEW = 4


def main() -> None:
    num_scenarios = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    known = catalogue.load()
    facts = Facts(**{name: getattr(known, name) for name in type(known).model_fields})
    answers = {}
    for engine in ("local", "ray"):
        start_s, _ = timed(FEW, facts, engine)
        total_s, answers[engine] = timed(num_scenarios, facts, engine)
        print(f"{engine}: {num_scenarios:,} scenarios in {total_s:.1f} s, {num_scenarios / total_s:.0f} a second; "
              f"{FEW} in {start_s:.1f} s ({os.cpu_count()} CPUs)")  # fmt: skip
    same = answers["local"].rows == answers["ray"].rows
    print(f"rows of both engines: {'identical' if same else 'NOT THE SAME'}")


def timed(num_scenarios: int, facts: Facts, engine: Engine) -> tuple[float, SweepAnswer]:
    values = [0.05 * (i + 1) for i in range(num_scenarios)]
    vary = [{"path": "services[0].workload.requests_per_s", "values": values}]
    request = validated(SweepRequest, {"kind": "serving", "spec": SPEC, "vary": vary})
    started = time.perf_counter()
    answer = sweep(request, facts, engine)
    return time.perf_counter() - started, answer


if __name__ == "__main__":
    main()
