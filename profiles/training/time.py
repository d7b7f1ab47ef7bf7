"""How long one training step takes, and where the time goes.

For the fullest pipeline stage of L layers, m micro-batches, p stages and v chunks per rank::

    micro-batch  t = L · (forward + backward + made again + exposed messages) + logits, where they bind
    step           = m t + (Σ t over all stages − t) / v        the pipeline: filled, and emptied
                   + 2 (p v − 1) ⌈m / p⌉ · send · p2p_exposed   the chain of messages that 1F1B waits for
                   + gradients and weights that are not hidden + optimizer + host

The last stage of a pipeline has the logits; with them it may be slower than the fullest one. Memory-efficient 1F1B
sends a micro-batch through all stages and back before the p-th after it can start, so that its messages are waited for
once in p micro-batches (Pipette, DATE 2024, section IV: the hidden critical path). Interleaving works in whole groups
of p micro-batches: an incomplete last group takes as long as a whole one (Narayanan et al., SC 2021, section 2.2.2).

Shapes: N configurations; (K, N) inside, for K sets of coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from profiles.performance.answers import Floats, Strings
from profiles.training.activations import EXPERT_IMBALANCE
from profiles.training.coefficients import Coefficients
from profiles.training.collectives import all_reduce_s, all_to_all_s, gather_s, ring, send_s
from profiles.training.layouts import RECOMPUTE, Layouts
from profiles.training.machine import Machine
from profiles.training.offload import Traffic, moves_optimizer, offload_traffic
from profiles.training.products import ELEMENT_BYTES, layer_s, logits_s
from profiles.training.shape import Transformer
from profiles.training.sizes import Habits, Sizes, Speeds, habits_of, sizes_of, speeds_of

FULL, SELECTIVE = RECOMPUTE.index("full"), RECOMPUTE.index("selective")

OPTIMIZER_TRAFFIC_BYTES = 30.0
"""Of each parameter: fp32 weight and two moments read and written (24), gradient read (4), 16-bit weight (2)."""

CPU_ADAM_PER_S = 5e8
"""Parameters that the host updates in a second for each of its GPUs. An assumption: a billion in a quarter of a second
on a whole host (ZeRO-Offload, Ren et al., 2021), eight GPUs to share it."""

AT_ONCE = 8192
"""Configurations computed together: few enough for the processor's cache."""


@dataclass(frozen=True, eq=False)
class StepTime:
    """Milliseconds of a step by what they are spent on, (N,) each; parts that computation hides do not count.

    Attributes
    ----------
    compute:
        forward and backward pass of the fullest stage's layers
    recompute:
        activations made again
    tp_comm, cp_comm, ep_comm, dp_comm, p2p:
        exposed messages of tensor, context, expert and data parallelism, and between pipeline stages
    logits:
        vocabulary product and loss, as far as they make the last stage the slowest
    bubble:
        pipeline filling and emptying
    optimizer:
        update of the weights
    offload:
        states that come from and go to host memory or NVMe
    host:
        once per step
    error:
        width r of the 90% interval [step / (1 + r), step · (1 + r)]; NaN where physics alone was asked
    origin:
        measured, interpolated, extrapolated or roofline
    """

    compute: Floats
    recompute: Floats
    tp_comm: Floats
    cp_comm: Floats
    ep_comm: Floats
    bubble: Floats
    p2p: Floats
    dp_comm: Floats
    optimizer: Floats
    logits: Floats
    offload: Floats
    host: Floats
    error: Floats
    origin: Strings

    @property
    def step_ms(self) -> Floats:
        """The whole step."""
        return np.asarray(sum(getattr(self, name) for name in PARTS))

    def times(self, factor: Floats) -> StepTime:
        """Every part times ``factor``."""
        return replace(self, **{name: getattr(self, name) * factor for name in PARTS})


PARTS = (
    "compute", "recompute", "tp_comm", "cp_comm", "ep_comm", "bubble", "p2p", "dp_comm", "optimizer", "logits",
    "offload", "host",
)  # fmt: skip
"""Of a step, in ``StepTime``."""


class Held(NamedTuple):
    """Parameters on one GPU, and how many of them are experts'."""

    parameters: Floats
    of_experts: Floats


