"""Fine-tuning memory: papers' statements (from memory of them), and counts by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiles.errors import InvalidInput
from profiles.training.finetune import MATRICES, ZEROTH_ORDER, Tuning, adapter_parameters, lora
from profiles.training.layouts import one_layout
from profiles.training.memory import GIB, Memory, memory
from profiles.training.shape import Transformer

LLAMA_65B = Transformer(80, 8192, 64, 64, 128, 22_016, 32_000)
GPT_3 = Transformer(96, 12_288, 96, 96, 128, 49_152, 50_257, gated_mlp=False, tied_embeddings=True)
GB = 1e9 / GIB
FULL = Tuning()


def opt(hidden: int, heads: int, layers: int) -> Transformer:
    return Transformer(
        layers, hidden, heads, heads, hidden // heads, 4 * hidden, 50_272, gated_mlp=False, tied_embeddings=True
    )


def on_one_gpu(shape: Transformer, tuning: Tuning, tokens: int = 512) -> Memory:
    layout = one_layout(global_batch=16, num_layers=shape.num_layers, recompute="full")
    return memory(shape, layout, sequence_length=tokens, framework="deepspeed", tuning=tuning)


def test_qlora_tunes_65b_on_48_gb_and_full_tuning_takes_over_780() -> None:
    """Dettmers et al., 2023, abstract. An A6000 of 48 GB has 48 GiB."""
    assert on_one_gpu(LLAMA_65B, lora(64, nf4=True)).total_gib[0] < 48
    assert on_one_gpu(LLAMA_65B, lora(64)).total_gib[0] > 130 * GB
    assert on_one_gpu(LLAMA_65B, FULL).total_gib[0] > 780 * GB


def test_lora_of_gpt_3_trains_as_much_as_its_paper_says() -> None:
    """Hu et al., 2022, section 4.2: rank 4 on queries and values is a checkpoint of 35 MB, a 10,000th of 350 GB."""
    dense, _ = adapter_parameters(GPT_3, lora(4, ("query", "value")))
    assert 2 * 96 * dense / 2**20 == pytest.approx(35, rel=0.05)
    states = on_one_gpu(GPT_3, lora(4, ("query", "value")))
    assert states.optimizer_gib[0] * GIB == 12 * 96 * dense
    assert states.parameters_gib[0] == pytest.approx(350 * GB, rel=0.02)


def test_mezo_tunes_30b_where_adam_tunes_2_7b() -> None:
    """Malladi et al., 2023, abstract: on one A100 with 80 GB, 30B with zeroth-order steps and 2.7B with Adam."""
    opt_30b, opt_66b = opt(7168, 56, 48), opt(9216, 72, 64)
    opt_2_7b, opt_6_7b = opt(2560, 32, 32), opt(4096, 32, 32)
    assert on_one_gpu(opt_30b, ZEROTH_ORDER).total_gib[0] < 79 < on_one_gpu(opt_66b, ZEROTH_ORDER).total_gib[0]
    assert on_one_gpu(opt_2_7b, FULL).total_gib[0] < 79 < on_one_gpu(opt_6_7b, FULL).total_gib[0]


def test_zeroth_order_steps_keep_nothing_for_a_backward_pass() -> None:
    answer = on_one_gpu(LLAMA_65B, ZEROTH_ORDER)
    assert answer.gradients_gib[0] == answer.optimizer_gib[0] == 0
    deeper = Transformer(160, 8192, 64, 64, 128, 22_016, 32_000)
    assert on_one_gpu(deeper, ZEROTH_ORDER).activations_gib == answer.activations_gib


@pytest.mark.parametrize("zero", [0, 3])
def test_weights_of_a_frozen_model_by_hand(zero: int) -> None:
    """Frozen layers, vocabulary in 16 bits, adapters, and one matrix in 16 bits; ZeRO-3 fetches two layers."""
    layout = one_layout(tp=2, dp=8, global_batch=8, num_layers=80, zero=zero)
    answer = memory(LLAMA_65B, layout, sequence_length=512, framework="deepspeed", tuning=lora(8, ("query",), nf4=True))
    layer, vocabulary = LLAMA_65B.attention_parameters + LLAMA_65B.mlp_parameters, 2 * LLAMA_65B.embedding_parameters
    frozen = (80 * layer * (4 + 0.127) / 8 + 2 * vocabulary) / 2
    if zero:
        frozen = frozen / 8 + 2 * (2 * layer + vocabulary) / 2
    beside = 2 * 80 * 8 * (8192 + 8192) + 2 * 8192 * 22_016 / 2
    assert answer.parameters_gib[0] * GIB == pytest.approx(frozen + beside)


def test_a_higher_rank_and_more_matrices_train_more() -> None:
    sizes = [
        sum(adapter_parameters(LLAMA_65B, lora(r, m))) for r, m in [(8, ("query",)), (16, ("query",)), (16, MATRICES)]
    ]
    assert sizes == sorted(set(sizes))


def test_adapters_by_hand() -> None:
    """Two thin matrices beside each; every expert of a layer has its own; a model without a gate has none there."""
    mixtral = Transformer(
        32, 4096, 32, 8, 128, 14_336, 32_000, num_experts=8, experts_per_token=2, moe_intermediate_size=14_336
    )
    dense, expert = adapter_parameters(mixtral, lora(8, ("key", "up")))
    assert dense == 8 * (4096 + 1024 + 4096 + 14_336)
    assert expert == 8 * (4096 + 1024 + 8 * (4096 + 14_336))
    assert adapter_parameters(GPT_3, lora(8, ("gate",))) == (0, 0)
    shared = replace(mixtral, num_shared_experts=2)
    assert adapter_parameters(shared, lora(8, ("up",))) == (8 * (4096 + 14_336), 8 * 10 * (4096 + 14_336))


@pytest.mark.parametrize(
    ("rank", "matrices", "field"), [(0, MATRICES, "rank"), (8, (), "matrices"), (8, ("query", "wq"), "matrices")]
)
def test_bad_adapters_are_named(rank: int, matrices: tuple[str, ...], field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        lora(rank, matrices)
    assert error.value.field == field
