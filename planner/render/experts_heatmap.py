"""Load of every GPU and layer, before and after, as one self-contained HTML page of two SVG pictures."""

from __future__ import annotations

from collections import defaultdict
from html import escape

from planner.experts.plan import ExpertsPlan

# From idle to twice the mean: blue is cool, near white is the mean, red is hot. No order in brightness, on purpose: the
# eye should find the mean.
_COLOURS = (
    "#2166ac",
    "#4393c3",
    "#92c5de",
    "#d1e5f0",
    "#f7f7f7",
    "#fddbc7",
    "#f4a582",
    "#d6604d",
    "#b2182b",
    "#67001f",
)
_EDGES = (0.5, 0.7, 0.85, 0.95, 1.05, 1.15, 1.3, 1.5, 2.0)
_CELL = 10

Rows = list[list[float]]


def heatmap(plan: ExpertsPlan) -> dict[str, str]:
    """``heatmap.html``: before is the placement in use, or experts in order where none was given."""
    layers = [i for i in range(len(plan.physical_to_logical_map)) if i not in set(plan.dense_layers)]
    current = plan.spec.current
    num_experts, num_slots = plan.spec.shape[1], plan.spec.topology.num_slots
    before = (
        {layer: current.physical_to_logical_map[layer] for layer in layers}
        if current is not None
        else dict.fromkeys(layers, tuple(slot % num_experts for slot in range(num_slots)))
    )
    after = {layer: plan.physical_to_logical_map[layer] for layer in layers}
    name = "before: the placement in use" if current is not None else "before: experts in order"
    pictures = "\n".join(
        _picture(title, layers, _gpu_loads(plan, rows))
        for title, rows in ((name, before), (f"after: {plan.method}", after))
    )
    legend = "".join(f'<span style="background:{c}"></span>' for c in _COLOURS)
    return {
        "heatmap.html": (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(plan.spec.name)}</title>\n'
            "<style>body{font:14px system-ui;margin:2em;color:#222;background:#fff}"
            ".legend span{display:inline-block;width:2em;height:1em}figure{margin:1.5em 0}svg{max-width:100%}</style>"
            f"</head><body>\n<h1>{escape(plan.spec.name)}: load per GPU and layer</h1>\n"
            f'<p class="legend">half the mean or less {legend} twice the mean or more; even dispatch, '
            "mean over workloads</p>\n"
            f"{pictures}\n</body></html>\n"
        )
    }


def _gpu_loads(plan: ExpertsPlan, rows: dict[int, tuple[int, ...]]) -> Rows:
    """Load of every GPU in units of the mean one, layer by layer."""
    topology = plan.spec.topology
    shares = _expert_shares(plan)
    loads = []
    for layer, row in rows.items():
        copies: defaultdict[int, int] = defaultdict(int)
        for expert in row:
            copies[expert] += 1
        gpu = [0.0] * topology.gpus
        for slot, expert in enumerate(row):
            gpu[slot // topology.slots_per_gpu] += shares[layer][expert] / copies[expert] * topology.gpus
        loads.append(gpu)
    return loads


def _expert_shares(plan: ExpertsPlan) -> Rows:
    """Share of each layer's tokens per expert, the mean over workloads; zeros in dense layers."""
    num_layers, num_experts = plan.spec.shape
    shares = [[0.0] * num_experts for _ in range(num_layers)]
    if not plan.spec.workloads and plan.spec.trace is not None:
        ids = plan.spec.trace.array()
        for token in ids.reshape(-1, *ids.shape[1:]):
            for layer, experts in enumerate(token.tolist()):
                for expert in experts:
                    shares[layer][expert] += 1 / (ids.shape[0] * ids.shape[2])
        return shares
    for layer in range(num_layers):
        told = [(w.weight, w.counts[layer], sum(w.counts[layer])) for w in plan.spec.workloads]
        known = sum(weight for weight, _, total in told if total)
        for weight, counts, total in told:
            if total:
                for expert, count in enumerate(counts):
                    shares[layer][expert] += weight / known * count / total
    return shares


def _picture(title: str, layers: list[int], loads: Rows) -> str:
    """One SVG: a column per GPU, a row per layer; cells of one colour share one path, which keeps the page small."""
    paths: defaultdict[int, list[str]] = defaultdict(list)
    for y, row in enumerate(loads):
        for x, load in enumerate(row):
            colour = sum(load > edge for edge in _EDGES)
            paths[colour].append(f"M{x} {y}h1v1h-1z")
    width, height = len(loads[0]), len(loads)
    balance = sum(sum(row) / len(row) / max(row) for row in loads) / len(loads)
    drawn = "".join(f'<path fill="{_COLOURS[c]}" d="{"".join(p)}"/>' for c, p in sorted(paths.items()))
    caption = (
        f"{escape(title)}; balancedness {balance:.3f}; layers {layers[0]} (top) to {layers[-1]}, GPUs 0 to {width - 1}"
    )
    return (
        f'<figure><figcaption>{caption}</figcaption><svg role="img" aria-label="{caption}" width="{width * _CELL}" '
        f'height="{height * _CELL}" viewBox="0 0 {width} {height}" shape-rendering="crispEdges">{drawn}</svg></figure>'
    )
