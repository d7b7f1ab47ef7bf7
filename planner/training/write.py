"""From a row of the arrays to a configuration that people read."""

from __future__ import annotations

import numpy as np

from planner.training.model import Evaluated
from planner.training.plan import Configuration, Memory, Parts, Sharding
from planner.training.search import Search
from profiles.training.layouts import OFFLOAD, PRECISIONS, RECOMPUTE
from profiles.training.stages import STAGES
from profiles.training.tuned_time import PARTS_LEFT

SHARDINGS: tuple[Sharding, ...] = ("none", "zero1", "zero2", "zero3")


def configuration(search: Search, found: Evaluated, row: int) -> Configuration:
    """Row ``row`` of ``found``, with what its step time rests on."""
    spec, shape = search.spec, search.shape
    layouts, machine = found.layouts, found.site.machine
    step_ms = float(found.time.step_ms[row])
    tokens = spec.global_batch * spec.sequence_length
    num_gpus = machine.num_gpus
    peak = machine.gpu.bf16_tflops * 1e12 * num_gpus
    usd = float(found.usd[row])
    parts = _parts(found, row)
    work = 1.0 if spec.finetune is None else PARTS_LEFT
    return Configuration(
        framework=found.framework,
        tensor_parallel=int(layouts.tp[row]),
        pipeline_parallel=int(layouts.pp[row]),
        data_parallel=int(layouts.dp[row]),
        context_parallel=int(layouts.cp[row]),
        expert_parallel=int(layouts.ep[row]),
        micro_batch=int(layouts.micro_batch[row]),
        num_micro_batches=int(layouts.num_micro_batches[row]),
        virtual_stages=int(layouts.virtual_stages[row]),
        stage_layers=found.stage_layers(row),
        recompute=RECOMPUTE[layouts.recompute[row]],
        recomputed_layers=int(layouts.recomputed_layers[row]),
        sharding=SHARDINGS[layouts.zero[row]],
        shard_replicas=int(layouts.shard[row]),
        sequence_parallel=bool(layouts.sequence_parallel[row]),
        precision=PRECISIONS[layouts.precision[row]],
        offload=OFFLOAD[layouts.offload[row]],
        groups=found.site.groups,
        num_nodes=machine.num_nodes,
        num_gpus=num_gpus,
        step_ms=step_ms,
        step_error=float(found.time.error[row]),
        origin=str(found.time.origin[row]),
        mfu=work * shape.model_flops_per_step(spec.sequence_length, spec.global_batch) / (step_ms / 1e3) / peak,
        memory_gib_per_gpu=float(found.memory.total_gib[row]),
        memory_limit_gib=machine.gpu.memory_gib - spec.memory_reserve_gib,
        tokens_per_s=tokens / (step_ms / 1e3),
        goodput_fraction=found.goodput_fraction,
        days_to_train=float(found.days[row]),
        usd_to_train=None if np.isnan(usd) else usd,
        kwh=float(found.kwh[row]),
        power_w=float(found.watts[row]),
        parts=parts,
        memory=_memory(found, row),
        binds=_binds(parts),
    )


def value_of(configuration: Configuration, objective: str) -> float:
    """Days, USD (infinite where nobody knows a price) or kWh."""
    usd = np.inf if configuration.usd_to_train is None else configuration.usd_to_train
    return {"time": configuration.days_to_train, "money": float(usd), "energy": configuration.kwh}[objective]


def _parts(found: Evaluated, row: int) -> Parts:
    time = found.time
    return Parts(
        compute_ms=float(time.compute[row]),
        recompute_ms=float(time.recompute[row]),
        tensor_parallel_ms=float(time.tp_comm[row]),
        context_parallel_ms=float(time.cp_comm[row]),
        expert_parallel_ms=float(time.ep_comm[row]),
        bubble_ms=float(time.bubble[row]),
        pipeline_ms=float(time.p2p[row]),
        data_parallel_ms=float(time.dp_comm[row]),
        optimizer_ms=float(time.optimizer[row]),
        logits_ms=float(time.logits[row]),
        offload_ms=float(time.offload[row]),
        host_ms=float(time.host[row]),
    )


def _memory(found: Evaluated, row: int) -> Memory:
    memory = found.memory
    return Memory(
        parameters_gib=float(memory.parameters_gib[row]),
        gradients_gib=float(memory.gradients_gib[row]),
        optimizer_gib=float(memory.optimizer_gib[row]),
        activations_gib=float(memory.activations_gib[row]),
        logits_gib=float(memory.logits_gib[row]),
        buffers_gib=float(memory.buffers_gib[row] + memory.fragmentation_gib[row]),
        worst_stage=STAGES[memory.worst_stage[row]],
        host_gib_per_gpu=float(memory.host_gib_per_gpu[row]),
        nvme_gib_per_gpu=float(memory.nvme_gib_per_gpu[row]),
    )


_WORDS = {
    "recompute_ms": "recomputing activations",
    "tensor_parallel_ms": "tensor-parallel messages",
    "context_parallel_ms": "context-parallel messages",
    "expert_parallel_ms": "expert all-to-all",
    "bubble_ms": "the pipeline bubble",
    "pipeline_ms": "messages between stages",
    "data_parallel_ms": "gradients and parameters between replicas",
    "optimizer_ms": "the optimizer step",
    "logits_ms": "logits of the last stage",
    "offload_ms": "offloaded states",
    "host_ms": "the host",
}


def _binds(parts: Parts) -> str:
    """What takes the most time beside computing."""
    times = parts.model_dump()
    step_ms = sum(times.values())
    name = max(_WORDS, key=lambda field: times[field])
    return f"{_WORDS[name]}: {times[name] / step_ms:.0%} of the step"
