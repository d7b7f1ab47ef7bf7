"""What a configuration really needs and takes, computed for it alone: the check's own view of the cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planner.training.cluster import NIC_LATENCY_US, WITHIN_LATENCY_US, NodeGroup
from planner.training.plan import Configuration
from planner.training.spec import TrainingSpec
from profiles.names import KnownNames
from profiles.training.finetune import EVERY_PARAMETER, ZEROTH_ORDER, Tuning, lora
from profiles.training.layouts import OFFLOAD, PRECISIONS, RECOMPUTE, Layouts
from profiles.training.machine import Link, Machine
from profiles.training.memory import memory
from profiles.training.performance import TrainingPerformance
from profiles.training.shape import Transformer
from profiles.training.tuned_time import tuned_time
from profiles.types import Facts

RUN_AS = {"fsdp": "torchtitan", "megatron-lm": "megatron-core"}
"""What plans are rendered for, whose memory counts."""

ZERO = ("none", "zero1", "zero2", "zero3")


@dataclass(frozen=True)
class Truth:
    """One configuration, computed again.

    ``step_ms`` holds where ``links_are_even``. Wherever ranks are placed none is below ``least_step_ms``: the same with
    links between nodes as fast as inside.
    """

    memory_gib: float
    memory_limit_gib: float
    host_gib: float
    nvme_gib: float
    host_limit_gib: float
    nvme_limit_gib: float
    step_ms: float
    least_step_ms: float
    links_are_even: bool
    peak_flop_per_s: float
    usd_per_gpu_hour: float | None
    least_w: float
    most_w: float


class Recomputed:
    """A spec's model and cluster, from the facts alone."""

    def __init__(self, spec: TrainingSpec, shape: Transformer, facts: Facts) -> None:
        self.spec = spec
        self.shape = shape
        self._facts = facts
        self._names = KnownNames.of(facts)
        self._performance = TrainingPerformance(facts)

    def truth(self, c: Configuration) -> Truth:
        """Of one configuration whose groups are of the spec."""
        groups = [group for name in c.groups for group in self.spec.cluster.groups if group.name == name]
        kinds: dict[tuple[str, int], list[NodeGroup]] = {}
        for group in groups:
            kinds.setdefault((self._names.gpu(group.gpu), group.gpus_per_node), []).append(group)
        machines = [self._machine(members, c.num_nodes if len(kinds) == 1 else None) for members in kinds.values()]
        first_stage, needed, steps, least = 0, [], [], []
        for machine in machines:
            stages = c.pipeline_parallel * machine.num_gpus // c.num_gpus if len(machines) > 1 else c.pipeline_parallel
            layouts = _layouts(c, c.stage_layers[first_stage : first_stage + stages])
            needed.append(self._memory(layouts, c.framework))
            steps.append(self._step_ms(layouts, machine, c.framework))
            least.append(self._step_ms(layouts, self._best_links(machine), c.framework))
            first_stage += stages
        counts = [machine.num_gpus for machine in machines]
        gpus = [machine.gpu for machine in machines]
        return Truth(
            memory_gib=max(gpu for gpu, _, _ in needed),
            host_gib=max(host for _, host, _ in needed),
            nvme_gib=max(nvme for _, _, nvme in needed),
            host_limit_gib=min(machine.host_memory_gib / machine.gpus_per_node for machine in machines),
            nvme_limit_gib=min(machine.nvme_gib / machine.gpus_per_node for machine in machines),
            memory_limit_gib=min(gpu.memory_gib for gpu in gpus) - self.spec.memory_reserve_gib,
            step_ms=max(steps),
            least_step_ms=max(least),
            links_are_even=len(machines) == 1 and self._even(groups),
            peak_flop_per_s=sum(n * gpu.bf16_tflops * 1e12 for n, gpu in zip(counts, gpus, strict=True)),
            usd_per_gpu_hour=self._price(groups),
            least_w=c.num_gpus * min(gpu.idle_w for gpu in gpus),
            most_w=c.num_gpus * max(gpu.tdp_w for gpu in gpus),
        )

    def _machine(self, groups: list[NodeGroup], num_nodes: int | None) -> Machine:
        gpu = self._names.gpu_type(groups[0].gpu)
        return Machine(
            gpu=gpu,
            gpus_per_node=groups[0].gpus_per_node,
            num_nodes=num_nodes or sum(group.nodes for group in groups),
            within=Link(min(g.within_gb_per_s or gpu.interconnect_gb_per_s / 2 for g in groups), WITHIN_LATENCY_US),
            between=Link(
                self.spec.cluster.typical_rate(self._numbers(groups)),
                max(NIC_LATENCY_US[g.nic] for g in groups),
            ),
            host_gb_per_s=min(g.host_gb_per_s for g in groups),
            host_memory_gib=min(g.host_memory_gib for g in groups),
            nvme_gb_per_s=min(g.nvme_gb_per_s for g in groups),
            nvme_gib=min(g.nvme_gib for g in groups),
        )

    def _best_links(self, machine: Machine) -> Machine:
        """``machine`` as if it were one node, or all its nodes had the cluster's fastest link."""
        fastest = float(self.spec.cluster.link_rates()[0].max(initial=0.0))
        rate = max(fastest, machine.between.gb_per_s, machine.within.gb_per_s * machine.gpus_per_node)
        return replace(machine, between=Link(rate, min(machine.within.latency_us, machine.between.latency_us)))

    def _numbers(self, groups: list[NodeGroup]) -> list[int]:
        names = [group.name for group in self.spec.cluster.groups]
        return [names.index(group.name) for group in groups]

    def _even(self, groups: list[NodeGroup]) -> bool:
        rates, _ = self.spec.cluster.link_rates(self._numbers(groups))
        return not len(rates) or bool(rates.max() - rates.min() <= 1e-9 * rates.max())

    def _memory(self, layouts: Layouts, framework: str) -> tuple[float, float, float]:
        """GiB of GPU, host memory and NVMe that a GPU needs."""
        length = self.spec.sequence_length
        kind = RUN_AS.get(framework, framework)
        found = memory(self.shape, layouts, sequence_length=length, framework=kind, tuning=tuning(self.spec))
        return float(found.total_gib[0]), float(found.host_gib_per_gpu[0]), float(found.nvme_gib_per_gpu[0])

    def _step_ms(self, layouts: Layouts, machine: Machine, framework: str) -> float:
        length = self.spec.sequence_length
        time = self._performance.step_time(self.shape, layouts, machine, sequence_length=length, framework=framework)
        return float(tuned_time(self.shape, tuning(self.spec), time).step_ms[0])

    def _price(self, groups: list[NodeGroup]) -> float | None:
        """Mean over GPUs; None where one group's is not known."""
        prices = [self._price_of(group) for group in groups]
        total = sum(group.num_gpus for group in groups)
        paid = [price * group.num_gpus for price, group in zip(prices, groups, strict=True) if price is not None]
        return sum(paid) / total if len(paid) == len(groups) else None

    def _price_of(self, group: NodeGroup) -> float | None:
        if group.usd_per_gpu_hour is not None:
            return group.usd_per_gpu_hour
        gpu, best = self._names.gpu(group.gpu), None
        for instance in self._facts.instances:
            if instance.gpu != gpu:
                continue
            for price in self._facts.prices:
                if (price.provider, price.instance_type) == (instance.provider, instance.name) and (
                    price.market == "on_demand"
                ):
                    offer = (instance.num_gpus != group.gpus_per_node, price.usd_per_hour / instance.num_gpus)
                    best = offer if best is None else min(best, offer)
        return None if best is None else best[1]


