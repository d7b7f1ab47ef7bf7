"""The memory model against schedules played by hand, counts by hand, and what must never happen."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from profiles.errors import InvalidInput, UnknownName
from profiles.training.activations import EXPERT_IMBALANCE, activations, in_flight
from profiles.training.frameworks import FRAMEWORKS, REDUCED_GRADIENT_BYTES, framework_named
from profiles.training.layouts import Layouts, joined, one_layout
from profiles.training.memory import BLOCK, CONTEXT_GIB, GIB, GROUP_GIB, PARTS, Memory, memory
from profiles.training.shape import Transformer
from profiles.training.stages import STAGES, stages_of

GPT = Transformer(24, 2048, 16, 16, 128, 8192, 50_304, gated_mlp=False, tied_embeddings=True)
LLAMA = Transformer(32, 4096, 32, 8, 128, 14_336, 128_256)
MIXTRAL = Transformer(
    32, 4096, 32, 8, 128, 14_336, 32_000, num_experts=8, experts_per_token=2, moe_intermediate_size=14_336
)
DEEPSEEK = Transformer(
    12, 2048, 16, 16, 128, 8192, 32_000, num_experts=16, experts_per_token=4, num_shared_experts=1,
    moe_intermediate_size=1024, num_dense_layers=2,
)  # fmt: skip


def of(shape: Transformer, layouts: Layouts, framework: str = "megatron-lm", tokens: int = 2048) -> Memory:
    return memory(shape, layouts, sequence_length=tokens, framework=framework)


@st.composite
def configurations(draw: st.DrawFn) -> tuple[Transformer, Layouts, str]:
    """Any model and any configuration of it that could exist."""
    shape = draw(st.sampled_from([GPT, LLAMA, MIXTRAL, DEEPSEEK]))
    pp = draw(st.sampled_from([1, 2, 4]))
    dp, tp, cp = (draw(st.sampled_from([1, 2, 4])) for _ in range(3))
    zero = draw(st.integers(0, 3))
    layout = one_layout(
        tp=tp, pp=pp, cp=cp, dp=dp, micro_batch=draw(st.sampled_from([1, 2, 4])), num_layers=shape.num_layers,
        global_batch=dp * 4 * draw(st.integers(1, 8)), virtual_stages=draw(st.sampled_from([1, 2])) if pp > 1 else 1,
        ep=draw(st.sampled_from([1, 2])) if shape.num_experts and dp * cp * tp > 1 else 1,
        recompute=draw(st.sampled_from(["none", "selective", "full"])), zero=zero,
        shard=draw(st.sampled_from([1, cp, dp * cp])) if zero else None, sequence_parallel=draw(st.booleans()),
        precision=draw(st.sampled_from(["bf16", "fp8"])),
        offload=draw(st.sampled_from(["none", "optimizer_cpu", "all_cpu", "optimizer_nvme", "all_nvme"])),
    )  # fmt: skip
    return shape, layout, draw(st.sampled_from(sorted(FRAMEWORKS)))


def changed(layout: Layouts, **values: int) -> Layouts:
    return replace(layout, **{name: np.array([value]) for name, value in values.items()})


def needed(shape: Transformer, layout: Layouts, framework: str) -> float:
    """GiB without buffers: a degree above 1 brings process groups of its own."""
    answer = of(shape, layout, framework)
    return float(answer.total_gib[0] - answer.buffers_gib[0])


@given(configurations())
def test_parts_add_up_and_none_is_negative(case: tuple[Transformer, Layouts, str]) -> None:
    shape, layout, framework = case
    answer = of(shape, layout, framework)
    parts = np.array([getattr(answer, f"{name}_gib") for name in PARTS])
    assert (parts >= 0).all()
    assert parts.sum(axis=0) == pytest.approx(answer.total_gib)
    assert (answer.host_gib_per_gpu > 0).all() == (layout.offload[0] > 0)
    assert (answer.nvme_gib_per_gpu > 0).all() == (layout.offload[0] > 2)


@given(configurations())
def test_larger_micro_batches_never_need_less(case: tuple[Transformer, Layouts, str]) -> None:
    shape, layout, framework = case
    assert needed(shape, changed(layout, micro_batch=2 * layout.micro_batch[0]), framework) >= needed(*case)


@given(configurations())
def test_higher_degrees_never_need_more(case: tuple[Transformer, Layouts, str]) -> None:
    shape, layout, framework = case
    most = needed(*case) * (1 + 1e-12)
    assert needed(shape, changed(layout, tp=2 * layout.tp[0]), framework) <= most
    assert needed(shape, changed(layout, cp=2 * layout.cp[0]), framework) <= most
    if layout.zero[0]:
        assert needed(shape, changed(layout, dp=2 * layout.dp[0], shard=2 * layout.shard[0]), framework) <= most


@given(configurations())
def test_more_sharding_never_needs_more(case: tuple[Transformer, Layouts, str]) -> None:
    shape, layout, framework = case
    sizes = [
        needed(shape, changed(layout, zero=zero, shard=layout.dp[0] * layout.cp[0] if zero else 1), framework)
        for zero in range(4)
    ]
    assert all(less <= more * (1 + 1e-12) for more, less in pairwise(sizes))


@given(configurations())
def test_more_recompute_never_needs_more(case: tuple[Transformer, Layouts, str]) -> None:
    shape, layout, framework = case
    assume(not shape.num_dense_layers)  # else one layer made again may be larger than the mean that is not kept
    none, selective = changed(layout, recompute=0), changed(layout, recompute=1)
    full = [changed(layout, recompute=2, recomputed_layers=n) for n in (1, 2, int(layout.layers_most[0]))]
    assert needed(shape, selective, framework) <= needed(shape, none, framework) * (1 + 1e-12)
    sizes = [needed(shape, option, framework) for option in (none, *full)]
    assert all(less <= more * (1 + 1e-12) for more, less in pairwise(sizes))
    assert sizes[-1] <= needed(shape, selective, framework) * (1 + 1e-12)


@given(configurations())
def test_offloading_more_never_needs_more(case: tuple[Transformer, Layouts, str]) -> None:
    shape, layout, framework = case
    none, optimizer, everything = (changed(layout, offload=index) for index in (0, 1, 2))
    sizes = [float(of(shape, option, framework).total_gib[0]) for option in (none, optimizer, everything)]
    buckets = 2 * REDUCED_GRADIENT_BYTES * framework_named(framework).bucket_parameters / GIB  # gradients leave in them
    assert sizes[2] <= sizes[1] * (1 + 1e-12)
    assert sizes[1] <= (sizes[0] + buckets) * (1 + 1e-12)
    assert of(shape, changed(layout, offload=4), framework).total_gib[0] == sizes[2]


def most_in_flight(p: int, m: int, v: int, stage: int) -> float:
    """Play Megatron's schedule on one stage: warm-up, then one forward and one backward chunk in turn."""
    ahead = p - stage - 1 if v == 1 else 2 * (p - stage - 1) + (v - 1) * p
    held = most = 0
    forward = backward = 0
    while backward < m * v:
        if forward < m * v and forward <= backward + ahead:
            forward, held = forward + 1, held + 1
        else:
            backward, held = backward + 1, held - 1
        most = max(most, held)
    return most / v


