"""The answer of the experts planner.

Shapes: L layers (all of the model's, dense ones included), S slots, E logical experts, W workloads.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from planner.experts.spec import ExpertsSpec
from planner.types import Frozen, Plan


class Metrics(Frozen):
    """How good a placement is with even dispatch; means over the layers with load, and over workloads by weight."""

    balancedness: float = Field(description="mean over layers of mean GPU load / hottest GPU load")
    cross_gpu_hops_per_token: float = Field(description="expected changes of GPU from layer to layer")
    cross_node_hops_per_token: float
    node_fan_out: float | None = Field(
        default=None, description="distinct nodes a token visits in a layer, from a trace"
    )
    seconds_per_step: float = Field(description="MoE time of a forward pass by the cost model, all layers")


class Baseline(Metrics):
    """A placement to compare with. ``default``: experts in order; ``greedy``: EPLB's published algorithm."""

    name: Literal["default", "greedy"]


class WorkloadResult(Frozen):
    """Balancedness in one workload: even, with the plan's dispatch, and with the dispatch that suits it best."""

    name: str
    balancedness: float
    balancedness_dispatched: float | None = None
    balancedness_best_dispatch: float | None = None


class Dispatch(Frozen):
    """Shares of the tokens of replicated experts: ``share[i]`` of ``expert[i]``'s go to ``slot[i]``, in one layer."""

    layer: int
    slot: tuple[int, ...]
    expert: tuple[int, ...]
    share: tuple[float, ...]


class CurvePoint(Frozen):
    """One choice on a trade-off: redundancy against balance, or hops against balance."""

    label: str
    num_slots: int
    balancedness: float
    balancedness_bound: float | None = None
    hops_per_token: float | None = None


class ExpertsPlan(Plan):
    """Which expert sits in which slot of each layer, and what that is worth.

    ``objective`` is balancedness for the objective balance (``bound``: no placement can exceed it), hops or nodes per
    token, or seconds per step.
    """

    kind: Literal["experts"] = "experts"
    spec: ExpertsSpec
    method: str = Field(default="", description="which algorithm made the placement")
    physical_to_logical_map: tuple[tuple[int, ...], ...] = Field(default=(), repr=False)
    logical_replica_count: tuple[tuple[int, ...], ...] = Field(default=(), repr=False)
    dense_layers: tuple[int, ...] = Field(default=(), description="layers without load, passed through")
    balancedness: float | None = None
    cross_gpu_hops_per_token: float | None = None
    cross_node_hops_per_token: float | None = None
    node_fan_out: float | None = None
    seconds_per_step: float | None = None
    hops_measured: bool = Field(default=False, description="hops from routing data; else layers taken as independent")
    balancedness_dispatched: float | None = Field(default=None, description="with the weights in dispatch")
    off_home_share: float | None = Field(default=None, description="tokens served off their group's home node")
    off_home_share_dispatched: float | None = Field(default=None, description="the same with the weights in dispatch")
    home_nodes: tuple[tuple[int, ...], ...] = Field(default=(), description="[layer][group] home node")
    hottest_gpu_cap: tuple[float, ...] = Field(
        default=(), description="per layer with load: the hottest GPU allowed by max_load_excess, in mean GPU loads"
    )
    workloads: tuple[WorkloadResult, ...] = ()
    baselines: dict[str, Baseline] = Field(default_factory=dict)
    dispatch: tuple[Dispatch, ...] = Field(default=(), repr=False)
    moves_per_layer: tuple[int, ...] = Field(default=(), description="slots that get other weights, against current")
    moved_gib: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    advice: tuple[str, ...] = ()
