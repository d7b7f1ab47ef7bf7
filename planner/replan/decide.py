"""Whether to change what runs: only for a saving that is worth it, or because it must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.types import Outcome

Decision = Literal["keep", "change", "forced_change", "first_plan", "infeasible", "failed"]
"""``keep``: what runs goes on. ``change``: another plan saves enough. ``forced_change``: what runs cannot go on.
``first_plan``: nothing ran. ``infeasible``: nothing meets the request; what runs goes on. ``failed``: see the problem.
"""

Force = Literal["slo", "price", "availability"]
"""``slo``: what runs does not carry the demand that is planned for. ``price``: it exceeds the budget at today's
prices. ``availability``: it is not on offer any more, or beyond a limit."""


@dataclass(frozen=True)
class Kept:
    """What going on as before means over the horizon. ``forces``: why it cannot be, each with its detail."""

    usd: float | None
    forces: tuple[tuple[Force, str], ...] = ()


@dataclass(frozen=True)
class Candidate:
    """What planning afresh means over the horizon; ``usd`` with everything that is started, None without an answer."""

    outcome: Outcome
    usd: float | None
    differs: bool = True


def decide(
    kept: Kept | None, candidate: Candidate, least_saving_fraction: float, least_saving_usd: float
) -> tuple[Decision, str]:
    """The decision and its reason in a sentence.

    ``kept`` is None where nothing runs. What keeping costs and what changing costs both count the starts on the way,
    so that a saving is one after the switch.
    """
    found = candidate.usd is not None
    if kept is None:
        if found:
            return "first_plan", "nothing ran before"
        return _without_answer(candidate), "nothing ran before, and no plan was found"
    if kept.forces:
        why = "; ".join(dict.fromkeys(detail for _, detail in kept.forces))
        if found:
            return "forced_change", why
        return _without_answer(candidate), f"what runs goes on, though {why}"
    if not found or kept.usd is None or candidate.usd is None:
        return "keep", "what runs carries the demand, and no better plan was found"
    if not candidate.differs:
        return "keep", "what runs is still the best plan"
    saving = kept.usd - candidate.usd
    needed = max(least_saving_fraction * kept.usd, least_saving_usd)
    if saving > 0 and saving >= needed:
        return "change", f"saves {saving:.2f} USD of {kept.usd:.2f} over the horizon, switching paid"
    if saving <= 0:
        return "keep", f"a change would cost {-saving:.2f} USD more over the horizon than what runs"
    return (
        "keep",
        f"a change would save {saving:.2f} USD over the horizon, less than the {needed:.2f} that are asked for",
    )


def _without_answer(candidate: Candidate) -> Decision:
    return "infeasible" if candidate.outcome == "infeasible" else "failed"
