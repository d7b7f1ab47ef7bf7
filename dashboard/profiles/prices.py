"""What one GPU costs an hour, where it is cheapest."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import altair as alt
import pandas as pd

from dashboard import charts
from dashboard.client import Document
from dashboard.profiles.facts import age


def cheapest(items: Sequence[Document], today: dt.date) -> None:
    """A bar per GPU type and market; nothing where there are no prices."""
    if not items:
        return
    rows = [
        {
            "GPU": one["gpu"],
            "Market": one["market"].replace("_", " "),
            "$/h per GPU": round(one["usd_per_gpu_hour"], 4),
            "Instance": f"{one['provider']} {one['region']} {one['instance_type']}",
            "$/h": one["usd_per_hour"],
            "GPUs": one["num_gpus"],
            "As of": one["as_of"],
            "Age": age(one["as_of"], today),
            "Source": one["source"],
            "Prices": one["num_prices"],
        }
        for one in items
    ]
    markets = [row["Market"] for row in rows]
    order = list(dict.fromkeys(row["GPU"] for row in rows))
    chart = alt.Chart(pd.DataFrame(rows)).mark_bar().encode(
        y=alt.Y("GPU:N", sort=order, title=None),
        yOffset=alt.YOffset("Market:N"),
        x=alt.X("$/h per GPU:Q", title="$ per GPU and hour, cheapest region"),
        color=alt.Color("Market:N", scale=charts.colours(markets), legend=alt.Legend(orient="top")),
        tooltip=[alt.Tooltip(f"{name}:N") for name in rows[0]],
    ).properties(height=30 * len(order) + 70)  # fmt: skip
    best = rows[0]
    charts.show(chart, rows, "cheapest GPUs",
                f"Bars of the cheapest price of one GPU, by GPU type and market: the cheapest of all is {best['GPU']} "
                f"({best['Market']}) at ${best['$/h per GPU']:,.2f} an hour.")  # fmt: skip
