"""Files of training steps: both column sets, odd rows, what is held out, and the ranking of alternatives."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import pytest

from profiles import catalogue
from profiles.types import Facts
from profiles.validate import PARTS, Report, validate

STEP = {
    "gpus": 64, "global_batch": 512, "micro_batch": 8, "hidden_size": 3072, "attention_heads": 32, "layers": 30,
    "sequence_length": 2048, "tensor_parallel": 1, "data_parallel": 64, "pipeline_parallel": 1, "iteration_ms": 3500,
}  # fmt: skip
THROUGHPUT = {
    "model": "7b", "sequence_length": 2048, "gpus": 64, "gpu": "h100_80gb", "micro_batch": 6, "grad_accum": 1,
    "global_batch": 384, "precision": "amp_bf16", "sharding": "FULL_SHARD", "activation_checkpointing": "False",
    "activation_cpu_offload": "False", "parameters": 6658859008, "tokens_per_s_per_gpu": 10000, "mfu_percent": 43,
}  # fmt: skip
SPLITS = ("model", "gpus", "gpu", "tp", "lengths", "batch", "random")


def layout(tp: int, pp: int, micro_batch: int, step_ms: float) -> dict[str, object]:
    return {
        "tensor_parallel": tp, "pipeline_parallel": pp, "data_parallel": 64 // (tp * pp), "micro_batch": micro_batch,
        "iteration_ms": step_ms,
    }  # fmt: skip


@pytest.fixture(scope="module")
def catalogued() -> Facts:
    """What a fresh store knows of training."""
    known = catalogue.load()
    return Facts(
        gpus=known.gpus, models=known.models, training_measurements=known.training_measurements,
        collectives=known.collectives,
    )  # fmt: skip


@pytest.fixture
def validated(tmp_path: Path, catalogued: Facts):  # type: ignore[no-untyped-def]
    def run(base: Mapping[str, object], *changes: Mapping[str, object], hold_out: str | None = None) -> Report:
        path = tmp_path / "steps.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.DictWriter(file, base)
            lines.writeheader()
            lines.writerows([{**base, **change} for change in changes])
        return validate(PARTS["training"], path, catalogued, hold_out=hold_out)

    return run


GRID = [layout(tp, pp, b, 3500 * tp**0.2 * pp**0.1) for tp in (1, 2, 4) for pp in (1, 2) for b in (2, 4)]


def test_both_column_sets_are_read_and_both_quantities_told(validated) -> None:  # type: ignore[no-untyped-def]
    for base in (STEP, THROUGHPUT):
        report = validated(base, {})
        (row,) = report.judged
        assert set(row.compared) == {"step_ms", "tokens_per_s_per_gpu"}
        for pair in row.compared.values():
            assert abs(pair.relative_error) < 0.25
            assert pair.interval > 0


def test_step_and_throughput_mean_the_same(validated) -> None:  # type: ignore[no-untyped-def]
    (row,) = validated(STEP, {}).judged
    step, tokens = row.compared["step_ms"], row.compared["tokens_per_s_per_gpu"]
    assert step.measured * tokens.measured == pytest.approx(1e3 * 512 * 2048 / 64)
    assert step.predicted * tokens.predicted == pytest.approx(1e3 * 512 * 2048 / 64)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"iteration_ms": ""}, "nothing is measured"),
        ({"iteration_ms": -5}, "iteration_ms"),
        ({"iteration_ms": 3.5}, "other units"),
        ({"tensor_parallel": 3}, "gpus"),
        ({"data_parallel": 32}, "64"),
        ({"micro_batch": 7}, "global_batch"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"layers": 0}, "layers"),
        ({"attention_heads": 7}, "attention_heads"),
    ],
)
def test_a_row_that_cannot_be_meant_is_named_and_the_others_go_on(change, said, validated) -> None:  # type: ignore[no-untyped-def]
    report = validated(STEP, {}, change)
    assert [row.row for row in report.judged] == [2]
    (left_out,) = report.unpredicted
    assert left_out.row == 3
    assert said in left_out.reason


def test_offloaded_activations_are_named(validated) -> None:  # type: ignore[no-untyped-def]
    report = validated(THROUGHPUT, {}, {"activation_cpu_offload": "True"})
    assert len(report.judged) == 1
    assert "host memory" in report.unpredicted[0].reason


@pytest.mark.parametrize(
    "odd",
    [
        layout(16, 1, 64, 12000), layout(8, 8, 128, 9000), layout(1, 16, 12, 9000) | {"global_batch": 4 * 12 * 7},
        layout(1, 16, 1, 9000) | {"layers": 17}, layout(32, 2, 512, 90000),
        {"sequence_length": 131072, "iteration_ms": 1e6},
        layout(1, 1, 1, 60000) | {"hidden_size": 12288, "attention_heads": 96, "layers": 96},
    ],
)  # fmt: skip
def test_odd_layouts_are_predicted(odd, validated) -> None:  # type: ignore[no-untyped-def]
    report = validated(STEP, odd)
    assert [row.row for row in report.judged] == [2], report.unpredicted


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_held_out_is_not_learned_from(split, validated) -> None:  # type: ignore[no-untyped-def]
    absurd = [row | {"iteration_ms": 60_000.0} if k == 7 else row for k, row in enumerate(GRID)]
    sane, mad = (
        {row.row: row.compared["step_ms"].predicted for row in validated(STEP, *rows, hold_out=split).judged}
        for rows in (GRID, absurd)
    )
    assert mad[9] == sane[9]
    if split in ("tp", "batch"):
        assert mad != sane


def test_alternatives_are_ranked_within_their_group(validated) -> None:  # type: ignore[no-untyped-def]
    others = [row | {"global_batch": 1024, "iteration_ms": 2 * float(str(row["iteration_ms"]))} for row in GRID[:5]]
    report = validated(STEP, *GRID, *others, layout(1, 1, 8, 7000) | {"global_batch": 2048})
    assert report.ranking is not None
    assert [group.rows for group in report.ranking.groups] == [12, 5]
    document = report.document()
    assert document["spearman_within_group"] == report.ranking.spearman_within_group > 0.5
    assert document["top1_regret_max"] >= document["top1_regret_mean"] >= 0
    assert len(document["ranked_groups"]) == 2


def test_other_parts_have_no_ranking(tmp_path: Path, catalogued: Facts) -> None:
    assert PARTS["serving"].alternatives is None
    assert PARTS["power"].alternatives is None


def test_the_public_files_are_met_from_a_fresh_store(shared: Path, catalogued: Facts) -> None:
    multi = validate(PARTS["training"], shared / "training/a100_iteration_times_multi_node.csv", catalogued)
    fsdp = validate(PARTS["training"], shared / "training/fsdp_throughput_measured.csv", catalogued)
    assert (len(multi.judged), len(fsdp.judged)) == (73, 127)
    assert multi.unpredicted == fsdp.unpredicted == ()
    assert (multi.metrics(multi.judged)["step_ms"].mape or 1) < 0.06
    assert (fsdp.metrics(fsdp.judged)["step_ms"].mape or 1) < 0.05
    assert multi.ranking is not None
    assert min(group.spearman for group in multi.ranking.groups) > 0.8
    assert (multi.ranking.top1_regret_max or 0) <= 0.02


def test_five_folds_of_the_multi_node_file_stay_below_six_per_cent(shared: Path, catalogued: Facts) -> None:
    path = shared / "training/a100_iteration_times_multi_node.csv"
    report = validate(PARTS["training"], path, catalogued, hold_out="random")
    assert (report.metrics(report.judged)["step_ms"].mape or 1) < 0.06
