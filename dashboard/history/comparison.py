"""Two plans side by side: what was asked otherwise, what came out otherwise, and why."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard import figures, tables
from dashboard.client import Client, Document
from dashboard.figures import cell
from dashboard.history.objective import amount, unit
from dashboard.history.words import sentence
from dashboard.tables import Row
from dashboard.words import plain

MOST_SHOWN = 100
"""Characters of a value in a table."""


def show(client: Client, old_id: str, new_id: str, old: Document, new: Document) -> None:
    """From the old plan to the new one."""
    found = client.post("/v1/comparisons", {"plans": [old_id, new_id]}).document
    _side_by_side(client, (old_id, new_id))
    if found["same"]:
        st.success("**They are the same**: the same was asked, and the same came out.", icon=":material/equal:")
        return
    _figures(found, unit(old["kind"], old["spec"]), unit(new["kind"], new["spec"]))
    st.markdown("### Why")
    st.markdown("\n".join(f"- {sentence(reason)}" for reason in found["reasons"]) or "The plan does not say.")
    st.markdown("### What was asked")
    _changes("what was asked", found["spec"], "The same was asked of both.")
    if mix := mix_rows(old, new):
        st.markdown("### The mix")
        tables.show(mix, name="the mix", about={"unit": "GPU, number of them, precision, engine and offer"})
    with st.expander(
        f"Every difference in the answer ({len(found['plan'])}{' or more' if found['truncated'] else ''})"
    ):
        _changes("what came out", found["plan"], "The same came out.")


def mix_rows(old: Document, new: Document) -> list[Row]:
    """What is rented, unit by unit, in two serving plans; empty for plans of another kind."""
    before, after = ({a["unit"]: a for a in plan.get("allocation", ())} for plan in (old, new))
    return [
        {
            "unit": unit,
            "first replicas": _count(before.get(unit)),
            "second replicas": _count(after.get(unit)),
            "first $/h": _usd(before.get(unit)),
            "second $/h": _usd(after.get(unit)),
            "change": _change_of_mix(before.get(unit), after.get(unit)),
        }
        for unit in dict.fromkeys([*before, *after])
    ]


def rows(changes: list[Document]) -> list[Row]:
    """A row for each difference, with a sign and a word for its direction: never colour alone."""
    return [
        {
            "what": change["path"],
            "first": _value(change["old"]),
            "second": _value(change["new"]),
            "change": cell(_direction(change), change["detail"] or "second − first, in the unit of its name"),
        }
        for change in changes
    ]


def _side_by_side(client: Client, plan_ids: tuple[str, str]) -> None:
    for column, plan_id, place in zip(st.columns(2), plan_ids, ("First", "Second"), strict=True):
        view = client.get(f"/v1/plans/{plan_id}/view")
        with column, st.container(border=True):
            st.markdown(f"### {place}")
            st.markdown(plain(view["headline"]))
            for name, value in view["facts"]:
                st.markdown(f":small[**{plain(name)}**: {plain(value)}]")


def _figures(found: Document, old_unit: str, new_unit: str) -> None:
    drawn = []
    if old_unit == new_unit and new_unit != "$/h":
        drawn.append(("Objective", found["objective"], new_unit, "what the planner made as small or large as it could"))
    drawn.append(
        ("Cost", found["usd_per_hour"], "$/h", "what the rented instances cost an hour, at each plan's prices")
    )
    drawn.append(("Power", found["power_w"], "W", "with every replica busy, predicted"))
    drawn = [one for one in drawn if one[1] and one[1]["new"] is not None]
    with figures.wall():
        for name, of, counted_in, about in drawn:
            figures.figure(f"{name} of the second", amount(of["new"], counted_in), f"{about}; below: second − first",
                           delta=_delta(of, counted_in), delta_color="off")  # fmt: skip


def _delta(of: Document, counted_in: str) -> str | None:
    if of["difference"] is None:
        return None
    if of["difference"] == 0:
        return "no change"
    sign = "+" if of["difference"] > 0 else "−"
    relative = "" if of["relative"] is None else f" ({of['relative']:+.1%})".replace("-", "−")
    return f"{sign}{amount(abs(of['difference']), counted_in)}{relative}"


def _changes(title: str, changes: list[Document], none: str) -> None:
    if changes:
        tables.show(rows(changes), name=title, about={"what": "where it stands in the document"})
    else:
        st.markdown(none)


def _count(allocation: Document | None) -> int:
    return allocation["replicas"] if allocation else 0


def _usd(allocation: Document | None) -> str:
    return f"{allocation['usd_per_hour']:,.2f}" if allocation else "0.00"


def _change_of_mix(before: Document | None, after: Document | None) -> str:
    if before is None:
        return "added"
    if after is None:
        return "removed"
    more = after["replicas"] - before["replicas"]
    return "same" if more == 0 else f"▲ {more} more" if more > 0 else f"▼ {-more} fewer"


def _direction(change: Document) -> str:
    difference = change["difference"]
    if difference is not None:
        return f"▲ +{difference:,.4g}" if difference > 0 else f"▼ −{abs(difference):,.4g}"
    if change["detail"]:
        return f"≠ {change['detail']}"
    if change["old"] is None:
        return "added"
    return "removed" if change["new"] is None else "≠ other"


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,.6g}"
    text = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"
