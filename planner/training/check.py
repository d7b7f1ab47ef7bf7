"""Proof that a training plan holds, re-derived configuration by configuration from spec and facts.

Shares no code with the search: degrees are multiplied out, money and energy added up, memory and time asked of
``profiles.training`` for one configuration at a time, and memory held against a floor of its own. ``check_mapping``
goes through every message of the mapping.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from planner.training.check_mapping import check_mapping
from planner.training.plan import Configuration, TrainingPlan
from planner.training.recompute import Recomputed, Truth, model_flops
from planner.training.shapes import described, shape_of
from planner.types import Check, Violation, broken
from profiles.types import Facts

RELATIVE = 1e-6
LARGEST_MFU = 1.0
BYTES_HELD = 2.0
"""Of a parameter, however it is trained: its 16 bits are on some GPU unless they are offloaded."""


def check(plan: TrainingPlan, facts: Facts) -> Check:
    """Every constraint of ``plan.spec`` that ``plan`` breaks."""
    if plan.outcome in ("infeasible", "no_solution"):
        violations = tuple(_without_answer(plan))
    elif not plan.ranked:
        violations = (broken("ranked", f"the plan is {plan.outcome} but lists no configuration"),)
    else:
        violations = tuple(_violations(plan, facts))
    return Check(passed=not violations, violations=violations)


def _without_answer(plan: TrainingPlan) -> Iterator[Violation]:
    if plan.ranked or plan.mapping:
        yield broken("outcome", f"the plan is {plan.outcome}, yet it lists configurations or a mapping")
    if plan.outcome == "infeasible" and not plan.conflicts:
        yield broken("conflicts", "the plan is infeasible and does not say why")


def _violations(plan: TrainingPlan, facts: Facts) -> Iterator[Violation]:
    cluster = Recomputed(plan.spec, shape_of(plan.spec, facts), facts)
    if plan.num_parameters != cluster.shape.num_parameters:
        yield broken("num_parameters", f"{plan.num_parameters}, but the shape has {cluster.shape.num_parameters}")
    if plan.shape is None or described(cluster.shape) != plan.shape:
        yield broken("shape", "is not that of the model in the spec")
    elsewhere = [e.configuration for e in plan.elastic if e.configuration is not None]
    for where, listed in (("ranked", plan.ranked), ("pareto", plan.pareto), ("elastic", tuple(elsewhere))):
        for i, configuration in enumerate(listed):
            field = f"{where}[{i}]"
            unknown = set(configuration.groups) - {group.name for group in plan.spec.cluster.groups}
            if unknown or not configuration.groups:
                yield broken(f"{field}.groups", f"{', '.join(sorted(unknown)) or 'none'}: not of the spec")
                continue
            wrong = tuple(_degrees(field, plan, configuration, cluster, grown=where == "elastic"))
            yield from wrong
            if wrong:  # nothing else can be computed from degrees that do not exist
                continue
            truth = cluster.truth(configuration)
            yield from _memory(field, configuration, truth, cluster)
            yield from _time(field, plan, configuration, truth, cluster)
            yield from _money(field, plan, configuration, truth)
            if where == "ranked":
                yield from _allowed(field, plan, configuration)
    yield from _limits(plan)
    yield from _order(plan)
    yield from _goodput(plan)
    yield from _elastic(plan)
    yield from check_mapping(plan, facts)


def _degrees(
    field: str, plan: TrainingPlan, c: Configuration, cluster: Recomputed, *, grown: bool
) -> Iterator[Violation]:
    """Degrees that exist, a batch that divides, layers that are all there."""
    spec = plan.spec
    world = c.tensor_parallel * c.pipeline_parallel * c.context_parallel * c.data_parallel
    if world != c.num_gpus:
        yield broken(f"{field}.num_gpus", f"degrees multiply to {world}, not {c.num_gpus}")
    groups = [group for group in spec.cluster.groups if group.name in c.groups]
    if c.num_gpus != c.num_nodes * groups[0].gpus_per_node:
        yield broken(
            f"{field}.num_nodes", f"{c.num_nodes} nodes of {groups[0].gpus_per_node} are not {c.num_gpus} GPUs"
        )
    elif not grown and c.num_nodes > sum(group.nodes for group in groups):
        yield broken(f"{field}.num_nodes", f"{c.num_nodes} nodes are more than the groups have")
    if c.data_parallel * c.micro_batch * c.num_micro_batches != spec.global_batch:
        yield broken(f"{field}.global_batch", "replicas × micro-batches × their size is not the global batch")
    replicas = c.data_parallel * c.context_parallel
    if replicas % c.shard_replicas or (c.sharding == "none" and c.shard_replicas > 1):
        yield broken(f"{field}.shard_replicas", f"{c.shard_replicas} of {replicas} replicas cannot share {c.sharding}")
    if c.recomputed_layers > max(c.stage_layers) or (c.recomputed_layers > 0) != (c.recompute == "full"):
        yield broken(f"{field}.recomputed_layers", f"{c.recomputed_layers} with recompute {c.recompute}")
    if c.sequence_parallel and c.tensor_parallel == 1:
        yield broken(f"{field}.sequence_parallel", "has nothing to split with tensor parallel 1")
    yield from _cuts(field, plan, c, cluster)


def _cuts(field: str, plan: TrainingPlan, c: Configuration, cluster: Recomputed) -> Iterator[Violation]:
    """The model can be cut so: heads, layers, tokens and experts divide."""
    spec, shape = plan.spec, cluster.shape
    world = c.tensor_parallel * c.pipeline_parallel * c.context_parallel * c.data_parallel
    if shape.num_attention_heads % c.tensor_parallel:
        yield broken(
            f"{field}.tensor_parallel", f"{c.tensor_parallel} does not divide {shape.num_attention_heads} heads"
        )
    if len(c.stage_layers) != c.pipeline_parallel or sum(c.stage_layers) != shape.num_layers or min(c.stage_layers) < 1:
        yield broken(
            f"{field}.stage_layers", f"{list(c.stage_layers)} are not {shape.num_layers} layers, one at least each"
        )
    if max(c.stage_layers) % c.virtual_stages:
        yield broken(f"{field}.virtual_stages", f"{c.virtual_stages} chunks do not divide {max(c.stage_layers)} layers")
    if c.virtual_stages > 1 and c.num_micro_batches % c.pipeline_parallel:
        yield broken(f"{field}.virtual_stages", "interleaving needs whole rounds of micro-batches")
    if c.context_parallel > 1 and spec.sequence_length % (2 * c.context_parallel):
        yield broken(
            f"{field}.context_parallel", f"cannot split {spec.sequence_length} tokens into twice as many parts"
        )
    if max(shape.num_experts, 1) % c.expert_parallel or world // c.pipeline_parallel % c.expert_parallel:
        yield broken(f"{field}.expert_parallel", f"{c.expert_parallel} divides not both experts and a stage's GPUs")


def _memory(field: str, c: Configuration, truth: Truth, cluster: Recomputed) -> Iterator[Violation]:
    held = c.memory
    parts = (held.parameters_gib, held.gradients_gib, held.optimizer_gib, held.activations_gib, held.logits_gib,
             held.buffers_gib)  # fmt: skip
    if _differ(sum(parts), c.memory_gib_per_gpu):
        yield broken(f"{field}.memory", f"parts add up to {sum(parts):.6g} GiB, not {c.memory_gib_per_gpu:.6g}")
    if _differ(c.memory_limit_gib, truth.memory_limit_gib):
        yield broken(f"{field}.memory_limit_gib", f"{c.memory_limit_gib:.6g}, but it is {truth.memory_limit_gib:.6g}")
    if _differ(c.memory_gib_per_gpu, truth.memory_gib):
        yield broken(f"{field}.memory_gib_per_gpu", f"{c.memory_gib_per_gpu:.6g}, but it is {truth.memory_gib:.6g}")
    if truth.memory_gib > truth.memory_limit_gib * (1 + RELATIVE):
        yield broken(f"{field}.memory", f"{truth.memory_gib:.6g} GiB do not fit in {truth.memory_limit_gib:.6g}")
    yield from _outside(field, c, truth)
    if c.offload in ("none", "optimizer_cpu", "optimizer_nvme") and cluster.spec.finetune is None:
        shards = c.shard_replicas if c.sharding == "zero3" else 1
        spread = c.tensor_parallel * c.pipeline_parallel * c.expert_parallel * shards
        floor = BYTES_HELD * cluster.shape.num_parameters / spread / 2**30
        if c.memory_gib_per_gpu < floor * (1 - RELATIVE):
            yield broken(f"{field}.memory", f"the weights alone are {floor:.6g} GiB per GPU")


def _outside(field: str, c: Configuration, truth: Truth) -> Iterator[Violation]:
    """What is offloaded has a place."""
    places = (("host", c.memory.host_gib_per_gpu, truth.host_gib, truth.host_limit_gib),
              ("nvme", c.memory.nvme_gib_per_gpu, truth.nvme_gib, truth.nvme_limit_gib))  # fmt: skip
    for name, said, needed, room in places:
        if _differ(said, needed):
            yield broken(f"{field}.memory.{name}_gib_per_gpu", f"{said:.6g}, but it is {needed:.6g}")
        if needed > room * (1 + RELATIVE) + 1e-6:
            yield broken(f"{field}.memory", f"{needed:.6g} GiB do not fit in {room:.6g} of {name} memory per GPU")


def _time(field: str, plan: TrainingPlan, c: Configuration, truth: Truth, cluster: Recomputed) -> Iterator[Violation]:
    parts = sum(c.parts.model_dump().values())
    if _differ(parts, c.step_ms):
        yield broken(f"{field}.parts", f"add up to {parts:.6g} ms, not {c.step_ms:.6g}")
    if truth.links_are_even and _differ(c.step_ms, truth.step_ms):
        yield broken(f"{field}.step_ms", f"{c.step_ms:.6g}, but it is {truth.step_ms:.6g}")
    if c.step_ms < truth.least_step_ms * (1 - RELATIVE):
        yield broken(
            f"{field}.step_ms", f"{c.step_ms:.6g}, but no placement makes it less than {truth.least_step_ms:.6g}"
        )
    tokens = plan.spec.global_batch * plan.spec.sequence_length
    if _differ(c.tokens_per_s, tokens / c.step_ms * 1e3):
        yield broken(f"{field}.tokens_per_s", f"{c.tokens_per_s:.6g} are not {tokens} in {c.step_ms:.6g} ms")
    flops = model_flops(cluster.shape, plan.spec.sequence_length, plan.spec.global_batch)
    if plan.spec.finetune is not None:  # no gradients of weights, or a second forward pass in place of both gradients
        flops *= 2 / 3
    mfu = flops / (c.step_ms / 1e3) / truth.peak_flop_per_s
    if _differ(c.mfu, mfu) or not 0 < c.mfu <= LARGEST_MFU:
        yield broken(f"{field}.mfu", f"{c.mfu:.6g}, but it is {mfu:.6g}")


def _money(field: str, plan: TrainingPlan, c: Configuration, truth: Truth) -> Iterator[Violation]:
    spec = plan.spec
    steps = max(math.ceil(spec.tokens / (spec.global_batch * spec.sequence_length) - 1e-9), 1)
    days = steps * c.step_ms / 1e3 / 86_400 / c.goodput_fraction if c.goodput_fraction > 0 else math.inf
    if _differ(c.days_to_train, days):
        yield broken(f"{field}.days_to_train", f"{c.days_to_train:.6g}, but {steps} steps take {days:.6g}")
    if truth.usd_per_gpu_hour is None:
        if c.usd_to_train is not None:
            yield broken(f"{field}.usd_to_train", "no price is known")
    elif c.usd_to_train is None or _differ(c.usd_to_train, days * 24 * c.num_gpus * truth.usd_per_gpu_hour):
        usd = days * 24 * c.num_gpus * truth.usd_per_gpu_hour
        yield broken(f"{field}.usd_to_train", f"{c.usd_to_train}, but it is {usd:.6g}")
    if _differ(c.kwh, days * 24 * c.power_w / 1000):
        yield broken(f"{field}.kwh", f"{c.kwh:.6g}, but {c.power_w:.6g} W for {days:.6g} days are another amount")
    if not truth.least_w <= c.power_w <= truth.most_w:
        yield broken(f"{field}.power_w", f"{c.power_w:.6g} is not between idle and TDP of the GPUs")


def _allowed(field: str, plan: TrainingPlan, c: Configuration) -> Iterator[Violation]:
    """Choices that the spec leaves open."""
    choices = plan.spec.choices
    for name in ("tensor_parallel", "pipeline_parallel", "context_parallel", "expert_parallel", "micro_batch",
                 "virtual_stages"):  # fmt: skip
        wanted = getattr(choices, name)
        if wanted and getattr(c, name) not in wanted:
            yield broken(f"{field}.{name}", f"{getattr(c, name)} is not one of {list(wanted)}")
    for name, wanted in (("framework", choices.frameworks), ("recompute", choices.recompute),
                         ("precision", choices.precision), ("offload", choices.offload)):  # fmt: skip
        if getattr(c, name) not in wanted:
            yield broken(f"{field}.{name}", f"{getattr(c, name)} is not one of {list(wanted)}")
    if c.sharding not in {"none" if zero == 0 else f"zero{zero}" for zero in choices.zero}:
        yield broken(f"{field}.sharding", f"{c.sharding}: zero may be {list(choices.zero)}")
    if c.tensor_parallel > 1 and c.sequence_parallel not in choices.sequence_parallel:
        always = c.framework == "fsdp" and c.sequence_parallel and True in choices.sequence_parallel
        if not always:
            yield broken(f"{field}.sequence_parallel", f"{c.sequence_parallel} is not among the choices")


def _limits(plan: TrainingPlan) -> Iterator[Violation]:
    spec = plan.spec
    for i, c in enumerate(plan.ranked):
        if spec.deadline_days is not None and c.days_to_train > spec.deadline_days * (1 + RELATIVE):
            yield broken("deadline_days", f"ranked[{i}] takes {c.days_to_train:.6g} of {spec.deadline_days:g} days")
        if spec.budget_usd is not None and (c.usd_to_train or math.inf) > spec.budget_usd * (1 + RELATIVE):
            yield broken("budget_usd", f"ranked[{i}] costs {c.usd_to_train} of {spec.budget_usd:g}")
        if spec.power_limit_w is not None and c.power_w > spec.power_limit_w * (1 + RELATIVE):
            yield broken("power_limit_w", f"ranked[{i}] draws {c.power_w:.6g} of {spec.power_limit_w:g} W")


def _order(plan: TrainingPlan) -> Iterator[Violation]:
    """Best first; objective, bound and gap; no point of the front beaten by another."""
    values = [_value(c, plan.spec.objective) for c in plan.ranked]
    for i, (better, worse) in enumerate(pairwise(values)):
        if better > worse * (1 + RELATIVE):
            yield broken("ranked", f"entry {i + 1} is better than entry {i}: {worse:.6g} before {better:.6g}")
    if plan.objective is None or _differ(plan.objective, values[0]):
        yield broken("objective", f"{plan.objective}, but the first configuration has {values[0]:.6g}")
    elif plan.bound is not None:
        if plan.bound > plan.objective * (1 + RELATIVE):
            yield broken("bound", f"{plan.bound:.6g} is above the objective {plan.objective:.6g}")
        gap = (plan.objective - plan.bound) / plan.objective if plan.objective > 0 else 0.0
        if plan.gap is None or not math.isclose(plan.gap, gap, abs_tol=1e-9):
            yield broken("gap", f"{plan.gap}, but it is {gap:.6g}")
    points = [(c.days_to_train, c.usd_to_train or 0.0, c.kwh) for c in plan.pareto]
    for i, one in enumerate(points):
        if any(all(a <= b * (1 - RELATIVE) for a, b in zip(other, one, strict=True)) for other in points):
            yield broken("pareto", f"entry {i} is beaten in time, money and energy by another")


def _goodput(plan: TrainingPlan) -> Iterator[Violation]:
    good, best, failures = plan.goodput, plan.ranked[0], plan.spec.failures
    if good is None:
        yield broken("goodput", "is missing")
        return
    mtbf_s = failures.mtbf_gpu_hours * 3600 / best.num_gpus
    work_s, segment_s = good.checkpoint_every_s, good.checkpoint_every_s + good.checkpoint_s
    share = work_s / ((mtbf_s + good.restart_s) * math.expm1(segment_s / mtbf_s)) if segment_s < 500 * mtbf_s else 0.0
    write_s = good.checkpoint_gib * 2**30 / 1e9 / failures.storage_gb_per_s
    if plan.num_parameters is None or _differ(good.checkpoint_gib, plan.num_parameters * 14 / 2**30):
        yield broken("goodput.checkpoint_gib", f"{good.checkpoint_gib:.6g}, but a parameter takes 14 bytes of it")
    if _differ(good.checkpoint_s, write_s * failures.blocking_share):
        yield broken("goodput.checkpoint_s", f"{good.checkpoint_s:.6g} is not what the storage takes")
    if _differ(good.restart_s, failures.restart_s + write_s):
        yield broken("goodput.restart_s", f"{good.restart_s:.6g} is not a restart and reading the checkpoint")
    if _differ(good.mtbf_hours * 3600, mtbf_s):
        yield broken("goodput.mtbf_hours", f"{good.mtbf_hours:.6g}, but it is {mtbf_s / 3600:.6g}")
    if _differ(good.goodput_fraction, share) or _differ(best.goodput_fraction, share):
        yield broken("goodput.goodput_fraction", f"{good.goodput_fraction:.6g}, but it is {share:.6g}")


def _elastic(plan: TrainingPlan) -> Iterator[Violation]:
    for i, advice in enumerate(plan.elastic):
        c = advice.configuration
        if c is not None and (c.num_nodes > advice.num_nodes or c.num_gpus > advice.num_gpus):
            yield broken(f"elastic[{i}]", f"is for {advice.num_nodes} nodes but its configuration uses {c.num_nodes}")
        if c is None and not advice.why_not:
            yield broken(f"elastic[{i}]", "has no configuration and does not say why")


def _value(c: Configuration, objective: str) -> float:
    if objective == "money":
        return math.inf if c.usd_to_train is None else c.usd_to_train
    return c.days_to_train if objective == "time" else c.kwh


def _differ(one: float, other: float) -> bool:
    return not math.isclose(one, other, rel_tol=RELATIVE, abs_tol=1e-9)
