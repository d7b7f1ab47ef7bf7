"""Training plans as flags of Megatron-LM, in a script that every host runs. Pure: plan in, file names and texts out.

Flags are those of Megatron-LM's ``megatron/training/arguments.py``; ranks keep its default order, tp-cp-ep-dp-pp.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from shlex import quote

from planner.render.training_launch import torchrun_script
from planner.render.training_ranks import about_hosts, best_for, places
from planner.training.plan import Configuration, TrainingPlan
from planner.training.spec import Shape

Flag = tuple[str, ...]
"""A flag and its values."""


def megatron(plan: TrainingPlan) -> dict[str, str]:
    """Flags as a bash array, the script that starts training with them, and ``torchrun.sh``, which it calls."""
    best = best_for(plan, "megatron-lm")
    placed = places(plan, best)
    flags = [
        *dense_flags(plan), *_more_model_flags(model_shape(plan)), *_degree_flags(best), *batch_flags(plan, best),
        *_step_flags(best, half_flag(plan, best)),
    ]  # fmt: skip
    script = """\
#!/usr/bin/env bash
# On every host: MEGATRON=path/to/Megatron-LM ./train_megatron.sh --data-path ... --tokenizer-type ... --lr ...
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/megatron_flags.sh"
export CUDA_DEVICE_MAX_CONNECTIONS="${CUDA_DEVICE_MAX_CONNECTIONS:-1}"  # so that messages overlap with computing
exec bash "$here/torchrun.sh" "${MEGATRON:?}/pretrain_gpt.py" "${MEGATRON_FLAGS[@]}" "$@"
"""
    return {
        "megatron_flags.sh": flag_file("MEGATRON_FLAGS", flags, about_model(plan)),
        "train_megatron.sh": script,
        "torchrun.sh": torchrun_script(placed, about_hosts(plan, placed)),
    }


def flag_file(name: str, flags: list[Flag], missing: str = "") -> str:
    """``flags`` as the bash array ``name``, one flag to a line, below a comment on what is ``missing``."""
    lines = "".join(f"  {' '.join(map(quote, flag))}\n" for flag in flags)
    return f"# What is planned. The data, the tokenizer and the learning rate are not.\n{missing}{name}=(\n{lines})\n"


def model_shape(plan: TrainingPlan) -> Shape | None:
    """The shape of the model, where the plan holds it."""
    return plan.shape or plan.spec.shape


def about_model(plan: TrainingPlan) -> str:
    """A comment where the flags cannot say what the model looks like."""
    return (
        ""
        if model_shape(plan)
        else "# Add the sizes of the model, --hidden-size and so on: the plan has its name only.\n"
    )


def dense_flags(plan: TrainingPlan) -> Iterator[Flag]:
    """The shape of a dense model; norms, positions and the vocabulary (by the tokenizer) are not part of a plan."""
    yield "--seq-length", str(plan.spec.sequence_length)
    yield "--max-position-embeddings", str(plan.spec.sequence_length)
    yield "--num-layers", str(sum(plan.ranked[0].stage_layers))
    shape = model_shape(plan)
    if shape is None:
        return
    yield "--hidden-size", str(shape.hidden_size)
    yield "--ffn-hidden-size", str(shape.intermediate_size or 4 * shape.hidden_size)
    yield "--num-attention-heads", str(shape.num_attention_heads)
    yield "--kv-channels", str(shape.head_dim or shape.hidden_size // shape.num_attention_heads)
    if shape.gated_mlp:
        yield ("--swiglu",)
    if not shape.tied_embeddings:
        yield ("--untie-embeddings-and-output-weights",)


def _more_model_flags(shape: Shape | None) -> Iterator[Flag]:
    """Grouped queries, experts and what time and memory take for granted, by their names in Megatron-LM.

    A gated MLP is taken as the sign of a model like Llama: RMS norms, rotary positions, no biases.
    """
    yield ("--use-flash-attn",)
    yield "--attention-dropout", "0.0"
    yield "--hidden-dropout", "0.0"
    if shape is None:
        return
    if shape.gated_mlp:
        yield "--normalization", "RMSNorm"
        yield "--position-embedding-type", "rope"
        yield ("--disable-bias-linear",)
    if shape.num_kv_heads not in (None, shape.num_attention_heads):
        yield ("--group-query-attention",)
        yield "--num-query-groups", str(shape.num_kv_heads)
    if shape.num_experts:
        yield from _expert_flags(shape)


def _expert_flags(shape: Shape) -> Iterator[Flag]:
    yield "--num-experts", str(shape.num_experts)
    yield "--moe-router-topk", str(shape.experts_per_token)
    yield "--moe-ffn-hidden-size", str(shape.moe_intermediate_size)
    if shape.num_shared_experts:
        yield "--moe-shared-expert-intermediate-size", str(shape.num_shared_experts * shape.moe_intermediate_size)
    if shape.num_dense_layers:
        with_experts = shape.num_layers - shape.num_dense_layers
        yield "--moe-layer-freq", f"[0]*{shape.num_dense_layers}+[1]*{with_experts}"
    yield "--moe-token-dispatcher-type", "alltoall"
    yield ("--moe-grouped-gemm",)


def _degree_flags(best: Configuration) -> Iterator[Flag]:
    """How ranks divide the work; data parallelism is what is left."""
    yield "--tensor-model-parallel-size", str(best.tensor_parallel)
    if best.sequence_parallel and best.tensor_parallel > 1:
        yield ("--sequence-parallel",)
    yield "--pipeline-model-parallel-size", str(best.pipeline_parallel)
    yield from _stage_flags(best)
    if best.context_parallel > 1:
        yield "--context-parallel-size", str(best.context_parallel)
    if best.expert_parallel > 1:
        yield "--expert-model-parallel-size", str(best.expert_parallel)


def _stage_flags(best: Configuration) -> Iterator[Flag]:
    """Equal stages need no flag; a first or last stage that lacks one layer for its vocabulary matrix has its own."""
    most = max(best.stage_layers)
    if best.virtual_stages > 1:
        yield "--num-layers-per-virtual-pipeline-stage", str(most // best.virtual_stages)
    lacking = tuple(most - layers for layers in best.stage_layers)
    if not any(lacking):
        return
    if not any(lacking[1:-1]) and max(lacking) == 1:
        if lacking[0]:
            yield ("--account-for-embedding-in-pipeline-split",)
        if lacking[-1]:
            yield ("--account-for-loss-in-pipeline-split",)
        return
    stages = ["t" * layers for layers in best.stage_layers]
    yield "--pipeline-model-parallel-layout", "|".join(["E" + stages[0], *stages[1:-1], stages[-1] + "L"])


def batch_flags(plan: TrainingPlan, best: Configuration) -> Iterator[Flag]:
    """Batches, and as many steps as the tokens take."""
    yield "--micro-batch-size", str(best.micro_batch)
    yield "--global-batch-size", str(plan.spec.global_batch)
    yield "--train-iters", str(num_steps(plan))


def num_steps(plan: TrainingPlan) -> int:
    """Steps that the tokens of the spec take, the last one begun."""
    return math.ceil(plan.spec.tokens / (plan.spec.global_batch * plan.spec.sequence_length))


def recompute_flags(best: Configuration) -> Iterator[Flag]:
    """Megatron counts recomputed layers in each virtual stage."""
    if best.recompute == "selective":
        yield "--recompute-granularity", "selective"
    elif best.recompute == "full":
        yield "--recompute-granularity", "full"
        if best.recomputed_layers >= max(best.stage_layers):
            yield "--recompute-method", "uniform"
            yield "--recompute-num-layers", "1"
        else:
            yield "--recompute-method", "block"
            yield "--recompute-num-layers", str(math.ceil(best.recomputed_layers / best.virtual_stages))


WITHOUT_BF16 = ("v100", "t4")
"""GPU types that have 16-bit units for fp16 only."""


def half_flag(plan: TrainingPlan, best: Configuration) -> str:
    """The 16-bit type that the GPUs of a configuration have units for."""
    gpus = [group.gpu.lower() for group in plan.spec.cluster.groups if group.name in best.groups]
    return "--fp16" if any(name in gpu for gpu in gpus for name in WITHOUT_BF16) else "--bf16"


def _step_flags(best: Configuration, half: str) -> Iterator[Flag]:
    """Recomputing, sharding, offload and precision."""
    yield from recompute_flags(best)
    yield ("--overlap-grad-reduce",)
    if best.sharding != "none":
        yield ("--use-distributed-optimizer",)
        yield ("--overlap-param-gather",)
        copies = best.data_parallel * best.context_parallel // best.shard_replicas
        if copies > 1:
            yield "--num-distributed-optimizer-instances", str(copies)
    if best.offload == "optimizer_cpu":
        yield ("--optimizer-cpu-offload",)
        yield ("--use-precision-aware-optimizer",)
    yield (half,)
    if best.precision == "fp8":
        yield "--fp8-format", "hybrid"