def step_time(
    shape: Transformer, layouts: Layouts, machine: Machine, *, sequence_length: int, coefficients: Coefficients,
    framework: str, fused_attention: bool | None = None,
) -> StepTime:  # fmt: skip
    """Time of a step of each of N configurations; ``coefficients`` are numbers.

    ``fused_attention``: as the framework has it today unless said otherwise. Raises ``UnknownName`` (framework).
    """
    sizes, speeds, habits = (
        sizes_of(shape, sequence_length),
        speeds_of(machine),
        habits_of(framework, fused_attention=fused_attention),
    )
    traffic = None
    if moves_optimizer(layouts).any():
        traffic = offload_traffic(shape, layouts, sequence_length=sequence_length, framework=framework)
    pieces = []
    for start in range(0, max(len(layouts), 1), AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, len(layouts)))
        moved = None if traffic is None else Traffic(traffic.host_bytes[rows], traffic.nvme_bytes[rows])
        pieces.append(parts(layouts.take(rows), sizes, speeds, habits, coefficients, moved))
    return StepTime(**{f.name: np.concatenate([getattr(p, f.name) for p in pieces]) for f in fields(StepTime)})


def parts(
    layouts: Layouts, sizes: Sizes, speeds: Speeds, habits: Habits, c: Coefficients, traffic: Traffic | None = None
) -> StepTime:
    """``step_time`` over numbers: see ``sizes``. ``traffic``: of offloaded states, where any are."""
    tp, pp, v = layouts.tp, layouts.pp, layouts.virtual_stages
    m = layouts.num_micro_batches.astype(float)
    layer = layer_s(layouts, sizes, speeds, habits, c)
    again = np.where(layouts.recompute == FULL, layouts.recomputed_layers / np.maximum(layouts.layers_most, 1), 0.0)
    selective = layouts.recompute == SELECTIVE
    made_again = again * layer.forward + np.where(selective, layer.attention, 0.0)
    worked = layer.forward + layer.backward
    tokens = layouts.micro_batch * sizes.sequence_length / layouts.cp
    stream = ELEMENT_BYTES * tokens * sizes.hidden
    tp_s = _tensor_parallel(layouts, stream, again, speeds, c)
    cp_s = _context_parallel(layouts, tokens, again, sizes, speeds, c)
    ep_s = _expert_parallel(layouts, stream, again, sizes, speeds, c)
    per_layer = worked + made_again + tp_s + cp_s + ep_s
    logits = logits_s(layouts, sizes, speeds, c)

    most = layouts.layers_most.astype(float)
    fullest = most * per_layer
    slowest = np.maximum(fullest + np.where(pp == 1, logits, 0.0), layouts.layers_last * per_layer + logits)
    all_stages = sizes.num_layers * per_layer + logits
    idle_slots = np.where(v > 1, -m % pp, 0.0)  # of an incomplete last group of micro-batches
    bubble = (np.maximum(all_stages - slowest, 0.0) + idle_slots * slowest * (v - 1)) / v

    pieces = 1 + (tp - 1) * np.maximum(layouts.sequence_parallel, habits.splits_messages)
    send = send_s(tp * layouts.cp * layouts.dp, stream / pieces, pp, speeds, c)
    chain = np.where(pp > 1, 2 * (pp * v - 1) * np.ceil(m / pp), 0.0) * send * c.p2p_exposed

    held = _parameters(layouts, sizes)
    dp_s = _data_parallel(layouts, held, (worked + made_again) * most * m, sizes, speeds, habits, c)
    owned = held.parameters / layouts.shard
    update = owned * OPTIMIZER_TRAFFIC_BYTES / speeds.memory
    offload = np.zeros_like(owned)
    if traffic is not None:
        outside = moves_optimizer(layouts)
        update = np.where(outside, owned / CPU_ADAM_PER_S, update)
        nvme = np.where(traffic.nvme_bytes > 0, traffic.nvme_bytes / np.maximum(speeds.nvme, 1.0), 0.0)
        offload = np.maximum(traffic.host_bytes / speeds.host, nvme)
    per_stage = 1e3 * m * most
    values = (
        per_stage * worked, per_stage * made_again, per_stage * tp_s, per_stage * cp_s, per_stage * ep_s, 1e3 * bubble,
        1e3 * chain, 1e3 * dp_s, 1e3 * update, 1e3 * m * (slowest - fullest), 1e3 * offload, c.step_ms,
        np.array(np.nan), np.array("roofline"),
    )  # fmt: skip
    shape = np.broadcast_shapes(*(np.shape(value) for value in values))
    return StepTime(*(np.broadcast_to(value, shape) for value in values))


def _tensor_parallel(layouts: Layouts, stream: Floats, again: Floats, speeds: Speeds, c: Coefficients) -> Floats:
    """Two all-reduces of the residual stream in each pass of a layer (Megatron, 2019, section 3).

    With sequence parallelism an all-gather and a reduce-scatter in place of each, and one more all-gather of either in
    the backward pass (Korthikanti et al., 2022, section 4.2.2).
    """
    group = ring(np.ones_like(layouts.tp), layouts.tp, speeds, c)
    once = gather_s(group, stream, c)
    reduced = 2 * (2 + again) * all_reduce_s(group, stream, c)
    split = (2 * (2 + again) * 2 + 2) * once
    return np.where(layouts.sequence_parallel, split, reduced) * c.tp_exposed


