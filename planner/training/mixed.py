"""Clusters of several GPU types: pipeline stages of different speed get different numbers of layers.

Each kind of node holds whole stages, so that a stage's GPUs are alike, data parallelism stays inside a kind (and, where
kinds are clusters of their own, inside a cluster: Holmes, 2023, section 3.2), and only messages between stages cross.
Layers go to stages by speed (Metis, ATC 2024; AMP, NeurIPS 2022). A step takes as long as its slowest kind of stage
says, each timed as if the whole pipeline were of its kind with its fullest stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from planner.training.model import (
    Arrays,
    Evaluated,
    Fitting,
    Rows,
    evaluated,
    has_room,
    memory_of,
    space_of,
    taken,
    time_of,
)
from planner.training.sites import Site
from planner.training.spec import Framework, TrainingSpec
from planner.training.uneven import uneven_layers
from profiles.training.layouts import Layouts
from profiles.training.performance import TrainingPerformance
from profiles.training.shape import Transformer

LOGITS_LAYERS = 6.0
"""A vocabulary matrix costs as much as ``vocabulary / (12 · hidden)`` layers of 12 · hidden² parameters. This many at
most, so that small models keep a layer in their last stage."""

Split = tuple[int, ...]


def joined_site(parts: Sequence[Site]) -> Site | None:
    """All nodes of several kinds as one site, most memory first; None where their nodes differ in number of GPUs."""
    sizes = {part.machine.gpus_per_node for part in parts}
    if len(parts) < 2 or len(sizes) > 1:
        return None
    ordered = sorted(parts, key=lambda part: -part.machine.gpu.memory_gib)  # the first stage holds most activations
    machines = [part.machine for part in ordered]
    weights = [machine.num_gpus for machine in machines]

    def mean(values: Sequence[float]) -> float:
        return float(np.average(values, weights=weights))

    gpu = machines[0].gpu.model_copy(
        update={
            "name": " + ".join(machine.gpu.name for machine in machines),
            "memory_gib": min(machine.gpu.memory_gib for machine in machines),
            "bf16_tflops": mean([machine.gpu.bf16_tflops for machine in machines]),
            "tdp_w": mean([machine.gpu.tdp_w for machine in machines]),
        }
    )
    prices = [part.usd_per_gpu_hour for part in ordered]
    known = [price for price in prices if price is not None]
    return Site(
        groups=tuple(name for part in ordered for name in part.groups),
        nodes=tuple(node for part in ordered for node in part.nodes),
        machine=replace(machines[0], gpu=gpu, num_nodes=sum(machine.num_nodes for machine in machines)),
        usd_per_gpu_hour=mean(known) if len(known) == len(prices) else None,
        parts=tuple(ordered),
    )


def evaluate_mixed(
    spec: TrainingSpec, shape: Transformer, site: Site, performance: TrainingPerformance
) -> list[Evaluated]:
    """All frameworks of the spec on all GPUs of a site of several kinds."""
    found = []
    for framework in spec.choices.frameworks:
        layouts = _whole_stages(spec, shape, site, framework)
        splits = _splits(shape, site, layouts)
        held = [_of_part(layouts, splits, site, part) for part in range(len(site.parts))]
        needed = [memory_of(spec, shape, of_part, framework) for of_part in held]
        room = [has_room(spec, part, memory) for part, memory in zip(site.parts, needed, strict=True)]
        rows = np.flatnonzero(np.logical_and.reduce(room))
        memories = [taken(memory, rows) for memory in needed]
        times = [
            time_of(spec, shape, part, framework, of_part.take(rows), performance)
            for part, of_part in zip(site.parts, held, strict=True)
        ]
        slowest = np.argmax([time.step_ms for time in times], axis=0)
        fullest = np.argmax([memory.total_gib for memory in memories], axis=0)
        least = min((float(memory.total_gib.min()) for memory in memories if len(rows)), default=np.inf)
        fitting = Fitting(layouts.take(rows), _picked(memories, fullest), len(layouts), least)
        part_found = evaluated(spec, shape, site, framework, fitting, _picked(times, slowest))
        found.append(replace(part_found, splits=splits))
    return found


def _whole_stages(spec: TrainingSpec, shape: Transformer, site: Site, framework: Framework) -> Layouts:
    """Configurations in which every kind of node holds a whole number of stages."""
    layouts = space_of(spec, shape, site, framework)
    of_stage = layouts.world // layouts.pp
    whole = (layouts.pp > 1) & (layouts.virtual_stages == 1)
    for part in site.parts:
        whole &= part.machine.num_gpus % of_stage == 0
    return layouts.take(np.flatnonzero(whole))


def _splits(shape: Transformer, site: Site, layouts: Layouts) -> dict[int, Split]:
    """Layers of each stage, by the number of stages."""
    extra = min(shape.vocab_size / (12 * shape.hidden_size), LOGITS_LAYERS)
    splits = {}
    for stages in np.unique(layouts.pp):
        speeds = [
            part.machine.gpu.bf16_tflops for part in site.parts for _ in range(_stages_of(site, part, int(stages)))
        ]
        splits[int(stages)] = tuple(int(n) for n in uneven_layers(shape.num_layers, np.array(speeds), 0.0, extra))
    return splits


def _stages_of(site: Site, part: Site, num_stages: int) -> int:
    return part.machine.num_gpus * num_stages // site.machine.num_gpus


def _of_part(layouts: Layouts, splits: dict[int, Split], site: Site, part: int) -> Layouts:
    """``layouts`` as if all stages were of kind ``part``, the fullest with the layers of that kind's fullest stage."""
    before = site.parts[:part]
    most = np.zeros(len(layouts), dtype=np.int64)
    first, last = most.copy(), most.copy()
    for stages, split in splits.items():
        rows = layouts.pp == stages
        start = sum(_stages_of(site, other, stages) for other in before)
        own = split[start : start + _stages_of(site, site.parts[part], stages)]
        most[rows], first[rows], last[rows] = max(own), own[0], own[-1]
    share = np.divide(layouts.recomputed_layers, layouts.layers_most)
    recomputed = np.ceil(share * most - 1e-9).astype(np.int64)
    return replace(layouts, layers_most=most, layers_first=first, layers_last=last, recomputed_layers=recomputed)


def _picked(parts: Sequence[Arrays], which: Rows) -> Arrays:
    """For each row, the values of the part that ``which`` says."""
    rows = np.arange(len(which))
    return type(parts[0])(
        **{f.name: np.stack([getattr(part, f.name) for part in parts])[which, rows] for f in fields(parts[0])}
    )
