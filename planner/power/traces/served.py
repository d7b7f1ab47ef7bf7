"""A serving plan as a workload: the requests that its replicas on one kind of GPU were planned for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from planner.documents import read_document
from planner.errors import InvalidInput
from planner.packed import PackedArray

SPAN_MS = 3_600_000
LEAST_REQUESTS, MOST_REQUESTS = 2000, 20_000
"""Drawn for an hour; how often they come, the rate says."""


def demand_of_plan(path: Path, gpu: str, num_gpus: int, service: str | None = None) -> dict[str, Any]:
    """Fields of a trace demand for servers with ``num_gpus`` of ``gpu``: as many requests as the plan routes there.

    Of several units of the plan on that GPU, the one with most GPUs. Arrivals are Poisson: a plan knows no bursts.

    Raises
    ------
    InvalidInput
        It is no serving plan, or has no unified replicas with a known layout on this GPU that fit a server.
    """
    plan = read_document(path)
    if not isinstance(plan, dict) or plan.get("kind") != "serving" or not isinstance(plan.get("allocation"), list):
        raise InvalidInput("is no plan of `gpuplan plan serving`", field=str(path), fix="give a plan saved with --out")
    try:
        return _demand(plan, str(path), gpu, num_gpus, service)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"is a damaged plan: {error}", field=str(path), fix="plan again") from None


def _demand(plan: dict[str, Any], source: str, gpu: str, num_gpus: int, service: str | None) -> dict[str, Any]:
    units = [
        a
        for a in plan["allocation"]
        if a["gpu"] == gpu and a["layout"] and a["role"] == "unified" and a["replicas"] > 0
        if service in (None, a["service"])
    ]
    if not units:
        has = ", ".join(sorted({f"{a['gpu']} ({a['role']}, {a['service']})" for a in plan["allocation"]}))
        raise InvalidInput(
            f"has no unified replicas on {gpu}, only {has or 'nothing'}", field=source,
            fix="name the GPU as the plan does; replicas that only prefill or only decode cannot be used",
        )  # fmt: skip
    unit = max(units, key=lambda a: a["gpus_per_replica"] * a["replicas"])
    if num_gpus % unit["gpus_per_replica"]:
        raise InvalidInput(f"has replicas of {unit['gpus_per_replica']} GPUs, which do not fill a server of {num_gpus}",
                           field=source, fix="plan for another tp")  # fmt: skip
    routes = [r for r in plan["routing"] if r["service"] == unit["service"] and r["unit"] == unit["unit"]]
    rate = np.array([r["requests_per_s"] for r in routes])
    if not rate.sum() > 0:
        raise InvalidInput(f"routes nothing to {unit['unit']}", field=source, fix="plan again")
    layout = unit["layout"]
    return {
        "kind": "trace",
        "requests": _drawn(
            np.array([[r["mean_input_tokens"], r["mean_output_tokens"]] for r in routes]), rate / rate.sum()
        ),
        "model": layout["model"],
        **{field: layout[field] for field in ("tp", "pp", "precision", "engine")},
        "peak_requests_per_s": float(rate.sum() / unit["replicas"] * num_gpus / unit["gpus_per_replica"]),
    }


def _drawn(tokens: Any, share: Any) -> PackedArray:
    """Requests of sizes ``tokens`` (sizes, 2) in these shares, over an hour."""
    random = np.random.Generator(np.random.PCG64(0))
    count = int(np.clip(50 * len(share), LEAST_REQUESTS, MOST_REQUESTS))
    drawn = np.maximum(np.rint(tokens[random.choice(len(share), size=count, p=share)]), 1)
    arrival_ms = np.sort(random.integers(0, SPAN_MS, count))
    return PackedArray.pack(np.column_stack([arrival_ms, drawn]).astype(np.int64))
