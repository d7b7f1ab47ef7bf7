"""The list of plans: which are asked for, and what a row says."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboard.client import Client, Document
from dashboard.figures import cell
from dashboard.history.objective import amount
from dashboard.history.words import moment, short_moment
from dashboard.tables import Row

WINDOW = 1000
"""Plans that are looked through at once: as many as the service lists in one answer."""

OUTCOMES = {
    "optimal": "proven best, within the gap that was asked for",
    "feasible": "the best found, with a proven bound",
    "infeasible": "proven: nothing can do this",
    "no_solution": "nothing was found within the time limit",
}


@dataclass(frozen=True)
class Window:
    """Plans, newest first, and the cursor of the older ones (empty: there are none)."""

    plans: list[Document]
    older: str


@dataclass(frozen=True)
class Wanted:
    """Which plans to list; empty: all. ``newest_only``: of each kind and name the newest stands for all."""

    kind: str = ""
    outcome: str = ""
    name: str = ""
    newest_only: bool = True


def window(client: Client, kind: str, cursor: str = "") -> Window:
    """The newest plans of a kind, or those that a cursor leads to."""
    page = client.get("/v1/plans", kind=kind or None, limit=WINDOW, cursor=cursor or None)
    return Window(page["plans"], page["next_cursor"] or "")


def chosen(plans: Sequence[Document], wanted: Wanted) -> list[Document]:
    """The plans that are wanted; with ``newest_only``, ``num_plans`` says for how many each stands."""
    name = wanted.name.strip().casefold()
    found = [
        plan for plan in plans
        if wanted.outcome in ("", plan["outcome"]) and name in (plan["name"] or "").casefold()
    ]  # fmt: skip
    if not wanted.newest_only:
        return found
    num_plans = Counter(_group(plan) for plan in found)
    newest: dict[tuple[str, str], Document] = {}
    for plan in found:
        newest.setdefault(_group(plan), {**plan, "num_plans": num_plans[_group(plan)]})
    return list(newest.values())


def rows(plans: Sequence[Document], units: Mapping[str, str]) -> list[Row]:
    """The table of plans; ``units`` of the objectives, by id of the spec."""
    now = dt.datetime.now(dt.UTC)
    return [
        {
            "name": plan["name"] or "(no name)",
            "kind": plan["kind"],
            "outcome": cell(plan["outcome"].replace("_", " "), OUTCOMES.get(str(plan["outcome"]), "")),
            "objective": _objective(plan, units.get(plan["spec_id"], "")),
            "saved": cell(
                short_moment(plan["created_at"], now),
                f"{moment(plan['created_at'])}: plan {plan['id']}, from facts {plan['profile_digest']}",
            ),
            **({"plans": plan["num_plans"]} if "num_plans" in plan else {}),
        }
        for plan in plans
    ]


ABOUT = {
    "objective": "what the planner made as small (or large) as it could, in its unit",
    "saved": "when the plan was saved first (UTC)",
    "plans": "saved under this name and kind: each change of a what-if is one",
}


def label(plan: Document, unit: str) -> str:
    """A plan in a list to choose from."""
    worth = "" if plan["objective"] is None else f", {amount(plan['objective'], unit)}"
    return f"{plan['name'] or plan['kind']}: {plan['outcome'].replace('_', ' ')}{worth}, {moment(plan['created_at'])}"


def _objective(plan: Document, unit: str) -> str:
    if plan["objective"] is None:
        return cell("–", f"there is none: {OUTCOMES.get(plan['outcome'], plan['outcome'])}")
    return cell(amount(plan["objective"], unit), f"in {unit or 'the unit of its spec'}; the plan says what it rests on")


def _group(plan: Document) -> tuple[str, str]:
    return plan["kind"], plan["name"] or plan["spec_id"]
