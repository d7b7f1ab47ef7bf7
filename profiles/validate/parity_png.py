"""Predicted against measured, as a PNG picture; needs matplotlib, which the extra ``plot`` brings."""

from __future__ import annotations

import io
from importlib.util import find_spec

from profiles.errors import InvalidInput
from profiles.validate.parity_html import COLOURS, limits
from profiles.validate.report import Report


def require_matplotlib() -> None:
    """Raise ``InvalidInput`` where matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise InvalidInput(
            "a PNG picture needs matplotlib, which is not installed",
            field="--plot",
            fix="pip install 'gpuplan[plot]', or name a .html file: that needs nothing",
        )


def parity_png(report: Report) -> bytes:
    """The picture: one square per quantity, points coloured by origin. Raises ``InvalidInput`` without matplotlib."""
    require_matplotlib()
    from matplotlib.figure import Figure  # late: an extra

    num = len(report.quantities)
    figure = Figure(figsize=(4.6 * num, 4.8), layout="constrained")
    figure.suptitle(f"{report.part}, {report.source}: {len(report.judged)} rows")
    for axes, quantity in zip(figure.subplots(1, num, squeeze=False)[0], report.quantities, strict=True):
        axes.set(xscale="log", yscale="log", xlabel="measured", ylabel="predicted", title=quantity)
        if not report.judged:
            continue
        low, high = limits(report, quantity)
        axes.plot([low, high], [low, high], color="#222222", linewidth=1)
        for origin, colour in COLOURS.items():
            pairs = [row.compared[quantity] for row in report.judged if row.origin == origin]
            if pairs:
                measured, predicted = [pair.measured for pair in pairs], [pair.predicted for pair in pairs]
                axes.scatter(measured, predicted, s=9, alpha=0.55, color=colour, label=origin)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130, bbox_inches="tight")
    return picture.getvalue()
