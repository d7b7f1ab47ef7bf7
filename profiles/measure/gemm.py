"""Time and power of matrix products C[m, n] = A[m, k] · B[k, n] over shapes and precisions."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import torch

from profiles.measure.stopwatch import Step, Stopwatch

PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "fp8")
ON_CPU = ("fp32", "bf16")

_TYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "fp8": 1}


def shapes(num_shapes: int, largest: int, seed: int = 0) -> Iterator[tuple[int, int, int]]:
    """``num_shapes`` different (m, n, k), log-uniform up to ``largest``; equal seeds give equal shapes.

    m runs from 1 (a decode step); n and k, widths of layers, from 64. Most are multiples of 64 as real layers are,
    some of 16 only, and m is any number half of the time, because batches are.
    """
    rng = random.Random(seed)  # noqa: S311  a sweep, not a secret
    seen: set[tuple[int, int, int]] = set()

    def draw(least: int, multiples: tuple[int, ...]) -> int:
        size = math.exp(rng.uniform(math.log(least), math.log(largest)))
        multiple = rng.choice(multiples)
        return min(largest, max(1, round(size / multiple)) * multiple)

    tries = 0
    while len(seen) < num_shapes and tries < 100 * num_shapes:
        tries += 1
        shape = (draw(1, (1, 1, 8, 64)), draw(64, (16, 64, 64, 128)), draw(64, (16, 64, 64, 128)))
        if shape not in seen:
            seen.add(shape)
            yield shape


def points(precisions: tuple[str, ...], num_shapes: int, largest: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """The points of a sweep, precision by precision within each shape, so that a cut-off run has all precisions."""
    for m, n, k in shapes(num_shapes, largest, seed):
        for precision in precisions:
            yield {"m": m, "n": n, "k": k, "precision": precision}


def measure(point: dict[str, Any], watch: Stopwatch) -> dict[str, float]:
    """Time (µs) and power of one product. Raises ``MemoryError`` before allocating what does not fit."""
    m, n, k, precision = point["m"], point["n"], point["k"], point["precision"]
    needed = _BYTES[precision] * (m * k + k * n) * (2 if precision == "fp8" else 1) + 4 * m * n
    if needed > 0.9 * watch.free_bytes():
        raise MemoryError(f"needs {needed / 2**30:.1f} GiB, {watch.free_bytes() / 2**30:.1f} GiB are free")
    return watch.measure(_product(m, n, k, precision, watch.device)).as_json()


def _product(m: int, n: int, k: int, precision: str, device: torch.device) -> Step:
    if precision == "fp8":
        return _fp8_product(m, n, k, device)
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    a = torch.randn(m, k, device=device, dtype=_TYPES[precision])
    b = torch.randn(n, k, device=device, dtype=_TYPES[precision]).t()  # weights lie as (out, in), as in a linear layer
    c = torch.empty(m, n, device=device, dtype=_TYPES[precision])
    return lambda: torch.mm(a, b, out=c)


def _fp8_product(m: int, n: int, k: int, device: torch.device) -> Step:
    a = torch.randn(m, k, device=device, dtype=torch.bfloat16).to(torch.float8_e4m3fn)
    b = torch.randn(n, k, device=device, dtype=torch.bfloat16).to(torch.float8_e4m3fn).t()
    one = torch.ones((), device=device)
    return lambda: torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
