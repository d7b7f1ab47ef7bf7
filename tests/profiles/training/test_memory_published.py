"""Memory as papers state it. Numbers are from memory of the papers; each test names its table, figure or section.

Korthikanti et al., 2022, "Reducing Activation Recomputation in Large Transformer Models": models of table 3, A100-80GB.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from profiles.training.activations import Activations, activations, in_flight
from profiles.training.frameworks import framework_named
from profiles.training.layouts import Layouts, one_layout
from profiles.training.memory import GIB, Memory, memory
from profiles.training.shape import Transformer
from profiles.training.stages import stages_of

TOKENS = 2048
A100_GIB = 80.0


def gpt(hidden: int, heads: int, layers: int, vocab: int = 51_200) -> Transformer:
    return Transformer(
        layers, hidden, heads, heads, hidden // heads, 4 * hidden, vocab, gated_mlp=False, tied_embeddings=True
    )


MODELS = {
    "22B": (gpt(6144, 64, 48), {"pp": 1, "micro_batch": 4, "global_batch": 4}),
    "175B": (gpt(12_288, 96, 96), {"pp": 8, "virtual_stages": 3, "global_batch": 64}),
    "530B": (gpt(20_480, 128, 105), {"pp": 35, "virtual_stages": 3, "global_batch": 280}),
    "1T": (gpt(25_600, 160, 128), {"pp": 64, "global_batch": 512}),
}


def layout_of(name: str, recompute: str, *, sequence_parallel: bool) -> Layouts:
    shape, degrees = MODELS[name]
    return one_layout(
        tp=8, num_layers=shape.num_layers, recompute=recompute, sequence_parallel=sequence_parallel, **degrees
    )  # fmt: skip


def of(name: str, recompute: str, *, sequence_parallel: bool) -> Memory:
    layout = layout_of(name, recompute, sequence_parallel=sequence_parallel)
    return memory(MODELS[name][0], layout, sequence_length=TOKENS, framework="megatron-lm")


def kept(shape: Transformer, layout: Layouts) -> Activations:
    return activations(shape, layout, stages_of(shape, layout), TOKENS, framework_named("megatron-lm"))


@pytest.mark.parametrize(
    ("tp", "sequence_parallel", "recompute", "factor"),
    [
        (1, False, "none", lambda scores, t: 34 + scores),
        (8, False, "none", lambda scores, t: 10 + 24 / t + scores / t),
        (8, True, "none", lambda scores, t: 34 / t + scores / t),
        (8, False, "selective", lambda scores, t: 10 + 24 / t),
        (8, True, "selective", lambda scores, t: 34 / t),
        (1, False, "full", lambda scores, t: 2),
    ],
)
def test_activations_per_layer_of_table_2(tp, sequence_parallel, recompute, factor) -> None:  # type: ignore[no-untyped-def]
    shape, micro_batch = gpt(6144, 64, 48), 4
    layout = one_layout(
        tp=tp, micro_batch=micro_batch, global_batch=4, num_layers=48, recompute=recompute,
        sequence_parallel=sequence_parallel,
    )  # fmt: skip
    elements = TOKENS * micro_batch * shape.hidden_size
    scores = 5 * 64 * TOKENS / shape.hidden_size
    # Section 4.3: embedding dropout, and the inputs of the last norm and of the logits' product.
    beside = (1 + 4) * elements / (tp if sequence_parallel else 1)
    assert kept(shape, layout).kept[0, 0] == pytest.approx(48 * elements * factor(scores, tp) + beside)


def test_interleaving_keeps_more_section_4_2_3() -> None:
    p, v = 8, 3
    layout = layout_of("175B", "none", sequence_parallel=True)
    assert in_flight(layout)[0, 0] == pytest.approx(p * (1 + (p - 1) / (p * v)))


@pytest.mark.parametrize(("name", "saved"), [("175B", 0.70), ("530B", 0.65)])
def test_selective_recompute_saves_what_section_5_says(name: str, saved: float) -> None:
    none, selective = (kept(MODELS[name][0], layout_of(name, r, sequence_parallel=True)) for r in ("none", "selective"))
    assert 1 - selective.kept[0, 0] / none.kept[0, 0] == pytest.approx(saved, abs=0.01)


@pytest.mark.parametrize("name", MODELS)
def test_share_of_the_baseline_figure_7(name: str) -> None:
    """Each technique about halves activations; both leave under 20%; full recompute leaves about 10%."""
    shape = MODELS[name][0]

    def bytes_kept(recompute: str, *, sequence_parallel: bool) -> float:
        layout = layout_of(name, recompute, sequence_parallel=sequence_parallel)
        return float(kept(shape, layout).kept[0, 0])

    baseline = bytes_kept("none", sequence_parallel=False)
    assert 0.45 < bytes_kept("none", sequence_parallel=True) / baseline < 0.70
    assert 0.45 < bytes_kept("selective", sequence_parallel=False) / baseline < 0.70
    assert 0.15 < bytes_kept("selective", sequence_parallel=True) / baseline < 0.21
    assert 0.075 < bytes_kept("full", sequence_parallel=False) / baseline < 0.13


@pytest.mark.parametrize("name", MODELS)
def test_only_both_techniques_together_make_the_models_fit_section_6_1(name: str) -> None:
    """22B with selective recompute alone misses by less than this model knows: 78 of 80 GiB."""
    assert of(name, "none", sequence_parallel=False).total_gib[0] > A100_GIB
    assert of(name, "none", sequence_parallel=True).total_gib[0] > A100_GIB
    assert of(name, "selective", sequence_parallel=False).total_gib[0] > (77 if name == "22B" else A100_GIB)
    assert of(name, "selective", sequence_parallel=True).total_gib[0] < 0.9 * A100_GIB
    assert of(name, "full", sequence_parallel=False).total_gib[0] < 0.9 * A100_GIB


@pytest.mark.parametrize(
    ("zero", "gigabytes"), [(0, 120.0), (1, 31.4), (2, 16.6), (3, 1.88)], ids=["plain", "os", "os+g", "os+g+p"]
)
def test_states_of_7_5b_on_64_gpus_zero_figure_1(zero: int, gigabytes: float) -> None:
    """Rajbhandari et al., 2020. Many narrow layers of the same count in all: hardly anything is in transit."""
    shape = gpt(512, 8, 2384, vocab=512)
    assert shape.num_parameters == pytest.approx(7.5e9, rel=1e-3)
    layout = one_layout(dp=64, global_batch=64, num_layers=shape.num_layers, zero=zero)
    answer = memory(shape, layout, sequence_length=1, framework="deepspeed")
    states = answer.parameters_gib + answer.gradients_gib + answer.optimizer_gib
    assert states[0] * GIB / 1e9 == pytest.approx(gigabytes, rel=0.03)


@pytest.mark.parametrize("replicas", [1, 8, 64])
def test_bytes_per_parameter_of_megatrons_distributed_optimizer(replicas: int) -> None:
    """Megatron-LM's documentation: 6 + 12 / d bytes for bf16 parameters with fp32 gradients."""
    shape = gpt(4096, 32, 32)
    layout = one_layout(dp=replicas, global_batch=64, num_layers=32, zero=1)
    answer = memory(shape, layout, sequence_length=TOKENS, framework="megatron-lm")
    states = answer.parameters_gib + answer.gradients_gib + answer.optimizer_gib
    assert states[0] * GIB / shape.num_parameters == pytest.approx(6 + 12 / replicas)


