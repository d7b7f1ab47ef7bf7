"""A placement that was found: judged by the chance constraints themselves, and written down for the plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from planner.power.feeds.multiplexing import loads_at_risk
from planner.power.feeds.problem import Problem, circuit_loads
from planner.power.plan import Loaded, Placed, Placement
from planner.power.site import Site
from planner.program import Floats, Ints
from planner.solver import relative_gap


@dataclass(frozen=True, eq=False)
class Found:
    """Per row the servers on its phases (phases, G), and how full the fullest budget is, as a fraction."""

    phases: tuple[Ints, ...]
    fullest: float

    @property
    def counts(self) -> Ints:
        """(R, G) servers per row."""
        return np.array([phase.sum(axis=0) for phase in self.phases])

    @property
    def num_placed(self) -> int:
        """Servers on all rows."""
        return int(self.counts.sum())


def judged(problem: Problem, phases: tuple[Ints, ...]) -> Found:
    """``phases`` with the fullest of all budgets, of circuits and of phases, in the worst failure."""
    counts = np.array([phase.sum(axis=0) for phase in phases])
    fullest = float(np.max(circuit_loads(problem, counts) / problem.budget_w))
    for kind in problem.kinds:
        load_w = _phase_loads(problem, np.concatenate([phases[r] for r in kind.rows]))
        fullest = max(fullest, float(load_w.max()) / kind.phase_w)
    return Found(phases, fullest)


def empty_rows(problem: Problem) -> tuple[Ints, ...]:
    """Phases of all rows without a server."""
    phases: list[Ints] = [np.zeros((0, 0), dtype=np.int64)] * problem.num_rows
    for kind in problem.kinds:
        for r in kind.rows.tolist():
            phases[r] = np.zeros((kind.num_phases, problem.asked.size), dtype=np.int64)
    return tuple(phases)


def written(site: Site, problem: Problem, found: Found, objective: float, bound: float) -> Placement:
    """``found`` as part of a plan."""
    placed = [
        Placed(row=row.name, phase=p + 1, workload=group.workload, num_servers=count)
        for row, phases in zip(site.rows, found.phases, strict=True)
        for p, phase in enumerate(phases.tolist())
        for group, count in zip(site.groups, phase, strict=True)
        if count
    ]
    return Placement(
        num_placed=found.num_placed, num_asked=int(problem.asked.sum()), placed=tuple(placed),
        loads=(*_circuits_loaded(problem, found), *_phases_loaded(site, problem, found)),
        objective=objective, bound=bound, gap=relative_gap(objective, bound) or 0.0,
        worst_imbalance=max(_imbalance(phases @ problem.crowd.average_w) for phases in found.phases),
    )  # fmt: skip


def _imbalance(average_w: Floats) -> float:
    """How much more than the mean of a row's phases its fullest carries on average."""
    return float(average_w.max() / average_w.mean()) - 1 if average_w.any() else 0.0


def _phase_loads(problem: Problem, phases: Ints) -> Floats:
    weight = phases.astype(np.float64)
    return loads_at_risk(problem.crowd, weight, weight)


def _circuits_loaded(problem: Problem, found: Found) -> Iterator[Loaded]:
    """Every feed, PDU and row in the failure in which it must carry most."""
    loads_w = circuit_loads(problem, found.counts).tolist()
    peaks_w = (problem.share @ found.counts @ problem.crowd.peak_w).tolist()
    worst: dict[tuple[str, str], int] = {}
    for c, circuit in enumerate(problem.circuits):
        other = worst.setdefault((circuit.level, circuit.name), c)
        if loads_w[c] > loads_w[other]:
            worst[circuit.level, circuit.name] = c
    for c in worst.values():
        circuit = problem.circuits[c]
        yield Loaded(
            name=circuit.name, level=circuit.level, budget_w=circuit.budget_w, load_w=loads_w[c],
            sum_of_peaks_w=peaks_w[c], failed_feed=circuit.failed_feed,
        )  # fmt: skip


def _phases_loaded(site: Site, problem: Problem, found: Found) -> Iterator[Loaded]:
    """Every phase; it carries as much in any failure."""
    for row, phases in zip(site.rows, found.phases, strict=True):
        loads_w, peaks_w = _phase_loads(problem, phases).tolist(), (phases @ problem.crowd.peak_w).tolist()
        for p, (load_w, peak_w) in enumerate(zip(loads_w, peaks_w, strict=True)):
            yield Loaded(
                name=f"{row.name} phase {p + 1}", level="phase", budget_w=row.budget_w / row.phases, load_w=load_w,
                sum_of_peaks_w=peak_w,
            )  # fmt: skip
