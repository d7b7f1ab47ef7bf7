"""Every row of a file is predicted or named, whatever is in it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profiles import catalogue
from profiles.errors import InvalidInput
from profiles.types import Facts
from profiles.validate import PARTS, Report, validate

Write = Callable[..., Path]


def named(report: Report) -> list[tuple[int, str]]:
    return [(row.row, row.reason) for row in report.unpredicted]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ttft_ms": "-5"}, "ttft_ms: must be greater than 0, not '-5'"),
        ({"tpot_ms": "0"}, "tpot_ms: must be greater than 0"),
        ({"tpot_ms": ""}, "tpot_ms: is missing or blank"),
        ({"ttft_ms": ""}, "ttft_ms: is missing or blank"),
        ({"ttft_ms": "", "tpot_ms": ""}, "measures nothing"),
        ({"ttft_ms": "fast"}, "ttft_ms: must be a valid number"),
        ({"ttft_ms": "nan"}, "ttft_ms: must be a finite number"),
        ({"tpot_ms": "1e999"}, "tpot_ms: must be a finite number"),
        ({"tpot_ms": "99999999999"}, "tpot_ms: must be less than or equal to 86400000"),
        ({"model": ""}, "model: is missing or blank"),
        ({"model": "nobody/knows-7B"}, "nothing is known about nobody/knows-7B"),
        ({"gpu_system": "H1000"}, "gpu_system: unknown GPU 'H1000'; did you mean H100"),
        ({"gpu_system": ""}, "gpu_system: unknown GPU ''"),
        ({"input_tokens": "0"}, "input_tokens: must be greater than 0"),
        ({"output_tokens": "-1"}, "output_tokens: must be greater than 0"),
        ({"output_tokens": ""}, "output_tokens: is missing or blank"),
        ({"concurrency": "0"}, "concurrency: must be greater than 0"),
        ({"input_tokens": "1e12"}, "input_tokens: 1e+12 cannot be meant (from 1 to 1e+07 it could)"),
        ({"concurrency": "1e9"}, "concurrency: 1e+09 cannot be meant (from 0.001 to 1e+06 it could)"),
        ({"input_tokens": "200000"}, "200,256 tokens are beyond the model's context of 131,072"),
        ({"tpot_ms": "0.01425"}, "tpot_ms: 0.01425 ms is faster than any engine"),
        ({"ttft_ms": "0.1015"}, "ttft_ms: 0.1015 ms is faster than any engine"),
        ({"ttft_ms": "2.1", "tpot_ms": "14"}, "ttft_ms: 2.1 ms is less than the time of one token (14 ms): mixed"),
        ({"tp": "1.5"}, "tp: must be a whole number"),
        ({"tp": "two"}, "tp: must be a finite number"),
        ({"precision": "fp3"}, "precision: "),
        ({"measured_on": "yesterday"}, "measured_on: "),
        (
            {"model": "meta-llama/Llama-3.1-70B", "gpu_system": "T4"},
            "does not fit in memory: 131 GiB of weights on T4 ×1 bf16 vllm, 16 GiB",
        ),
    ],
)
def test_a_bad_serving_row_is_named_and_the_rest_goes_on(
    change: dict[str, str], reason: str, write: Write, facts: Facts
) -> None:
    report = validate(PARTS["serving"], write("serving", {}, change, {"tp": "2"}), facts)
    assert [row.row for row in report.judged] == [2, 4]
    assert [row for row, _ in named(report)] == [3]
    assert named(report)[0][1].startswith(reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mean_power_w": "-5"}, "mean_power_w: must be greater than 0"),
        (
            {"gpus": "8", "tp": "8", "mean_power_w": "5.2"},
            "mean_power_w: 5.2 W is less than idle GPUs draw: kilowatts?",
        ),
        ({"output_tokens_per_s": "1e300"}, "output_tokens_per_s: 1e+300 cannot be meant"),
        ({"mean_power_w": ""}, "mean_power_w: is missing or blank"),
        ({"output_tokens_per_s": ""}, "output_tokens_per_s: is missing or blank"),
        ({"mean_batch": ""}, "mean_batch: is missing or blank"),
        ({"mean_output_tokens": ""}, "mean_output_tokens: is missing or blank"),
        ({"task": "poetry"}, "task: no prompt length is known for 'poetry' (known: "),
        ({"gpus": "3", "tp": "2"}, "gpus: 3 GPUs do not divide into tp 2 × dp 1"),
        ({"gpu": "Z9000"}, "gpu: unknown GPU 'Z9000'"),
    ],
)
def test_a_bad_power_row_is_named_and_the_rest_goes_on(
    change: dict[str, str], reason: str, write: Write, facts: Facts
) -> None:
    report = validate(PARTS["power"], write("power", change, {}), facts)
    assert [row.row for row in report.judged] == [3]
    assert [row for row, _ in named(report)] == [2]
    assert named(report)[0][1].startswith(reason)


def test_weights_of_unknown_precision_may_fit_after_all(write: Write, facts: Facts) -> None:
    path = write("serving", {"model": "meta-llama/Llama-3.1-70B", "precision": ""})
    assert len(validate(PARTS["serving"], path, facts).judged) == 1


def test_a_row_with_other_cells_than_the_header_is_named(write: Write, facts: Facts) -> None:
    path = write("serving", {}, {})
    path.write_text(path.read_text() + "meta-llama/Llama-3.1-8B,h100\n\n")
    report = validate(PARTS["serving"], path, facts)
    assert named(report) == [(4, "has 2 cells, the header has 16")]
    assert len(report.judged) == 2


def test_the_lines_that_an_open_quote_swallows_are_named(write: Write, facts: Facts) -> None:
    path = write("serving", {}, {"engine_version": "X"}, {}, {})
    path.write_text(path.read_text().replace("X", '"X'))
    report = validate(PARTS["serving"], path, facts)
    assert len(report.judged) == 1
    ((row, reason),) = named(report)
    assert row == 3
    assert reason.startswith("is not CSV")
    assert "lines 3 to 5" in reason


def test_reading_goes_on_after_a_broken_quote_in_the_middle(write: Write, facts: Facts) -> None:
    path = write("serving", {}, {"engine_version": "X"}, {})
    path.write_text(path.read_text().replace("X", '"X"Y'))
    report = validate(PARTS["serving"], path, facts)
    assert [row.row for row in report.judged] == [2, 4]
    assert [row for row, _ in named(report)] == [3]


@pytest.mark.parametrize("part", list(PARTS))
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2\n", "has no column"),
        (b"\x00\x01\x02binary", "is binary"),
        (b"\x1f\x8b\x08\x00", "is gzip"),
        (b'{"rows": []}', "looks like JSON"),
        ("modèle\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(
    part: str, content: bytes, said: str, tmp_path: Path, facts: Facts
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=said):
        validate(PARTS[part], path, facts)


@pytest.mark.parametrize("part", list(PARTS))
def test_a_header_alone_is_refused(part: str, write: Write, facts: Facts) -> None:
    with pytest.raises(InvalidInput, match="no rows"):
        validate(PARTS[part], write(part), facts)


def test_a_missing_file_and_another_suffix_are_refused(tmp_path: Path, facts: Facts) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        validate(PARTS["serving"], tmp_path / "none.csv", facts)
    with pytest.raises(InvalidInput, match=r"end in \.csv, not \.json"):
        validate(PARTS["serving"], tmp_path / "rows.json", facts)


def test_a_file_of_the_other_kind_is_recognised(write: Write, facts: Facts) -> None:
    with pytest.raises(InvalidInput) as error:
        validate(PARTS["serving"], write("power", {}), facts)
    assert "inference-power" in (error.value.fix or "")


def test_repeats_that_differ_are_counted_and_named(write: Write, facts: Facts) -> None:
    path = write(
        "serving", {}, {"ttft_ms": "203"}, {"tp": "2"}, {"tp": "2"}, {"engine_version": "0.15", "ttft_ms": "90"}
    )
    (found,) = validate(PARTS["serving"], path, facts).contradictions
    assert found.rows == (2, 3)
    assert set(found.ranges) == {"ttft_ms", "output_tokens_per_s"}
    assert found.ranges["ttft_ms"] == (101.5, 203.0)


def test_batches_that_draw_other_power_the_second_time_contradict(write: Write, facts: Facts) -> None:
    path = write("power", {}, {"mean_batch": "15.7", "mean_power_w": "650"}, {"max_batch": "32"})
    (found,) = validate(PARTS["power"], path, facts).contradictions
    assert found.rows == (2, 3)
    assert found.ranges == {"mean_power_w": (520.0, 650.0)}


SERVING_COLUMNS = [
    "model", "gpu_system", "tp", "attention_dp", "moe_tp", "moe_ep", "precision", "input_tokens", "output_tokens",
    "concurrency", "ttft_ms", "tpot_ms",
]  # fmt: skip
POWER_COLUMNS = [
    "task", "gpus", "dp", "max_batch", "mean_batch", "mean_output_tokens", "output_tokens_per_s", "mean_power_w",
]  # fmt: skip
CELLS = st.one_of(
    st.sampled_from(["", "0", "-1", "1", "3", "1e9", "1e308", "1e-300", "nan", "inf", "H100", "B200", "é", '"']),
    st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
    st.floats(1e-6, 1e12).map(str),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.dictionaries(st.sampled_from(POWER_COLUMNS), CELLS, max_size=3), min_size=1, max_size=5))
def test_every_row_of_power_is_predicted_or_named(changes: list[dict[str, str]], write: Write) -> None:
    facts = Facts(gpus=catalogue.load().gpus, models=catalogue.load().models)
    report = validate(PARTS["power"], write("power", *changes), facts, hold_out="batch")
    assert len(report.judged) + len(report.unpredicted) == len(changes)
    json.dumps(report.document(), allow_nan=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(SERVING_COLUMNS), CELLS, max_size=4), min_size=1, max_size=6),
    split=st.sampled_from([None, "random", "tp"]),
)
def test_every_row_is_predicted_or_named_and_every_number_is_finite(
    rows: list[dict[str, str]], split: str | None, write: Write
) -> None:
    path = write("serving", *rows)
    facts = Facts(gpus=catalogue.load().gpus, models=catalogue.load().models)
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        next(lines)
        places = [lines.line_num for _ in lines]
    report = validate(PARTS["serving"], path, facts, hold_out=split)
    assert sorted([row.row for row in report.judged] + [row.row for row in report.unpredicted]) == places
    assert all(row.reason for row in report.unpredicted)
    json.dumps(report.document(), allow_nan=False)
    for row in report.judged:
        assert all(math.isfinite(pair.relative_error) for pair in row.compared.values())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=st.sampled_from(list(PARTS)), data=st.data())
def test_damage_is_refused_or_named(part: str, data: st.DataObject, write: Write) -> None:
    path = write(part, {}, {}, {})
    text = path.read_text()
    start = data.draw(st.integers(0, len(text)))
    removed = data.draw(st.integers(0, 12))
    inserted = data.draw(st.sampled_from(["", "-", '"', ",", "\n", "\0", "e9", "x" * 300, "9" * 5000, "é", "\r"]))
    path.write_bytes((text[:start] + inserted + text[start + removed :]).encode())
    facts = Facts(gpus=catalogue.load().gpus, models=catalogue.load().models)
    try:
        report = validate(PARTS[part], path, facts, hold_out="random")
    except InvalidInput:
        return
    json.dumps(report.document(), allow_nan=False)
    assert len(report.judged) + len(report.unpredicted) >= 1
