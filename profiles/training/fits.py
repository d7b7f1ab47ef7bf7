"""What would make a configuration fit that does not: one change at a time, each with the memory that it leads to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from profiles.errors import InvalidInput
from profiles.performance.answers import Floats
from profiles.training.finetune import EVERY_PARAMETER, Tuning
from profiles.training.layouts import OFFLOAD, RECOMPUTE, Layouts, joined
from profiles.training.memory import PARTS, Memory, memory
from profiles.training.shape import Transformer
from profiles.training.stages import STAGES

MOST_TIMES_GPUS = 1024
"""How many times as many GPUs are tried, in powers of two."""

Tried = tuple[str, str, Layouts]
"""Setting, its new value as people read it, and the configuration."""

Degree = tuple[str, int, Layouts]
"""Setting, the new degree, and the configuration."""


@dataclass(frozen=True)
class Change:
    """One change: ``setting`` (of ``SETTINGS``), its new value, and what the fullest GPU then needs."""

    setting: str
    to: str
    num_gpus: int
    needed_gib: float
    host_gib_per_gpu: float
    nvme_gib_per_gpu: float

    def __str__(self) -> str:
        return f"{self.setting} {self.to}"


@dataclass(frozen=True)
class Shortfall:
    """By how much a configuration misses the memory that a GPU has, and what would help.

    ``largest_part`` is one of ``memory.PARTS`` and ``stage`` one of ``stages.STAGES``. Each of ``changes`` alone makes
    it fit: the mildest of each setting, in the order of ``SETTINGS``. ``nearest`` comes closest where none does.
    """

    needed_gib: float
    available_gib: float
    largest_part: str
    largest_part_gib: float
    stage: str
    changes: tuple[Change, ...]
    nearest: Change | None

    @property
    def short_gib(self) -> float:
        """GiB that are missing on the fullest GPU."""
        return self.needed_gib - self.available_gib


SETTINGS = (
    "sequence parallel", "recompute", "ZeRO stage", "shard", "micro-batch", "tensor parallel", "pipeline parallel",
    "context parallel", "expert parallel", "offload", "GPUs",
)  # fmt: skip
"""What is changed, from what costs least to what costs most."""


def what_would_fit(
    shape: Transformer, layout: Layouts, *, available_gib: float, sequence_length: int, framework: str,
    tuning: Tuning = EVERY_PARAMETER, settings: Collection[str] = SETTINGS,
) -> Shortfall | None:  # fmt: skip
    """What one configuration (N = 1) lacks and which single changes would mend it; None where it fits.

    Changes keep the global batch and, but for "GPUs", the number of GPUs; "GPUs" multiplies it and divides the new ones
    in the way that fits with the fewest. Only ``settings`` are changed. ``InvalidInput`` for no memory at all, or more
    than one configuration.
    """
    if not available_gib > 0:
        raise InvalidInput(f"{available_gib:g} GiB", field="available_gib", fix="give what a GPU has free, above 0")
    if len(layout) != 1:
        raise InvalidInput(f"{len(layout)} configurations", field="layout", fix="give one")
    asked = memory(shape, layout, sequence_length=sequence_length, framework=framework, tuning=tuning)
    if asked.total_gib[0] <= available_gib:
        return None
    tried = [change for change in single_changes(shape, layout) if change[0] in settings]
    changes: list[Change] = []
    if tried:
        options = joined([changed for _, _, changed in tried])
        needed = memory(shape, options, sequence_length=sequence_length, framework=framework, tuning=tuning)
        changes = [
            Change(setting, to, int(options.world[i]), *(float(array[i]) for array in _sizes(needed)))
            for i, (setting, to, _) in enumerate(tried)
        ]
    fitting = [change for change in changes if change.needed_gib <= available_gib]
    mildest = {change.setting: change for change in reversed(fitting)}
    parts = {name: float(getattr(asked, f"{name}_gib")[0]) for name in PARTS}
    largest = max(parts, key=lambda name: parts[name])
    return Shortfall(
        needed_gib=float(asked.total_gib[0]), available_gib=available_gib, largest_part=largest,
        largest_part_gib=parts[largest], stage=STAGES[int(asked.worst_stage[0])],
        changes=tuple(mildest[setting] for setting in SETTINGS if setting in mildest),
        nearest=None if fitting else min(changes, key=lambda change: change.needed_gib, default=None),
    )  # fmt: skip


def _sizes(needed: Memory) -> tuple[Floats, Floats, Floats]:
    return needed.total_gib, needed.host_gib_per_gpu, needed.nvme_gib_per_gpu


def single_changes(shape: Transformer, layout: Layouts) -> Iterator[Tried]:
    """Every change, the mildest of each setting first."""
    now = {field.name: int(getattr(layout, field.name)[0]) for field in fields(layout)}
    yield from _less_kept(layout, now)
    yield from _more_sharded(layout, now)
    for size in range(now["micro_batch"] - 1, 0, -1):
        if now["micro_batch"] % size == 0:
            batches = now["num_micro_batches"] * now["micro_batch"] // size
            yield "micro-batch", str(size), _with(layout, micro_batch=size, num_micro_batches=batches)
    for times in _doublings(now["dp"]):
        if now["dp"] % times == 0:
            fewer = {"dp": now["dp"] // times, "num_micro_batches": now["num_micro_batches"] * times}
            for setting, degree, changed in _higher_degrees(shape, layout, now, times):
                yield setting, str(degree), _resharded(_with(changed, **fewer), now)
    for times in _doublings(now["tp"] * now["cp"] * now["dp"] // now["ep"]):
        if shape.num_experts and shape.num_experts % (now["ep"] * times) == 0:
            yield "expert parallel", str(now["ep"] * times), _with(layout, ep=now["ep"] * times)
    for offload in range(now["offload"] + 1, len(OFFLOAD)):
        yield "offload", OFFLOAD[offload], _with(layout, offload=offload)
    for times in _doublings(MOST_TIMES_GPUS):
        yield from _more_gpus(shape, layout, now, times)


def _less_kept(layout: Layouts, now: Mapping[str, int]) -> Iterator[Tried]:
    """Fewer activations kept: split between products, made again."""
    if now["tp"] > 1 and not now["sequence_parallel"]:
        yield "sequence parallel", "on", _with(layout, sequence_parallel=1)
    if now["recompute"] == RECOMPUTE.index("none"):
        yield "recompute", "selective", _with(layout, recompute=RECOMPUTE.index("selective"))
    full = RECOMPUTE.index("full")
    made_again = now["recomputed_layers"] if now["recompute"] == full else 0
    for layers in range(made_again + 1, now["layers_most"] + 1):
        to = f"full, {layers} of {now['layers_most']} layers of a stage"
        yield "recompute", to, _with(layout, recompute=full, recomputed_layers=layers)


def _more_sharded(layout: Layouts, now: Mapping[str, int]) -> Iterator[Tried]:
    """Higher ZeRO stages, and states over all replicas in place of some."""
    replicas = now["dp"] * now["cp"]
    if replicas > 1:
        for zero in range(now["zero"] + 1, 4):
            shard = now["shard"] if now["zero"] else replicas
            yield "ZeRO stage", str(zero), _with(layout, zero=zero, shard=shard)
    if now["zero"] and now["shard"] < replicas:
        yield "shard", f"over {replicas} replicas", _with(layout, shard=replicas)


def _higher_degrees(shape: Transformer, layout: Layouts, now: Mapping[str, int], times: int) -> Iterator[Degree]:
    """TP, PP and CP so many times as high, where the model can be cut so; DP as it was."""
    tp, pp, cp = (now[name] * times for name in ("tp", "pp", "cp"))
    if shape.num_attention_heads % tp == 0:
        yield "tensor parallel", tp, _with(layout, tp=tp)
    if shape.num_layers % pp == 0:
        layers = shape.num_layers // pp
        stage = dict.fromkeys(("layers_first", "layers_most", "layers_last"), layers)
        again = min(now["recomputed_layers"], layers)
        yield "pipeline parallel", pp, _with(layout, pp=pp, virtual_stages=1, recomputed_layers=again, **stage)
    yield "context parallel", cp, _with(layout, cp=cp)


def _more_gpus(shape: Transformer, layout: Layouts, now: Mapping[str, int], times: int) -> Iterator[Tried]:
    """So many times the GPUs: as more replicas that share the states, or as higher degrees."""
    world = int(layout.world[0]) * times
    if now["zero"] and now["num_micro_batches"] % times == 0:
        more = _with(layout, dp=now["dp"] * times, num_micro_batches=now["num_micro_batches"] // times)
        yield "GPUs", f"{world} (data parallel {now['dp'] * times})", _resharded(more, now)
    for setting, degree, changed in _higher_degrees(shape, layout, now, times):
        yield "GPUs", f"{world} ({setting} {degree})", _resharded(changed, now)


def _resharded(layout: Layouts, now: Mapping[str, int]) -> Layouts:
    """``shard`` for new degrees: all replicas where it was all of them, else as many as before, if there are."""
    replicas = int(layout.dp[0] * layout.cp[0])
    if not now["zero"]:
        return layout
    was_all = now["shard"] == now["dp"] * now["cp"]
    return _with(layout, shard=replicas if was_all else min(now["shard"], replicas))


def _doublings(most: int) -> list[int]:
    """2, 4, 8 … up to ``most``."""
    return [2**power for power in range(1, max(most, 1).bit_length())]


def _with(layout: Layouts, **values: int) -> Layouts:
    arrays = {name: np.array([value], dtype=getattr(layout, name).dtype) for name, value in values.items()}
    return replace(layout, **arrays)
