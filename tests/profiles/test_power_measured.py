"""The power model against real measurements it has not seen; skipped where shared/data is not at hand."""

from __future__ import annotations

import csv
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np
import pytest

from profiles.catalogue import load
from profiles.ingest import read
from profiles.names import KnownNames
from profiles.performance import PerformanceModel
from profiles.performance.answers import Floats
from profiles.performance.energy import energy
from profiles.performance.rows import prompt_tokens
from profiles.types import Facts, Measurement

DATA = next((p / "shared/data" for p in Path(__file__).parents if (p / "shared/data").exists()), Path("shared/data"))
FILE = DATA / "power/inference_power_measured.csv"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="shared/data (real measurements) is not here")
Row = tuple[Measurement, dict[str, str]]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    found = read("inference-power", FILE, KnownNames.of(load())).batch.measurements
    with FILE.open() as file:
        return list({m.digest: (m, text) for m, text in zip(found, csv.DictReader(file), strict=True)}.values())


@pytest.fixture(scope="module")
def splitwise() -> list[Measurement]:
    file = DATA / "serving/splitwise_latency_power_measured.csv"
    found = read("splitwise", file, KnownNames.of(load())).batch.measurements
    return list({(m.layout, m.input_tokens, m.concurrency): m for m in found if m.mean_power_w}.values())


def model_of(rows: list[Measurement]) -> PerformanceModel:
    return PerformanceModel(Facts(gpus=load().gpus, models=load().models, measurements=tuple(rows)))


def held_out(rows: list[Row], key: Callable[[Row], Hashable]) -> tuple[Floats, Floats]:
    """Predicted over measured power of each row when all of its ``key`` are left out, and the width of its interval."""
    groups: dict[Hashable, set[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(key(row), set()).add(i)
    found = []
    for left_out in groups.values():
        model = model_of([m for i, (m, _) in enumerate(rows) if i not in left_out])
        for m in (rows[i][0] for i in left_out):
            power = model.power(m.layout)
            assert power is not None
            load = np.array([[m.concurrency], [prompt_tokens(m)], [m.output_tokens]], dtype=float)
            rate = np.array([(m.output_tokens_per_s or np.nan) / (m.output_tokens or np.nan)])
            watts, width = power.mean_w(*load, rate), power.error_at(*load)
            found.append((watts.item() / (m.mean_power_w or np.nan), width.item()))
    ratios, widths = np.array(found).T
    return ratios, widths


@pytest.mark.parametrize(
    ("key", "most"),
    [(lambda row: row[1]["max_batch"], 0.04), (lambda row: row[1]["model"], 0.15), (lambda row: row[0].model, 0.15)],
    ids=["batch", "model as named", "model"],
)
def test_power_of_rows_left_out_and_their_intervals(
    rows: list[Row], key: Callable[[Row], Hashable], most: float
) -> None:
    ratios, widths = held_out(rows, key)
    assert np.abs(ratios - 1).mean() <= most
    assert 0.85 <= ((ratios <= 1 + widths) & (ratios >= 1 / (1 + widths))).mean() <= 0.95


def test_published_joules_per_token(rows: list[Row]) -> None:
    model = model_of([m for m, _ in rows])
    errors = []
    for m, text in rows[::7]:
        found = model.predict(m.layout, prompt_tokens(m) or 1, m.output_tokens or 1, m.concurrency or 1)
        errors.append(energy(found).joules_per_output_token.item() / float(text["joules_per_output_token"]) - 1)
    assert np.median(np.abs(errors)) < 0.08


def test_peaks_of_prompts_and_power_of_tokens_on_a100(splitwise: list[Measurement]) -> None:
    model = model_of(splitwise)
    peaks, tokens = [], []
    for m in splitwise:
        power = model.power(m.layout)
        assert power is not None
        running = np.array(m.concurrency)
        peaks.append(power.peak_w(running, m.input_tokens or 1) / (m.peak_power_w or np.nan))
        tokens.append(power.decode_w(running, np.array((m.input_tokens or 1) + 64.0)) / (m.mean_power_w or np.nan))
    assert np.abs(np.array(peaks) - 1).mean() < 0.08
    assert np.median(np.abs(np.array(tokens) - 1)) < 0.03


def test_a_real_fall_of_power_is_followed_but_not_planned_with(rows: list[Row]) -> None:
    """gpt-oss-120b on one B200 draws 952 W with 256 requests and 674 W with 2885: the host can no longer feed it."""
    model = model_of([m for m, _ in rows])
    layout = next(
        m.layout for m, _ in rows if m.model == "openai/gpt-oss-120b" and m.layout.label.startswith("B200 ×1")
    )
    power = model.power(layout)
    assert power is not None
    context = np.array(1200.0)
    assert power.decode_w(np.array(2885.0), context) < 750
    assert power.at(np.array(2885.0)) > 850
