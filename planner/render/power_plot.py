"""A row's worst day and its other choices, as one self-contained HTML page of SVG pictures. Needs no script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from itertools import groupby

from planner.power.plan import Judged, Minute, PowerPlan

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BELOW = 960, 320, 56, 150, 14, 42
"""Of a picture in pixels: its field, and the room around it."""

DAY_S = 86_400

STYLE = """:root{color-scheme:light dark;--ink:#222;--faint:#767676;--grid:#e4e4e4;--paper:#fff;--power:#0072b2;
--natural:#999;--cap:#e69f00;--brake:#cc3311;--held:#009e73;--broken:#cc3311}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--faint:#9a9a9a;--grid:#333;--paper:#161616;--power:#56b4e9;
--natural:#888;--cap:#e69f00;--brake:#ff6b57;--held:#2fc79a;--broken:#ff6b57}}
body{font:14px system-ui;margin:2em;color:var(--ink);background:var(--paper)}figure{margin:1.5em 0}
figcaption{font-weight:600;margin-bottom:.4em}svg{max-width:100%;height:auto}text{font:11px system-ui;fill:var(--faint)}
.grid{stroke:var(--grid)}.power,.natural{fill:none;stroke-width:1.2}.power{stroke:var(--power)}
.natural{stroke:var(--natural)}.step{stroke:var(--cap);stroke-dasharray:5 4}
.brake{stroke:var(--brake);stroke-dasharray:5 4}.cap{fill:var(--cap)}.braked{fill:var(--brake);fill-opacity:.6}
.held{fill:var(--held)}.broken{fill:var(--broken)}.limit{stroke:var(--brake);stroke-dasharray:5 4}
.legend span{display:inline-block;width:1.4em;height:.7em;margin:0 .4em 0 1.2em}"""

Scale = Callable[[float], float]


def plot(plan: PowerPlan) -> dict[str, str]:
    """``row_power.html``: power over the worst day; numbers of servers against how near slowdown is to its limits."""
    title = f"{plan.spec.name}: {plan.num_servers} servers within {(plan.budget_w or 0) / 1000:,.0f} kW"
    pictures = "\n".join(picture for picture in (_day(plan), _choices(plan)) if picture)
    return {
        "row_power.html": (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
            '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">\n'
            f"<style>{STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n"
            f"{pictures}\n</body></html>\n"
        )
    }


def _day(plan: PowerPlan) -> str:
    """Highest power of each minute, with and without caps; bands where a cap or the brake was in force."""
    policy = plan.policy
    if not plan.trace or policy is None:
        return ""
    highest = max([policy.brake_at, *(minute.uncapped_utilisation for minute in plan.trace)])
    lowest = min([*(step.release for step in policy.steps), *(minute.utilisation for minute in plan.trace)])
    low, high = max(0.0, lowest - 0.05), highest + 0.03
    x = _scale(0, DAY_S, LEFT, LEFT + WIDTH)
    y = _scale(low, high, TOP + HEIGHT, TOP)
    parts = [_grid(x, y, [(h * 3600, f"{h}:00") for h in range(0, 25, 3)], _ticks(low, high), (0, DAY_S), (low, high))]
    parts += _bands(plan.trace, len(policy.steps), x)
    parts += [
        _line("natural", [(x(m.second), y(m.uncapped_utilisation)) for m in plan.trace]),
        _line("power", [(x(m.second), y(m.utilisation)) for m in plan.trace]),
    ]
    thresholds: dict[float, str] = {}
    for i, step in enumerate(policy.steps, 1):
        thresholds[step.at] = f"{thresholds[step.at]}, {i}" if step.at in thresholds else f"step {i}"
    for at, name in {**thresholds, policy.brake_at: "brake"}.items():
        style = "brake" if name == "brake" else "step"
        parts.append(f'<line class="{style}" x1="{LEFT}" y1="{y(at):.1f}" x2="{LEFT + WIDTH}" y2="{y(at):.1f}"/>')
        parts.append(f'<text x="{LEFT + WIDTH + 6}" y="{y(at) + 4:.1f}">{name}: {at:.0%}</text>')
    caption = "Row power on the worst simulated day, highest second of each minute, as a share of the budget"
    legend = (
        '<p class="legend"><span style="background:var(--power)"></span>under the policy'
        '<span style="background:var(--natural)"></span>without caps'
        '<span style="background:var(--cap)"></span>caps in force, the more the darker'
        '<span style="background:var(--brake)"></span>brake</p>'
    )
    return _figure(caption, "".join(parts), legend)


def _bands(trace: Sequence[Minute], num_steps: int, x: Scale) -> list[str]:
    """One rectangle for every span of minutes at the same step."""
    bands = []
    for step, minutes in groupby(trace, key=lambda minute: minute.step):
        span = list(minutes)
        if step:
            left, right = x(span[0].second), x(span[-1].second + 60)
            name = f"step {step}" if step <= num_steps else "brake"
            dark = 0.12 + 0.3 * step / max(num_steps, 1)
            style = f'class="cap" fill-opacity="{dark:.2f}"' if step <= num_steps else 'class="braked"'
            bands.append(
                f'<rect {style} x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{HEIGHT}">'
                f"<title>{name}: {_clock(span[0].second)} to {_clock(span[-1].second + 60)}</title></rect>"
            )
    return bands


def _choices(plan: PowerPlan) -> str:
    """The plan, fewer servers and baselines: servers against the slowdown that is nearest to its limit."""
    judged = [("plan", plan.judged), *(("fewer", j) for j in plan.pareto), *(("baseline", j) for j in plan.baselines)]
    points = [(kind, j, _strain(plan, j)) for kind, j in judged if j is not None]
    if not points:
        return ""
    counts = [j.num_servers for _, j, _ in points]
    least, most = min([*counts, plan.num_by_rating or counts[0]]) - 1, max(counts) + 1
    high = min(max(1.2, 1.1 * max(strain for _, _, strain in points)), MOST_STRAIN)
    x, y = _scale(least, most, LEFT, LEFT + WIDTH), _scale(0, high, TOP + HEIGHT, TOP)
    every = max(1, (most - least) // 12)
    servers = [(float(n), str(n)) for n in range(least, most + 1, every)]
    parts = [_grid(x, y, servers, _ticks(0, high), (least, most), (0, high))]
    parts.append(f'<line class="limit" x1="{LEFT}" y1="{y(1):.1f}" x2="{LEFT + WIDTH}" y2="{y(1):.1f}"/>'
                 f'<text x="{LEFT + WIDTH + 6}" y="{y(1) + 4:.1f}">limit of slowdown</text>')  # fmt: skip
    if plan.num_by_rating is not None:
        at = x(plan.num_by_rating)
        parts.append(f'<line class="grid" stroke-width="3" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{TOP + HEIGHT}"/>'
                     f'<text x="{at + 4:.1f}" y="{TOP + 12}">fit by rating</text>')  # fmt: skip
    for kind, j, strain in points:
        told = (f"{j.policy}, {j.num_servers} servers: slowdown {strain:.0%} of its limit, {j.num_brakes} brakes in "
                f"{j.weeks} weeks, confidence {j.confidence:.2%}: {'held' if j.holds else 'not held'}")  # fmt: skip
        parts.append(f'<circle class="{"held" if j.holds else "broken"}" cx="{x(j.num_servers):.1f}" '
                     f'cy="{y(min(strain, high)):.1f}" r="{7 if kind == "plan" else 4}"><title>{escape(told)}</title>'
                     "</circle>")  # fmt: skip
    parts.append(_axis("servers", "slowdown / limit"))
    legend = (
        '<p class="legend"><span style="background:var(--held)"></span>promise held'
        '<span style="background:var(--broken)"></span>not held; the plan is large; pointed at, they say more</p>'
    )
    return _figure("Servers against slowdown, as a share of the limit that is nearest", "".join(parts), legend)


MOST_STRAIN = 5.0
"""Times the limit: slower ones are drawn at the edge."""


def _strain(plan: PowerPlan, judged: Judged) -> float:
    """The slowdown nearest to its limit, as a share of it."""
    return max(
        max(judged.slowdown[p.name].p50 / p.max_slowdown_p50, judged.slowdown[p.name].p99 / p.max_slowdown_p99)
        for p in plan.spec.priorities
    )


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    step = next(s for s in (0.05, 0.1, 0.2, 0.5, 1.0) if (high - low) / s <= 9 or s == 1.0)
    first = int(low / step) + 1
    return [(i * step, f"{i * step:.0%}") for i in range(first, int(high / step + 1e-9) + 1)]


def _grid(
    x: Scale, y: Scale, columns: Sequence[tuple[float, str]], rows: Sequence[tuple[float, str]],
    xs: tuple[float, float], ys: tuple[float, float],
) -> str:  # fmt: skip
    def line(x1: float, y1: float, x2: float, y2: float) -> str:
        return f'<line class="grid" x1="{x(x1):.1f}" y1="{y(y1):.1f}" x2="{x(x2):.1f}" y2="{y(y2):.1f}"/>'

    vertical = "".join(
        f'{line(at, ys[0], at, ys[1])}<text x="{x(at):.1f}" y="{TOP + HEIGHT + 15}" text-anchor="middle">{name}</text>'
        for at, name in columns
    )
    return vertical + "".join(
        f'{line(xs[0], at, xs[1], at)}<text x="{LEFT - 6}" y="{y(at) + 4:.1f}" text-anchor="end">{name}</text>'
        for at, name in rows
    )


def _axis(below: str, beside: str) -> str:
    middle = TOP + HEIGHT / 2
    return (
        f'<text x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 34}" text-anchor="middle">{below}</text>'
        f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{beside}</text>'
    )


def _line(style: str, points: Sequence[tuple[float, float]]) -> str:
    return f'<polyline class="{style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _figure(caption: str, drawn: str, legend: str) -> str:
    width, height = LEFT + WIDTH + RIGHT, TOP + HEIGHT + BELOW
    return (
        f'<figure><figcaption>{escape(caption)}</figcaption><svg role="img" aria-label="{escape(caption)}" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">{drawn}</svg>{legend}</figure>'
    )


def _clock(second: int) -> str:
    return f"{second // 3600}:{second % 3600 // 60:02}"
