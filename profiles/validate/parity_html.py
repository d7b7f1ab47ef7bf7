"""Predicted against measured, as one self-contained HTML page: a picture per quantity, each point telling its row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from profiles.types import Origin
from profiles.validate.report import Judged, Report

COLOURS: dict[Origin, str] = {
    "measured": "#009e73", "interpolated": "#0072b2", "extrapolated": "#e69f00", "roofline": "#cc3311",
}  # fmt: skip
"""By origin, told apart by colour-blind eyes as well (Okabe and Ito)."""

NEAR = 1.25
"""The dashed lines are this factor off."""

MOST_POINTS = 10_000
"""Of one picture. Of more rows every second, third … is drawn: browsers stall on more, and eyes see no more."""

_SIDE, _LEFT, _RIGHT, _TOP, _BELOW = 350, 62, 12, 12, 44
"""Of one picture, in pixels: its square, and the room around it."""

_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")

_STYLE = """body{font:14px system-ui;margin:2em;color:#222;background:#fff}
figure{display:inline-block;margin:1em 1.5em 1em 0}figcaption{font-weight:600}svg{max-width:100%}
text{font:11px system-ui;fill:#555}.grid{stroke:#e4e4e4}.equal{stroke:#222}.near{stroke:#bbb;stroke-dasharray:4 3}
circle{fill-opacity:.55}circle:hover{fill-opacity:1;stroke:#000}
.legend span{display:inline-block;width:.8em;height:.8em;border-radius:50%;margin:0 .4em 0 1em}"""


def parity_html(report: Report) -> str:
    """The page; points are coloured by origin and name their row, layout and values when pointed at."""
    title = f"{report.file}: {report.part}, predicted against measured ({report.source})"
    legend = "".join(
        f'<span style="background:{colour}"></span>{origin} ({count})'
        for origin, colour in COLOURS.items()
        if (count := sum(row.origin == origin for row in report.judged))
    )
    pictures = "\n".join(_picture(report, quantity) for quantity in report.quantities) if report.judged else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_safe(title)}</title>\n'
        f"<style>{_STYLE}</style></head><body>\n<h1>{_safe(title)}</h1>\n"
        f"<p>{len(report.judged)} rows predicted, {len(report.unpredicted)} not. On the line both are "
        f"equal; the dashed lines are {NEAR - 1:.0%} off.{_left_out(report)}</p>\n"
        f'<p class="legend">{legend}</p>\n{pictures}\n</body></html>\n'
    )


def limits(report: Report, quantity: str) -> tuple[float, float]:
    """The range of both axes of one picture: all values, with room around them. Some row must have been predicted."""
    pairs = [row.compared[quantity] for row in report.judged]
    values = [value for pair in pairs for value in (pair.predicted, pair.measured)]
    return min(values) / 1.2, max(values) * 1.2


def _picture(report: Report, quantity: str) -> str:
    low, high = limits(report, quantity)
    scale = _SIDE / math.log(high / low)

    def x(value: float) -> str:
        return f"{_LEFT + math.log(value / low) * scale:.1f}"

    def y(value: float) -> str:
        return f"{_TOP + _SIDE - math.log(value / low) * scale:.1f}"

    def line(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
        return f'<line class="{style}" x1="{x(x1)}" y1="{y(y1)}" x2="{x(x2)}" y2="{y(y2)}"/>'

    grid = "".join(
        f"{line('grid', tick, low, tick, high)}{line('grid', low, tick, high, tick)}"
        f'<text x="{x(tick)}" y="{_TOP + _SIDE + 15}" text-anchor="middle">{tick:g}</text>'
        f'<text x="{_LEFT - 6}" y="{y(tick)}" dy="4" text-anchor="end">{tick:g}</text>'
        for tick in _ticks(low, high)
    )
    guides = line("equal", low, low, high, high)
    if high / low > NEAR:
        guides += line("near", low, low * NEAR, high / NEAR, high) + line("near", low * NEAR, low, high, high / NEAR)
    points = "\n".join(
        f'<circle cx="{x(row.compared[quantity].measured)}" cy="{y(row.compared[quantity].predicted)}" r="3" '
        f'fill="{_colour(row)}"><title>{_safe(_told(row, quantity))}</title></circle>'
        for row in report.judged[:: _step(report)]
    )
    found = report.metrics(report.judged)[quantity]
    caption = (
        f"{quantity}: mean error {found.mape:.1%}, median {found.median_ape:.1%}, "
        f"{found.coverage:.0%} inside their 90% interval"
    )
    width, height = _LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BELOW
    return (
        f'<figure><figcaption>{caption}</figcaption><svg role="img" aria-label="{caption}" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}">{grid}{guides}\n{points}\n'
        f'<text x="{_LEFT + _SIDE / 2}" y="{height - 6}" text-anchor="middle">measured</text>'
        f'<text transform="translate(12 {_TOP + _SIDE / 2}) rotate(-90)" text-anchor="middle">predicted</text>'
        "</svg></figure>"
    )


def _step(report: Report) -> int:
    return max(1, math.ceil(len(report.judged) / MOST_POINTS))


def _left_out(report: Report) -> str:
    return "" if _step(report) == 1 else f" Only one row in {_step(report)} is drawn; the figures are of all."


def _told(row: Judged, quantity: str) -> str:
    pair = row.compared[quantity]
    return (
        f"line {row.row}: {row.model} on {row.label}\npredicted {pair.predicted:.4g}, measured {pair.measured:.4g} "
        f"({pair.relative_error:+.1%}), {row.origin}"
    )


def _colour(row: Judged) -> str:
    return next((colour for origin, colour in COLOURS.items() if origin == row.origin), "#777")


def _ticks(low: float, high: float) -> Sequence[float]:
    """Round numbers between ``low`` and ``high``: every decade, and 2 and 5 between them where there are few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), range(1, 10)):
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(ticks) >= 3:
            break
    return ticks


def _safe(text: str) -> str:
    """Text from a file as text of a page: no markup, no control characters but line ends."""
    return escape("\n".join(line.translate(_CONTROLS) for line in text.split("\n")))
