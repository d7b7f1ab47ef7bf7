"""Every configuration that can exist on a machine, as arrays: degrees that cannot are pruned, not tried.

Choices are crossed one after another, and each is pruned as soon as it can be, so that the arrays never hold much more
than what is left in the end. What a framework can do is in ``_FRAMEWORKS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.training.spec import Choices, Framework
from profiles.training.layouts import OFFLOAD, PRECISIONS, RECOMPUTE, Layouts
from profiles.training.shape import Transformer

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Table = dict[str, Ints]
"""Columns (N,) of the configurations so far."""

MOST_MICRO_BATCH = 128
"""Larger ones need more memory and gain nothing."""

PARTS_RECOMPUTED = 4
"""Full recompute of 1/4, 2/4, 3/4 and all of a stage's layers."""


@dataclass(frozen=True)
class _Able:
    """What a framework can do."""

    zero: tuple[int, ...]
    zero_with_pipeline: tuple[int, ...]
    context: bool
    experts: bool
    virtual: bool
    partial_recompute: bool
    shards_in_node: bool
    always_sequence_parallel: bool
    offload: tuple[str, ...]
    fp8: bool


_FRAMEWORKS: dict[Framework, _Able] = {
    "megatron-lm": _Able(
        zero=(0, 1), zero_with_pipeline=(0, 1), context=True, experts=True, virtual=True, partial_recompute=True,
        shards_in_node=False, always_sequence_parallel=False, offload=("none", "optimizer_cpu"), fp8=True,
    ),
    "megatron-deepspeed": _Able(
        zero=(0, 1, 2, 3), zero_with_pipeline=(0, 1), context=False, experts=False, virtual=False,
        partial_recompute=True, shards_in_node=False, always_sequence_parallel=False, offload=OFFLOAD, fp8=False,
    ),
    "fsdp": _Able(
        zero=(2, 3), zero_with_pipeline=(2, 3), context=True, experts=True, virtual=True, partial_recompute=False,
        shards_in_node=True, always_sequence_parallel=True, offload=("none",), fp8=True,
    ),
}  # fmt: skip


def configurations(
    framework: Framework, shape: Transformer, choices: Choices, *, world: int, gpus_per_node: int, global_batch: int,
    sequence_length: int,
) -> Layouts:  # fmt: skip
    """Every configuration of ``world`` GPUs that ``framework`` can run; none where no degrees fit."""
    able = _FRAMEWORKS[framework]
    table = _degrees(able, shape, choices, world, global_batch, sequence_length)
    table = _micro_batches(table, choices, global_batch)
    table = _stages(able, table, shape, choices)
    table = _recompute(able, table, choices)
    table = _sharding(able, table, choices, gpus_per_node)
    table = _crossed(table, "sequence_parallel", _sequence_parallel(able, choices))
    one_tp = table["tp"] == 1
    least = min(_sequence_parallel(able, choices))
    table = _kept(table, np.where(one_tp, table["sequence_parallel"] == least, True))
    table["sequence_parallel"] = np.where(table["tp"] == 1, 0, table["sequence_parallel"])
    precisions = [PRECISIONS.index(name) for name in choices.precision if able.fp8 or name == "bf16"]
    table = _crossed(table, "precision", precisions)
    return Layouts(**{**table, "sequence_parallel": table["sequence_parallel"] > 0})  # type: ignore[arg-type]


