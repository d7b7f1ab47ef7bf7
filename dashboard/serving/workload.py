"""Traffic of one service, as its spec has it: ``requests_per_s`` with a ``distribution``, or ``buckets``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from dashboard.client import Document

MOST_TOKENS = 10_000_000
"""As long as a spec lets a request be."""

MOST_EDITED = 200
"""Sizes that are edited one by one; more are scaled together, or come from a file."""


def replaced(spec: Document, index: int, new: Document) -> Document:
    """The spec with another workload of the service at ``index``."""
    services = list(spec["services"])
    services[index] = {**services[index], "workload": new}
    return {**spec, "services": services}


def requests_per_s(workload: Document) -> float:
    """The rate of all sizes together."""
    if workload.get("buckets"):
        return math.fsum(bucket["requests_per_s"] for bucket in workload["buckets"])
    return float(workload.get("requests_per_s") or 0.0)


def at_rate(workload: Document, rate: float) -> Document:
    """The same mix of sizes at another rate. Buckets without any traffic stay as they are: they say no mix."""
    if not workload.get("buckets"):
        return {**workload, "requests_per_s": rate}
    now = requests_per_s(workload)
    if not now:
        return workload
    return {**workload, "buckets": [
        {**bucket, "requests_per_s": bucket["requests_per_s"] * rate / now} for bucket in workload["buckets"]
    ]}  # fmt: skip


def longer(workload: Document, prompts: float, answers: float) -> Document:
    """Every size with so many times the input and output tokens."""
    if workload.get("distribution"):
        distribution = dict(workload["distribution"])
        for name, factor in (("input_tokens", prompts), ("output_tokens", answers)):
            scaled = _scaled(distribution[name], factor)
            distribution[name] = [scaled[edge] for edge in distribution[name]]
        return {**workload, "distribution": distribution}
    if not workload.get("buckets"):
        return workload
    buckets = [dict(bucket) for bucket in workload["buckets"]]
    for name, factor in (("input_tokens", prompts), ("output_tokens", answers)):
        scaled = _scaled([edge for bucket in buckets for edge in bucket[name]], factor)
        for bucket in buckets:
            bucket[name] = [scaled[edge] for edge in bucket[name]]
            if bucket.get(f"mean_{name}"):
                bucket[f"mean_{name}"] *= factor
    return {**workload, "buckets": buckets}


def _scaled(edges: Iterable[int], factor: float) -> dict[int, int]:
    """New edges by old ones: whole tokens from 1 on, and different edges stay different."""
    new: dict[int, int] = {}
    least = 1
    for edge in sorted(set(edges)):
        new[edge] = edge if factor == 1 or edge <= 1 else min(max(round(edge * factor), least), MOST_TOKENS)
        least = new[edge] + 1
    return new


def sizes(workload: Document) -> list[Document]:
    """A row for each size: its ranges and its share of requests in percent."""
    distribution = workload.get("distribution")
    if distribution:
        edges_in, edges_out = distribution["input_tokens"], distribution["output_tokens"]
        return [
            _size(edges_in[i : i + 2], edges_out[j : j + 2], fraction)
            for i, row in enumerate(distribution["fractions"]) for j, fraction in enumerate(row)
        ]  # fmt: skip
    rate = requests_per_s(workload)
    return [
        _size(b["input_tokens"], b["output_tokens"], b["requests_per_s"] / rate if rate else 0.0)
        for b in workload.get("buckets") or ()
    ]


def with_shares(workload: Document, shares: Sequence[float]) -> Document:
    """The workload with the shares of ``sizes`` replaced, in their order, whatever they add up to (above zero)."""
    total = math.fsum(shares)
    fractions = [share / total for share in shares]
    distribution = workload.get("distribution")
    if distribution:
        width = len(distribution["output_tokens"]) - 1
        rows = [fractions[start : start + width] for start in range(0, len(fractions), width)]
        return {**workload, "distribution": {**distribution, "fractions": rows}}
    rate = requests_per_s(workload)
    buckets = [
        {**bucket, "requests_per_s": rate * fraction}
        for bucket, fraction in zip(workload["buckets"], fractions, strict=True)
    ]
    return {**workload, "buckets": buckets}


def _size(inputs: Sequence[int], outputs: Sequence[int], share: float) -> Document:
    size: dict[str, Any] = {"input tokens": span(inputs), "output tokens": span(outputs)}
    return {**size, "share %": round(100 * share, 6)}


def span(limits: Sequence[int]) -> str:
    """A range in words."""
    return f"{limits[0]:,}" if limits[0] == limits[1] else f"{limits[0]:,}–{limits[1]:,}"
