"""Why nothing can be trained as asked, and the smallest change of one limit that would help."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.training.model import MEMORY_LIKE, Evaluated, memory_of, space_of, tuning_of
from planner.training.plan import Configuration, Fix, TrainingPlan
from planner.training.sites import Site
from planner.training.spec import Framework, TrainingSpec
from planner.types import Conflict, Relaxation
from profiles.training.fits import SETTINGS, Change, what_would_fit
from profiles.training.layouts import Layouts
from profiles.training.shape import Transformer

CANNOT: dict[Framework, tuple[str, ...]] = {
    "megatron-lm": ("ZeRO stage", "shard"),
    "megatron-deepspeed": ("context parallel", "expert parallel", "ZeRO stage"),
    "fsdp": ("offload",),
}
"""Changes that a framework cannot make (with a pipeline): see ``space``."""


def too_tight(plan: TrainingPlan, spec: TrainingSpec, found: Sequence[Evaluated]) -> TrainingPlan:
    """Configurations fit, but none keeps every limit."""
    days, usd, watts = (np.concatenate(part) for part in zip(
        *((f.days, f.usd, f.watts) for f in found), strict=True))  # fmt: skip
    limits = {
        "deadline_days": (days, spec.deadline_days, "days"),
        "budget_usd": (usd, spec.budget_usd, "USD"),
        "power_limit_w": (watts, spec.power_limit_w, "W"),
    }
    asked = {name: (values, limit, unit) for name, (values, limit, unit) in limits.items() if limit is not None}
    relaxations = []
    for name, (values, limit, unit) in asked.items():
        others = np.ones(len(values), dtype=bool)
        for other, (their_values, their_limit, _) in asked.items():
            if other != name:
                others &= their_values <= their_limit
        if others.any():
            needed = float(values[others].min())
            detail = f"with {needed:,.4g} {unit} one configuration keeps every limit"
            relaxations.append(Relaxation(limit=name, current=float(limit or 0), needed=needed, detail=detail))
    least = ", ".join(f"{name} {values.min():,.4g} {unit} at least" for name, (values, _, unit) in asked.items())
    conflict = Conflict(
        constraints=tuple(asked),
        detail=f"{plan.num_fitting:,} configurations fit in memory, none keeps all limits; each alone: {least}",
        relaxations=tuple(relaxations),
    )
    return plan.model_copy(update={"outcome": "infeasible", "conflicts": (conflict,)})


def keeps_limits(spec: TrainingSpec, c: Configuration) -> bool:
    """Whether a configuration keeps deadline, budget and power limit."""
    limits = (
        (c.days_to_train, spec.deadline_days), (c.usd_to_train, spec.budget_usd), (c.power_w, spec.power_limit_w)
    )  # fmt: skip
    return all(limit is None or (value is not None and value <= limit) for value, limit in limits)


def too_tight_on_links(
    plan: TrainingPlan, spec: TrainingSpec, mapped: Sequence[Configuration], *, proven: bool
) -> TrainingPlan:
    """On the links that there are no mapped configuration keeps all limits; ``proven``: none would on any links."""
    days = min(c.days_to_train for c in mapped)
    fastest = min(mapped, key=lambda c: c.days_to_train)
    usd = "" if fastest.usd_to_train is None else f" for {fastest.usd_to_train:,.4g} USD"
    names = tuple(name for name in ("deadline_days", "budget_usd", "power_limit_w") if getattr(spec, name) is not None)
    told = f"on the measured links the fastest of {len(mapped)} mapped configurations takes {days:,.4g} days{usd}"
    relaxations: tuple[Relaxation, ...] = ()
    if spec.deadline_days is not None and days > spec.deadline_days:
        relaxations = (Relaxation(limit="deadline_days", current=spec.deadline_days, needed=days, detail=told),)
    conflict = Conflict(constraints=names, detail=told, relaxations=relaxations)
    return plan.model_copy(update={"outcome": "infeasible" if proven else "no_solution", "conflicts": (conflict,)})


def too_large(
    plan: TrainingPlan, spec: TrainingSpec, shape: Transformer, kinds: Sequence[Site], least_gib: float
) -> TrainingPlan:
    """Nothing fits: no degrees exist, or memory is too small."""
    if not plan.num_evaluated:
        return plan.model_copy(update={"outcome": "infeasible", "conflicts": (_no_degrees(spec, shape),)})
    gpu = max((kind.machine.gpu for kind in kinds), key=lambda gpu: gpu.memory_gib)
    room = gpu.memory_gib - spec.memory_reserve_gib
    if least_gib <= room:
        return plan.model_copy(update={"outcome": "infeasible", "conflicts": (_host_is_short(spec, shape, kinds),)})
    fixes = _fixes(spec, shape, kinds)
    advice = f"; {fixes[0].change} would need {fixes[0].memory_gib:,.1f} GiB" if fixes else ""
    conflict = Conflict(
        constraints=("cluster.groups", "choices"),
        detail=f"the leanest of {plan.num_evaluated:,} configurations needs {least_gib:,.1f} GiB on its fullest GPU, "
        f"{least_gib - room:,.1f} more than the {room:,.1f} that {gpu.name} has{advice}",
        relaxations=(
            Relaxation(
                limit="GPU memory", current=room, needed=least_gib, detail="a GPU type with so many GiB would do"
            ),
        ),
    )
    return plan.model_copy(update={"outcome": "infeasible", "conflicts": (conflict,), "fixes": fixes})


def _host_is_short(spec: TrainingSpec, shape: Transformer, kinds: Sequence[Site]) -> Conflict:
    """GPUs have the memory, but what is offloaded has no place: the least that would do on any kind of node."""
    short = []
    for site in kinds:
        machine = site.machine
        for framework in spec.choices.frameworks:
            needed = memory_of(spec, shape, space_of(spec, shape, site, framework), framework)
            fit = needed.total_gib <= machine.gpu.memory_gib - spec.memory_reserve_gib
            if fit.any():
                row = int(np.where(fit, needed.host_gib_per_gpu + needed.nvme_gib_per_gpu, np.inf).argmin())
                host, nvme = (float(gib[row]) * machine.gpus_per_node for gib in (
                    needed.host_gib_per_gpu, needed.nvme_gib_per_gpu))  # fmt: skip
                short.append((host + nvme, host, nvme, machine))
    _, host, nvme, machine = min(short, key=lambda one: one[:3])
    places = (
        ("host_memory_gib", machine.host_memory_gib, host), ("nvme_gib", machine.nvme_gib, nvme)
    )  # fmt: skip
    wanted = [(name, has, needs) for name, has, needs in places if needs > has]
    told = " and ".join(f"{name} of {needs:,.0f} or more, now {has:,.0f}" for name, has, needs in wanted)
    return Conflict(
        constraints=tuple(f"cluster.groups: {name}" for name, _, _ in wanted),
        detail=f"GPU memory is enough with what is offloaded, but that has no place: give nodes a {told}",
        relaxations=tuple(
            Relaxation(limit=f"cluster.groups: {name}", current=has, needed=needs, detail="per node")
            for name, has, needs in wanted
        ),
    )


def _no_degrees(spec: TrainingSpec, shape: Transformer) -> Conflict:
    heads, layers = shape.num_attention_heads, shape.num_layers
    return Conflict(
        constraints=("global_batch", "cluster.groups", "choices"),
        detail=f"no degrees exist: tensor parallel must divide {heads} heads, stages be at most {layers}, and replicas "
        f"divide the global batch of {spec.global_batch}; try a global batch that is a multiple of the number of "
        "nodes, or fewer fixed choices (megatron-lm knows zero 0 and 1, fsdp 2 and 3)",
    )


def _fixes(spec: TrainingSpec, shape: Transformer, kinds: Sequence[Site]) -> tuple[Fix, ...]:
    """Single changes of the leanest configuration that would make it fit on the GPU type with the most memory."""
    site = max(kinds, key=lambda kind: kind.machine.gpu.memory_gib)
    leanest: tuple[float, Framework, Layouts] | None = None
    for framework in spec.choices.frameworks:
        layouts = space_of(spec, shape, site, framework)
        needed = memory_of(spec, shape, layouts, framework)
        row = int(needed.total_gib.argmin()) if len(layouts) else -1
        if row >= 0 and (leanest is None or needed.total_gib[row] < leanest[0]):
            leanest = float(needed.total_gib[row]), framework, layouts.take(np.array([row]))
    if leanest is None:
        return ()
    short = what_would_fit(
        shape, leanest[2], available_gib=max(site.machine.gpu.memory_gib - spec.memory_reserve_gib, 1e-9),
        sequence_length=spec.sequence_length, framework=MEMORY_LIKE.get(leanest[1], leanest[1]), tuning=tuning_of(spec),
        settings=[name for name in SETTINGS if name not in CANNOT[leanest[1]]],
    )  # fmt: skip
    if short is None:  # GPU memory is not what is short: host memory or disks are
        return ()
    nearest = () if short.nearest is None else (short.nearest,)
    return tuple(Fix(change=_in_words(change), memory_gib=change.needed_gib) for change in (*short.changes, *nearest))


def _in_words(change: Change) -> str:
    """The change, and what it takes beside GPUs."""
    beside = [f"{gib:,.0f} GiB of {what} per GPU" for what, gib in (
        ("host memory", change.host_gib_per_gpu), ("NVMe", change.nvme_gib_per_gpu)) if gib > 0]  # fmt: skip
    return f"{change}, with {' and '.join(beside)}" if beside else str(change)
