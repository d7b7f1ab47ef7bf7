"""The pipeline schedule of a configuration: which pass of which micro-batch runs when on which stage.

Every stage works through a fixed order of passes (1F1B, or interleaved 1F1B where stages hold several chunks of the
model: Narayanan et al., SC 2021, section 2.2), each as soon as the stage is free and what it needs is there. Chunk k of
p · v is the one that data passes through as the k-th, on stage k mod p::

    forward(j, k)  needs forward(j, k − 1)        of micro-batch j
    backward(j, k) needs backward(j, k + 1), the last chunk's needs forward(j, p v − 1)

How long passes take is read off the parts of the step (``profiles.training.time``, backwards): on each of m
micro-batches the fullest stage works (computing + recomputing + exposed messages) / m, the others as much less as they
have fewer layers, and the last stage has the logits too, which are what the bubble has beyond the layers::

    v · bubble = all stages together − slowest stage

Messages between stages, gradients, optimizer and host are no part of the drawing: the step counts them beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from planner.errors import Conflict, InvalidInput
from planner.program import Floats
from planner.training.plan import Configuration
from planner.training.spec import Finetune
from planner.types import Frozen
from profiles.types import Count

Phase = Literal["forward", "backward"]
Schedule = Literal["one stage", "1F1B", "interleaved 1F1B"]

MOST_PASSES = 20_000
"""So many are worked out and listed: 2 MB of JSON. Of more, micro-batches in the middle are left out."""

FORWARD_SHARE, LORA_FORWARD_SHARE = 1 / 3, 1 / 2
"""Of computing: the backward pass has two products for each of the forward pass, one where no weight needs a gradient
(LoRA: ``profiles.training.tuned_time``)."""


class Pass(Frozen):
    """One pass of one micro-batch through one chunk of a stage; times from the start of the step."""

    stage: int
    chunk: int = Field(description="of the stage's own, in the order that data passes through them (virtual stage)")
    micro_batch: int
    phase: Phase
    start_ms: float
    end_ms: float


class Timeline(Frozen):
    """What the pipeline does in one step, by the order in which passes start.

    ``counted_ms`` is what the step's time has for this: ``step_ms`` less ``beside_ms``. ``end_ms``, when the last pass
    ends, is the same, up to rounding, where every stage but the last is as full as the others or the last is the
    slowest; else the formula of the step is a little higher. It is an approximation on links or fine-tuning for which
    the step's parts were scaled one by one.
    """

    schedule: Schedule
    num_stages: Count
    virtual_stages: Count
    num_micro_batches: Count
    forward_ms: tuple[float, ...] = Field(description="of a micro-batch, by stage, all its chunks together")
    backward_ms: tuple[float, ...]
    end_ms: float
    counted_ms: float
    beside_ms: float = Field(description="messages between stages, gradients and parameters, optimizer, offload, host")
    step_ms: float
    step_error: float
    origin: str
    idle_share: tuple[float, ...] = Field(description="by stage: the bubble, of the time until the last pass ends")
    left_out: tuple[int, int] | None = Field(description="first and last micro-batch of those that are not listed")
    passes: tuple[Pass, ...]


def timeline(configuration: Configuration, finetune: Finetune | None = None) -> Timeline:
    """The schedule of one step of ``configuration``; ``finetune`` is the spec's.

    Raises ``Conflict`` where there is no backward pass to schedule, ``InvalidInput`` where there are too many stages,
    or interleaved ones without whole rounds of micro-batches, which planners never make.
    """
    if finetune is not None and finetune.method == "zeroth_order":
        raise Conflict("zeroth-order steps have no backward pass, so there is no pipeline schedule to draw",
                       fix="choose a plan that trains by gradients")  # fmt: skip
    c = configuration
    if c.virtual_stages > 1 and c.num_micro_batches % c.pipeline_parallel:
        raise InvalidInput(f"{c.num_micro_batches} micro-batches do not go through interleaved stages in whole rounds "
                           f"of {c.pipeline_parallel}", field="row", fix="choose another row")  # fmt: skip
    stages = stage_times(c, FORWARD_SHARE if finetune is None else LORA_FORWARD_SHARE)
    num_stages, num_chunks, num_micro_batches = c.pipeline_parallel, c.virtual_stages, c.num_micro_batches
    worked = _few_enough(num_stages, num_chunks, num_micro_batches)
    ran = run(stages, num_chunks, worked)
    left_out = num_micro_batches - worked
    later_ms = left_out * float((stages.forward_ms + stages.backward_ms).max())
    cut = worked if left_out == 0 else max(worked // 2 // num_stages, 1) * num_stages
    end_ms = max(one.end_ms for one in ran) + later_ms
    busy_ms = num_micro_batches * (stages.forward_ms + stages.backward_ms)
    beside_ms = sum(getattr(c.parts, name) for name in _BESIDE)
    return Timeline(
        schedule="one stage" if num_stages == 1 else "1F1B" if num_chunks == 1 else "interleaved 1F1B",
        num_stages=num_stages, virtual_stages=num_chunks, num_micro_batches=num_micro_batches,
        forward_ms=tuple(stages.forward_ms.tolist()), backward_ms=tuple(stages.backward_ms.tolist()),
        end_ms=end_ms, counted_ms=c.step_ms - beside_ms, beside_ms=beside_ms, step_ms=c.step_ms,
        step_error=c.step_error, origin=c.origin, idle_share=tuple((1 - busy_ms / end_ms).clip(0, 1).tolist()),
        left_out=(cut, cut + left_out - 1) if left_out else None,
        passes=tuple(sorted(
            (one if one.micro_batch < cut else _later(one, left_out, later_ms) for one in ran),
            key=lambda one: (one.start_ms, one.stage),
        )),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class StageTimes:
    """(p,) milliseconds that each stage takes for one micro-batch, all its chunks together."""

    forward_ms: Floats
    backward_ms: Floats


def stage_times(c: Configuration, forward_share: float = FORWARD_SHARE) -> StageTimes:
    """What each stage of ``c`` takes for one micro-batch; ``forward_share``: of computing.

    Where GPUs of several kinds hold stages, layers were cut so that all take about as long: then all are the slowest.
    """
    parts, m = c.parts, c.num_micro_batches
    layers = np.array(c.stage_layers, dtype=float) / max(c.stage_layers)
    if _is_cut_by_speed(c.stage_layers):
        layers[:] = 1.0
    again = c.recomputed_layers / max(c.stage_layers) if c.recompute == "full" else 0.0
    messages = [  # forward passes' share of them: one pass of two, one more where made again (time._tensor_parallel)
        (parts.tensor_parallel_ms, 1 / (2 + again + (0.5 if c.sequence_parallel else 0.0))),
        (parts.expert_parallel_ms, 1 / (2 + again)),
        (parts.context_parallel_ms, 1 / (3 + again)),
    ]
    whole_ms = (parts.compute_ms + parts.recompute_ms + sum(ms for ms, _ in messages)) / m
    forward_ms = (forward_share * parts.compute_ms + sum(ms * share for ms, share in messages)) / m
    logits_ms = _logits_ms(c, whole_ms, layers)
    forward = forward_ms * layers
    backward = (whole_ms - forward_ms) * layers
    forward[-1] += forward_share * logits_ms
    backward[-1] += (1 - forward_share) * logits_ms
    return StageTimes(forward, backward)


class Step(NamedTuple):
    """A pass that a stage will do; ``position``: which chunk of the whole model, in the order of the data."""

    phase: Phase
    position: int
    micro_batch: int


def run(stages: StageTimes, num_chunks: int, num_micro_batches: int) -> list[Pass]:
    """Every pass with its time, by stage: each stage in its order, each pass as soon as it can be.

    With several chunks micro-batches must be a multiple of the stages: other orders wait for themselves.
    """
    num_stages = len(stages.forward_ms)
    took_ms = {"forward": stages.forward_ms / num_chunks, "backward": stages.backward_ms / num_chunks}
    orders = [order(stage, num_stages, num_chunks, num_micro_batches) for stage in range(num_stages)]
    done: list[list[Pass]] = [[] for _ in orders]
    ended_ms: dict[Step, float] = {}
    while any(len(passes) < len(steps) for passes, steps in zip(done, orders, strict=True)):
        for stage, steps in enumerate(orders):
            while len(done[stage]) < len(steps):
                step = steps[len(done[stage])]
                needed = _needed(step, num_stages * num_chunks - 1)
                if needed is not None and needed not in ended_ms:
                    break  # until the other stages have gone on
                free_ms = done[stage][-1].end_ms if done[stage] else 0.0
                start_ms = max(free_ms, ended_ms[needed] if needed is not None else 0.0)
                ended_ms[step] = start_ms + float(took_ms[step.phase][stage])
                done[stage].append(Pass(
                    stage=stage, chunk=step.position // num_stages, micro_batch=step.micro_batch, phase=step.phase,
                    start_ms=start_ms, end_ms=ended_ms[step],
                ))  # fmt: skip
    return [one for passes in done for one in passes]


def order(stage: int, num_stages: int, num_chunks: int, num_micro_batches: int) -> list[Step]:
    """The passes of a stage in the order of 1F1B, or of interleaved 1F1B where it has several chunks.

    First as many forward passes as fill the stages behind it, then one forward and one backward pass in turn, then the
    backward passes that are left. Interleaved, micro-batches go through each chunk in groups of p.
    """
    group = num_stages if num_chunks > 1 else num_micro_batches
    turns = [
        (chunk, micro_batch)
        for start in range(0, num_micro_batches, group)
        for chunk in range(num_chunks)
        for micro_batch in range(start, start + group)
    ]
    forward = [Step("forward", chunk * num_stages + stage, one) for chunk, one in turns]
    backward = [Step("backward", (num_chunks - 1 - chunk) * num_stages + stage, one) for chunk, one in turns]
    behind = num_stages - 1 - stage
    ahead = min(behind if num_chunks == 1 else 2 * behind + (num_chunks - 1) * num_stages, len(turns))
    in_turn = [step for pair in zip(forward[ahead:], backward, strict=False) for step in pair]
    return forward[:ahead] + in_turn + backward[len(turns) - ahead :]


def _needed(step: Step, last: int) -> Step | None:
    """The pass whose result ``step`` works on; ``last`` is the last position."""
    if step.phase == "forward":
        return step._replace(position=step.position - 1) if step.position else None
    return step._replace(position=step.position + 1) if step.position < last else step._replace(phase="forward")


def _logits_ms(c: Configuration, whole_ms: float, layers: Floats) -> float:
    """Of one micro-batch on the last stage, which the bubble says, or where they bind, their own part of the step.

    ``whole_ms`` is what the fullest stage takes for its layers; ``layers`` (p,) is relative to it.
    """
    parts = c.parts
    extra_ms = parts.logits_ms / c.num_micro_batches
    if extra_ms > 0 or len(layers) == 1:
        return extra_ms + whole_ms * (1 - float(layers[-1]))
    not_layers_ms = c.virtual_stages * parts.bubble_ms + whole_ms * (1 - float(layers.sum()))
    return min(max(not_layers_ms, 0.0), whole_ms * (1 - float(layers[-1])))  # more would bind


def _is_cut_by_speed(stage_layers: tuple[int, ...]) -> bool:
    """Whether layers differ by more than the first and last stage having the fewer ones of an even cut."""
    missing = max(stage_layers) * len(stage_layers) - sum(stage_layers)
    return missing >= len(stage_layers) or min(stage_layers[1:-1], default=max(stage_layers)) < max(stage_layers)


def _few_enough(num_stages: int, num_chunks: int, num_micro_batches: int) -> int:
    """How many micro-batches to work out: all, or whole rounds of p less."""
    most = MOST_PASSES // (2 * num_stages * num_chunks)
    if num_micro_batches <= most:
        return num_micro_batches
    worked = num_micro_batches - -(-(num_micro_batches - most) // num_stages) * num_stages
    if worked < num_stages:
        raise InvalidInput(
            f"a pipeline of {num_stages} stages with {num_chunks} chunks each takes more than {MOST_PASSES:,} passes "
            "to fill and empty", field="row", fix="choose a row with fewer pipeline stages",
        )  # fmt: skip
    return worked


def _later(one: Pass, num_left_out: int, later_ms: float) -> Pass:
    return one.model_copy(update={
        "micro_batch": one.micro_batch + num_left_out, "start_ms": one.start_ms + later_ms,
        "end_ms": one.end_ms + later_ms,
    })  # fmt: skip


_BESIDE = ("pipeline_ms", "data_parallel_ms", "optimizer_ms", "offload_ms", "host_ms")
"""Parts of a step that the drawing has no room for."""
