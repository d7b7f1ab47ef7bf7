"""Where servers hang: the load of every feed, PDU, row and phase against its budget."""

from __future__ import annotations

import altair as alt
import pandas as pd

from dashboard import charts, figures, states, tables
from dashboard.client import Document


def show(plan: Document) -> None:
    """Bars against budgets, then how many servers hang on each phase."""
    placement = plan["placement"]
    if placement is None:
        states.empty(
            "This spec asks of one row.", "Describe feeds, PDUs and rows under `site`, and servers are placed."
        )
        return
    rows = [
        {"name": one["name"], "level": one["level"], "share": one["load_w"] / one["budget_w"],
         "load": figures.watts(one["load_w"]), "budget": figures.watts(one["budget_w"]),
         "sum of peaks": figures.watts(one["sum_of_peaks_w"]), "failed feed": one["failed_feed"]}
        for one in placement["loads"]
    ]  # fmt: skip
    figures.figure("Placed", f"{placement['num_placed']:,} of {placement['num_asked']:,}",
                   f"servers; fullest budgets are {placement['gap']:.2%} from the proven bound")  # fmt: skip
    fullest = sorted(rows, key=lambda row: -row["share"])[:40]
    chart = alt.Chart(pd.DataFrame(fullest)).mark_bar().encode(
        y=alt.Y("name:N", sort=None, title=None), x=alt.X("share:Q", title="load, share of the budget",
                                                          axis=alt.Axis(format="%")),
        color=alt.Color("level:N", scale=charts.colours(["feed", "pdu", "row", "phase"]), title=None),
        tooltip=["name:N", "level:N", "load:N", "budget:N", "sum of peaks:N", "failed feed:N"],
    )  # fmt: skip
    charts.show(alt.layer(chart, charts.limit_line(1.0, "budget", "x")).properties(height=60 + 22 * len(fullest)), rows,
                "load of feeds", f"The fullest budgets; the fullest is at {fullest[0]['share']:.1%}.")  # fmt: skip
    tables.show([{"row": p["row"], "phase": p["phase"], "workload": p["workload"], "servers": p["num_servers"]}
                 for p in placement["placed"]], name="servers by phase")  # fmt: skip
