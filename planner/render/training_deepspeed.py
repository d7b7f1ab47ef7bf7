"""Training plans for Megatron-DeepSpeed: the JSON of DeepSpeed, and flags. Pure: plan in, file names and texts out.

The keys are those of DeepSpeed's configuration JSON; the flags those of Megatron-DeepSpeed, which left Megatron-LM
before some got other names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from planner.errors import InvalidInput
from planner.render.training_launch import torchrun_script
from planner.render.training_megatron import (
    Flag,
    about_model,
    batch_flags,
    dense_flags,
    flag_file,
    half_flag,
    model_shape,
    recompute_flags,
)
from planner.render.training_ranks import about_hosts, best_for, places
from planner.training.plan import Configuration, TrainingPlan

STAGES = {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3}
NVME_PATH = "/local_nvme"
"""Where the disks of a node are: an assumption, which the script repeats to its reader."""


def deepspeed(plan: TrainingPlan) -> dict[str, str]:
    """``ds_config.json``, flags as a bash array, the script that starts training, and the ``torchrun.sh`` it calls."""
    best = best_for(plan, "megatron-deepspeed")
    placed = places(plan, best)
    disk = f"# States go to {NVME_PATH}, as ds_config.json says.\n" if best.offload.endswith("nvme") else ""
    script = f"""\
#!/usr/bin/env bash
# On every host: MEGATRON=path/to/Megatron-DeepSpeed ./train_deepspeed.sh --data-path ... --vocab-file ... --lr ...
{disk}set -euo pipefail
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
source "$here/deepspeed_flags.sh"
exec bash "$here/torchrun.sh" "${{MEGATRON:?}}/pretrain_gpt.py" "${{DEEPSPEED_FLAGS[@]}}" \\
  --deepspeed --deepspeed_config "$here/ds_config.json" "$@"
"""
    flags = [
        *_model_flags(plan),
        *_degree_flags(best),
        *batch_flags(plan, best),
        *_step_flags(best, half_flag(plan, best)),
    ]
    return {
        "ds_config.json": json.dumps(_config(plan, best), indent=2) + "\n",
        "deepspeed_flags.sh": flag_file("DEEPSPEED_FLAGS", flags, about_model(plan)),
        "train_deepspeed.sh": script,
        "torchrun.sh": torchrun_script(placed, about_hosts(plan, placed)),
    }


def _config(plan: TrainingPlan, best: Configuration) -> dict[str, object]:
    """DeepSpeed's own check: the train batch is the micro-batch × accumulation steps × data-parallel ranks."""
    stage = STAGES[best.sharding]
    zero: dict[str, object] = {"stage": stage}
    if stage:
        zero |= {"overlap_comm": True, "contiguous_gradients": True}
    if best.offload != "none":
        device = "nvme" if best.offload.endswith("nvme") else "cpu"
        target = {"device": device, "pin_memory": True} | ({"nvme_path": NVME_PATH} if device == "nvme" else {})
        zero["offload_optimizer"] = target
        if best.offload.startswith("all"):
            zero["offload_param"] = target
    return {
        "train_batch_size": plan.spec.global_batch,
        "train_micro_batch_size_per_gpu": best.micro_batch,
        "gradient_accumulation_steps": best.num_micro_batches,
        half_flag(plan, best).removeprefix("--"): {"enabled": True},
        "zero_optimization": zero,
    }


def _model_flags(plan: TrainingPlan) -> Iterator[Flag]:
    yield from dense_flags(plan)
    shape = model_shape(plan)
    if shape is not None and shape.num_kv_heads not in (None, shape.num_attention_heads):
        yield "--num-key-value-heads", str(shape.num_kv_heads)
    if shape is not None and shape.num_experts:
        raise InvalidInput("has experts, whose flags in Megatron-DeepSpeed are not written here", field="model",
                           fix="render the target megatron")  # fmt: skip


def _degree_flags(best: Configuration) -> Iterator[Flag]:
    yield "--tensor-model-parallel-size", str(best.tensor_parallel)
    if best.sequence_parallel and best.tensor_parallel > 1:
        yield ("--sequence-parallel",)
    yield "--pipeline-model-parallel-size", str(best.pipeline_parallel)
    if best.pipeline_parallel == 1:
        yield ("--no-pipeline-parallel",)


def _step_flags(best: Configuration, half: str) -> Iterator[Flag]:
    yield from recompute_flags(best)
    if best.recompute != "none":
        yield ("--deepspeed-activation-checkpointing",)
    yield "--zero-stage", str(STAGES[best.sharding])
    if best.offload.endswith("cpu"):
        yield ("--cpu-optimizer",)
    yield (half,)
