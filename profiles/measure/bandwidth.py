"""Memory bandwidth: a copy, a read and a write of large buffers, and small ones that stay in cache for contrast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from profiles.measure.stopwatch import Step, Stopwatch

ACCESSES = ("copy", "read", "write")


def points(largest_gib: float) -> Iterator[dict[str, Any]]:
    """Buffers from 16 MiB to ``largest_gib``, doubling, in every access."""
    size = 16 * 2**20
    while size <= largest_gib * 2**30:
        for access in ACCESSES:
            yield {"access": access, "num_bytes": size}
        size *= 2


def measure(point: dict[str, Any], watch: Stopwatch) -> dict[str, float]:
    """Time (µs) and power of one pass over ``num_bytes``; a copy moves twice as many (read and written).

    Raises ``MemoryError`` before allocating what does not fit.
    """
    num_bytes = point["num_bytes"]
    if 2 * num_bytes > 0.9 * watch.free_bytes():
        raise MemoryError(f"needs {2 * num_bytes / 2**30:.1f} GiB")
    return watch.measure(_pass(point["access"], num_bytes // 4, watch.device)).as_json()


def _pass(access: str, num_floats: int, device: torch.device) -> Step:
    source = torch.ones(num_floats, device=device)
    if access == "read":
        return lambda: source.sum()
    if access == "write":
        return lambda: source.fill_(1.0)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)
