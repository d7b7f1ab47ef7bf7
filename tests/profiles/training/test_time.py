"""A step's parts, against sums done by hand and against what must hold of any step."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.catalogue import load
from profiles.errors import UnknownName
from profiles.performance.answers import Floats
from profiles.training.coefficients import NAMES, Coefficients
from profiles.training.layouts import Layouts, joined, one_layout
from profiles.training.machine import Link, Machine
from profiles.training.priors import FIRST
from profiles.training.shape import Transformer
from profiles.training.time import AT_ONCE, CPU_ADAM_PER_S, PARTS, StepTime, step_time

GPUS = {gpu.name: gpu for gpu in load().gpus}
GPT = Transformer(
    num_layers=24, hidden_size=4096, num_attention_heads=32, num_kv_heads=32, head_dim=128, intermediate_size=16384,
    vocab_size=51200, gated_mlp=False,
)  # fmt: skip
EXPERTS = replace(
    GPT, num_experts=16, experts_per_token=2, num_shared_experts=1, moe_intermediate_size=2048, gated_mlp=True
)
MACHINE = Machine(GPUS["A100-80GB"], 8, 64, Link(300.0, 2.0), Link(100.0, 5.0), nvme_gb_per_s=10.0)
MIDDLE = Coefficients.of(FIRST.common[:, None])
IDEAL = Coefficients(*(np.array([1.0 if name.endswith(("rate", "exposed")) else 1e-12]) for name in NAMES))
"""Peak arithmetic, links at their datasheet, everything else free."""


def timed(
    layouts: Layouts, shape: Transformer = GPT, machine: Machine = MACHINE, framework: str = "megatron-deepspeed",
    coefficients: Coefficients = MIDDLE, sequence_length: int = 2048,
) -> StepTime:  # fmt: skip
    return step_time(
        shape, layouts, machine, sequence_length=sequence_length, coefficients=coefficients, framework=framework
    )


def layout(**changes: object) -> Layouts:
    return one_layout(**{"num_layers": 24, "global_batch": 256, "micro_batch": 2, "dp": 8} | changes)  # type: ignore[arg-type]


def instant(machine: Machine = MACHINE) -> Machine:
    """Without latencies."""
    return replace(machine, within=Link(machine.within.gb_per_s, 0.0), between=Link(machine.between.gb_per_s, 0.0))


def test_an_ideal_gpu_takes_the_models_flop_over_the_peak() -> None:
    one = layout(dp=1, global_batch=4)
    needed_ms = GPT.model_flops_per_step(2048, 4) / (312e12 * 1e-3)
    found = timed(one, coefficients=IDEAL)
    assert found.compute[0] + found.logits[0] == pytest.approx(needed_ms, rel=1e-6)
    assert found.recompute[0] == found.bubble[0] == found.tp_comm[0] == found.dp_comm[0] == 0
    again = timed(layout(dp=1, global_batch=4, recompute="full"), coefficients=IDEAL)
    assert again.recompute[0] == pytest.approx(again.compute[0] / 3, rel=1e-6)


@pytest.mark.parametrize(("pp", "v", "micro_batches"), [(2, 1, 4), (4, 1, 16), (8, 3, 16), (4, 2, 8)])
def test_the_bubble_is_p_less_1_over_v_micro_batches(pp: int, v: int, micro_batches: int) -> None:
    shape = replace(GPT, vocab_size=1)
    found = timed(
        layout(pp=pp, dp=1, virtual_stages=v, micro_batch=1, global_batch=micro_batches), shape, coefficients=IDEAL
    )
    assert found.bubble[0] == pytest.approx(found.compute[0] / micro_batches * (pp - 1) / v, rel=1e-3)


def test_an_incomplete_group_of_an_interleaved_schedule_idles() -> None:
    def bubble(micro_batches: int) -> float:
        one = layout(pp=4, dp=1, virtual_stages=2, micro_batch=1, global_batch=micro_batches)
        return float(timed(one).bubble[0])

    assert bubble(8) == pytest.approx(bubble(12))
    assert bubble(9) > bubble(10) > bubble(11) > bubble(12)


def test_logits_make_the_last_stage_the_slowest_unless_it_is_lighter() -> None:
    even = layout(pp=4, dp=2)
    lighter = replace(even, layers_last=np.array([4]))
    assert timed(even).logits[0] > 0
    assert timed(lighter).logits[0] == 0
    assert timed(lighter).step_ms[0] < timed(even).step_ms[0]


def test_all_reduces_of_tensor_parallelism_are_a_ring_over_the_link() -> None:
    found = timed(layout(tp=4, dp=2), machine=instant(), coefficients=IDEAL)
    message = 2 * 2 * 2048 * 4096
    ring_ms = 2 * 3 / 4 * message / 300e6
    assert found.tp_comm[0] == pytest.approx(24 * 64 * 4 * ring_ms, rel=1e-6)


def test_a_tensor_parallel_group_of_two_nodes_crosses_the_network() -> None:
    found = timed(layout(tp=16, dp=2), machine=instant(), coefficients=IDEAL)
    message = 2 * 2 * 2048 * 4096
    assert found.tp_comm[0] == pytest.approx(24 * 64 * 4 * 2 * 15 / 16 * message / 100e6, rel=1e-6)


@pytest.mark.parametrize(("tp", "rings"), [(1, 1), (4, 4), (8, 8)])
def test_rings_of_gradients_share_a_nodes_network(tp: int, rings: int) -> None:
    one = layout(tp=tp, dp=64 // tp, global_batch=512)
    found = timed(one, machine=instant(), coefficients=IDEAL)
    gradients = 4 * (24 * 12 * 4096**2 + 51200 * 4096) / tp
    replicas = 64 // tp
    assert found.dp_comm[0] == pytest.approx(2 * (replicas - 1) / replicas * gradients * rings / 100e6, rel=1e-6)


def test_fully_sharded_weights_are_gathered_for_both_passes_of_every_micro_batch() -> None:
    one = layout(dp=8, zero=3, micro_batch=2)
    found = timed(one, machine=instant(), framework="fsdp", coefficients=IDEAL)
    weights = 2 * (24 * 12 * 4096**2 + 51200 * 4096)
    assert found.dp_comm[0] == pytest.approx(16 * 3 * 7 / 8 * weights / 300e6, rel=1e-6)


def test_sharding_within_nodes_moves_less_between_them() -> None:
    whole, hybrid = layout(dp=64, zero=3, micro_batch=1), layout(dp=64, zero=3, shard=8, micro_batch=1)
    assert timed(hybrid, framework="fsdp").dp_comm[0] < timed(whole, framework="fsdp").dp_comm[0] / 2


def test_messages_that_nothing_hides_are_waited_for_once_in_p_micro_batches() -> None:
    one = layout(pp=4, dp=8, micro_batch=1, global_batch=128)
    found = timed(one, machine=instant(), coefficients=IDEAL)
    send_ms = 2 * 2048 * 4096 / (100e6 / 8)
    assert found.p2p[0] == pytest.approx(2 * 3 * 4 * send_ms, rel=1e-6)


def test_offloaded_optimizers_update_on_the_host() -> None:
    here, host, disk = (layout(zero=2, offload=where) for where in ("none", "optimizer_cpu", "optimizer_nvme"))
    found = [timed(one, framework="deepspeed") for one in (here, host, disk)]
    assert found[0].offload[0] == 0 < found[1].offload[0] < found[2].offload[0]
    owned = (24 * 12 * 4096**2 + 51200 * 4096) / 8
    assert found[1].optimizer[0] == pytest.approx(1e3 * owned / CPU_ADAM_PER_S)


def test_fp8_speeds_up_products_only() -> None:
    h100 = replace(MACHINE, gpu=GPUS["H100"])
    sixteen, eight = layout(tp=2), layout(tp=2, precision="fp8")
    assert timed(eight, machine=h100).compute[0] < timed(sixteen, machine=h100).compute[0]
    assert timed(eight, machine=h100).tp_comm[0] == timed(sixteen, machine=h100).tp_comm[0]


def test_experts_cost_messages_and_the_arithmetic_of_those_used() -> None:
    found = timed(layout(ep=8), EXPERTS)
    dense = replace(GPT, intermediate_size=3 * 2048, gated_mlp=True)
    assert found.ep_comm[0] > 0 == timed(layout(), dense).ep_comm[0]
    assert timed(layout(ep=1), EXPERTS).ep_comm[0] == 0
    one_ep = timed(layout(ep=1), EXPERTS, coefficients=IDEAL).compute[0]
    router = 1 + 16 / (12 * 4096 + 4096 * 4)
    assert one_ep == pytest.approx(timed(layout(), dense, coefficients=IDEAL).compute[0], rel=2 * (router - 1) + 0.01)


def test_context_parallelism_splits_long_sequences() -> None:
    long = {"sequence_length": 65536}
    split, whole = layout(cp=8, dp=1, micro_batch=1), layout(cp=1, dp=1, micro_batch=1)
    assert timed(split, **long).compute[0] < timed(whole, **long).compute[0] / 6  # type: ignore[arg-type]
    assert timed(split, **long).cp_comm[0] > 0 == timed(whole, **long).cp_comm[0]  # type: ignore[arg-type]


def test_an_unknown_framework_is_named() -> None:
    with pytest.raises(UnknownName, match="megatron-ml"):
        timed(layout(), framework="megatron-ml")


degrees = st.sampled_from([1, 2, 4, 8])


@st.composite
def any_layout(draw: st.DrawFn) -> Layouts:
    tp, dp, pp = draw(degrees), draw(degrees), draw(degrees)
    zero = draw(st.integers(0, 3))
    return one_layout(
        tp=tp, pp=pp, dp=dp, cp=draw(st.sampled_from([1, 2])), ep=draw(st.sampled_from([1, tp * dp])), num_layers=24,
        micro_batch=draw(degrees), global_batch=64 * dp, virtual_stages=draw(st.integers(1, 3)) if pp > 1 else 1,
        recompute=draw(st.sampled_from(["none", "selective", "full"])), zero=zero,
        sequence_parallel=draw(st.booleans()), precision=draw(st.sampled_from(["bf16", "fp8"])),
        offload=draw(st.sampled_from(["none", "optimizer_cpu", "all_nvme"])),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(any_layout(), st.sampled_from([GPT, EXPERTS]), st.sampled_from(["megatron-lm", "fsdp", "deepspeed"]))
def test_every_part_is_finite_and_none_is_negative(one: Layouts, shape: Transformer, framework: str) -> None:
    found = timed(one, shape, framework=framework)
    for name in PARTS:
        value = getattr(found, name)
        assert value.shape == (1,)
        assert np.isfinite(value[0])
        assert value[0] >= 0, name
    assert found.step_ms[0] == pytest.approx(sum(getattr(found, name)[0] for name in PARTS))


@settings(max_examples=40, deadline=None)
@given(any_layout(), st.sampled_from([GPT, EXPERTS]))
def test_slower_links_never_help(one: Layouts, shape: Transformer) -> None:
    slower = replace(MACHINE, within=Link(150.0, 4.0), between=Link(50.0, 10.0))
    assert timed(one, shape, slower).step_ms[0] >= timed(one, shape).step_ms[0] - 1e-9


@settings(max_examples=40, deadline=None)
@given(any_layout())
def test_making_more_again_takes_longer(one: Layouts) -> None:
    steps = [timed(replace(one, recompute=np.array([k]), recomputed_layers=one.layers_most)) for k in range(3)]
    assert steps[0].recompute[0] < steps[1].recompute[0] < steps[2].recompute[0]
    none, selective, full = (step.step_ms[0] for step in steps)
    assert none <= selective * (1 + 1e-9)  # the same where computation only hides what replicas exchange
    assert selective <= full * (1 + 1e-9)


def test_many_are_computed_as_each_alone() -> None:
    few = [layout(tp=tp, pp=pp, micro_batch=b) for tp in (1, 2, 8) for pp in (1, 2) for b in (1, 4)]
    many = joined(few * (AT_ONCE // len(few) + 3))
    found = timed(many)
    alone: Floats = np.array([timed(one).step_ms[0] for one in few])
    assert len(found.step_ms) == len(many) > AT_ONCE
    np.testing.assert_allclose(found.step_ms.reshape(-1, len(few)), np.tile(alone, (len(many) // len(few), 1)))


def test_none_at_all_are_computed_too() -> None:
    found = timed(layout().take(np.array([], dtype=np.intp)))
    assert all(len(getattr(found, field.name)) == 0 for field in fields(found))