def divisors(number: int) -> Ints:
    """All of them, in order."""
    small = [i for i in range(1, int(number**0.5) + 1) if number % i == 0]
    return np.array(sorted({*small, *(number // i for i in small)}), dtype=np.int64)


def _degrees(
    able: _Able, shape: Transformer, choices: Choices, world: int, global_batch: int, sequence_length: int
) -> Table:
    heads = divisors(shape.num_attention_heads)
    tp = _chosen(np.intersect1d(divisors(world), heads), choices.tensor_parallel)
    tp = tp[(shape.num_kv_heads % tp == 0) | (tp % shape.num_kv_heads == 0)]
    table: Table = {"tp": tp}
    pp = divisors(world)
    table = _crossed(table, "pp", _chosen(pp[pp <= shape.num_layers], choices.pipeline_parallel))
    table = _kept(table, world % (table["tp"] * table["pp"]) == 0)
    # each rank holds two chunks of the sequence, so that causal attention is even
    halves = divisors(sequence_length // 2) if sequence_length % 2 == 0 else np.array([1])
    cp = np.intersect1d(divisors(world), halves) if able.context else np.array([1])
    table = _crossed(table, "cp", _chosen(cp, choices.context_parallel))
    table = _kept(table, world % (table["tp"] * table["pp"] * table["cp"]) == 0)
    table["dp"] = world // (table["tp"] * table["pp"] * table["cp"])
    table = _kept(table, global_batch % table["dp"] == 0)
    ep = divisors(shape.num_experts) if shape.num_experts and able.experts else np.array([1])
    table = _crossed(table, "ep", _chosen(ep, choices.expert_parallel))
    return _kept(table, table["dp"] * table["cp"] * table["tp"] % table["ep"] == 0)


def _micro_batches(table: Table, choices: Choices, global_batch: int) -> Table:
    sizes = divisors(global_batch)
    table = _crossed(table, "micro_batch", _chosen(sizes[sizes <= MOST_MICRO_BATCH], choices.micro_batch))
    table = _kept(table, global_batch // table["dp"] % table["micro_batch"] == 0)
    table["num_micro_batches"] = global_batch // (table["dp"] * table["micro_batch"])
    return table


def _stages(able: _Able, table: Table, shape: Transformer, choices: Choices) -> Table:
    """Layers of the stages: equal but for the first and last, which may have fewer (they hold the vocabulary)."""
    most = -(-shape.num_layers // table["pp"])
    missing = most * table["pp"] - shape.num_layers
    table["layers_most"] = most
    table["layers_first"] = most - missing // 2
    table["layers_last"] = most - (missing - missing // 2)
    table = _kept(table, (table["layers_last"] >= 1) & (table["layers_first"] >= 1))
    if not able.virtual:
        return _crossed(table, "virtual_stages", _chosen(np.array([1]), choices.virtual_stages))
    chunks = np.unique(np.concatenate([divisors(int(n)) for n in np.unique(table["layers_most"])] or [np.array([1])]))
    table = _crossed(table, "virtual_stages", _chosen(chunks, choices.virtual_stages))
    several = table["virtual_stages"] > 1
    whole = table["layers_most"] % table["virtual_stages"] == 0
    even = table["layers_most"] * table["pp"] - shape.num_layers <= 2  # one layer less for each vocabulary matrix
    rounds = (table["num_micro_batches"] % table["pp"] == 0) & (table["pp"] > 1)
    return _kept(table, ~several | (whole & even & rounds))


def _recompute(able: _Able, table: Table, choices: Choices) -> Table:
    parts = PARTS_RECOMPUTED if able.partial_recompute and choices.partial_recompute else 1
    kinds = [(RECOMPUTE.index(name), part) for name in choices.recompute
             for part in (range(1, parts + 1) if name == "full" else (0,))]  # fmt: skip
    table = _crossed(table, "recompute", range(len(kinds)))
    code, part = np.array(kinds, dtype=np.int64).T
    shares = part[table["recompute"]]
    table["recompute"] = code[table["recompute"]]
    table["recomputed_layers"] = -(-table["layers_most"] * shares // parts)
    # of few layers, several shares are the same number: keep the first
    again = -(-table["layers_most"] * (shares - 1) // parts)
    return _kept(table, (shares == 0) | (table["recomputed_layers"] > again))


def _sharding(able: _Able, table: Table, choices: Choices, gpus_per_node: int) -> Table:
    kinds = [(zero, 0, OFFLOAD.index(offload)) for zero in able.zero if zero in choices.zero
             for offload in able.offload if offload in choices.offload]  # fmt: skip
    if able.shards_in_node and "node" in choices.shard:
        kinds += [(zero, 1, offload) for zero, _, offload in kinds if zero]
    if "all" not in choices.shard:
        kinds = [kind for kind in kinds if kind[1] or not kind[0]]
    table = _crossed(table, "zero", range(len(kinds)))
    zero, in_node, offload = np.array(kinds, dtype=np.int64).reshape(-1, 3).T
    code = table["zero"]
    replicas = table["dp"] * table["cp"]
    near = np.maximum(gpus_per_node // table["tp"], 1)
    table["zero"], table["offload"] = zero[code], offload[code]
    table["shard"] = np.where(table["zero"] == 0, 1, np.where(in_node[code] > 0, near, replicas))
    fits = (in_node[code] == 0) | ((near > 1) & (near < replicas) & (replicas % near == 0))
    needed = np.array([0 if name == "none" else 3 if name.startswith("all") else 1 for name in OFFLOAD])
    offloads = table["zero"] >= needed[table["offload"]]
    # nothing to shard over: the one stage that offloading needs, or the lowest
    alone = (table["zero"] == np.maximum(needed[table["offload"]], able.zero[0])) | (replicas > 1)
    with_pipeline = (table["pp"] == 1) | np.isin(table["zero"], able.zero_with_pipeline)
    return _kept(table, fits & alone & with_pipeline & offloads)


def _sequence_parallel(able: _Able, choices: Choices) -> list[int]:
    wanted = sorted({int(flag) for flag in choices.sequence_parallel})
    return [1] if able.always_sequence_parallel and 1 in wanted else wanted


def _chosen(possible: Ints, wanted: Sequence[int]) -> Ints:
    """Those of ``possible`` that the spec allows."""
    return np.intersect1d(possible, np.array(wanted, dtype=np.int64)) if wanted else possible


def _crossed(table: Table, name: str, values: Sequence[int] | Ints | range) -> Table:
    """Each row with each of ``values`` as its ``name``."""
    options = np.array(list(values), dtype=np.int64)
    num_rows = len(next(iter(table.values())))
    crossed = {key: np.repeat(column, len(options)) for key, column in table.items() if key != name}
    return {**crossed, name: np.tile(options, num_rows)}


def _kept(table: Table, rows: Flags) -> Table:
    return {key: column[rows] for key, column in table.items()}
