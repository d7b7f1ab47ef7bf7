"""Time and power of unseen matrix products on one GPU: physics, then what physics leaves over.

Each precision is learned by itself. Time is the formula of ``physics`` fitted to the sweep, times the exponential of a
Gaussian process over the logarithms of m, n and k and how well they fill tiles and waves. Power is a base plus shares
for the time that the units and the memory are busy, by non-negative least squares, with a process of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from profiles.gemm.physics import Floats, Physics, fitted
from profiles.gemm.process import Process
from profiles.types import GemmMeasurement, GemmPrecision, GpuType, Origin

Rows = NDArray[np.intp]

ELEMENT_BYTES: dict[str, float] = {"fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0}
FEWEST_POINTS = 20
"""Of a precision, for a fit; fewer are left to the datasheet."""

MOST_POINTS = 1500
"""That a process learns from: time grows with their cube. A larger sweep gives every i-th of its points."""

ROOFLINE_EFFICIENCY = 0.7
"""Of datasheet FLOP/s and bandwidth that good libraries reach on large products: an assumption."""

ROOFLINE_LAUNCH_US = 5.0
ROOFLINE_ERROR = 1.0
"""What a datasheet alone can promise: within a factor of two."""


@dataclass(frozen=True)
class Predicted:
    """(shapes,) answers. ``error`` is relative: with 90% the true time is in time / (1 + error) .. time · (1 + error).

    ``origin``: measured (this very shape: the median of what was measured), interpolated (m, n and k within the
    sweep), extrapolated, or roofline.
    Power is NaN, and its error too, where none was measured.
    """

    time_us: Floats
    error: Floats
    mean_power_w: Floats
    power_error: Floats
    origin: NDArray[np.str_]

    @property
    def low_us(self) -> Floats:
        """Lower end of the 90% interval."""
        return self.time_us / (1 + self.error)

    @property
    def high_us(self) -> Floats:
        """Upper end of the 90% interval."""
        return self.time_us * (1 + self.error)


@dataclass(frozen=True)
class _Power:
    shares_w: Floats
    process: Process


@dataclass(frozen=True)
class _Learned:
    """What was learned of one precision; ``shapes`` (rows, 3), times and power (NaN: none) are its measured points."""

    shapes: Floats
    time_us: Floats
    power_w: Floats
    physics: Physics
    process: Process
    power: _Power | None


class GemmPredictor:
    """Predicts matrix products on one GPU from the sweep ``measured`` there; ``gpu`` answers for other precisions.

    Raises ``ValueError`` where the measurements are of several GPUs, or where there is nothing to predict from.
    """

    def __init__(self, measured: Sequence[GemmMeasurement], gpu: GpuType | None = None) -> None:
        names = {one.gpu for one in measured} | ({gpu.name} if gpu else set())
        if len(names) != 1:
            raise ValueError(f"one GPU at a time, not {sorted(names)}")
        self.gpu_type = gpu
        by_precision: dict[str, list[GemmMeasurement]] = defaultdict(list)
        for one in measured:
            by_precision[one.precision].append(one)
        self._learned = {
            precision: learned
            for precision, rows in by_precision.items()
            if (learned := _learn(rows, ELEMENT_BYTES[precision])) is not None
        }
        if gpu is None and not self._learned:
            raise ValueError(f"fewer than {FEWEST_POINTS} shapes of any precision and no datasheet")

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions with a sweep behind them."""
        return tuple(sorted(self._learned))

    def predict(self, m: ArrayLike, n: ArrayLike, k: ArrayLike, precision: GemmPrecision) -> Predicted:
        """Time and power of products of m × n × k, arrays that broadcast together, flattened.

        Raises ``ValueError`` for a size below 1, or a precision without sweep that the datasheet cannot answer.
        """
        sizes = np.broadcast_arrays(*(np.asarray(size, dtype=np.float64) for size in (m, n, k)))
        shapes = np.stack([size.ravel() for size in sizes], axis=1)
        if not np.all(shapes >= 1):
            raise ValueError("m, n and k must be 1 or more")
        learned = self._learned.get(precision)
        return self._roofline(shapes, precision) if learned is None else _predicted(learned, shapes)

    def _roofline(self, shapes: Floats, precision: GemmPrecision) -> Predicted:
        tflops = _datasheet_tflops(self.gpu_type, precision)
        if self.gpu_type is None or tflops is None:
            raise ValueError(f"no sweep and no datasheet figure for {precision}")
        m, n, k = shapes.T
        compute_us = 2 * m * n * k / (tflops * 1e6 * ROOFLINE_EFFICIENCY)
        moved = ELEMENT_BYTES[precision] * (m * k + k * n + m * n)
        memory_us = moved / (self.gpu_type.memory_bandwidth_gb_per_s * 1e3 * ROOFLINE_EFFICIENCY)
        nothing = np.full(len(shapes), np.nan)
        time_us = ROOFLINE_LAUNCH_US + np.maximum(compute_us, memory_us)
        roofline: Origin = "roofline"
        origin = np.full(len(shapes), roofline)
        return Predicted(time_us, np.full(len(shapes), ROOFLINE_ERROR), nothing, nothing, origin)


