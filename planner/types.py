"""The shape that every planner has: a frozen spec in, a frozen plan out, an independent check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from profiles.types import Facts

Outcome = Literal["optimal", "feasible", "infeasible", "no_solution"]
"""``optimal``: proven within the asked gap. ``feasible``: best found, with bound and gap. ``infeasible``: proven,
with the limits in conflict. ``no_solution``: the time limit came first."""

EXIT_CODES: dict[Outcome, int] = {"optimal": 0, "feasible": 0, "infeasible": 3, "no_solution": 4}


class Frozen(BaseModel):
    """Base of specs and plans: immutable, and a field that is not known is an error, not a silent no-op."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Violation(Frozen):
    """One constraint that a plan breaks, found by its check."""

    constraint: str
    detail: str


def broken(constraint: str, detail: str) -> Violation:
    """A violation, for checks that yield many."""
    return Violation(constraint=constraint, detail=detail)


class Check(Frozen):
    """What the independent check found."""

    passed: bool
    violations: tuple[Violation, ...] = ()


class Relaxation(Frozen):
    """The smallest change of one limit that alone would make an infeasible request feasible."""

    limit: str = Field(description="the limit, as its path in the spec")
    current: float
    needed: float
    detail: str


class Conflict(Frozen):
    """Why a request is infeasible: limits that cannot hold together, and what would resolve it."""

    constraints: tuple[str, ...]
    detail: str
    relaxations: tuple[Relaxation, ...] = ()


class SolveOptions(Frozen):
    """What every solve takes."""

    time_limit_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 30.0
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    gap: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1e-4


class Plan(Frozen):
    """The keys that every plan has. ``bound`` is proven; ``gap`` is |objective − bound| / |objective|."""

    kind: str
    outcome: Outcome
    objective: float | None = None
    bound: float | None = None
    gap: float | None = None
    solver: str = ""
    solve_seconds: float = 0.0
    profile_digest: str = ""
    check: Check | None = None
    conflicts: tuple[Conflict, ...] = ()


class Table(Frozen):
    """A table for people: cells are already formatted."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[str, ...] = Field(default=(), description="columns to align right")


class View(Frozen):
    """What a person sees of a plan, before any surface decides how to draw it."""

    headline: str
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


S = TypeVar("S", bound=Frozen)
P = TypeVar("P", bound=Plan)


@dataclass(frozen=True)
class Planner(Generic[S, P]):
    """One planner: its types and its functions. Surfaces know this record and nothing else of a planner.

    ``load`` reads a spec from files (and the command line's extra options); ``solve`` answers it from facts;
    ``check`` re-derives from spec and facts alone that a plan holds; ``view`` shows it.
    """

    kind: str
    question: str
    spec_type: type[S]
    plan_type: type[P]
    load: Callable[[Path | Sequence[Path], dict[str, Any]], S]
    solve: Callable[[S, Facts, SolveOptions], P]
    check: Callable[[P, Facts], Check]
    view: Callable[[P], View]
