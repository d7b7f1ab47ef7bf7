"""Why not all servers of a site fit: which budgets are full, and how much more of which would be enough.

What is enough is told by the linear program of ``bound``: with less, it is proven that not everything fits; with that
much, all but the last servers do.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.power.feeds.bound import most_placed
from planner.power.feeds.multiplexing import GroupProfile
from planner.power.feeds.problem import problem_of
from planner.power.plan import Loaded, Placement
from planner.power.site import Site
from planner.types import Conflict, Relaxation

PARTS = ("feeds", "pdus", "rows")
"""What has budgets, named as in the spec; those of rows are those of their phases too."""

FULL = 0.97
"""A budget used to this fraction binds: the next server would not fit, or hardly."""

MOST_FACTOR = 4.0
"""Raising one level by more than this is no answer."""

FINE = 0.002
"""To this part of itself the needed factor is found."""

MOST_NAMES = 5
"""Names per level that a sentence takes."""


def shortfall(site: Site, profiles: Sequence[GroupProfile], placement: Placement) -> Conflict | None:
    """What keeps the rest of the servers out, and by what feeds, PDUs, rows or all of them would have to grow.

    None where everything is placed.
    """
    missing = placement.num_asked - placement.num_placed
    if missing <= 0:
        return None
    full = _full(placement)
    alone = [_relaxation(site, profiles, (part,)) for part in PARTS]
    together = _relaxation(site, profiles, PARTS)
    relaxations = tuple(relaxation for relaxation in (*alone, together) if relaxation is not None)
    if not full:
        full = ("slots of rows, or the balance of their phases",)
    return Conflict(
        constraints=full,
        detail=f"{missing:,} of {placement.num_asked:,} servers find no place: {'; '.join(full)}",
        relaxations=relaxations,
    )


def _full(placement: Placement) -> tuple[str, ...]:
    """One line per level with budgets that are used up."""
    lines = []
    for level in ("feed", "pdu", "row", "phase"):
        full = [load for load in placement.loads if load.level == level and load.load_w >= FULL * load.budget_w]
        if full:
            names = ", ".join(_named(load) for load in full[:MOST_NAMES])
            more = f" and {len(full) - MOST_NAMES} more" if len(full) > MOST_NAMES else ""
            lines.append(f"{level} budgets are full: {names}{more}")
    return tuple(lines)


def _named(load: Loaded) -> str:
    return load.name if load.failed_feed is None else f"{load.name} (when {load.failed_feed} fails)"


def _relaxation(site: Site, profiles: Sequence[GroupProfile], parts: tuple[str, ...]) -> Relaxation | None:
    """The smallest factor on the budgets of ``parts`` with which everything may fit; None where no factor helps."""
    if not _may_fit(_raised(site, parts, MOST_FACTOR), profiles):
        return None
    low, high = 1.0, MOST_FACTOR
    while high - low > FINE:
        middle = (low + high) / 2
        low, high = (low, middle) if _may_fit(_raised(site, parts, middle), profiles) else (middle, high)
    current = float(max(item.budget_w for item in getattr(site, parts[0])))
    return Relaxation(
        limit=f"site.{','.join(parts)}.budget_w",
        current=current,
        needed=current * high,
        detail=f"budgets of all {', '.join(parts)} times {high:.3f}; less is not enough, all else staying",
    )


def _may_fit(site: Site, profiles: Sequence[GroupProfile]) -> bool:
    problem = problem_of(site, profiles)
    return bool(most_placed(problem, 1.0).placed >= problem.asked.sum() * (1 - 1e-7))


def _raised(site: Site, parts: tuple[str, ...], factor: float) -> Site:
    raised = {
        part: tuple(item.model_copy(update={"budget_w": item.budget_w * factor}) for item in getattr(site, part))
        for part in parts
    }
    return site.model_copy(update=raised)