def tuning(spec: TrainingSpec) -> Tuning:
    """What is trained of the model."""
    if spec.finetune is None:
        return EVERY_PARAMETER
    quantised = spec.finetune.method == "qlora"
    return ZEROTH_ORDER if spec.finetune.method == "zeroth_order" else lora(spec.finetune.rank, nf4=quantised)


def _layouts(c: Configuration, stage_layers: tuple[int, ...]) -> Layouts:
    """The configuration as arrays of one, with the stages that one kind of GPU holds."""
    most = max(stage_layers)
    share = c.recomputed_layers / max(c.stage_layers)
    values = {
        "tp": c.tensor_parallel, "pp": c.pipeline_parallel, "cp": c.context_parallel, "dp": c.data_parallel,
        "ep": c.expert_parallel, "micro_batch": c.micro_batch, "num_micro_batches": c.num_micro_batches,
        "virtual_stages": c.virtual_stages, "layers_first": stage_layers[0], "layers_most": most,
        "layers_last": stage_layers[-1], "recompute": RECOMPUTE.index(c.recompute),
        "recomputed_layers": int(np.ceil(share * most - 1e-9)), "zero": ZERO.index(c.sharding),
        "shard": c.shard_replicas, "precision": PRECISIONS.index(c.precision), "offload": OFFLOAD.index(c.offload),
    }  # fmt: skip
    arrays = {name: np.array([value], dtype=np.int64) for name, value in values.items()}
    return Layouts(**arrays, sequence_parallel=np.array([c.sequence_parallel]))


def model_flops(shape: Transformer, sequence_length: int, global_batch: int) -> float:
    """Of a step, layer by layer: 2 FLOP per weight that a token meets forward, twice that back, none made again."""
    per_token = 0.0
    for layer in range(shape.num_layers):
        width = shape.num_attention_heads * shape.head_dim
        weights = shape.hidden_size * (2 * width + 2 * shape.num_kv_heads * shape.head_dim)
        matrices = 3 if shape.gated_mlp else 2
        if shape.num_experts and layer >= shape.num_dense_layers:
            used = shape.experts_per_token + shape.num_shared_experts
            weights += used * matrices * shape.hidden_size * shape.moe_intermediate_size
            weights += shape.hidden_size * shape.num_experts
        else:
            weights += matrices * shape.hidden_size * shape.intermediate_size
        per_token += 2 * weights + 2 * 2 * sequence_length * width
    per_token += 2 * shape.hidden_size * shape.vocab_size
    return 3 * per_token * sequence_length * global_batch