def _context_parallel(
    layouts: Layouts, tokens: Floats, again: Floats, sizes: Sizes, speeds: Speeds, c: Coefficients
) -> Floats:
    """Keys and values go round the ring of CP ranks, and their gradients come back (Ring Attention, Liu et al., 2023).

    Exposed as tensor-parallel messages are: an assumption, there are no measurements.
    """
    if not (layouts.cp > 1).any():
        return np.zeros(1)
    group = ring(layouts.tp, layouts.cp, speeds, c)
    kv_width = np.maximum(sizes.kv_width / layouts.tp, sizes.head_dim)
    held = 2 * ELEMENT_BYTES * tokens * kv_width * layouts.cp
    return np.asarray((3 + again) * gather_s(group, held, c) * c.tp_exposed)


def _expert_parallel(
    layouts: Layouts, stream: Floats, again: Floats, sizes: Sizes, speeds: Speeds, c: Coefficients
) -> Floats:
    """Tokens go to their experts and back in each pass (GShard, Lepikhin et al., 2020, section 3.2), all exposed."""
    if not sizes.moe_share.any():
        return np.zeros(1)
    group = ring(np.ones_like(layouts.ep), layouts.ep, speeds, c)
    routed = stream / layouts.tp * sizes.experts_per_token * EXPERT_IMBALANCE
    return np.asarray(sizes.moe_share * 2 * (2 + again) * all_to_all_s(group, routed, c))


def _parameters(layouts: Layouts, sizes: Sizes) -> Held:
    """Of the fullest GPU."""
    attention = 2 * sizes.hidden * (sizes.heads_width + sizes.kv_width)
    mlp = sizes.num_mlp_matrices * sizes.hidden * sizes.mlp_width
    of_expert = sizes.num_mlp_matrices * sizes.hidden * sizes.expert_width
    dense = attention + (1 - sizes.moe_share) * mlp + sizes.moe_share * sizes.num_shared_experts * of_expert
    experts = sizes.moe_share * sizes.num_experts * of_expert / layouts.ep
    ends = np.maximum(layouts.layers_first, layouts.layers_last)
    vocabulary = sizes.vocab * sizes.hidden / layouts.tp
    most = layouts.layers_most
    middle = most * (dense / layouts.tp + experts)
    with_vocabulary = ends * (dense / layouts.tp + experts) + vocabulary
    return Held(np.maximum(middle, with_vocabulary), most * experts)


def _data_parallel(
    layouts: Layouts, held: Held, compute_s: Floats, sizes: Sizes, speeds: Speeds, habits: Habits, c: Coefficients
) -> Floats:
    """Gradients summed over replicas and sharded weights gathered, as far as the backward pass does not hide them.

    Sharded over ``shard`` ranks, gradients are scattered among them and summed with the other copies of the shard; the
    weights are gathered once, or with ZeRO 3 for both passes of every micro-batch (ZeRO, 2020, section 7). Hidden or
    not, what takes longer than the computation of a step is waited for.
    """
    tp, shard = layouts.tp, layouts.shard
    replicas = layouts.dp * layouts.cp
    m = layouts.num_micro_batches
    full = layouts.zero == 3
    each = full | ((layouts.zero == 2) & (habits.gathers_each_micro_batch > 0))
    # rank groups: the sharers are neighbours, the copies of a shard lie further apart
    sharers, copies = ring(tp, shard, speeds, c), ring(tp * shard, replicas // shard, speeds, c)
    weights = ELEMENT_BYTES * held.parameters
    gradients = np.where(each, ELEMENT_BYTES, habits.gradient_bytes) * held.parameters
    layers = np.where(each, layouts.layers_most, 1)
    times = np.where(each, m, 1)
    gather = layers * gather_s(sharers, weights / layers, c)
    scatter = layers * gather_s(sharers, gradients / layers, c)
    summed = all_reduce_s(copies, gradients / shard, c)
    moved = times * (np.where(full, 2.0, 1.0) * gather + scatter) + summed
    if sizes.moe_share.any():
        moved = moved * _fewer_expert_copies(layouts, held.of_experts / held.parameters)
    return np.asarray(c.dp_exposed * moved + np.maximum((1 - c.dp_exposed) * moved - compute_s, 0.0))


def _fewer_expert_copies(layouts: Layouts, share: Floats) -> Floats:
    """Experts are summed over tp / ep as many ranks as the rest: nothing where each has one copy."""
    copies = np.maximum(layouts.tp * layouts.cp * layouts.dp // layouts.ep, 1)
    replicas = np.maximum(layouts.dp * layouts.cp, 2)
    wire = (1 - 1 / copies) / (1 - 1 / replicas)
    return np.asarray(1 - share + share * np.minimum(wire, 1.0))
