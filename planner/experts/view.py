"""An experts plan for people: headline, comparison, workloads, moves, trade-offs."""

from __future__ import annotations

from planner.experts.plan import Baseline, ExpertsPlan
from planner.types import Table, View


def view(plan: ExpertsPlan) -> View:
    """What to show of ``plan``. Everything is here; a surface only decides how to draw it."""
    tables = (_comparison(plan), _workloads(plan), _curve(plan))
    return View(
        headline=_headline(plan),
        facts=tuple(_facts(plan)),
        tables=tuple(table for table in tables if table.rows),
        notes=plan.advice,
    )


def _headline(plan: ExpertsPlan) -> str:
    topology = plan.spec.topology
    num_experts = plan.spec.shape[1]
    nodes = f" on {topology.nodes} nodes" if topology.nodes > 1 else ""
    redundant = topology.num_slots - num_experts
    return (
        f"{plan.spec.name}: {num_experts} experts and {redundant} redundant copies per layer on {topology.gpus} GPUs"
        f"{nodes}, balancedness {plan.balancedness:.4f}"
    )


def _facts(plan: ExpertsPlan) -> list[tuple[str, str]]:
    layers = len(plan.physical_to_logical_map) - len(plan.dense_layers)
    passed = f" ({len(plan.dense_layers)} without load passed through)" if plan.dense_layers else ""
    facts = [("layers", f"{layers} placed{passed}")]
    if plan.balancedness_dispatched is not None:
        facts.append(("with dispatch weights", f"balancedness {plan.balancedness_dispatched:.4f}"))
    source = "measured routing" if plan.hops_measured else "layers taken as independent"
    hops = f"{plan.cross_gpu_hops_per_token:.2f} between GPUs, {plan.cross_node_hops_per_token:.2f} between nodes"
    facts.append(("hops per token", f"{hops} ({source})"))
    if plan.node_fan_out is not None and plan.spec.topology.nodes > 1:
        facts.append(("nodes per token and layer", f"{plan.node_fan_out:.3f}"))
    if plan.off_home_share is not None:
        dispatched = plan.off_home_share_dispatched
        weighted = "" if dispatched is None else f", {dispatched:.1%} with dispatch weights"
        facts.append(("served off the home node", f"{plan.off_home_share:.1%} of tokens{weighted}"))
    if plan.moves_per_layer:
        mean = sum(plan.moves_per_layer) / len(plan.moves_per_layer)
        size = "" if plan.moved_gib is None else f", {plan.moved_gib:,.1f} GiB in all"
        facts.append(("moves", f"{mean:.1f} slots per layer, at most {max(plan.moves_per_layer)}{size}"))
    facts.append(("proof", _proof(plan)))
    return facts


def _proof(plan: ExpertsPlan) -> str:
    gap = "no bound" if plan.gap is None else f"within {plan.gap:.2%} of the proven bound {plan.bound:.4f}"
    verdict = "not checked" if plan.check is None else "check passed" if plan.check.passed else "CHECK FAILED"
    return f"{plan.outcome}, {gap}; {verdict}; {plan.method}, {plan.solve_seconds:.3f} s"


def _comparison(plan: ExpertsPlan) -> Table:
    names = {"default": "experts in order", "greedy": "EPLB's greedy"}
    rows = [("this plan", plan.balancedness, plan.cross_gpu_hops_per_token, plan.cross_node_hops_per_token,
             plan.seconds_per_step)]  # fmt: skip
    for name, other in plan.baselines.items():
        rows.append((names[name], *_figures(other)))
    return Table(
        title="Against other placements (even dispatch)",
        columns=("placement", "balancedness", "hops between GPUs", "between nodes", "MoE ms per step"),
        rows=tuple((name, f"{b:.4f}", f"{g:.2f}", f"{n:.2f}", f"{1000 * (s or 0):.2f}") for name, b, g, n, s in rows),
        numeric=("balancedness", "hops between GPUs", "between nodes", "MoE ms per step"),
    )


def _figures(other: Baseline) -> tuple[float, float, float, float]:
    return other.balancedness, other.cross_gpu_hops_per_token, other.cross_node_hops_per_token, other.seconds_per_step


def _workloads(plan: ExpertsPlan) -> Table:
    if len(plan.workloads) < 2:
        return Table(title="", columns=(), rows=())
    return Table(
        title="Balancedness by workload",
        columns=("workload", "even dispatch", "the plan's weights", "its own best weights"),
        rows=tuple(
            (
                w.name,
                f"{w.balancedness:.4f}",
                _or_blank(w.balancedness_dispatched),
                _or_blank(w.balancedness_best_dispatch),
            )
            for w in plan.workloads
        ),
        numeric=("even dispatch", "the plan's weights", "its own best weights"),
    )


def _curve(plan: ExpertsPlan) -> Table:
    return Table(
        title="What other choices would give",
        columns=("choice", "slots", "balancedness", "at most", "hops per token"),
        rows=tuple(
            (
                p.label,
                str(p.num_slots),
                f"{p.balancedness:.4f}",
                _or_blank(p.balancedness_bound),
                _or_blank(p.hops_per_token),
            )
            for p in plan.curve
        ),
        numeric=("slots", "balancedness", "at most", "hops per token"),
    )


def _or_blank(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