def _datasheet_tflops(gpu: GpuType | None, precision: GemmPrecision) -> float | None:
    """Dense peak; TF32 runs at half of bf16 on NVIDIA's tensor cores (Ampere on). fp32 is in no datasheet we keep."""
    if gpu is None:
        return None
    peaks = {"bf16": gpu.bf16_tflops, "fp16": gpu.bf16_tflops, "tf32": gpu.bf16_tflops / 2, "fp8": gpu.fp8_tflops}
    return peaks.get(precision)


def _learn(rows: Sequence[GemmMeasurement], element_bytes: float) -> _Learned | None:
    shapes, time_us, power_w = _by_shape(rows)
    if len(shapes) < FEWEST_POINTS:
        return None
    step = -(-len(shapes) // MOST_POINTS)
    fit_shapes, fit_time = shapes[::step], time_us[::step]
    physics = fitted(fit_shapes, fit_time, element_bytes)
    left_over = np.log(fit_time) - np.log(physics.parts(fit_shapes).time_us)
    process = Process.fit(_features(physics, fit_shapes), left_over)
    return _Learned(shapes, time_us, power_w, physics, process, _learn_power(physics, shapes, power_w))


def _by_shape(rows: Sequence[GemmMeasurement]) -> tuple[Floats, Floats, Floats]:
    """Shapes in order, and the median time and power of each (NaN: no power): repeats need not agree."""
    repeats: dict[tuple[int, int, int], list[GemmMeasurement]] = defaultdict(list)
    for row in rows:
        repeats[row.m, row.n, row.k].append(row)
    shapes = sorted(repeats)
    time_us = [np.median([row.time_us for row in repeats[shape]]) for shape in shapes]
    powers = [[row.mean_power_w for row in repeats[shape] if row.mean_power_w is not None] for shape in shapes]
    power_w = [np.median(known) if known else np.nan for known in powers]
    return np.array(shapes, dtype=np.float64), np.array(time_us), np.array(power_w)


def _learn_power(physics: Physics, shapes: Floats, power_w: Floats) -> _Power | None:
    known = np.flatnonzero(~np.isnan(power_w))
    known = known[:: -(-len(known) // MOST_POINTS) or 1]
    if len(known) < FEWEST_POINTS:
        return None
    shapes, power_w = shapes[known], power_w[known]
    busy = _busy(physics, shapes)
    shares_w, _ = nnls(busy / power_w[:, None], np.ones(len(power_w)))  # relative errors count
    left_over = np.log(power_w) - np.log(np.maximum(busy @ shares_w, 1e-6))
    return _Power(shares_w, Process.fit(_features(physics, shapes), left_over))


def _busy(physics: Physics, shapes: Floats) -> Floats:
    """(shapes, 3): one, and the shares of the time that units and memory work."""
    parts = physics.parts(shapes)
    return np.stack([np.ones(len(shapes)), parts.compute_us / parts.time_us, parts.memory_us / parts.time_us], axis=1)


def _features(physics: Physics, shapes: Floats) -> Floats:
    """(shapes, 8): logarithms of m, n, k, of padding in m and n, of compute over memory time, and of idle waves.

    Padding is to multiples of 64; idle waves are the places in all waves over the tiles that fill them, for the two
    largest common tiles.
    """
    parts = physics.parts(shapes)
    m, n, _ = shapes.T
    padding = [np.log(np.ceil(size / 64) * 64 / size) for size in (m, n)]
    idle = []
    for tile_m, tile_n in ((128, 128), (128, 256)):
        blocks = np.ceil(m / tile_m) * np.ceil(n / tile_n)
        idle.append(np.log(np.ceil(blocks / physics.num_units) * physics.num_units / blocks))
    return np.stack([*np.log(shapes.T), *padding, np.log(parts.compute_us / parts.memory_us), *idle], axis=1)


def _predicted(learned: _Learned, shapes: Floats) -> Predicted:
    features = _features(learned.physics, shapes)
    mean, half = learned.process.predict(features)
    time_us = learned.physics.parts(shapes).time_us * np.exp(mean)
    power_w = power_error = np.full(len(shapes), np.nan)
    if learned.power is not None:
        shift, power_half = learned.power.process.predict(features)
        power_w = _busy(learned.physics, shapes) @ learned.power.shares_w * np.exp(shift)
        power_error = np.expm1(power_half)
    rows = _measured_rows(learned, shapes)
    time_us = np.where(rows >= 0, learned.time_us[rows], time_us)
    power_w = np.where((rows >= 0) & ~np.isnan(learned.power_w[rows]), learned.power_w[rows], power_w)
    return Predicted(time_us, np.expm1(half), power_w, power_error, _origins(learned, shapes, rows))


def _origins(learned: _Learned, shapes: Floats, rows: Rows) -> NDArray[np.str_]:
    low, high = learned.shapes.min(axis=0), learned.shapes.max(axis=0)
    inside = np.all((shapes >= low) & (shapes <= high), axis=1)
    names: tuple[Origin, Origin, Origin] = ("measured", "interpolated", "extrapolated")
    return np.select([rows >= 0, inside], names[:2], names[2]).astype(np.str_)


def _measured_rows(learned: _Learned, shapes: Floats) -> Rows:
    """(shapes,) row of the sweep that is this very shape, −1 where none is."""
    row_of = {shape: row for row, shape in enumerate(map(tuple, learned.shapes.tolist()))}
    return np.fromiter((row_of.get(tuple(shape), -1) for shape in shapes.tolist()), dtype=np.intp, count=len(shapes))
