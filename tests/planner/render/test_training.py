"""Rendered training plans say what the plan says: flags and JSON are read back as the trainers read them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from planner.errors import FailedCheck, InvalidInput, UnknownName
from planner.render.targets import render_plan
from planner.render.training import RENDERERS
from planner.training.plan import Configuration, Place
from planner.training.spec import Shape
from tests.planner.render.training_plans import HOSTS, IN_ORDER, LLAMA_8B, array, configuration, plan


def megatron(*ranked: Configuration, **changes: Any) -> dict[str, str]:
    return array(render_plan(plan(*ranked, **changes), "megatron")["megatron_flags.sh"])


# Every target


@pytest.mark.parametrize("target", RENDERERS)
def test_files_end_in_a_newline_and_scripts_parse(target: str, tmp_path: Path) -> None:
    frameworks = ("megatron-lm", "megatron-deepspeed", "fsdp")
    files = render_plan(plan(*(configuration(framework=name) for name in frameworks)), target)
    for name, text in files.items():
        assert text.endswith("\n")
        if name.endswith((".sh", ".sbatch")):
            (tmp_path / name).write_text(text)
            subprocess.run(["bash", "-n", name], cwd=tmp_path, check=True)
        elif name.endswith(".json"):
            json.loads(text)


@pytest.mark.parametrize("target", RENDERERS)
def test_plans_that_contradict_themselves_are_not_rendered(target: str) -> None:
    for changes in ({"tensor_parallel": 4}, {"num_micro_batches": 7}, {"stage_layers": (32,)}):
        with pytest.raises(FailedCheck, match="not rendered"):
            render_plan(plan(configuration(**changes)), target)
    with pytest.raises(InvalidInput, match="ranks no configuration"):
        render_plan(plan().model_copy(update={"ranked": ()}), target)


@pytest.mark.parametrize("target", ["torchrun", "slurm", "openmpi"])
@pytest.mark.parametrize(
    "mapping",
    [IN_ORDER[:-1], (*IN_ORDER[:-1], IN_ORDER[0]), (*IN_ORDER[:-1], Place(rank=11, node="alpha", gpu=0))],
)
def test_mappings_that_are_no_bijection_are_not_rendered(target: str, mapping: tuple[Place, ...]) -> None:
    with pytest.raises(FailedCheck, match="not rendered"):
        render_plan(plan(mapping=mapping), target)


@pytest.mark.parametrize("target", ["torchrun", "slurm", "openmpi", "megatron"])
@pytest.mark.parametrize("host", ["a b", "x;reboot", "$(id)", "-w", "a\nb", "'", "a=b"])
def test_host_names_that_a_shell_would_read_are_refused(target: str, host: str) -> None:
    with pytest.raises(InvalidInput, match="is no host name"):
        render_plan(plan(group={"hosts": (host, *HOSTS[1:])}), target)


def test_a_node_group_that_is_not_there_is_not_rendered() -> None:
    with pytest.raises(FailedCheck, match="no node group 'elsewhere'"):
        render_plan(plan(configuration(groups=("elsewhere",))), "slurm")


def test_targets_are_listed() -> None:
    with pytest.raises(UnknownName, match="megatron, torchtitan, deepspeed, slurm, openmpi, torchrun"):
        render_plan(plan(), "mpi")


# Megatron-LM


def test_megatron_flags_say_the_plan() -> None:
    flags = megatron()
    assert flags["--tensor-model-parallel-size"] == "2"
    assert flags["--pipeline-model-parallel-size"] == "2"
    assert flags["--micro-batch-size"] == "2"
    assert flags["--global-batch-size"] == "48"
    assert flags["--train-iters"] == str(-(-(10**9) // (48 * 4096)))
    assert flags["--num-query-groups"] == "8"
    assert flags["--kv-channels"] == "128"
    assert flags["--ffn-hidden-size"] == "14336"
    expected = {"--sequence-parallel", "--swiglu", "--use-distributed-optimizer", "--overlap-param-gather", "--bf16"}
    assert expected | {"--untie-embeddings-and-output-weights"} <= flags.keys()
    absent = {"--context-parallel-size", "--recompute-granularity", "--fp8-format", "--num-experts"}
    assert not absent & flags.keys()
    # What is left for data parallelism is what the plan says.
    model_parallel = int(flags["--tensor-model-parallel-size"]) * int(flags["--pipeline-model-parallel-size"])
    assert 12 // model_parallel == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recompute": "selective"}, {"--recompute-granularity": "selective"}),
        (
            {"recompute": "full", "recomputed_layers": 16},
            {"--recompute-granularity": "full", "--recompute-method": "uniform", "--recompute-num-layers": "1"},
        ),
        (
            {"recompute": "full", "recomputed_layers": 5},
            {"--recompute-method": "block", "--recompute-num-layers": "5"},
        ),
        (
            {"recompute": "full", "recomputed_layers": 5, "virtual_stages": 4},
            {"--recompute-num-layers": "2", "--num-layers-per-virtual-pipeline-stage": "4"},
        ),
        ({"precision": "fp8"}, {"--fp8-format": "hybrid"}),
        ({"offload": "optimizer_cpu"}, {"--optimizer-cpu-offload": "", "--use-precision-aware-optimizer": ""}),
        ({"shard_replicas": 1}, {"--num-distributed-optimizer-instances": "3"}),
    ],
)
def test_megatron_flags_of_choices(changes: dict[str, Any], said: dict[str, str]) -> None:
    flags = megatron(configuration(**changes))
    assert said.items() <= flags.items()


def test_megatron_flags_without_sharding() -> None:
    flags = megatron(configuration(sharding="none", shard_replicas=1, tensor_parallel=1, data_parallel=6,
                                   num_micro_batches=4, sequence_parallel=False))  # fmt: skip
    assert not {"--use-distributed-optimizer", "--sequence-parallel"} & flags.keys()


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ((8, 8, 8, 8), set()),
        ((7, 8, 8, 7), {"--account-for-embedding-in-pipeline-split", "--account-for-loss-in-pipeline-split"}),
        ((8, 8, 8, 7), {"--account-for-loss-in-pipeline-split"}),
        ((7, 8, 8, 8), {"--account-for-embedding-in-pipeline-split"}),
        ((10, 9, 8, 5), {"--pipeline-model-parallel-layout"}),
        ((6, 8, 8, 8), {"--pipeline-model-parallel-layout"}),
    ],
)
def test_layers_of_stages(layers: tuple[int, ...], said: set[str]) -> None:
    staged = configuration(stage_layers=layers, pipeline_parallel=4, tensor_parallel=1)
    flags = megatron(staged, shape=LLAMA_8B | {"num_layers": sum(layers)})
    about_stages = {"account", "layout"}
    assert {flag for flag in flags if about_stages & set(flag.split("-"))} == said
    assert flags["--num-layers"] == str(sum(layers))
    layout = flags.get("--pipeline-model-parallel-layout")
    if layout is not None:
        assert tuple(stage.count("t") for stage in layout.split("|")) == layers
        assert layout[0] == "E"
        assert layout[-1] == "L"


def test_experts_of_megatron() -> None:
    shape = LLAMA_8B | {
        "num_experts": 64, "experts_per_token": 6, "num_shared_experts": 2, "moe_intermediate_size": 1408,
        "num_dense_layers": 1,
    }  # fmt: skip
    flags = megatron(configuration(expert_parallel=2), shape=shape)
    assert flags["--expert-model-parallel-size"] == "2"
    assert flags["--moe-router-topk"] == "6"
    assert flags["--moe-shared-expert-intermediate-size"] == "2816"
    assert sum(eval(flags["--moe-layer-freq"])) == 31  # noqa: S307 - as Megatron reads it
    with pytest.raises(InvalidInput, match="experts"):
        render_plan(plan(configuration(framework="megatron-deepspeed"), shape=shape), "deepspeed")


def test_the_best_of_the_framework_is_rendered() -> None:
    other = configuration(framework="fsdp", micro_batch=4, num_micro_batches=4)
    assert megatron(other, configuration(micro_batch=1, num_micro_batches=16))["--micro-batch-size"] == "1"
    with pytest.raises(InvalidInput, match="no configuration of megatron-lm"):
        render_plan(plan(other), "megatron")


def test_the_shape_of_a_model_by_name_is_the_plans() -> None:
    by_name = plan(shape=None).model_copy(update={"shape": Shape(**LLAMA_8B)})
    assert render_plan(by_name, "megatron") == render_plan(plan(), "megatron")


def test_a_model_by_name_alone_keeps_the_flags_that_the_plan_knows() -> None:
    flags = megatron(shape=None)
    assert flags["--num-layers"] == "32"
    assert flags["--seq-length"] == "4096"
    assert "--hidden-size" not in flags
    for target, framework in (("megatron", "megatron-lm"), ("deepspeed", "megatron-deepspeed")):
        named, shaped = (
            render_plan(plan(configuration(framework=framework), shape=shape), target)[f"{target}_flags.sh"]
            for shape in (None, LLAMA_8B)
        )
        assert "# Add the sizes of the model" in named
        assert "# Add the sizes of the model" not in shaped


# DeepSpeed


@pytest.mark.parametrize(
    ("sharding", "offload", "optimizer", "parameters"),
    [
        ("none", "none", None, None),
        ("zero1", "optimizer_cpu", "cpu", None),
        ("zero3", "all_cpu", "cpu", "cpu"),
        ("zero2", "optimizer_nvme", "nvme", None),
        ("zero3", "all_nvme", "nvme", "nvme"),
    ],
)
def test_deepspeed_json(sharding: str, offload: str, optimizer: str | None, parameters: str | None) -> None:
    best = configuration(
        framework="megatron-deepspeed", sharding=sharding, offload=offload, pipeline_parallel=1, data_parallel=6,
        stage_layers=(32,), num_micro_batches=4, recompute="full", recomputed_layers=32,
    )  # fmt: skip
    files = render_plan(plan(best), "deepspeed")
    document = json.loads(files["ds_config.json"])
    per_step = document["train_micro_batch_size_per_gpu"] * document["gradient_accumulation_steps"]
    assert document["train_batch_size"] == per_step * 6 == 48
    zero = document["zero_optimization"]
    assert zero["stage"] == ("none", "zero1", "zero2", "zero3").index(sharding)
    assert zero.get("offload_optimizer", {}).get("device") == optimizer
    assert zero.get("offload_param", {}).get("device") == parameters
    assert ("nvme_path" in zero.get("offload_optimizer", {})) == (optimizer == "nvme")
    flags = array(files["deepspeed_flags.sh"])
    assert flags["--zero-stage"] == str(zero["stage"])
    assert flags["--num-key-value-heads"] == "8"
    assert {"--no-pipeline-parallel", "--deepspeed-activation-checkpointing"} <= flags.keys()
