"""Why the best configuration is the best, what it rests on, and what to mind: in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from planner.figures import figure
from planner.training.plan import Configuration, TrainingPlan

CLOSE = 0.02
"""Configurations this near the best are as good, for all the model knows."""


def explain(plan: TrainingPlan, complete: bool) -> tuple[str, ...]:
    """Sentences about an answered plan."""
    return tuple(_sentences(plan, complete))


def _sentences(plan: TrainingPlan, complete: bool) -> Iterator[str]:
    best = plan.ranked[0]
    share = best.parts.compute_ms / best.step_ms
    yield f"Computing takes {share:.0%} of a step; beside it most goes to {best.binds}."
    yield (
        f"Its fullest GPU holds {figure(best.memory_gib_per_gpu)} of {figure(best.memory_limit_gib)} GiB "
        f"({best.memory.worst_stage} stage)."
    )
    yield from _rivals(plan, best)
    gain = plan.mapping_gain
    if gain is not None and gain.seconds < gain.default_seconds * (1 - 1e-6):
        yield (
            f"Ranks placed by the measured links communicate {gain.default_seconds / gain.seconds:.2f} times as fast "
            f"as in order; no placement is below {gain.bound_seconds / gain.seconds:.0%} of ours."
        )
    if plan.goodput is not None and plan.goodput.goodput_fraction < 1:
        good = plan.goodput
        yield (
            f"With a failure every {figure(good.mtbf_hours)} h and a checkpoint every "
            f"{figure(good.checkpoint_every_s)} s, {good.goodput_fraction:.1%} of the time trains."
        )
    if best.origin != "measured":
        yield f"Step times are {best.origin}: 90% lie within a factor of {1 + best.step_error:.2f}."
    if not complete:
        yield "The time limit came before all numbers of nodes were tried: a longer one tries them."


def _rivals(plan: TrainingPlan, best: Configuration) -> Iterator[str]:
    near = [c for c in plan.ranked[1:] if c.step_ms <= best.step_ms * (1 + CLOSE) and c.num_gpus == best.num_gpus]
    if near:
        lean = min(near, key=lambda c: c.memory_gib_per_gpu)
        saving = best.memory_gib_per_gpu - lean.memory_gib_per_gpu
        if saving > 1:
            yield (
                f"TP {lean.tensor_parallel} · PP {lean.pipeline_parallel} · DP {lean.data_parallel} is within "
                f"{lean.step_ms / best.step_ms - 1:.1%} and needs {figure(saving)} GiB less per GPU."
            )