@pytest.mark.parametrize("p", [1, 2, 4, 8])
@pytest.mark.parametrize("m", [1, 3, 8, 24])
@pytest.mark.parametrize("v", [1, 2, 3])
def test_micro_batches_in_flight_are_those_of_the_schedule(p: int, m: int, v: int) -> None:
    if p == 1 and v > 1:
        return
    layout = one_layout(pp=p, global_batch=m, num_layers=24, virtual_stages=v)
    by_stage = in_flight(layout)[:, 0]
    played = [most_in_flight(p, m, v, stage) for stage in (0, min(1, p - 1), p - 1)]
    assert by_stage == pytest.approx(played)


def test_the_first_stage_is_worst_with_many_micro_batches_in_flight_and_the_last_with_a_large_vocabulary() -> None:
    deep = one_layout(pp=4, global_batch=64, num_layers=GPT.num_layers)
    assert STAGES[of(GPT, deep).worst_stage[0]] == "first"
    wide = replace(GPT, vocab_size=1_000_000)
    assert STAGES[of(wide, changed(deep, recompute=2, recomputed_layers=6)).worst_stage[0]] == "last"
    uneven = changed(deep, layers_first=2, layers_most=18, layers_last=2)
    assert STAGES[of(GPT, uneven).worst_stage[0]] == "between"


