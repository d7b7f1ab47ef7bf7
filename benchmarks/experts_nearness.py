"""Fewest hops: Mixtral's trace on 4 GPUs, exactly and on unseen tokens; 58 × 256 experts on 64 GPUs under a load cap.

Run: python benchmarks/experts_nearness.py
"""

from __future__ import annotations

import time

import numpy as np
from experts_data import mixtral_trace, stopwatch, verdict

from planner.clock import Clock
from planner.experts.advice import hops_curve
from planner.experts.balance import balance
from planner.experts.eplb import default_placement
from planner.experts.holdout import hops_of_tokens
from planner.experts.measure import gpu_loads, measure
from planner.experts.near import place_near
from planner.experts.place import place
from planner.experts.placement import even_share, held_of
from planner.experts.problem import Problem, problem_of
from planner.experts.spec import ExpertsSpec, Topology, Workload
from planner.program import Floats, Ints
from planner.types import SolveOptions


def main() -> None:
    mixtral()
    synthetic()


def mixtral() -> None:
    trace = mixtral_trace()
    topology = Topology(gpus=4, slots_per_gpu=2)
    problem = problem_of(ExpertsSpec(topology=topology, trace=trace, num_experts=8))
    started = time.perf_counter()
    near = place_near(problem, None, seed=0, clock=Clock(60))
    seconds = time.perf_counter() - started
    default = even_share(held_of(default_placement(32, 8, 8), 8, 4))
    before, after = measure(problem, default).cross_gpu_hops, measure(problem, even_share(near.held)).cross_gpu_hops
    print(f"Mixtral, fitted: {after:.2f} hops per token, default {before:.2f}; proven {near.proven}, {seconds:.2f} s")
    verdict("fewer top-1 hops on the fitted tokens", 1 - after / before, 0.16)
    rng = np.random.default_rng(0)
    for num_fitted in (8, 16, 32, 61, 122, 183):
        changes = []
        for _ in range(12):
            order = rng.permutation(len(trace))
            spec = ExpertsSpec(topology=topology, trace=trace[order[:num_fitted]], num_experts=8)
            placed = place(spec, problem_of(spec), SolveOptions(), Clock(60))
            unseen = trace[order[num_fitted:]][:, :, 0]
            changes.append(
                hops_of_tokens(unseen, even_share(placed.held), 1).mean() / hops_of_tokens(unseen, default, 1).mean()
                - 1
            )
        kept = sum(change == 0 for change in changes)
        print(f"  fitted on {num_fitted} tokens, judged on the others: hops {np.mean(changes):+.1%} on average, worst "
              f"{max(changes):+.1%}; kept the default {kept} of {len(changes)} times")  # fmt: skip
        verdict("  worst change of hops on unseen tokens", max(changes), 0.0, at_least=False)


def synthetic() -> None:
    for clusters, strength, skew in ((8, 0.7, 0.5), (16, 0.5, 0.6), (32, 0.5, 0.8), (8, 0.3, 0.5)):
        load, routes = chain(np.random.default_rng(1), clusters, strength, skew)
        spec = ExpertsSpec(
            topology=Topology(gpus=64, nodes=8, slots_per_gpu=4),
            workloads=(Workload(counts=np.round(load * 1e6).astype(np.int64)),),  # type: ignore[arg-type]
            transitions=np.round(routes * 1e8).astype(np.int64),  # type: ignore[arg-type]
        )
        problem = problem_of(spec)
        best = balance(problem.mean_load, 64, 256)
        before = measure(problem, even_share(held_of(best.expert, 256, 64)))
        seconds: list[float] = []
        with stopwatch(seconds):
            near = place_near(problem, 0.05, seed=0, clock=Clock(10))
        share = even_share(near.held)
        after = measure(problem, share)
        excess = (gpu_loads(problem.load, share)[0].max(axis=1) / best.hottest - 1).max()
        print(f"\n58 × 256, {clusters} clusters, affinity {strength:.0%}: "
              f"{before.cross_node_hops:.2f} node hops when balanced, "
              f"{after.cross_node_hops:.2f} now; hottest GPU at most {excess:.1%} above the best")  # fmt: skip
        verdict("fewer node hops under a 5% load cap", 1 - after.cross_node_hops / before.cross_node_hops, 0.16)
        verdict("CPU seconds", seconds[0], 10, at_least=False)
        if clusters == 16:
            _print_curve(problem)


def _print_curve(problem: Problem) -> None:
    for point in hops_curve(problem, seed=0, clock=Clock(60)):
        print(f"  {point.label:40} {point.hops_per_token:6.2f} node hops, balancedness {point.balancedness:.4f}")


def chain(rng: np.random.Generator, clusters: int, strength: float, skew: float) -> tuple[Floats, Floats]:
    """Load [58, 256] and transitions [57, 256, 256] of a router in which a share ``strength`` stays in its cluster."""
    layers, experts = 58, 256
    load = rng.gamma(1 / skew**2, size=(layers, experts))
    load /= load.sum(axis=1, keepdims=True)
    cluster: Ints = np.array([rng.permutation(experts) % clusters for _ in range(layers)])
    routes = np.empty((layers - 1, experts, experts))
    for i in range(layers - 1):
        same = (cluster[i][:, None] == cluster[i + 1]) * load[i + 1]
        same = same / same.sum(axis=1, keepdims=True)
        routes[i] = load[i][:, None] * (strength * same + (1 - strength) * load[i + 1])
        load[i + 1] = routes[i].sum(axis=0)
    return load, routes


if __name__ == "__main__":
    main()
