"""The errors that are reported, against errors worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.errors import InvalidInput
from profiles.ingest import survey
from profiles.names import KnownNames
from profiles.performance import PerformanceModel, Prediction
from profiles.performance.rows import TYPICAL_INPUT_TOKENS
from profiles.types import Facts, Layout, Measurement
from profiles.validate import PARTS, Compared, Report, validate
from profiles.validate.part import Predicted
from profiles.validate.report import Metrics, summed_up

Write = Callable[..., Path]
Grid = Sequence[Mapping[str, object]]
METRICS = {"mape", "median_ape", "p90_ape", "coverage"}

positive = st.floats(1e-3, 1e6)


@given(st.lists(st.tuples(positive, positive, st.floats(0, 3)), min_size=1, max_size=30))
def test_metrics_equal_a_direct_computation(rows: list[tuple[float, float, float]]) -> None:
    found = summed_up([Compared(*row) for row in rows])
    errors = [abs(predicted - measured) / measured for predicted, measured, _ in rows]
    inside = [p / (1 + r) <= m <= p * (1 + r) for p, m, r in rows]
    assert found.mape == pytest.approx(mean(errors), rel=1e-9, abs=1e-12)
    assert found.median_ape == pytest.approx(median(errors), rel=1e-9, abs=1e-12)
    assert found.p90_ape == pytest.approx(np.percentile(errors, 90), rel=1e-9, abs=1e-12)
    assert found.coverage == pytest.approx(mean(inside))


@given(st.lists(positive, min_size=1))
def test_a_perfect_prediction_has_no_error_and_is_covered(values: list[float]) -> None:
    assert summed_up([Compared(value, value, 0.0) for value in values]) == Metrics(0.0, 0.0, 0.0, 1.0)


def test_nothing_predicted_is_no_error_of_zero() -> None:
    assert summed_up([]) == Metrics(None, None, None, None)


def measurements(path: Path, facts: Facts) -> list[Measurement]:
    rows = [told for _, told in survey("inference-latency", path, KnownNames.of(facts))]
    assert not any(isinstance(told, InvalidInput) for told in rows)
    return [told for told in rows if isinstance(told, Measurement)]


def predicted_rows(facts: Facts, grid: Grid, write: Write) -> list[dict[str, object]]:
    """The grid with the times that the model of ``facts`` predicts."""
    model = PerformanceModel(facts)
    rows = []
    for change, m in zip(grid, measurements(write("serving", *grid), facts), strict=True):
        found = model.predict(m.layout, m.input_tokens or 0, m.output_tokens or 0, m.concurrency or 0)
        rows.append({**change, "ttft_ms": repr(found.ttft_ms.item()), "tpot_ms": repr(found.tpot_ms.item())})
    return rows


def test_rows_made_by_the_model_itself_have_no_error(write: Write, grid: Grid, facts: Facts) -> None:
    report = validate(PARTS["serving"], write("serving", *predicted_rows(facts, grid, write)), facts)
    assert len(report.judged) == len(grid)
    for found in report.metrics(report.judged).values():
        assert found.mape == pytest.approx(0, abs=1e-9)
        assert found.coverage == 1.0


def test_rows_that_are_off_by_a_known_factor_have_that_error(write: Write, grid: Grid, facts: Facts) -> None:
    rows = predicted_rows(facts, grid, write)
    for i, row in enumerate(rows):
        row["ttft_ms"] = repr(float(str(row["ttft_ms"])) * (2.0 if i % 3 == 0 else 1.0))
    report = validate(PARTS["serving"], write("serving", *rows), facts)
    found = report.metrics(report.judged)
    assert found["ttft_ms"].mape == pytest.approx(0.5 / 3)
    assert found["ttft_ms"].median_ape == pytest.approx(0, abs=1e-9)
    assert found["ttft_ms"].p90_ape == pytest.approx(0.5)
    assert found["tpot_ms"].mape == pytest.approx(0, abs=1e-9)


def test_throughput_is_that_of_a_closed_loop(write: Write, facts: Facts) -> None:
    path = write("serving", {"ttft_ms": 100, "tpot_ms": 10, "output_tokens": 11, "concurrency": 4})
    (row,) = validate(PARTS["serving"], path, facts).judged
    assert row.compared["output_tokens_per_s"].measured == pytest.approx(4 * 11 / 0.2)


def test_power_is_predicted_at_the_prompt_length_of_the_task(write: Write, facts: Facts) -> None:
    (row,) = validate(PARTS["power"], write("power", {}), facts).judged
    (told,) = [told for _, told in survey("inference-power", write("power", {}), KnownNames.of(facts))]
    assert isinstance(told, Measurement)
    found = PerformanceModel(facts).predict(told.layout, TYPICAL_INPUT_TOKENS["gpqa"], 2000, 15.5)
    assert row.compared["mean_power_w"] == Compared(found.power_w.item(), 520.0, found.power_error.item())
    assert row.compared["output_tokens_per_s"].predicted == pytest.approx(found.output_tokens_per_s.item())


def test_every_interval_is_that_of_its_own_quantity(
    write: Write, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = PerformanceModel.predict

    def told_apart(model: PerformanceModel, layout: Layout, *point: np.ndarray, software: str) -> Prediction:
        found = honest(model, layout, *point, software=software)
        one = np.ones_like(found.ttft_ms)
        return replace(
            found, ttft_error=0.1 * one, tpot_error=0.2 * one, throughput_error=0.3 * one, power_error=0.4 * one
        )

    monkeypatch.setattr(PerformanceModel, "predict", told_apart)
    (serving,) = validate(PARTS["serving"], write("serving", {}), facts).judged
    (power,) = validate(PARTS["power"], write("power", {}), facts).judged
    intervals = [{name: pair.interval for name, pair in row.compared.items()} for row in (serving, power)]
    assert intervals[0] == pytest.approx({"ttft_ms": 0.1, "tpot_ms": 0.2, "output_tokens_per_s": 0.3})
    assert intervals[1] == pytest.approx({"mean_power_w": 0.4, "output_tokens_per_s": 0.3})


@pytest.mark.parametrize("part", list(PARTS))
@pytest.mark.parametrize("split", [None, "random"])
def test_the_document_has_the_keys_of_the_contract(part: str, split: str | None, write: Write, facts: Facts) -> None:
    bad = {"model": "nobody/knows"}
    another = {"serving": {"tp": "2"}, "power": {"tp": "2", "gpus": "2"}, "training": {"micro_batch": "12"}}
    path = write(part, {}, bad, another[part])
    document = validate(PARTS[part], path, facts, hold_out=split).document()
    assert document["rows"] == 2
    assert [set(row) for row in document["unpredicted"]] == [{"row", "reason"}]
    assert document["unpredicted"][0]["row"] == 3
    for quantity in PARTS[part].quantities:
        assert set(document[quantity]) == METRICS
        for group in document["groups"] + document["origins"] + document["folds"]:
            assert set(group[quantity]) == METRICS
    assert [(group["gpu"], group["rows"]) for group in document["groups"]] == [("H100", 2)]
    assert sum(group["rows"] for group in document["origins"]) == 2
    assert len(document["profile_digest"]) == 32
    assert document["split"] == (split or "store")
    assert bool(document["folds"]) == (split is not None)
    assert document["seed"] == (0 if split else None)


def test_groups_are_the_rows_of_one_model_and_gpu(write: Write, facts: Facts) -> None:
    changes = [{}, {"gpu_system": "b200_sxm"}, {"tp": "2"}, {"model": "Qwen/Qwen3-32B"}]
    report = validate(PARTS["serving"], write("serving", *changes), facts)
    lines = {group: [row.row for row in rows] for group, rows in report.groups().items()}
    assert lines == {
        ("Qwen/Qwen3-32B", "H100"): [5],
        ("meta-llama/Llama-3.1-8B-Instruct", "B200"): [3],
        ("meta-llama/Llama-3.1-8B-Instruct", "H100"): [2, 4],
    }


def test_rows_that_the_store_knows_are_counted(write: Write, grid: Grid, facts: Facts) -> None:
    path = write("serving", *grid)
    stored = facts.model_copy(update={"measurements": tuple(measurements(path, facts)[:7])})
    report = validate(PARTS["serving"], path, stored)
    assert report.rows_in_store == 7
    assert any("7 rows of the file are in the store" in note for note in report.notes)
    assert validate(PARTS["serving"], path, facts).rows_in_store == 0
    assert {row.origin for row in report.judged} > {"measured"}


def test_a_prediction_that_is_not_finite_is_named(write: Write, facts: Facts) -> None:
    def broken(_: Facts, rows: Sequence[Measurement]) -> list[Predicted | str]:
        return ["the model gives no finite prediction"] * len(rows)

    report: Report = validate(replace(PARTS["serving"], predict=broken), write("serving", {}, {"tp": 2}), facts)
    assert [row.row for row in report.unpredicted] == [2, 3]
    assert report.document()["ttft_ms"] == dict.fromkeys(METRICS)
