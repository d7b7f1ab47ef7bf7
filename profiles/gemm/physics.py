"""What the time of a matrix product comes from: tiles in waves over the units of a GPU, against bytes moved.

For C[m, n] = A[m, k] · B[k, n] with tiles t = (tm, tn) and the depth split s ways over S units (SMs)::

    waves   = ⌈ ⌈m/tm⌉ ⌈n/tn⌉ s / S ⌉
    compute = waves · S · 2 tm tn (k/s + κ) (1 + α (1/tm + 1/tn)) / P  +  [s > 1] · 4 m n s / B
    memory  = bytes · (m k + k n + m n) / B
    time    = t0 + ( min over (t, s) of computeᵖ + memoryᵖ )^(1/p)

P is the rate of the units together, B the memory's, κ what starting a tile costs in depth, α what small tiles lose by
loading more per operation, and p says how well the two overlap (large: fully). Libraries choose tile and split; taking
the best of them is what they try. Tile and wave quantisation: NVIDIA, Matrix Multiplication Background User's Guide.
The five rates and p are fitted, and S is chosen among the counts that GPUs have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

Floats = NDArray[np.float64]

TILES = ((256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64), (32, 64), (16, 64))
SPLITS = (1, 2, 4, 8, 16)
UNIT_COUNTS = (1, 40, 58, 80, 108, 114, 132, 142, 148, 160)
"""SMs of GPUs in use (NVIDIA's architecture papers: T4 40, L4 58, V100 80, A100 108, H100 114 or 132, B200 148 ...);
1 for a processor without waves."""

_START = np.log([1e8, 1e6, 5.0, 30.0, 30.0, 3.0])  # P in FLOP/µs, B in bytes/µs, t0 in µs, κ, α, p
_BOUNDS = (np.log([1e3, 1e2, 1e-3, 1e-2, 1e-2, 1.0]), np.log([1e12, 1e9, 1e4, 1e4, 1e3, 16.0]))


@dataclass(frozen=True)
class Parts:
    """(shapes,) µs: what a product would take by compute alone, by memory alone, and both with the launch."""

    compute_us: Floats
    memory_us: Floats
    time_us: Floats


@dataclass(frozen=True)
class Physics:
    """The formula of this module with its parameters; ``log_rates`` are the logarithms of P, B, t0, κ, α, p."""

    log_rates: Floats
    num_units: int
    element_bytes: float

    def parts(self, shapes: Floats) -> Parts:
        """Times of ``shapes`` (shapes, 3: m, n, k)."""
        rate, bandwidth, launch_us, start_depth, small_tile, overlap = np.exp(self.log_rates)
        m, n, k = shapes.T
        compute_us = np.full(len(shapes), np.inf)
        for tile_m, tile_n in TILES:
            blocks = np.ceil(m / tile_m) * np.ceil(n / tile_n)
            per_depth = 2 * tile_m * tile_n * (1 + small_tile * (1 / tile_m + 1 / tile_n)) / rate * self.num_units
            for split in SPLITS if self.num_units > 1 else (1,):
                waves = np.ceil(blocks * split / self.num_units)
                reduction = 4 * m * n * split / bandwidth if split > 1 else 0.0
                np.minimum(compute_us, waves * per_depth * (k / split + start_depth) + reduction, out=compute_us)
        memory_us = self.element_bytes * (m * k + k * n + m * n) / bandwidth
        larger = np.maximum(compute_us, memory_us)
        ratio = np.minimum(compute_us, memory_us) / larger
        return Parts(compute_us, memory_us, launch_us + larger * (1 + ratio**overlap) ** (1 / overlap))


def fitted(shapes: Floats, time_us: Floats, element_bytes: float) -> Physics:
    """The ``Physics`` that fits measured times best, in logarithms; outliers count by their distance, not its square.

    ``shapes`` (rows, 3), ``time_us`` (rows,).
    """
    target = np.log(time_us)
    flops, moved = 2 * shapes.prod(axis=1), element_bytes * (shapes * np.roll(shapes, 1, axis=1)).sum(axis=1)
    start = _START.copy()
    # The best rates seen are where to begin: nobody beats them, and most do not reach them.
    start[:3] = np.log([(flops / time_us).max(), (moved / time_us).max(), 0.5 * time_us.min()])
    start = np.clip(start, _BOUNDS[0] + 1e-6, _BOUNDS[1] - 1e-6)

    def misfit(log_rates: Floats, num_units: int) -> Floats:
        off: Floats = np.log(Physics(log_rates, num_units, element_bytes).parts(shapes).time_us) - target
        return off

    found = [
        (least_squares(misfit, start, bounds=_BOUNDS, args=(count,), loss="soft_l1", f_scale=0.1, max_nfev=60), count)
        for count in UNIT_COUNTS
    ]
    best, num_units = min(found, key=lambda one: float(one[0].cost))
    return Physics(best.x, num_units, element_bytes)
