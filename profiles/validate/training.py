"""Step times of training, in the columns of ``training-iterations`` or ``fsdp-throughput`` files.

Rows that train one model on as many GPUs with the same global batch and sequence length are alternatives: the report
says how well they are ranked, and what it costs to trust the prediction.

What is held out is not learned from. Yet the coefficients that learning starts from were fitted to public steps
(``profiles.training.priors``): of such files ``benchmarks/training_accuracy.py`` tells errors without that knowledge.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from profiles.errors import InvalidInput
from profiles.ingest import Row, survey_training
from profiles.names import KnownNames
from profiles.training.performance import TrainingPerformance
from profiles.training.rows import Ran, ran
from profiles.types import Facts, TrainingMeasurement
from profiles.validate.part import Part, Predicted

MEASURED_FIELDS = {"step_ms", "tokens_per_s_per_gpu", "source", "as_of", "driver", "software", "sm_clock_mhz",
                   "temperature_c", "power_limit_w"}  # fmt: skip
"""Of a row: what was measured and under which circumstances, none of it part of the question."""

BEYOND_MODEL_FLOPS = 1.05
"""No step does the model's arithmetic faster than this over the datasheet's peak: such a number has another unit."""

SPLITS: Mapping[str, Callable[[Row, TrainingMeasurement], str]] = {
    "model": lambda _, m: m.model,
    "gpus": lambda _, m: f"{m.num_gpus} GPUs",
    "gpu": lambda _, m: m.gpu,
    "tp": lambda _, m: f"tp {m.tp}",
    "lengths": lambda _, m: f"{m.sequence_length} tokens",
    "batch": lambda _, m: f"micro-batch {m.micro_batch}",
}
"""What can be held out."""


def observe(m: TrainingMeasurement) -> Mapping[str, float]:
    """Step time, and the tokens/s of one GPU that it means."""
    return _both(m, m.measured_step_ms)


def predict(facts: Facts, rows: Sequence[TrainingMeasurement]) -> list[Predicted | str]:
    """What the training model of ``facts`` says of each row, or why it says nothing."""
    model, known = TrainingPerformance(facts), KnownNames.of(facts)
    return [_predicted(model, known, m) for m in rows]


def _predicted(model: TrainingPerformance, known: KnownNames, m: TrainingMeasurement) -> Predicted | str:
    if m.cpu_offload == "activations":
        return "activations in host memory are not modelled"
    try:
        row = ran(m, known)
    except InvalidInput as refusal:
        return refusal.detail
    fastest_ms = _fastest_ms(row, m)
    if m.measured_step_ms < fastest_ms:
        return f"{m.measured_step_ms:.6g} ms a step beats the GPUs' peak, which takes {fastest_ms:.6g} ms: other units?"
    found = model.step_time(
        row.shape,
        row.layout,
        row.machine,
        sequence_length=row.sequence_length,
        framework=row.framework,
        fused_attention=row.fused_attention,
    )
    step_ms, error = float(found.step_ms[0]), float(found.error[0])
    if not (np.isfinite(step_ms) and np.isfinite(error) and step_ms > 0):
        return "the model gives no finite prediction"
    return Predicted(str(found.origin[0]), {name: (value, error) for name, value in _both(m, step_ms).items()})


def _fastest_ms(row: Ran, m: TrainingMeasurement) -> float:
    """The model's arithmetic at the datasheet's peak."""
    gpu = row.machine.gpu
    peak = (m.precision == "fp8" and gpu.fp8_tflops) or gpu.bf16_tflops
    needed = row.shape.flops_per_token * m.sequence_length * m.global_batch
    return needed / (peak * 1e9 * m.num_gpus * BEYOND_MODEL_FLOPS)


def _both(m: TrainingMeasurement, step_ms: float) -> dict[str, float]:
    tokens = m.global_batch * m.sequence_length
    return {"step_ms": step_ms, "tokens_per_s_per_gpu": 1e3 * tokens / (step_ms * m.num_gpus)}


def _label(m: TrainingMeasurement) -> str:
    degrees = " ".join(f"{name}{getattr(m, name)}" for name in ("tp", "pp", "cp", "dp", "ep") if getattr(m, name) > 1)
    return f"{m.num_gpus} × {m.gpu} {degrees}, micro-batch {m.micro_batch} of {m.sequence_length}, {m.framework}"


def _asked(m: TrainingMeasurement) -> Hashable:
    return m.model_dump_json(exclude=MEASURED_FIELDS)


def _alternatives(m: TrainingMeasurement) -> str:
    return f"{m.model} on {m.num_gpus} GPUs, {m.global_batch} sequences of {m.sequence_length}"


TRAINING = Part(
    name="training",
    quantities=("step_ms", "tokens_per_s_per_gpu"),
    read=survey_training,
    observe=observe,
    label=_label,
    point=lambda _, m: (_asked(m), m.software),
    asked=_asked,
    splits=SPLITS,
    stored=lambda facts: facts.training_measurements,
    given=lambda facts, rows: Facts(gpus=facts.gpus, models=facts.models, training_measurements=tuple(rows)),
    predict=predict,
    started_from="The coefficients that learning starts from were fitted to published steps, vTrain's and MosaicML's "
    "among them: of those files benchmarks/training_accuracy.py tells errors without that knowledge.",
    alternatives=_alternatives,
)
