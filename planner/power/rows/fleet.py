"""What is simulated: groups of servers on a row with a budget, and what can befall it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planner.power.demand import Calendar, Pool
from planner.power.rows.deal import BLOCK_S
from planner.power.spec import Controls, Event
from profiles.types import GpuType


@dataclass(frozen=True, eq=False)
class Group:
    """One workload on its share of the servers, of one kind: ``num_gpus`` of ``gpu`` and ``other_w`` of all else."""

    name: str
    priority: str
    share: float
    gpu: GpuType
    num_gpus: int
    other_w: float
    pool: Pool
    calendar: Calendar


@dataclass(frozen=True, eq=False)
class Fleet:
    """What is simulated: groups on a row of ``budget_w``. ``priorities``: the least important first."""

    budget_w: float
    groups: tuple[Group, ...]
    priorities: tuple[str, ...]
    controls: Controls


@dataclass(frozen=True, eq=False)
class Piece:
    """Seconds of one block under the same circumstances."""

    first_s: int
    num_seconds: int
    budget_w: float
    blind: bool
    runaway: frozenset[str]


def pieces(fleet: Fleet, events: Sequence[Event], seconds: int) -> tuple[Piece, ...]:
    """Cut a week where blocks begin, and where events begin and end."""
    spans = [(event, round(event.at_s), round(event.at_s + event.duration_s)) for event in events]
    cuts = {*range(0, seconds, BLOCK_S), seconds, *(cut for _, *ends in spans for cut in ends if cut < seconds)}
    found = []
    for first, end in zip(sorted(cuts), sorted(cuts)[1:], strict=False):
        now = [event for event, begins, ends in spans if begins <= first < ends]
        remaining = min((event.remaining for event in now if event.kind == "feed_failure"), default=1.0)
        found.append(
            Piece(
                first_s=first,
                num_seconds=end - first,
                budget_w=fleet.budget_w * remaining,
                blind=any(event.kind == "telemetry_gap" for event in now),
                runaway=frozenset(event.workload or "" for event in now if event.kind == "runaway"),
            )
        )
    return tuple(found)
