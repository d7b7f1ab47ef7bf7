"""A GPU that does not exist, with tiles and waves of its own: written apart from the formula that has to learn it."""

import datetime as dt

import numpy as np

from profiles.types import GemmMeasurement

NAME = "H100"
NUM_SMS = 132
PEAK_FLOPS_PER_US = 800e6
BYTES_PER_US = 2.8e6
LAUNCH_US = 4.0


def time_us(m: np.ndarray, n: np.ndarray, k: np.ndarray) -> np.ndarray:
    """A library that picks its tile by the size of the output, never the best one, and overlaps imperfectly."""
    output = m * n
    tile_m = np.where(m <= 64, 64, 128)
    tile_n = np.where(output > 4e6, 256, np.where(output > 2.5e5, 128, 64))
    blocks = np.ceil(m / tile_m) * np.ceil(n / tile_n)
    waves = np.ceil(blocks / NUM_SMS)
    efficiency = np.where(tile_n == 256, 0.95, np.where(tile_n == 128, 0.85, 0.6)) * k / (k + 96.0)
    compute = waves * NUM_SMS * 2.0 * tile_m * tile_n * k / (PEAK_FLOPS_PER_US * efficiency)
    memory = 2.0 * (m * k + n * k + m * n) / BYTES_PER_US
    return LAUNCH_US + np.maximum(compute, memory) + 0.15 * np.minimum(compute, memory)


def power_w(m: np.ndarray, n: np.ndarray, k: np.ndarray) -> np.ndarray:
    """From 120 W idle towards 700 W as operations and bytes per second come near their peaks."""
    seconds = time_us(m, n, k)
    operations = 2.0 * m * n * k / seconds / PEAK_FLOPS_PER_US
    traffic = 2.0 * (m * k + n * k + m * n) / seconds / BYTES_PER_US
    return 120.0 + 580.0 * np.minimum(1.0, 0.85 * operations + 0.45 * traffic)


def shapes(count: int, seed: int, largest: int = 16_384) -> np.ndarray:
    """(count, 3) log-uniform sizes, n and k multiples of 64."""
    rng = np.random.default_rng(seed)
    drawn = np.exp(rng.uniform(np.log([1, 64, 64]), np.log(largest), (count, 3)))
    drawn[:, 1:] = np.maximum(64, np.round(drawn[:, 1:] / 64) * 64)
    return np.maximum(1, np.round(drawn)).astype(np.int64)


def sweep(count: int = 300, seed: int = 0, noise: float = 0.02, with_power: bool = True) -> list[GemmMeasurement]:
    """Measurements of ``count`` shapes with log-normal noise on time and power."""
    rng = np.random.default_rng(seed + 1000)
    drawn = shapes(count, seed)
    times = time_us(*drawn.T) * np.exp(noise * rng.standard_normal(count))
    powers = power_w(*drawn.T) * np.exp(noise * rng.standard_normal(count))
    return [
        GemmMeasurement(
            gpu=NAME, m=int(m), n=int(n), k=int(k), precision="bf16", time_us=float(time),
            mean_power_w=float(power) if with_power else None, source="pretend", as_of=dt.date(2026, 1, 1),
        )
        for (m, n, k), time, power in zip(drawn, times, powers, strict=True)
    ]  # fmt: skip