def test_states_of_a_dense_model_by_hand() -> None:
    """One GPU, tied embeddings: 18 bytes of each parameter with fp32 gradients, 16 with 16-bit ones."""
    alone = one_layout(global_batch=1, num_layers=GPT.num_layers)
    for framework, bytes_each in (("megatron-lm", 18), ("megatron-deepspeed", 16)):
        answer = of(GPT, alone, framework)
        states = answer.parameters_gib + answer.gradients_gib + answer.optimizer_gib
        assert states[0] * GIB == pytest.approx(bytes_each * GPT.num_parameters)


def test_both_vocabulary_matrices_are_counted_once_each() -> None:
    alone, cut = (one_layout(pp=pp, global_batch=8, num_layers=32) for pp in (1, 4))
    matrix = LLAMA.embedding_parameters
    assert stages_of(LLAMA, alone).embeddings[:, 0].tolist() == [2 * matrix, 0, 0]
    assert stages_of(LLAMA, cut).embeddings[:, 0].tolist() == [matrix, 0, matrix]
    assert stages_of(GPT, alone).embeddings[:, 0].tolist() == [GPT.embedding_parameters, 0, 0]
    assert stages_of(GPT, cut).embeddings[:, 0].tolist() == [GPT.embedding_parameters, 0, GPT.embedding_parameters]


def test_parameters_of_all_gpus_make_the_model() -> None:
    """Eight stages of an even cut, experts over EP: summed over GPUs that hold different parts."""
    layout = one_layout(tp=2, dp=4, pp=4, ep=8, global_batch=8, num_layers=32)
    held = stages_of(MIXTRAL, layout).held[:, 0]
    router = MIXTRAL.num_moe_layers * MIXTRAL.hidden_size * MIXTRAL.num_experts
    experts = MIXTRAL.num_moe_layers * MIXTRAL.num_experts * MIXTRAL.expert_parameters
    others = MIXTRAL.num_parameters - router - experts
    assert held[0] + 2 * held[1] + held[2] == pytest.approx(others / 2 + router + experts / 8)


def test_states_of_experts_are_shared_by_the_replicas_that_hold_the_same_experts() -> None:
    layout = one_layout(tp=2, dp=4, ep=4, global_batch=8, num_layers=32, zero=1)
    stages = stages_of(MIXTRAL, layout)
    experts = MIXTRAL.num_moe_layers * MIXTRAL.num_experts * MIXTRAL.expert_parameters / 4
    assert stages.owned[0, 0] == pytest.approx((stages.held[0, 0] - experts) / 4 + experts / (4 * 2 / 4))


def test_dense_layers_of_a_model_with_experts_come_first() -> None:
    stages = stages_of(DEEPSEEK, one_layout(pp=4, global_batch=8, num_layers=12))
    assert stages.dense_layers[:, 0].tolist() == [2, 0, 0]
    assert stages.expert_layers[:, 0].tolist() == [1, 3, 3]


def test_activations_of_a_layer_with_experts_by_hand() -> None:
    """Per token: 8 h of norms, queries to output, then inputs, outputs and 8 bytes of each width for 2 experts."""
    layout = one_layout(global_batch=1, num_layers=32)
    kept = activations(MIXTRAL, layout, stages_of(MIXTRAL, layout), 1, framework_named("torchtitan")).kept[0, 0]
    attention = 2 * (2 * 4096 + 2 * 1024)
    layer = 8 * 4096 + attention + 2 * (4 * 4096 + 8 * 14_336)
    assert kept == 32 * layer + 4 * 4096
    spread = one_layout(dp=2, ep=2, global_batch=2, num_layers=32)
    uneven = activations(MIXTRAL, spread, stages_of(MIXTRAL, spread), 1, framework_named("torchtitan")).kept[0, 0]
    assert uneven - kept == pytest.approx(32 * (EXPERT_IMBALANCE - 1) * 2 * (4 * 4096 + 8 * 14_336))


