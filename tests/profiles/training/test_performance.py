"""What planners are told: origin and error, and the published and measured steps that must be met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from profiles.catalogue import load
from profiles.errors import UnknownName
from profiles.ingest import survey_training
from profiles.names import KnownNames
from profiles.performance.answers import Floats
from profiles.training.layouts import joined, one_layout
from profiles.training.performance import WORST_ERROR, TrainingPerformance
from profiles.training.priors import FIRST, SHIPPED, Prior
from profiles.training.rows import ran, typical_machine
from profiles.training.shape import Transformer
from profiles.training.time import StepTime
from profiles.types import Facts, TrainingMeasurement

DATA = next((p / "shared/data/training" for p in Path(__file__).parents if (p / "shared/data/training").exists()), None)
needs_data = pytest.mark.skipif(DATA is None, reason="shared/data/training (measured steps) is not here")

CATALOGUE = load()
KNOWN = KnownNames.of(CATALOGUE)
PUBLISHED = CATALOGUE.training_measurements
GPUS = {gpu.name: gpu for gpu in CATALOGUE.gpus}
SHAPE = Transformer(
    num_layers=24, hidden_size=4096, num_attention_heads=32, num_kv_heads=32, head_dim=128, intermediate_size=16384,
    vocab_size=51200, gated_mlp=False,
)  # fmt: skip


def rows_of(file: str) -> list[TrainingMeasurement]:
    assert DATA is not None
    return [step for _, step in survey_training(DATA / file, KNOWN) if isinstance(step, TrainingMeasurement)]


def knowing(steps: Sequence[TrainingMeasurement]) -> Facts:
    return Facts(
        gpus=CATALOGUE.gpus, models=CATALOGUE.models, training_measurements=tuple(steps),
        collectives=CATALOGUE.collectives,
    )  # fmt: skip


def told(model: TrainingPerformance, step: TrainingMeasurement) -> StepTime:
    row = ran(step, KNOWN)
    return model.step_time(
        row.shape, row.layout, row.machine, sequence_length=row.sequence_length, framework=row.framework,
        fused_attention=row.fused_attention,
    )  # fmt: skip


def errors(steps: Sequence[TrainingMeasurement], learned_from: Sequence[TrainingMeasurement], prior: Prior) -> Floats:
    model = TrainingPerformance(knowing(learned_from), prior)
    return np.array([told(model, step).step_ms[0] / step.measured_step_ms - 1 for step in steps])


def test_every_row_of_the_megatron_table_is_within_a_tenth() -> None:
    table = [step for step in PUBLISHED if step.as_of.year == 2021]
    assert len(table) == 10
    assert np.abs(errors(table, PUBLISHED, SHIPPED)).max() < 0.1


def test_the_sequence_parallelism_table_is_met() -> None:
    table = [step for step in PUBLISHED if step.as_of.year == 2022]
    assert len(table) == 8
    assert np.abs(errors(table, PUBLISHED, SHIPPED)).mean() < 0.04


def test_published_steps_are_met_before_any_fit() -> None:
    assert np.abs(errors(PUBLISHED, [], FIRST)).mean() < 0.06


@needs_data
def test_each_model_of_the_multi_node_file_is_predicted_from_the_other() -> None:
    steps = rows_of("a100_iteration_times_multi_node.csv")
    for model in ("gpt-3.6b", "gpt-39.1b"):
        own, other = ([step for step in steps if (step.model == model) is same] for same in (True, False))
        found = errors(own, other, FIRST)
        assert np.abs(found).mean() < 0.10
        predicted = (1 + found) * [step.measured_step_ms for step in own]
        assert own[int(predicted.argmin())].measured_step_ms <= 1.02 * min(step.measured_step_ms for step in own)


@needs_data
@pytest.mark.parametrize("model", ["mpt-1b", "mpt-7b", "mpt-30b"])
def test_fsdp_steps_are_predicted_from_other_models(model: str) -> None:
    steps = rows_of("fsdp_throughput_measured.csv")
    own, others = ([step for step in steps if (step.model == model) is same] for same in (True, False))
    assert np.abs(errors(own, others, FIRST)).mean() < 0.10


def test_a_measured_step_is_known_as_such_and_what_lies_between_too() -> None:
    step = next(s for s in PUBLISHED if s.model == "gpt-39.1b")
    model, row = TrainingPerformance(knowing(PUBLISHED)), ran(step, KNOWN)
    few = joined(
        [
            row.layout,
            replace(row.layout, micro_batch=row.layout.micro_batch * 2),
            replace(row.layout, tp=row.layout.tp * 64),
        ]
    )
    asked = {"sequence_length": 2048, "framework": "megatron-lm"}
    found = model.step_time(row.shape, few, row.machine, **asked)  # type: ignore[arg-type]
    assert found.origin.tolist() == ["measured", "interpolated", "extrapolated"]
    elsewhere = replace(row.machine, gpu=GPUS["MI300X"])
    assert model.step_time(row.shape, few, elsewhere, **asked).origin.tolist() == ["roofline"] * 3  # type: ignore[arg-type]


def test_errors_grow_with_what_is_not_known() -> None:
    model, layout = TrainingPerformance(knowing(PUBLISHED)), one_layout(tp=8, dp=8, global_batch=512, num_layers=24)

    def error(gpu: str, framework: str = "megatron-lm") -> float:
        machine = typical_machine(GPUS[gpu], 64, 8)
        return float(model.step_time(SHAPE, layout, machine, sequence_length=2048, framework=framework).error[0])

    assert 0 < error("A100-80GB") < error("H100") < error("MI300X") <= WORST_ERROR


@pytest.mark.parametrize("gpu", sorted(GPUS))
def test_every_gpu_of_the_catalogue_has_a_prediction(gpu: str) -> None:
    layout = one_layout(tp=2, pp=2, dp=4, global_batch=64, num_layers=24)
    machine = typical_machine(GPUS[gpu], 16, 8)
    found = TrainingPerformance(knowing([])).step_time(
        SHAPE, layout, machine, sequence_length=2048, framework="torchtitan"
    )
    peak_ms = SHAPE.model_flops_per_step(2048, 64) / (16e9 * GPUS[gpu].bf16_tflops)
    assert peak_ms < found.step_ms[0] < 100 * peak_ms
    assert 0 < found.error[0] <= WORST_ERROR


def test_no_layouts_and_unknown_frameworks() -> None:
    model, machine = TrainingPerformance(knowing([])), typical_machine(GPUS["H100"], 8, 8)
    layout = one_layout(dp=8, global_batch=64, num_layers=24)
    none = model.step_time(
        SHAPE, layout.take(np.array([], dtype=np.intp)), machine, sequence_length=2048, framework="fsdp"
    )
    assert len(none.step_ms) == len(none.error) == len(none.origin) == 0
    with pytest.raises(UnknownName, match="fsdpp"):
        model.step_time(SHAPE, layout, machine, sequence_length=2048, framework="fsdpp")


def test_equal_facts_give_equal_answers() -> None:
    layout, machine = one_layout(tp=2, dp=4, global_batch=64, num_layers=24), typical_machine(GPUS["H100"], 8, 8)
    one, two = (
        TrainingPerformance(knowing(PUBLISHED)).step_time(
            SHAPE, layout, machine, sequence_length=2048, framework="fsdp"
        )
        for _ in range(2)
    )
    assert one.step_ms[0] == two.step_ms[0]
    assert one.error[0] == two.error[0]
