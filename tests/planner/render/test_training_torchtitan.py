"""Flags of torchtitan: degrees and batches hold, and, where torchtitan is installed, its own parser takes them."""

from __future__ import annotations

import importlib.util
import shlex
from typing import Any

import pytest

from planner.errors import InvalidInput
from planner.render.targets import render_plan
from planner.training.plan import Configuration
from tests.planner.render.training_plans import LLAMA_8B, QWEN3_30B, array, configuration, plan


def titan(*ranked: Configuration, **changes: Any) -> dict[str, str]:
    return array(render_plan(plan(*ranked, **changes), "torchtitan")["torchtitan_flags.sh"])


def fsdp(**changes: Any) -> Configuration:
    return configuration(**{"framework": "fsdp", "sharding": "zero3"} | changes)


TITANS = {
    "pipeline": fsdp(),
    "one stage": fsdp(pipeline_parallel=1, stage_layers=(32,), data_parallel=6, num_micro_batches=4, shard_replicas=6),
    "interleaved": fsdp(virtual_stages=4, recompute="full", sharding="zero2"),
    "shards in a node": fsdp(
        tensor_parallel=1, pipeline_parallel=1, stage_layers=(32,), data_parallel=12, num_micro_batches=2,
        shard_replicas=4, sequence_parallel=False,
    ),
    "context": fsdp(pipeline_parallel=1, stage_layers=(32,), context_parallel=2, shard_replicas=6),
    "light ends": fsdp(pipeline_parallel=4, tensor_parallel=1, stage_layers=(7, 9, 9, 7), recompute="selective"),
    "no sequence parallel": fsdp(sequence_parallel=False),
}  # fmt: skip


@pytest.mark.parametrize("best", TITANS.values(), ids=TITANS)
def test_torchtitan_degrees_multiply_to_the_world_and_batches_to_the_global_one(best: Configuration) -> None:
    flags = titan(best)
    kinds = ("data_parallel_replicate", "data_parallel_shard", "tensor_parallel", "context_parallel",
             "pipeline_parallel")  # fmt: skip
    replicate, shard, tensor, context, stages = (int(flags[f"--parallelism.{kind}_degree"]) for kind in kinds)
    assert replicate * shard * tensor * context * stages == 12
    assert shard * context == best.shard_replicas
    local = int(flags["--training.local_batch_size"])
    assert 48 % (local * replicate * shard) == 0
    accumulation = 48 // (local * replicate * shard)
    pipelined = int(flags.get("--parallelism.pipeline_parallel_microbatch_size", local))
    assert accumulation * local // pipelined == best.num_micro_batches
    assert list(flags)[-1] == f"activation-checkpoint:{best.recompute}"


def parsed_by_torchtitan(files: dict[str, str]) -> Any:
    """The configuration that torchtitan makes of a rendered script."""
    if importlib.util.find_spec("torchtitan") is None:
        pytest.skip("torchtitan is not installed")
    from torchtitan.config import ConfigManager

    text = files["torchtitan_flags.sh"]
    command = files["train_torchtitan.sh"].splitlines()[-1].split()
    flags = shlex.split(text[text.index("(") + 1 : text.rindex(")")])
    return ConfigManager().parse_args([*command[command.index("--module") : -2], *flags])


@pytest.mark.parametrize("best", TITANS.values(), ids=TITANS)
def test_torchtitan_parses_its_flags(best: Configuration) -> None:
    parsed = parsed_by_torchtitan(render_plan(plan(best), "torchtitan"))
    degrees = parsed.parallelism
    assert parsed.model_spec.flavor == "8B"
    assert degrees.tensor_parallel_degree == best.tensor_parallel
    assert degrees.enable_sequence_parallel == (best.sequence_parallel or best.tensor_parallel == 1)
    assert parsed.training.global_batch_size == 48


@pytest.mark.parametrize("best", [best for best in TITANS.values() if best.pipeline_parallel > 1])
def test_torchtitan_cuts_the_layers_as_planned(best: Configuration) -> None:
    degrees = parsed_by_torchtitan(render_plan(plan(best), "torchtitan")).parallelism
    from torchtitan.distributed.pipeline_parallel import _generate_llm_fqn_per_model_part

    first, last = (getattr(degrees, f"pipeline_parallel_{end}_stage_less_layers") for end in ("first", "last"))
    num_stages = best.pipeline_parallel * best.virtual_stages
    assert -(-(32 + first + last) // degrees.pipeline_parallel_layers_per_stage) == num_stages
    parts = _generate_llm_fqn_per_model_part(num_stages, 32, first, last)
    layers = [sum(name.startswith("layers.") for name in part) for part in parts]
    of_rank = [sum(layers[rank :: best.pipeline_parallel]) for rank in range(best.pipeline_parallel)]
    assert tuple(of_rank) == best.stage_layers


def test_torchtitan_parses_experts() -> None:
    best = fsdp(expert_parallel=2, stage_layers=(24, 24))
    parsed = parsed_by_torchtitan(render_plan(plan(best, shape=QWEN3_30B), "torchtitan"))
    assert parsed.parallelism.expert_parallel_degree == 2
    assert parsed.model_spec.flavor == "30B-A3B"


def test_torchtitan_asks_for_the_configuration_of_other_models() -> None:
    script = render_plan(plan(fsdp(), shape=LLAMA_8B | {"vocab_size": 1000}), "torchtitan")["train_torchtitan.sh"]
    assert '--module "${MODULE:?}"' in script
    script = render_plan(plan(fsdp(precision="fp8")), "torchtitan")["train_torchtitan.sh"]
    assert "fp8 configuration" in script


def test_what_torchtitan_cannot_say_is_passed_over_or_named() -> None:
    uneven = fsdp(pipeline_parallel=4, tensor_parallel=1, stage_layers=(9, 8, 7, 8))
    assert titan(uneven, fsdp())["--parallelism.pipeline_parallel_degree"] == "2"
    with pytest.raises(InvalidInput, match="stages between the first and the last are equal"):
        titan(uneven)
    with pytest.raises(InvalidInput, match="context parallel ranks always shard together"):
        titan(fsdp(context_parallel=2, pipeline_parallel=1, stage_layers=(32,), shard_replicas=1))
    with pytest.raises(InvalidInput, match="experts lie on the 6 ranks that shard together"):
        titan(fsdp(expert_parallel=4))