def test_activations_of_a_shared_expert_by_hand() -> None:
    """Ten layers with four routed experts and a shared one, which has no copies of its input and output."""
    layout = one_layout(global_batch=1, num_layers=12)
    kept = activations(DEEPSEEK, layout, stages_of(DEEPSEEK, layout), 1, framework_named("torchtitan")).kept[0, 0]
    attention = 8 * 2048 + 8 * 2048
    experts = 4 * (4 * 2048 + 8 * 1024) + 8 * 1024
    assert kept == 2 * (attention + 8 * 8192) + 10 * (attention + experts) + 4 * 2048


def test_a_gated_mlp_keeps_one_tensor_less_where_its_gate_is_one_kernel() -> None:
    layout = one_layout(global_batch=1, num_layers=32)
    stages = stages_of(LLAMA, layout)
    kept = {
        name: activations(LLAMA, layout, stages, 1, framework_named(name)).kept[0, 0]
        for name in ("megatron-lm", "torchtitan")
    }
    attention = 4 * 4096 + 4 * 1024
    assert kept["torchtitan"] == 32 * (8 * 4096 + attention + 8 * 14_336) + 4 * 4096
    scores = 5 * 32
    assert kept["megatron-lm"] == 32 * (10 * 4096 + attention + 6 * 14_336 + scores) + 5 * 4096


def test_key_value_heads_are_never_cut() -> None:
    layouts = joined([one_layout(tp=tp, global_batch=1, num_layers=32) for tp in (8, 16)])
    kept = activations(LLAMA, layouts, stages_of(LLAMA, layouts), 1, framework_named("torchtitan")).kept[0]
    split = 4 * 4096 + 8 * 14_336
    assert kept[0] - kept[1] == 32 * split * (1 / 8 - 1 / 16)


def test_what_passes_with_a_layer_by_hand() -> None:
    """Gradients inside the MLP, four bytes of its width; with recompute what is made again, the input apart."""
    layouts = joined([
        one_layout(tp=2, global_batch=1, num_layers=24, recompute=recompute)
        for recompute in ("none", "selective", "full")
    ])  # fmt: skip
    passing = activations(GPT, layouts, stages_of(GPT, layouts), 2048, framework_named("megatron-lm")).passing
    token, scores = 2048, 5 * 16 * 2048 / 2
    gradients, layer = 4 * 8192 / 2, (10 + 24 / 2 - 2) * 2048
    expected = [gradients, scores + gradients, layer + scores + gradients]
    assert passing == pytest.approx(token * np.array(expected))


def test_what_passes_with_a_layer_of_experts_by_hand() -> None:
    """A width for dense layers does not count where there are none."""
    shape = replace(MIXTRAL, intermediate_size=1_000_000)
    layout = one_layout(global_batch=1, num_layers=32, recompute="full")
    passing = activations(shape, layout, stages_of(shape, layout), 1, framework_named("torchtitan")).passing
    layer = 6 * 4096 + 2 * (2 * 4096 + 2 * 1024) + 2 * (4 * 4096 + 8 * 14_336)
    assert passing == layer + 2 * 6 * 14_336


def test_a_stage_makes_no_more_layers_again_than_it_has() -> None:
    layout = changed(one_layout(pp=4, global_batch=1, num_layers=24), layers_first=2, recompute=2, recomputed_layers=6)
    kept = activations(GPT, layout, stages_of(GPT, layout), 1, framework_named("torchtitan"))
    assert kept.checkpoints[:, 0].tolist() == [2 * 2 * 2048, 6 * 2 * 2048, 6 * 2 * 2048]
    assert kept.kept[0, 0] == 2 * 2 * 2048


def test_the_largest_layer_is_one_with_experts() -> None:
    layout = one_layout(tp=2, dp=2, ep=4, global_batch=2, num_layers=32)
    by_hand = MIXTRAL.attention_parameters / 2 + 4096 * 8 + 8 * MIXTRAL.expert_parameters / 4
    assert stages_of(MIXTRAL, layout).largest_layer[0] == by_hand


