"""Time, memory, power and money of every configuration on a site: the model that is ranked over.

Maths. Of all configurations x of a site (``space``), those count whose fullest GPU fits:

    memory(x) ≤ GPU memory − reserve,  host(x) ≤ host memory per GPU,  nvme(x) ≤ NVMe per GPU

Each takes step(x) seconds (``profiles.training``) with watts(x) on G GPUs, of which the share g(G) is of use
(``failures``). With n = ⌈tokens / (global batch · sequence length)⌉ steps,

    days(x) = n · step(x) / g(G) / 86,400   usd(x) = 24 · days(x) · G · price   kwh(x) = 24 · days(x) · watts(x) / 1000

The space is small enough to be evaluated whole, so the best of it is the optimum of the model: no search, no gap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from planner.training.failures import goodput
from planner.training.sites import Site
from planner.training.space import configurations
from planner.training.spec import Choices, Framework, TrainingSpec
from profiles.performance.answers import Floats
from profiles.training.finetune import EVERY_PARAMETER, ZEROTH_ORDER, Tuning, lora
from profiles.training.layouts import Layouts
from profiles.training.memory import Memory, memory
from profiles.training.performance import TrainingPerformance
from profiles.training.shape import Transformer
from profiles.training.time import StepTime
from profiles.training.tuned_time import tuned_time
from profiles.types import GpuType

Rows = NDArray[np.intp]
Arrays = TypeVar("Arrays", StepTime, Memory)

MEMORY_LIKE = {"fsdp": "torchtitan", "megatron-lm": "megatron-core"}
"""FSDP plans are rendered for torchtitan, which keeps more bytes of a logit than what its steps were timed on; Megatron
runs with flash attention today, which keeps no scores."""

COMPUTE_POWER, WAIT_POWER = 0.9, 0.45
"""Of TDP, while computing and while waiting for others: assumptions, after POLCA (2024, figure 4), where training
swings between the two."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What fits of one framework's configurations on one site, arrays (N,).

    ``num_evaluated`` counts those that do not fit too; ``least_gib`` is the memory of the leanest of them all.
    """

    framework: Framework
    site: Site
    layouts: Layouts
    time: StepTime
    memory: Memory
    num_evaluated: int
    least_gib: float
    watts: Floats
    days: Floats
    goodput_fraction: float
    splits: Mapping[int, tuple[int, ...]] | None = None
    """Layers of each stage by number of stages, where GPUs of several kinds hold stages."""

    def take(self, rows: Rows) -> Evaluated:
        """Those rows, in that order; the counts stay."""
        return replace(
            self, layouts=self.layouts.take(rows), time=taken(self.time, rows), memory=taken(self.memory, rows),
            watts=self.watts[rows], days=self.days[rows],
        )  # fmt: skip

    def stage_layers(self, row: int) -> tuple[int, ...]:
        """Layers of each pipeline stage."""
        stages = int(self.layouts.pp[row])
        if self.splits is not None:
            return self.splits[stages]
        first, most, last = (int(n[row]) for n in (
            self.layouts.layers_first, self.layouts.layers_most, self.layouts.layers_last))  # fmt: skip
        return (most,) if stages == 1 else (first, *(most,) * (stages - 2), last)

    @property
    def usd(self) -> Floats:
        """To train; NaN where no price is known."""
        price = self.site.usd_per_gpu_hour
        return self.days * 24 * self.num_gpus * (np.nan if price is None else price)

    @property
    def kwh(self) -> Floats:
        """To train."""
        return self.days * 24 * self.watts / 1000

    @property
    def num_gpus(self) -> int:
        """In use."""
        return self.site.machine.num_gpus

    def value(self, objective: str) -> Floats:
        """Days, USD or kWh: what is made least."""
        return {"time": self.days, "money": self.usd, "energy": self.kwh}[objective]


@dataclass(frozen=True, eq=False)
class Fitting:
    """Configurations that fit, with what was counted of all."""

    layouts: Layouts
    memory: Memory
    num_evaluated: int
    least_gib: float


def evaluate(spec: TrainingSpec, shape: Transformer, site: Site, performance: TrainingPerformance) -> list[Evaluated]:
    """All frameworks of the spec on all GPUs of ``site``."""
    found = []
    for framework in spec.choices.frameworks:
        fitting = fits(spec, shape, site, framework, space_of(spec, shape, site, framework))
        time = time_of(spec, shape, site, framework, fitting.layouts, performance)
        found.append(evaluated(spec, shape, site, framework, fitting, time))
    return found


def space_of(spec: TrainingSpec, shape: Transformer, site: Site, framework: Framework) -> Layouts:
    """Every configuration of ``framework`` on all GPUs of ``site``."""
    machine, choices = site.machine, _possible(spec.choices, site.machine.gpu)
    return configurations(
        framework, shape, choices, world=machine.num_gpus, gpus_per_node=machine.gpus_per_node,
        global_batch=spec.global_batch, sequence_length=spec.sequence_length,
    )  # fmt: skip


def _possible(choices: Choices, gpu: GpuType) -> Choices:
    """``choices`` that the GPU type has units for."""
    if gpu.fp8_tflops is not None:
        return choices
    return choices.model_copy(update={"precision": tuple(name for name in choices.precision if name != "fp8")})


def memory_of(spec: TrainingSpec, shape: Transformer, layouts: Layouts, framework: Framework) -> Memory:
    """What the fullest GPU of each configuration holds."""
    kind, length = MEMORY_LIKE.get(framework, framework), spec.sequence_length
    return memory(shape, layouts, sequence_length=length, framework=kind, tuning=tuning_of(spec))


def time_of(
    spec: TrainingSpec, shape: Transformer, site: Site, framework: Framework, layouts: Layouts,
    performance: TrainingPerformance,
) -> StepTime:  # fmt: skip
    """Time of a step of each configuration, where all nodes are as ``site.machine`` says."""
    length = spec.sequence_length
    full = performance.step_time(shape, layouts, site.machine, sequence_length=length, framework=framework)
    return tuned_time(shape, tuning_of(spec), full)


def tuning_of(spec: TrainingSpec) -> Tuning:
    """What is trained of the model."""
    if spec.finetune is None:
        return EVERY_PARAMETER
    if spec.finetune.method == "zeroth_order":
        return ZEROTH_ORDER
    return lora(spec.finetune.rank, nf4=spec.finetune.method == "qlora")


def fits(spec: TrainingSpec, shape: Transformer, site: Site, framework: Framework, layouts: Layouts) -> Fitting:
    """The configurations of ``layouts`` whose fullest GPU, host and disks can hold them."""
    needed = memory_of(spec, shape, layouts, framework)
    least = float(needed.total_gib.min()) if len(layouts) else math.inf
    rows = np.flatnonzero(has_room(spec, site, needed))
    return Fitting(layouts.take(rows), taken(needed, rows), len(layouts), least)


def has_room(spec: TrainingSpec, site: Site, needed: Memory) -> NDArray[np.bool_]:
    """(N,) whether GPUs, host memory and disks of ``site`` hold what is needed."""
    machine = site.machine
    room: NDArray[np.bool_] = (
        (needed.total_gib <= machine.gpu.memory_gib - spec.memory_reserve_gib)
        & (needed.host_gib_per_gpu <= machine.host_memory_gib / machine.gpus_per_node + 1e-9)
        & (needed.nvme_gib_per_gpu <= machine.nvme_gib / machine.gpus_per_node + 1e-9)
    )
    return room


def evaluated(
    spec: TrainingSpec, shape: Transformer, site: Site, framework: Framework, fitting: Fitting, time: StepTime
) -> Evaluated:
    """``fitting`` with what its times come to."""
    useful = goodput(shape.num_parameters, site.machine.num_gpus, spec.failures).goodput_fraction
    with np.errstate(divide="ignore"):
        days = num_steps(spec) * time.step_ms / 1e3 / 86_400 / np.float64(useful)
    return Evaluated(
        framework=framework, site=site, layouts=fitting.layouts, time=time, memory=fitting.memory,
        num_evaluated=fitting.num_evaluated, least_gib=fitting.least_gib,
        watts=site.machine.num_gpus * gpu_watts(time, site.machine.gpu), days=days, goodput_fraction=useful,
    )  # fmt: skip


def taken(arrays: Arrays, rows: Rows) -> Arrays:
    """Those rows of every array."""
    return type(arrays)(**{field.name: getattr(arrays, field.name)[rows] for field in fields(arrays)})


def gpu_watts(time: StepTime, gpu: GpuType) -> Floats:
    """(N,) mean watts of one GPU over a step."""
    busy = (time.compute + time.recompute + time.logits) / time.step_ms
    return np.asarray(gpu.tdp_w * (WAIT_POWER + (COMPUTE_POWER - WAIT_POWER) * np.clip(busy, 0.0, 1.0)))


def num_steps(spec: TrainingSpec) -> int:
    """Steps that train on all tokens."""
    return max(math.ceil(spec.tokens / (spec.global_batch * spec.sequence_length) - 1e-9), 1)


def within_limits(spec: TrainingSpec, found: Evaluated) -> NDArray[np.bool_]:
    """(N,) which configurations keep deadline, budget and power limit; an unknown price keeps no budget."""
    kept = np.ones(len(found.layouts), dtype=bool)
    if spec.deadline_days is not None:
        kept &= found.days <= spec.deadline_days
    if spec.budget_usd is not None:
        kept &= found.usd <= spec.budget_usd
    if spec.power_limit_w is not None:
        kept &= found.watts <= spec.power_limit_w
    return kept


def best_of(found: Sequence[Evaluated], objective: str, most: int, spec: TrainingSpec) -> list[tuple[Evaluated, int]]:
    """The best ``most`` configurations (where they are, and their row), one for each set of degrees, within limits.

    Ties go to the faster one, then to less memory and the order of the space: equal requests get equal answers.
    """
    candidates: list[tuple[float, float, int, int]] = []
    for i, part in enumerate(found):
        values = part.value(objective)
        rows = np.flatnonzero(within_limits(spec, part) & np.isfinite(values))
        order = rows[np.lexsort((part.memory.total_gib[rows], part.days[rows], np.round(values[rows], 9)))]
        order = _first_of_each(part.layouts, order)[:most]
        candidates += [(float(values[r]), float(part.days[r]), i, int(r)) for r in order]
    candidates.sort()
    return [(found[i], row) for _, _, i, row in candidates[:most]]


def best_of_each(found: Sequence[Evaluated], spec: TrainingSpec) -> list[tuple[Evaluated, int]]:
    """The best configuration of each framework, so that a plan has one for everybody's trainer."""
    leaders = []
    for framework in spec.choices.frameworks:
        leaders += best_of([part for part in found if part.framework == framework], spec.objective, 1, spec)
    return leaders


def _first_of_each(layouts: Layouts, order: Rows) -> Rows:
    """Of ``order``, the first row of each set of degrees."""
    columns = (layouts.tp, layouts.pp, layouts.cp, layouts.ep, layouts.dp)
    _, first = np.unique(np.stack([column[order] for column in columns]), axis=1, return_index=True)
    return order[np.sort(first)]
