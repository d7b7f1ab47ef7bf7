"""A training plan for people: headline, ranked configurations, where time and memory go, what else could be done."""

from __future__ import annotations

from collections.abc import Iterator

from planner.figures import figure
from planner.training.plan import Configuration, Elastic, TrainingPlan
from planner.types import Table, View

MOST_RANKED = 10
MOST_ELASTIC = 14

_PARTS = {
    "compute_ms": "computing", "recompute_ms": "recomputing", "logits_ms": "logits",
    "tensor_parallel_ms": "tensor parallel", "context_parallel_ms": "context parallel",
    "expert_parallel_ms": "expert parallel", "bubble_ms": "pipeline bubble", "pipeline_ms": "pipeline messages",
    "data_parallel_ms": "data parallel", "optimizer_ms": "optimizer", "offload_ms": "offload", "host_ms": "host",
}  # fmt: skip


def view(plan: TrainingPlan) -> View:
    """What to show of ``plan``."""
    if not plan.ranked:
        return _without_answer(plan)
    best = plan.ranked[0]
    facts = [
        ("step", f"{figure(best.step_ms / 1000)} s ± {best.step_error:.0%} ({best.origin}), {best.mfu:.1%} MFU, "
                 f"{figure(best.tokens_per_s)} tokens/s"),
        ("training", f"{figure(best.days_to_train)} days{_usd(best)}, {figure(best.kwh / 1000)} MWh"),
        ("memory", f"{figure(best.memory_gib_per_gpu)} of {figure(best.memory_limit_gib)} GiB on the fullest GPU"),
        ("proof", _proof(plan)),
    ]  # fmt: skip
    tables = (_ranked(plan), _time(best), _memory(best), _pareto(plan), _elastic(plan), _mapping(plan))
    return View(
        headline=f"{plan.spec.name}: {_degrees(best)} on {best.num_nodes} nodes ({best.num_gpus} GPUs)",
        facts=tuple(facts),
        tables=tuple(table for table in tables if table.rows),
        notes=plan.explanation,
    )


def _without_answer(plan: TrainingPlan) -> View:
    said = {"infeasible": "nothing trains this as asked", "no_solution": "the time limit came first"}
    notes = [conflict.detail for conflict in plan.conflicts]
    notes += [f"{r.limit}: {figure(r.current)} → {figure(r.needed)}: {r.detail}"
              for conflict in plan.conflicts for r in conflict.relaxations]  # fmt: skip
    fixes = Table(
        title="What would fit",
        columns=("change", "GiB per GPU"),
        rows=tuple((fix.change, figure(fix.memory_gib)) for fix in plan.fixes),
        numeric=("GiB per GPU",),
    )
    return View(
        headline=f"{plan.spec.name}: {plan.outcome}: {said.get(plan.outcome, '')}",
        facts=(("evaluated", f"{plan.num_evaluated:,} configurations, {plan.num_fitting:,} fit in memory"),),
        tables=(fixes,) if fixes.rows else (),
        notes=tuple(notes),
    )


def _proof(plan: TrainingPlan) -> str:
    gap = "no bound" if plan.gap is None else f"within {plan.gap:.2%} of the proven bound"
    verdict = "not checked" if plan.check is None else "check passed" if plan.check.passed else "CHECK FAILED"
    return (
        f"{plan.outcome} in the model, {gap}; {plan.num_evaluated:,} configurations evaluated, "
        f"{plan.num_fitting:,} fit; {verdict}; {plan.solve_seconds:.2f} s"
    )


def _usd(configuration: Configuration) -> str:
    usd = configuration.usd_to_train
    return "" if usd is None else f", ${usd:,.0f}"


def _degrees(c: Configuration) -> str:
    degrees = (("TP", c.tensor_parallel), ("PP", c.pipeline_parallel), ("CP", c.context_parallel),
               ("EP", c.expert_parallel), ("DP", c.data_parallel))  # fmt: skip
    text = " · ".join(f"{name} {degree}" for name, degree in degrees if degree > 1 or name in ("TP", "PP", "DP"))
    return f"{c.framework}, {text}, micro-batch {c.micro_batch}"


def _ranked(plan: TrainingPlan) -> Table:
    shown = plan.ranked[:MOST_RANKED]
    more = f", {len(shown)} of {len(plan.ranked)} (--json has all)" if len(plan.ranked) > len(shown) else ""
    numeric = ("TP", "PP", "CP", "EP", "DP", "batch", "v", "GPUs", "step s", "±", "MFU", "GiB", "days", "$")
    return Table(
        title=f"Configurations, best first{more}",
        columns=("framework", "TP", "PP", "CP", "EP", "DP", "batch", "v", "recompute", "sharding", "GPUs", "step s",
                 "±", "MFU", "GiB", "days", "$"),
        rows=tuple(_row(c) for c in shown),
        numeric=numeric,
    )  # fmt: skip


