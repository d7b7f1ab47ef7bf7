"""What is asked of the experts planner: loads, routing, topology, and what a good placement means.

Shapes: L layers, E logical experts, G GPUs. Slots of a layer are numbered GPU by GPU.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from planner.packed import PackedArray, whole_numbers
from planner.program import Ints
from planner.types import Frozen
from profiles.types import Count, Name

Objective = Literal["balance", "hops", "fan_out", "time"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Workload(Frozen):
    """Tokens that each expert received, ``counts[layer][expert]``, in one workload or time window.

    A layer of zeros is a dense layer: it has no experts to place and is passed through.
    """

    name: Name = "workload"
    weight: Positive = 1.0
    counts: tuple[tuple[int, ...], ...] = Field(min_length=1, repr=False)

    @field_validator("counts", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        if not isinstance(value, np.ndarray | list | tuple):
            raise ValueError("counts is a list of layers, each a list of one count per expert")
        array = whole_numbers(value, "counts")
        if array.ndim != 2 or not array.size:
            raise ValueError(f"counts has shape {list(array.shape)}; it needs [layers][experts]")
        if (array < 0).any():
            layer, expert = (int(i) for i in np.argwhere(array < 0)[0])
            raise ValueError(f"counts[{layer}][{expert}] is {array[layer, expert]}; counts cannot be negative")
        if not array.any():
            raise ValueError("counts is zero everywhere; record the load while the model serves traffic")
        return tuple(map(tuple, array.tolist()))


MOST_SLOTS = 1_000_000
"""Slots over all layers: 60 layers on 1,000 GPUs with 16 slots each. Beyond, memory and time would run away."""


class Topology(Frozen):
    """The machine. Bandwidths matter to the objective ``time`` only.

    ``gb_per_s`` may give a measured matrix of GPU pairs in place of the two bandwidths.
    """

    gpus: Count
    nodes: Count = 1
    slots_per_gpu: Count
    gb_per_s_within_node: Positive = 450.0
    gb_per_s_between_nodes: Positive = 50.0
    gb_per_s: tuple[tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...], ...] | None = None

    @model_validator(mode="after")
    def _divides(self) -> Topology:
        if self.gpus % self.nodes:
            options = [n for n in range(1, self.gpus + 1) if self.gpus % n == 0]
            near = min(options, key=lambda n: abs(n - self.nodes))
            raise ValueError(f"gpus: {self.gpus} GPUs cannot be shared evenly by {self.nodes} nodes; try nodes: {near}")
        matrix = self.gb_per_s
        if matrix is not None:
            if len(matrix) != self.gpus or any(len(row) != self.gpus for row in matrix):
                raise ValueError(f"gb_per_s needs {self.gpus} rows of {self.gpus} numbers, one per pair of GPUs")
            if any(value <= 0 for i, row in enumerate(matrix) for j, value in enumerate(row) if i != j):
                raise ValueError("gb_per_s must be above 0 between different GPUs")
        return self

    @property
    def num_slots(self) -> int:
        """Slots of a layer on all GPUs together."""
        return self.gpus * self.slots_per_gpu


class Costs(Frozen):
    """What tokens and experts cost, for the objective ``time`` and for migration bytes.

    The defaults are DeepSeek-V3's: hidden size 7168 in FP8 out and BF16 back, experts of 44 M parameters in FP8.
    """

    tokens_per_step: Positive = Field(default=4096.0, description="tokens of all GPUs together in one forward pass")
    ns_per_token_and_expert: Positive = Field(default=180.0, description="GPU time of one token in one expert")
    bytes_per_token: Positive = Field(default=7168.0, description="sent per token to another GPU, one way")
    expert_gib: Positive = Field(default=0.041, description="weights of one expert in one layer")
    memory_gib_per_gpu: Positive | None = Field(default=None, description="what experts may use of each GPU's memory")


class Current(Frozen):
    """The placement in use: ``physical_to_logical_map[layer][slot]``, slots GPU by GPU."""

    physical_to_logical_map: tuple[tuple[int, ...], ...] = Field(min_length=1, repr=False)


class ExpertsSpec(Frozen):
    """A request to the experts planner: where should every expert and its copies be."""

    kind: Literal["experts"] = "experts"
    name: Name = "experts"
    topology: Topology
    workloads: tuple[Workload, ...] = Field(default=(), max_length=1000)
    trace: PackedArray | None = Field(default=None, description="experts used, [tokens][layers][top k]")
    transitions: PackedArray | None = Field(default=None, description="tokens from expert to expert, [layers−1][E][E]")
    num_experts: Count | None = Field(default=None, description="needed only where a trace is all there is")
    objective: Objective | None = Field(default=None, description="hops where routing is known, else balance")
    over_workloads: Literal["mean", "worst"] = Field(
        default="mean", description="whether balance and dispatch weights answer for the mean or the worst workload"
    )
    hops_top: Count = Field(default=1, description="how many of a token's experts, best first, count as hops")
    max_load_excess: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None, description="how much hotter than the best balance the hottest GPU may be, for other objectives"
    )
    groups: Count | None = Field(default=None, description="expert groups of group-limited routing, kept on home nodes")
    max_off_home: Share | None = Field(
        default=None, description="share of tokens that copies off the home node may serve; default 1.2 × redundancy"
    )
    dispatch: Literal["even", "weighted"] | None = Field(
        default=None,
        description="tokens per copy: even, or weighted by linear programming (default for groups, several workloads)",
    )
    current: Current | None = None
    max_moves: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        default=None, description="slots of a layer that may change their expert; needs current"
    )
    curves: bool = Field(default=False, description="also say what other numbers of slots or other load caps would buy")
    costs: Costs = Costs()

    @model_validator(mode="after")
    def _consistent(self) -> ExpertsSpec:
        if not self.workloads and self.trace is None:
            raise ValueError("workloads is missing: give counts per layer and expert, or a trace to count them from")
        shapes = {(len(w.counts), len(w.counts[0])) for w in self.workloads}
        if len(shapes) > 1:
            listing = ", ".join(f"{w.name} {len(w.counts)}×{len(w.counts[0])}" for w in self.workloads[:5])
            raise ValueError(f"workloads differ in layers × experts ({listing}); record them all on the same model")
        names = [w.name for w in self.workloads]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"workloads: {twice!r} appears twice; names must differ")
        self._check_trace()
        self._check_transitions()
        self._check_room()
        self._check_groups()
        self._check_current()
        return self

    @cached_property
    def shape(self) -> tuple[int, int]:
        """(layers, experts) of the model, dense layers included."""
        if self.workloads:
            return len(self.workloads[0].counts), len(self.workloads[0].counts[0])
        ids = self.known_trace()
        return ids.shape[1], self.num_experts or int(ids.max()) + 1

    def known_trace(self) -> Ints:
        """The trace [T, L, k]; ``ValueError`` where there is none."""
        if self.trace is None:
            raise ValueError("trace is missing")
        return self.trace.array()

    def _check_trace(self) -> None:
        if self.trace is None:
            if self.objective == "fan_out":
                raise ValueError("objective fan_out needs a trace: which experts one token uses together")
            return
        if len(self.trace.shape) != 3 or 0 in self.trace.shape:
            raise ValueError(f"trace has shape {list(self.trace.shape)}; it needs [tokens][layers][top k]")
        ids = self.trace.array()
        num_layers, num_experts = self.shape
        if ids.shape[1] != num_layers:
            raise ValueError(f"trace has {ids.shape[1]} layers but workloads have {num_layers}; use one model's data")
        wrong = (ids < 0) | (ids >= num_experts)
        if wrong.any():
            token, layer, k = (int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(
                f"trace[{token}][{layer}][{k}] is expert {ids[token, layer, k]}, out of the range 0 to "
                f"{num_experts - 1}; correct the id, or num_experts"
            )
        if self.hops_top > ids.shape[2]:
            raise ValueError(f"hops_top is {self.hops_top} but the trace has {ids.shape[2]} experts per token")

    def _check_transitions(self) -> None:
        if self.transitions is not None:
            num_layers, num_experts = self.shape
            needed = (num_layers - 1, num_experts, num_experts)
            if self.transitions.shape != needed:
                raise ValueError(f"transitions has shape {list(self.transitions.shape)}; it needs {list(needed)}")
            if (self.transitions.array() < 0).any():
                raise ValueError("transitions has negative counts; they are numbers of tokens")
        if self.objective == "hops" and self.trace is None and self.transitions is None:
            raise ValueError("objective hops needs routing: give a trace or transitions, or ask for objective: balance")
        if self.objective == "hops" and self.shape[0] < 2:
            raise ValueError("objective hops needs at least two layers; ask for objective: balance")

    def _check_room(self) -> None:
        num_experts = self.shape[1]
        topology = self.topology
        cells = self.shape[0] * topology.num_slots
        if cells > MOST_SLOTS:
            raise ValueError(
                f"topology.gpus: {topology.gpus} GPUs × {topology.slots_per_gpu} slots × {self.shape[0]} layers are "
                f"{cells:,} slots to fill; at most {MOST_SLOTS:,} are planned: plan one copy of the model at a time"
            )
        if topology.num_slots < num_experts:
            needed = -(-num_experts // topology.gpus)
            raise ValueError(
                f"topology.slots_per_gpu: {topology.gpus} GPUs × {topology.slots_per_gpu} slots hold "
                f"{topology.num_slots} experts but the model has {num_experts}; give at least slots_per_gpu: {needed}"
            )
        if topology.slots_per_gpu > num_experts:
            raise ValueError(
                f"topology.slots_per_gpu: {topology.slots_per_gpu} slots for {num_experts} experts: every GPU would "
                f"hold every expert with room to spare; give at most {num_experts}"
            )
        memory, size = self.costs.memory_gib_per_gpu, self.costs.expert_gib
        needed_gib = topology.slots_per_gpu * size * self.num_moe_layers
        if memory is not None and needed_gib > memory * (1 + 1e-9):
            most = int(memory / (size * self.num_moe_layers))
            raise ValueError(
                f"topology.slots_per_gpu: {topology.slots_per_gpu} experts × {self.num_moe_layers} layers × {size:g} "
                f"GiB need {needed_gib:.1f} GiB but costs.memory_gib_per_gpu is {memory:g}; "
                + (f"at most slots_per_gpu: {most} fit" if most * topology.gpus >= num_experts else "use more GPUs")
            )

    @property
    def num_moe_layers(self) -> int:
        """Layers with load in some workload, or all of a trace."""
        if not self.workloads:
            return self.shape[0]
        return sum(any(any(w.counts[i]) for w in self.workloads) for i in range(self.shape[0]))

    def _check_groups(self) -> None:
        if self.groups is None:
            if self.max_off_home is not None:
                raise ValueError("max_off_home has no meaning without groups: say how many groups the router uses")
            return
        num_experts, nodes = self.shape[1], self.topology.nodes
        if num_experts % self.groups:
            raise ValueError(f"groups: {num_experts} experts cannot be split evenly into {self.groups} groups")
        if self.groups % nodes:
            raise ValueError(
                f"groups: {self.groups} groups cannot be shared evenly by {nodes} nodes; "
                "use a number of nodes that divides them, or leave groups out to place experts anywhere"
            )
        if self.objective not in (None, "balance"):
            raise ValueError(f"groups cannot be combined with objective {self.objective}; leave one of them out")

    def _check_current(self) -> None:
        if self.current is None:
            if self.max_moves is not None:
                raise ValueError("max_moves needs current: the placement to move from")
            return
        if self.max_moves is not None and (self.groups is not None or self.objective not in (None, "balance")):
            raise ValueError("max_moves works with objective balance and without groups; leave one of them out")
        num_layers, num_experts = self.shape
        rows = self.current.physical_to_logical_map
        where = "current.physical_to_logical_map"
        if len(rows) != num_layers:
            raise ValueError(f"{where} has {len(rows)} layers but the load has {num_layers}; is it of the same model?")
        for i, row in enumerate(rows):
            if len(row) != self.topology.num_slots:
                raise ValueError(
                    f"{where}[{i}] has {len(row)} slots but {self.topology.gpus} GPUs × {self.topology.slots_per_gpu} "
                    f"are {self.topology.num_slots}; plan on the topology in use, or leave current out"
                )
            wrong = next((e for e in row if not 0 <= e < num_experts), None)
            if wrong is not None:
                raise ValueError(f"{where}[{i}] holds expert {wrong}, out of the range 0 to {num_experts - 1}")
            missing = set(range(num_experts)).difference(row)
            if missing:
                raise ValueError(f"{where}[{i}] has no copy of expert {min(missing)}; every expert needs one")