def test_fp8_keeps_inputs_of_products_in_one_byte_and_two_more_copies_of_weights() -> None:
    layouts = joined([one_layout(global_batch=1, num_layers=32, precision=p) for p in ("bf16", "fp8")])
    kept = activations(LLAMA, layouts, stages_of(LLAMA, layouts), 1, framework_named("megatron-lm")).kept[0]
    saved = 2 * 4096 - 4096 + 14_336  # norms' outputs and the last product's input; attention output has a second copy
    assert kept[0] - kept[1] == 32 * saved
    answer = of(LLAMA, layouts)
    assert answer.parameters_gib[1] == 2 * answer.parameters_gib[0]


def test_only_the_larger_of_loss_and_layer_counts() -> None:
    """Full recompute makes one layer again while the logits are already gone."""
    layout = one_layout(global_batch=1, num_layers=GPT.num_layers, recompute="full")
    small, large = (of(replace(GPT, vocab_size=vocab), layout) for vocab in (1000, 500_000))
    assert small.logits_gib[0] == 0
    assert large.logits_gib[0] * GIB == 10 * 500_000 * 2048
    assert large.activations_gib[0] < small.activations_gib[0]


def test_buffers_by_hand() -> None:
    layout = one_layout(tp=2, pp=2, dp=2, global_batch=8, num_layers=24, sequence_parallel=True)
    token = 2 * GPT.hidden_size * 2048 / GIB
    assert of(GPT, layout).buffers_gib[0] == pytest.approx(CONTEXT_GIB + 3 * GROUP_GIB + token + token)
    bucket = of(GPT, layout, "megatron-deepspeed").buffers_gib[0] - of(GPT, layout).buffers_gib[0]
    assert bucket * GIB == pytest.approx(2 * stages_of(GPT, layout).held[0, 0])  # smaller than two buckets
    apart = of(GPT, replace(layout, sequence_parallel=np.array([False])))
    assert apart.buffers_gib[0] == pytest.approx(CONTEXT_GIB + 3 * GROUP_GIB + 2 * token)  # messages are whole
    large = one_layout(dp=8, global_batch=8, num_layers=32)
    bucket = of(LLAMA, large, "megatron-deepspeed").buffers_gib[0] - of(LLAMA, large).buffers_gib[0]
    assert bucket * GIB == pytest.approx(2 * 2 * 5e8)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_fragmentation_is_a_share_of_what_comes_and_goes(framework: str) -> None:
    answer = of(GPT, one_layout(global_batch=1, num_layers=24), framework)
    comes_and_goes = answer.activations_gib[0] + answer.logits_gib[0]
    assert answer.fragmentation_gib[0] == pytest.approx(framework_named(framework).fragmentation * comes_and_goes)
    assert answer.fragmentation_gib[0] > 0


@pytest.mark.parametrize("count", [0, 1, BLOCK, BLOCK + 3])
def test_many_configurations_are_answered_as_one_by_one(count: int) -> None:
    rng = np.random.default_rng(1)
    few = joined([
        one_layout(tp=2**t, pp=2, dp=4, global_batch=32, num_layers=32, zero=z, recompute=r, offload=o)
        for t, z, r, o in [(0, 0, "none", "none"), (1, 1, "full", "none"), (2, 3, "selective", "all_nvme")]
    ])  # fmt: skip
    rows = rng.integers(0, 3, count)
    many = of(LLAMA, few.take(rows))
    single = of(LLAMA, few)
    for field in fields(Memory):
        assert (getattr(many, field.name) == getattr(single, field.name)[rows]).all()


def test_bad_questions_are_named() -> None:
    layout = one_layout(global_batch=1, num_layers=24)
    with pytest.raises(UnknownName, match="megatron") as unknown:
        of(GPT, layout, "megatron")
    assert unknown.value.field == "framework"
    assert "megatron-lm" in unknown.value.suggestions
    with pytest.raises(InvalidInput) as empty:
        of(GPT, layout, tokens=0)
    assert empty.value.field == "sequence_length"