def test_one_v100_zero_offload() -> None:
    """Ren et al., 2021, abstract: 13B on a single GPU (V100, 32 GB), ten times PyTorch's 1.4B."""
    shape = gpt(4096, 32, 65, vocab=50_257)
    assert shape.num_parameters == pytest.approx(13e9, rel=0.03)

    def gib(of_shape: Transformer, offload: str) -> float:
        layout = one_layout(
            global_batch=8, num_layers=of_shape.num_layers, recompute="full", zero=2, shard=1, offload=offload
        )  # fmt: skip
        return float(memory(of_shape, layout, sequence_length=1024, framework="deepspeed").total_gib[0])

    assert gib(shape, "optimizer_cpu") < 32 < gib(shape, "none")
    assert gib(replace(shape, num_layers=7), "none") < 32 < gib(replace(shape, num_layers=14), "none")


def test_175b_on_one_consumer_gpu_fuyou() -> None:
    """Liao et al., 2024, abstract: 175B on an RTX 4090 (24 GB) with states and activations on SSDs."""
    shape, layout = MODELS["175B"][0], one_layout(global_batch=16, num_layers=96, recompute="full", offload="all_nvme")
    answer = memory(shape, layout, sequence_length=TOKENS, framework="deepspeed")
    assert answer.total_gib[0] < 24
    assert answer.nvme_gib_per_gpu[0] * GIB > 18 * shape.num_parameters


def test_frameworks_differ_only_where_they_say() -> None:
    """Without scores, masks and a loss of its own Megatron's memory is torchtitan's."""
    shape, layout = gpt(4096, 32, 32), one_layout(dp=8, global_batch=8, num_layers=32)
    ours, theirs = (
        activations(shape, layout, stages_of(shape, layout), TOKENS, framework_named(name)).kept[0, 0]
        for name in ("megatron-lm", "torchtitan")
    )
    masks_and_scores = 32 * TOKENS * (2 * 4096 + 5 * 32 * TOKENS) + TOKENS * 4096
    assert np.isclose(ours - theirs, masks_and_scores)