def _row(c: Configuration) -> tuple[str, ...]:
    full = sum(c.stage_layers) == c.recomputed_layers * len(c.stage_layers)
    part = "" if c.recompute != "full" or full else f" of {c.recomputed_layers}"
    shards = "" if c.sharding == "none" else f" × {c.shard_replicas}"
    return (
        c.framework, *(str(n) for n in (c.tensor_parallel, c.pipeline_parallel, c.context_parallel, c.expert_parallel,
                                        c.data_parallel, c.micro_batch, c.virtual_stages)),
        f"{c.recompute}{part}", f"{c.sharding}{shards}", f"{c.num_gpus:,}", figure(c.step_ms / 1000),
        f"{c.step_error:.0%}", f"{c.mfu:.1%}", figure(c.memory_gib_per_gpu), figure(c.days_to_train),
        "?" if c.usd_to_train is None else f"{c.usd_to_train:,.0f}",
    )  # fmt: skip


def _time(c: Configuration) -> Table:
    times = c.parts.model_dump()
    rows = tuple((name, figure(times[field]), f"{times[field] / c.step_ms:.1%}") for field, name in _PARTS.items()
                 if times[field] > 0)  # fmt: skip
    return Table(
        title="Where the time of a step goes", columns=("part", "ms", "share"), rows=rows, numeric=("ms", "share")
    )


def _memory(c: Configuration) -> Table:
    held = c.memory
    parts = (("parameters", held.parameters_gib), ("gradients", held.gradients_gib), ("optimizer", held.optimizer_gib),
             ("activations", held.activations_gib), ("logits", held.logits_gib), ("buffers", held.buffers_gib),
             ("host memory, per GPU", held.host_gib_per_gpu), ("NVMe, per GPU", held.nvme_gib_per_gpu))  # fmt: skip
    rows = tuple((name, figure(gib)) for name, gib in parts if gib > 0)
    return Table(title="What the fullest GPU holds", columns=("part", "GiB"), rows=rows, numeric=("GiB",))


def _pareto(plan: TrainingPlan) -> Table:
    columns = ("configuration", "GPUs", "days", "$", "MWh")
    rows = tuple(
        (_degrees(c), f"{c.num_gpus:,}", figure(c.days_to_train),
         "?" if c.usd_to_train is None else f"{c.usd_to_train:,.0f}", figure(c.kwh / 1000))
        for c in plan.pareto
    )  # fmt: skip
    return Table(
        title="Time against money and energy: none is better in all",
        columns=columns,
        rows=rows if len(rows) > 1 else (),
        numeric=columns[1:],
    )


def _elastic(plan: TrainingPlan) -> Table:
    columns = ("nodes", "configuration", "step s", "days", "$", "switch min")
    shown = plan.elastic if len(plan.elastic) <= MOST_ELASTIC else plan.elastic[-MOST_ELASTIC:]
    return Table(
        title="With other numbers of nodes",
        columns=columns,
        rows=tuple(_elastic_row(e) for e in shown),
        numeric=(columns[0], *columns[2:]),
    )


def _elastic_row(e: Elastic) -> tuple[str, ...]:
    c = e.configuration
    if c is None:
        return (str(e.num_nodes), e.why_not, "", "", "", "")
    usd = "?" if c.usd_to_train is None else f"{c.usd_to_train:,.0f}"
    return (str(e.num_nodes), _degrees(c), figure(c.step_ms / 1000), figure(c.days_to_train), usd,
            figure(e.switch_s / 60))  # fmt: skip


def _mapping(plan: TrainingPlan) -> Table:
    gain = plan.mapping_gain
    if gain is None:
        rows: Iterator[tuple[str, str]] = iter(())
    else:
        rows = iter((
            ("ranks in order", figure(gain.default_seconds)), ("best simple order", figure(gain.best_simple_seconds)),
            ("this mapping", figure(gain.seconds)), ("no mapping is below", figure(gain.bound_seconds)),
        ))  # fmt: skip
    return Table(
        title=f"Communication of a step by the links{'' if gain is None else f' ({gain.method})'}",
        columns=("mapping", "s"),
        rows=tuple(rows),
        numeric=("s",),
    )
