"""Load of every GPU and layer, before and after, as one self-contained HTML page of two SVG pictures."""

from __future__ import annotations

from collections import defaultdict
from html import escape

from planner.experts.loads import loads
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

Rows = tuple[tuple[float, ...], ...]


def heatmap(plan: ExpertsPlan) -> dict[str, str]:
    """``heatmap.html``: before is the placement in use, or experts in order where none was given."""
    found = loads(plan)
    given = plan.spec.current is not None
    rows: dict[str, Rows] = {placement.name: placement.gpu_loads for placement in found.placements}
    before = "current" if given else "default"
    titles = {
        before: f"before: {'the placement in use' if given else 'experts in order'}",
        "plan": f"after: {plan.method}",
    }
    pictures = "\n".join(_picture(title, found.layers, rows[name]) for name, title in titles.items())
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


def _picture(title: str, layers: tuple[int, ...], rows: Rows) -> str:
    """One SVG: a column per GPU, a row per layer; cells of one colour share one path, which keeps the page small."""
    paths: defaultdict[int, list[str]] = defaultdict(list)
    for y, row in enumerate(rows):
        for x, load in enumerate(row):
            colour = sum(load > edge for edge in _EDGES)
            paths[colour].append(f"M{x} {y}h1v1h-1z")
    width, height = len(rows[0]), len(rows)
    balance = sum(sum(row) / len(row) / max(row) for row in rows) / len(rows)
    drawn = "".join(f'<path fill="{_COLOURS[c]}" d="{"".join(p)}"/>' for c, p in sorted(paths.items()))
    caption = (
        f"{escape(title)}; balancedness {balance:.3f}; layers {layers[0]} (top) to {layers[-1]}, GPUs 0 to {width - 1}"
    )
    return (
        f'<figure><figcaption>{caption}</figcaption><svg role="img" aria-label="{caption}" width="{width * _CELL}" '
        f'height="{height * _CELL}" viewBox="0 0 {width} {height}" shape-rendering="crispEdges">{drawn}</svg></figure>'
    )
