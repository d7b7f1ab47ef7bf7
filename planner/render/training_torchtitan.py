"""Training plans as flags of torchtitan 0.3, which it parses itself. Pure: plan in, file names and texts out.

torchtitan has a configuration for each of its models and none for others: for those the script asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from planner.errors import InvalidInput
from planner.render.training_launch import torchrun_script
from planner.render.training_megatron import Flag, flag_file, model_shape, num_steps
from planner.render.training_ranks import about_hosts, best_for, places
from planner.training.plan import Configuration, TrainingPlan

MODELS = {
    (32, 4096, 128256, 0): ("llama3", "llama3_8b"),
    (80, 8192, 128256, 0): ("llama3", "llama3_70b"),
    (126, 16384, 128256, 0): ("llama3", "llama3_405b"),
    (28, 1024, 151936, 0): ("qwen3", "qwen3_0_6b"),
    (28, 2048, 151936, 0): ("qwen3", "qwen3_1_7b"),
    (40, 5120, 151936, 0): ("qwen3", "qwen3_14b"),
    (64, 5120, 151936, 0): ("qwen3", "qwen3_32b"),
    (48, 2048, 151936, 128): ("qwen3", "qwen3_30b_a3b"),
    (61, 7168, 129280, 256): ("deepseek_v3", "deepseek_v3_671b"),
}
"""Module and configuration by layers, hidden size, vocabulary and experts (torchtitan 0.3, ``config_registry.py``)."""


def torchtitan(plan: TrainingPlan) -> dict[str, str]:
    """Flags as a bash array, the script that starts training with them, and ``torchrun.sh``, which it calls."""
    best = _best(plan)
    placed = places(plan, best)
    asked, chosen = _configuration_of(plan, best)
    script = f"""\
#!/usr/bin/env bash
# On every host: ./train_torchtitan.sh --hf_assets_path ... (flags of torchtitan 0.3)
{asked}set -euo pipefail
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
source "$here/torchtitan_flags.sh"
exec bash "$here/torchrun.sh" -m torchtitan.train {chosen} "$@" "${{TORCHTITAN_FLAGS[@]}}"
"""
    return {
        "torchtitan_flags.sh": flag_file("TORCHTITAN_FLAGS", list(_flags(plan, best))),
        "train_torchtitan.sh": script,
        "torchrun.sh": torchrun_script(placed, about_hosts(plan, placed)),
    }


def _configuration_of(plan: TrainingPlan, best: Configuration) -> tuple[str, str]:
    """A comment, and the flags that name torchtitan's configuration; fp8 has configurations of its own."""
    shape = model_shape(plan)
    key = (shape.num_layers, shape.hidden_size, shape.vocab_size, shape.num_experts) if shape else None
    if key in MODELS and best.precision == "bf16":
        module, config = MODELS[key]
        return "", f"--module {quote(module)} --config {quote(config)}"
    wanted = "an fp8 configuration" if best.precision == "fp8" else "a configuration"
    asked = f"# Name {wanted} of the model that torchtitan has, e.g. MODULE=llama3 CONFIG=llama3_8b.\n"
    return asked, '--module "${MODULE:?}" --config "${CONFIG:?}"'


def _best(plan: TrainingPlan) -> Configuration:
    """The best ranked configuration that torchtitan's flags can say; ``InvalidInput`` with what is in the way."""
    best = best_for(plan, "fsdp")
    said = [found for found in plan.ranked if found.framework == "fsdp" and not _in_the_way(found)]
    if not said:
        raise InvalidInput(f"has no ranked configuration that torchtitan can run: {_in_the_way(best)}", field="PLAN",
                           fix="plan again with other choices")  # fmt: skip
    return said[0]


def _in_the_way(best: Configuration) -> str:
    """Why torchtitan's flags cannot say this; "" where they can."""
    if best.shard_replicas % best.context_parallel:
        return f"context parallel ranks always shard together, and {best.context_parallel} do not divide the shards"
    sharing = best.shard_replicas * best.tensor_parallel
    if sharing % best.expert_parallel:
        return f"experts lie on the {sharing} ranks that shard together, and {best.expert_parallel} do not divide them"
    most = max(best.stage_layers)
    if any(layers < most for layers in best.stage_layers[1:-1]):
        return "its stages between the first and the last are equal"
    if most - min(best.stage_layers) > most // best.virtual_stages:
        return "its first and last stage cannot lack more layers than a virtual stage has"
    return ""


def _flags(plan: TrainingPlan, best: Configuration) -> Iterator[Flag]:
    pipelined = best.pipeline_parallel > 1
    shard = best.shard_replicas // best.context_parallel
    yield "--parallelism.data_parallel_replicate_degree", str(best.data_parallel // shard)
    yield "--parallelism.data_parallel_shard_degree", str(shard)
    yield "--parallelism.fsdp_reshard_after_forward", "always" if best.sharding == "zero3" else "never"
    yield "--parallelism.tensor_parallel_degree", str(best.tensor_parallel)
    if not best.sequence_parallel and best.tensor_parallel > 1:
        yield ("--parallelism.no-enable-sequence-parallel",)
    yield "--parallelism.context_parallel_degree", str(best.context_parallel)
    if best.expert_parallel > 1:
        yield "--parallelism.expert_parallel_degree", str(best.expert_parallel)
    yield "--parallelism.pipeline_parallel_degree", str(best.pipeline_parallel)
    if pipelined:
        yield from _pipeline_flags(best)
    if pipelined or best.expert_parallel > 1:
        yield ("--training.disable_cuda_graphs",)  # its own parser refuses graphs there
    # With a pipeline, a local batch is what a replica takes in a step; without one, what passes at once.
    local = best.micro_batch * (best.num_micro_batches if pipelined else 1)
    yield "--training.local_batch_size", str(local)
    yield "--training.global_batch_size", str(plan.spec.global_batch)
    yield "--training.seq_len", str(plan.spec.sequence_length)
    yield "--training.steps", str(num_steps(plan))
    yield (f"activation-checkpoint:{best.recompute}",)  # a subcommand, so the last


def _pipeline_flags(best: Configuration) -> Iterator[Flag]:
    """Layers of a virtual stage, and what the first and the last have less; both are 1 unless told."""
    most = max(best.stage_layers)
    schedule = "Interleaved1F1B" if best.virtual_stages > 1 else "1F1B"
    yield "--parallelism.pipeline_parallel_schedule", schedule
    yield "--parallelism.pipeline_parallel_microbatch_size", str(best.micro_batch)
    yield "--parallelism.pipeline_parallel_layers_per_stage", str(most // best.virtual_stages)
    yield "--parallelism.pipeline_parallel_first_stage_less_layers", str(most - best.stage_layers[0])
    yield "--parallelism.pipeline_parallel_last_stage_less_layers", str(most - best.stage_layers[-1])
