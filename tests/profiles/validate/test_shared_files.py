"""The public measurements, row by row; skipped where they are not at hand."""

from __future__ import annotations

from pathlib import Path

from profiles import catalogue
from profiles.types import Facts
from profiles.validate import PARTS, validate

SERVING, POWER = "serving/inference_latency_measured.csv", "power/inference_power_measured.csv"


def catalogue_facts() -> Facts:
    known = catalogue.load()
    return Facts(gpus=known.gpus, models=known.models, measurements=known.measurements)


def test_every_row_of_the_latency_file_is_predicted(shared: Path) -> None:
    report = validate(PARTS["serving"], shared / SERVING, catalogue_facts())
    assert len(report.judged) == 1367
    assert report.unpredicted == ()
    assert 0 < report.rows_in_store < 1367
    assert len(report.contradictions) == 6


def test_latency_in_random_folds_is_predicted_well(shared: Path) -> None:
    report = validate(PARTS["serving"], shared / SERVING, catalogue_facts(), hold_out="random")
    found = report.metrics(report.judged)
    assert len(report.judged) == 1367
    assert (found["tpot_ms"].mape or 1) < 0.1
    assert (found["output_tokens_per_s"].mape or 1) < 0.12


def test_power_of_a_batch_left_out_is_predicted_for_every_row(shared: Path) -> None:
    report = validate(PARTS["power"], shared / POWER, catalogue_facts(), hold_out="batch")
    assert len(report.judged) == 389
    assert report.unpredicted == ()
    assert (report.metrics(report.judged)["mean_power_w"].mape or 1) < 0.12
