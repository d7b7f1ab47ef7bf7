"""The space of configurations, against loops that try every number."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.training.space import PARTS_RECOMPUTED, configurations, divisors
from planner.training.spec import Choices
from profiles.training.layouts import RECOMPUTE
from profiles.training.shape import Transformer


def gpt(num_layers=6, heads=4, kv_heads=None, **more):
    return Transformer(
        num_layers=num_layers, hidden_size=heads * 64, num_attention_heads=heads, num_kv_heads=kv_heads or heads,
        head_dim=64, intermediate_size=heads * 256, vocab_size=1000, gated_mlp=False, **more,
    )  # fmt: skip


def degrees_by_trying(shape, world, global_batch, sequence_length, micro_batches):
    """(tp, pp, cp, dp, ep, micro_batch) that can exist, found by trying all numbers."""
    found = set()
    experts = [e for e in range(1, max(shape.num_experts, 1) + 1) if max(shape.num_experts, 1) % e == 0]
    for tp, pp, cp, ep, size in itertools.product(
        range(1, world + 1), range(1, world + 1), range(1, world + 1), experts, micro_batches
    ):
        if world % (tp * pp * cp) or tp * pp * cp > world:
            continue
        dp = world // (tp * pp * cp)
        heads_fit = shape.num_attention_heads % tp == 0 and (
            shape.num_kv_heads % tp == 0 or tp % shape.num_kv_heads == 0
        )
        stage = -(-shape.num_layers // pp)
        left = shape.num_layers - stage * max(pp - 2, 0)
        stages_fit = pp <= shape.num_layers and (pp == 1 or left >= 2)
        sequence_fits = cp == 1 or (sequence_length % (2 * cp) == 0)
        if heads_fit and stages_fit and sequence_fits and dp * cp * tp % ep == 0 and global_batch % (dp * size) == 0:
            found.add((tp, pp, cp, dp, ep, size))
    return found


@pytest.mark.parametrize(
    ("shape", "world", "global_batch"),
    [(gpt(), 8, 16), (gpt(num_layers=7), 12, 24), (gpt(kv_heads=2), 16, 8), (gpt(num_layers=5, heads=6), 6, 12),
     (gpt(num_experts=8, experts_per_token=2, moe_intermediate_size=64), 8, 16)],
)  # fmt: skip
def test_all_degrees_that_can_exist_and_no_others(shape, world, global_batch):
    found = configurations(
        "megatron-lm", shape, Choices(), world=world, gpus_per_node=4, global_batch=global_batch, sequence_length=64
    )
    sizes = [int(n) for n in divisors(global_batch)]
    ours = set(zip(*(column.tolist() for column in (
        found.tp, found.pp, found.cp, found.dp, found.ep, found.micro_batch)), strict=True))  # fmt: skip
    assert ours == degrees_by_trying(shape, world, global_batch, 64, sizes)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["megatron-lm", "megatron-deepspeed", "fsdp"]), st.integers(1, 32), st.integers(1, 64),
    st.integers(1, 20), st.sampled_from([1, 2, 4, 8]),
)  # fmt: skip
def test_every_row_can_run(framework, world, global_batch, num_layers, gpus_per_node):
    shape = gpt(num_layers=num_layers, heads=8, kv_heads=2)
    found = configurations(
        framework, shape, Choices(precision=("bf16", "fp8")), world=world, gpus_per_node=gpus_per_node,
        global_batch=global_batch, sequence_length=128,
    )  # fmt: skip
    assert (found.world == world).all()
    assert (found.dp * found.micro_batch * found.num_micro_batches == global_batch).all()
    middle = found.layers_most * np.maximum(found.pp - 2, 0)
    stages = np.where(found.pp > 1, found.layers_first + found.layers_last + middle, found.layers_most)
    assert (stages == num_layers).all()
    assert (np.minimum(found.layers_first, found.layers_last) >= 1).all()
    interleaved = found.virtual_stages > 1
    assert (found.layers_most % found.virtual_stages == 0).all()
    assert (found.num_micro_batches[interleaved] % found.pp[interleaved] == 0).all()
    assert (found.recomputed_layers <= found.layers_most).all()
    assert ((found.recomputed_layers > 0) == (found.recompute == RECOMPUTE.index("full"))).all()
    assert (found.dp * found.cp % found.shard == 0).all()
    assert ((found.shard == 1) | (found.zero > 0)).all()
    rows = np.stack([getattr(found, name) for name in (
        "tp", "pp", "cp", "dp", "ep", "micro_batch", "virtual_stages", "recompute", "recomputed_layers", "zero",
        "shard", "sequence_parallel", "precision", "offload")])  # fmt: skip
    assert np.unique(rows, axis=1).shape[1] == len(found), "no configuration twice"


def test_choices_are_kept():
    choices = Choices(tensor_parallel=(2,), pipeline_parallel=(1, 3), recompute=("full",), partial_recompute=False)
    found = configurations(
        "megatron-lm", gpt(), choices, world=12, gpus_per_node=4, global_batch=24, sequence_length=64
    )
    assert set(found.tp.tolist()) == {2}
    assert set(found.pp.tolist()) == {1, 3}
    assert (found.recomputed_layers == found.layers_most).all()


def test_part_of_a_stage_is_recomputed_in_steps():
    shape = gpt(num_layers=8)
    choices = Choices(recompute=("full",), pipeline_parallel=(1,))
    found = configurations("megatron-lm", shape, choices, world=4, gpus_per_node=4, global_batch=4, sequence_length=64)
    assert set(found.recomputed_layers.tolist()) == {8 * k // PARTS_RECOMPUTED for k in range(1, PARTS_RECOMPUTED + 1)}


def test_nothing_where_nothing_divides():
    found = configurations(
        "fsdp", gpt(), Choices(tensor_parallel=(1,), pipeline_parallel=(1,), context_parallel=(1,)), world=7,
        gpus_per_node=7, global_batch=16, sequence_length=64,
    )  # fmt: skip
    assert len(found) == 0


def test_states_are_sharded_within_nodes_by_fsdp():
    found = configurations("fsdp", gpt(), Choices(), world=16, gpus_per_node=4, global_batch=16, sequence_length=64)
    near = found.shard * found.tp == 4
    assert near.any()
    assert (found.shard[~near & (found.zero > 0)] == (found.dp * found.cp)[~near & (found.zero > 0)]).all()
