"""What is asked of a sweep, many plans of one base with changes, and what it answers: a row per scenario."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from planner.types import Frozen, Outcome, SolveOptions

MOST_SCENARIOS = 10_000
"""Of one sweep: at a tenth of a second each this is a quarter of an hour on one core."""

MOST_VARIED = 100
"""Fields that one scenario may change."""

SweptKind = Literal["serving", "experts", "training", "power", "simulation"]
RowOutcome = Outcome | Literal["replayed", "failed"]
"""``replayed``: of a simulation. ``failed``: no answer, and the row's ``error`` says why."""

Path = Annotated[str, Field(min_length=1, max_length=500)]
Changes = dict[Path, JsonValue]
"""New values by their paths, as ``services[0].workload.requests_per_s`` (``[*]``: every entry of a list). The value
``{"times": 2}`` multiplies the number that is there."""


class Vary(Frozen):
    """One field and the values it takes."""

    path: Path
    values: tuple[JsonValue, ...] = Field(min_length=1, max_length=MOST_SCENARIOS)


class SweepRequest(SolveOptions):
    """The same question many times: every combination of what ``vary`` lists, or exactly the given ``scenarios``.

    ``spec`` is what ``kind`` takes; for ``simulation`` it is a ``planner.sweep.replays.Replay``. Time limit, gap and
    seed are of each solve.
    """

    kind: SweptKind
    spec: dict[str, Any]
    vary: tuple[Vary, ...] = Field(default=(), max_length=MOST_VARIED)
    scenarios: tuple[Changes, ...] = Field(default=(), max_length=MOST_SCENARIOS)

    @model_validator(mode="after")
    def _one_form(self) -> SweepRequest:
        if bool(self.vary) == bool(self.scenarios):
            raise ValueError("give either vary (every combination of the values) or scenarios (each as it is)")
        paths = [entry.path for entry in self.vary]
        if len(set(paths)) < len(paths):
            raise ValueError(f"vary: {next(p for p in paths if paths.count(p) > 1)!r} appears twice: join the values")
        if any(len(changes) > MOST_VARIED for changes in self.scenarios):
            raise ValueError(f"scenarios: one changes more than {MOST_VARIED} fields: put them into the base spec")
        if self.num_scenarios > MOST_SCENARIOS:
            raise ValueError(
                f"vary gives {self.num_scenarios:,} combinations; {MOST_SCENARIOS:,} at most: list the scenarios"
            )
        return self

    @property
    def num_scenarios(self) -> int:
        """How many rows the answer will have."""
        return math.prod(len(entry.values) for entry in self.vary) if self.vary else len(self.scenarios)

    @property
    def options(self) -> SolveOptions:
        """Of each solve."""
        return SolveOptions(time_limit_s=self.time_limit_s, seed=self.seed, gap=self.gap)

    def all_scenarios(self) -> Iterator[Changes]:
        """The changes of each scenario in the order of the rows: the last field varies fastest."""
        if not self.vary:
            yield from self.scenarios
            return
        paths = [entry.path for entry in self.vary]
        for values in product(*(entry.values for entry in self.vary)):
            yield dict(zip(paths, values, strict=True))


class SweepRow(Frozen):
    """What came of one scenario. Where it has no answer ``error`` says why and ``field`` where the mistake is."""

    changes: Changes
    outcome: RowOutcome
    objective: float | None = None
    bound: float | None = None
    gap: float | None = None
    figures: dict[str, float] = Field(
        default={}, description="the answer's own numbers by their names there, such as usd_per_hour"
    )
    headline: str = ""
    digest: str = Field(default="", description="of the whole answer but for the time it took: equal, equal answers")
    error: str | None = None
    field: str | None = None


class SweepAnswer(Frozen):
    """Rows in the order of the scenarios. Equal requests and facts give equal answers, whatever ran them, as long as
    no solve ended at its time limit.
    """

    kind: Literal["sweep"] = "sweep"
    swept: SweptKind
    name: str = ""
    profile_digest: str
    rows: tuple[SweepRow, ...]

    @property
    def num_failed(self) -> int:
        """Scenarios without an answer."""
        return sum(row.outcome == "failed" for row in self.rows)
