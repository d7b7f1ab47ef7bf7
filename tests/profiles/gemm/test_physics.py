"""Tiles and waves: the steps that quantisation makes, and the parameters that a fit must find again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.gemm.physics import SPLITS, TILES, Physics, fitted

RATES = np.log([8e8, 2.8e6, 4.0, 60.0, 12.0, 3.0])
GPU = Physics(RATES, 132, 2.0)
sizes = st.integers(min_value=1, max_value=32_768)


def by_hand(m: int, n: int, k: int, physics: Physics) -> float:
    """The formula of the module, written out for one shape."""
    rate, bandwidth, launch, start, small, overlap = np.exp(physics.log_rates)
    units = physics.num_units
    best = np.inf
    for tile_m, tile_n in TILES:
        for split in SPLITS if units > 1 else (1,):
            blocks = -(-m // tile_m) * -(-n // tile_n) * split
            work = 2 * tile_m * tile_n * (k / split + start) * (1 + small * (1 / tile_m + 1 / tile_n))
            best = min(best, -(-blocks // units) * units * work / rate + (4 * m * n * split / bandwidth) * (split > 1))
    memory = physics.element_bytes * (m * k + k * n + m * n) / bandwidth
    return float(launch + (best**overlap + memory**overlap) ** (1 / overlap))


@given(m=sizes, n=sizes, k=sizes, units=st.sampled_from([1, 108, 132]))
def test_one_shape_by_hand(m: int, n: int, k: int, units: int) -> None:
    physics = Physics(RATES, units, 2.0)
    told = physics.parts(np.array([[m, n, k]], dtype=float)).time_us[0]
    assert told == pytest.approx(by_hand(m, n, k, physics), rel=1e-9)


@given(m=sizes, n=sizes, k=sizes)
def test_more_work_never_takes_less(m: int, n: int, k: int) -> None:
    shapes = np.array([[m, n, k], [m + 1, n, k], [m, n + 1, k], [m, n, k + 1]], dtype=float)
    times = GPU.parts(shapes).time_us
    assert np.all(times[1:] >= times[0] * (1 - 1e-12))


def test_a_tile_more_than_a_wave_costs_a_wave() -> None:
    # One wave of 132 tiles of 128 × 128 in a row, and one column more: without splits, twice the compute time.
    full, over = GPU.parts(np.array([[128, 132 * 256, 8192], [128, 132 * 256 + 1, 8192]], dtype=float)).compute_us
    assert over > 1.2 * full


def test_a_fit_finds_the_formula_again() -> None:
    rng = np.random.default_rng(0)
    shapes = np.round(np.exp(rng.uniform(np.log([1, 64, 64]), np.log(16_384), (300, 3))))
    truth = GPU.parts(shapes).time_us
    found = fitted(shapes, truth * np.exp(0.02 * rng.standard_normal(300)), 2.0)
    assert found.num_units == 132
    unseen = np.round(np.exp(rng.uniform(np.log([1, 64, 64]), np.log(16_384), (300, 3))))
    error = np.abs(found.parts(unseen).time_us / GPU.parts(unseen).time_us - 1)
    assert np.median(error) < 0.02


@pytest.mark.parametrize("times", [np.full(30, 5.0), np.geomspace(1e-2, 1e6, 30)])
def test_a_fit_of_nonsense_is_finite(times: np.ndarray) -> None:
    shapes = np.full((30, 3), 512.0) + np.arange(30)[:, None]
    assert np.all(np.isfinite(fitted(shapes, times, 2.0).parts(shapes).time_us))
