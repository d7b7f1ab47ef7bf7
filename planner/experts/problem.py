"""The experts question as numbers, for the layers that have experts to place.

Shapes: W workloads, L layers with load, E logical experts, G GPUs, N nodes, r slots per GPU, S = G·r, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.errors import GpuplanError
from planner.experts.spec import Costs, ExpertsSpec, Topology
from planner.program import Floats, Ints


@dataclass(frozen=True)
class Problem:
    """What the algorithms work on; ``layers[l]`` is the model's layer of row l."""

    layers: Ints  # [L]
    num_model_layers: int
    load: Floats  # [W, L, E] in units of the mean GPU's load: every [w, l] sums to G
    tokens: Floats  # [W, L] expert visits counted
    weight: Floats  # [W] sums to 1
    topology: Topology
    costs: Costs
    routes: Floats | None  # [L−1, E, E] tokens from expert to expert, of adjacent layers with load; every [l] sums to 1
    trace: Ints | None  # [T, L, k]
    start: Ints | None  # [L, S] placement in use
    home: Ints | None = None  # [L, E] home node, once groups are assigned

    @property
    def num_experts(self) -> int:
        """E."""
        return int(self.load.shape[2])

    def known_routes(self) -> Floats:
        """``routes``, for algorithms that cannot do without; the spec's validation makes sure of them."""
        if self.routes is None:
            raise GpuplanError("this objective was asked for without routing data")
        return self.routes

    def known_trace(self) -> Ints:
        """``trace``, likewise."""
        if self.trace is None:
            raise GpuplanError("this objective was asked for without a trace")
        return self.trace

    @property
    def mean_load(self) -> Floats:
        """[L, E] the weighted mean over workloads."""
        mean: Floats = np.einsum("w,wle->le", self.weight, self.load)
        return mean

    @property
    def node_of(self) -> Ints:
        """[G] the node of each GPU."""
        return np.arange(self.topology.gpus) // (self.topology.gpus // self.topology.nodes)

    @property
    def top_k(self) -> int:
        """Experts per token, where a trace tells."""
        return 1 if self.trace is None else self.trace.shape[2]


def problem_of(spec: ExpertsSpec) -> Problem:
    """The numbers in ``spec``, which has been validated."""
    num_model_layers, num_experts = spec.shape
    trace = spec.trace.array() if spec.trace is not None else None
    if spec.workloads:
        counts = np.array([w.counts for w in spec.workloads], dtype=float)
        weight = np.array([w.weight for w in spec.workloads])
    else:
        trace = spec.known_trace()
        counts = visits(trace, num_experts)[None].astype(float)
        weight = np.ones(1)
    layers = np.flatnonzero(counts.any(axis=(0, 2)))
    counts = counts[:, layers]
    tokens = counts.sum(axis=2)
    # A workload that says nothing of a layer takes the mean of those that do: it neither helps nor hurts there.
    known = tokens > 0
    shares = counts / np.where(known, tokens, 1.0)[:, :, None]
    mean = np.einsum("wl,wle->le", weight[:, None] * known, shares) / (weight @ known)[:, None]
    shares = np.where(known[:, :, None], shares, mean)
    start = spec.current
    return Problem(
        layers=layers,
        num_model_layers=num_model_layers,
        load=shares * spec.topology.gpus,
        tokens=tokens,
        weight=weight / weight.sum(),
        topology=spec.topology,
        costs=spec.costs,
        routes=_routes(spec, trace, layers),
        trace=None if trace is None else trace[:, layers],
        start=None if start is None else np.array(start.physical_to_logical_map, dtype=np.int64)[layers],
    )


def visits(trace: Ints, num_experts: int) -> Ints:
    """[L, E] how often each expert occurs in ``trace`` [T, L, k]."""
    num_layers = trace.shape[1]
    keys = trace + np.arange(num_layers)[:, None] * num_experts
    return np.bincount(keys.ravel(), minlength=num_layers * num_experts).reshape(num_layers, num_experts)


def transitions_of(trace: Ints, num_experts: int, top: int = 1) -> Ints:
    """[L−1, E, E] tokens that went from expert to expert, of their ``top`` first experts, in ``trace`` [T, L, k]."""
    num_layers = trace.shape[1]
    counts = np.zeros((max(num_layers - 1, 0), num_experts * num_experts), dtype=np.int64)
    for layer in range(num_layers - 1):
        keys = trace[:, layer, :top, None] * num_experts + trace[:, layer + 1, None, :top]
        counts[layer] = np.bincount(keys.ravel(), minlength=num_experts * num_experts)
    return counts.reshape(-1, num_experts, num_experts)


def _routes(spec: ExpertsSpec, trace: Ints | None, layers: Ints) -> Floats | None:
    if spec.transitions is not None:
        counts = spec.transitions.array().astype(float)
        # Where a layer without load lies between, what passes through it is unknown: its two sides count as one step
        # only if they are adjacent in the data.
        counts = counts[layers[:-1]] * (np.diff(layers) == 1)[:, None, None]
    elif trace is not None:
        counts = transitions_of(trace[:, layers], spec.shape[1], spec.hops_top).astype(float)
    else:
        return None
    routes: Floats = counts / np.maximum(counts.sum(axis=(1, 2), keepdims=True), 1.0)
    return routes
