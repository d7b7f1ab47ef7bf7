"""Everything evaluated, the best of it kept: one pass over sites and numbers of nodes within the time limit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from planner.clock import Clock
from planner.training.mixed import evaluate_mixed
from planner.training.model import Evaluated, evaluate, within_limits
from planner.training.sites import Site
from planner.training.spec import TrainingSpec
from profiles.training.machine import Link
from profiles.training.performance import TrainingPerformance
from profiles.training.shape import Transformer

KEPT = 400
"""Configurations kept of each framework, site and number of nodes, by each of time and energy."""

OBJECTIVES = ("time", "energy")
"""What may rank configurations of one site: money goes with time."""


@dataclass
class Search:
    """What was evaluated so far, and the best of it."""

    spec: TrainingSpec
    shape: Transformer
    performance: TrainingPerformance
    clock: Clock
    found: list[Evaluated] = field(default_factory=list)
    num_evaluated: int = 0
    num_fitting: int = 0
    least_gib: float = math.inf
    complete: bool = True

    def add(self, site: Site) -> None:
        """Evaluate everything on ``site`` and keep the best of what fits."""
        for part in self.evaluated(site):
            self.num_evaluated += part.num_evaluated
            self.num_fitting += len(part.layouts)
            self.least_gib = min(self.least_gib, part.least_gib)
            if len(part.layouts):
                self.found.append(_best(self.spec, part))

    def evaluated(self, site: Site) -> list[Evaluated]:
        """Everything that fits on ``site``."""
        judge = evaluate_mixed if site.parts else evaluate
        return judge(self.spec, self.shape, site, self.performance)

    def out_of_time(self) -> bool:
        """Whether the time limit has come; remembers that something was left out."""
        late = self.clock.is_over()
        self.complete &= not late
        return late


def with_fastest_links(site: Site, fastest_gb_per_s: float) -> Site:
    """``site`` as if every GPU could send to every other as fast as inside a node, or over the fastest link of nodes.

    Then it does not matter where ranks are: no mapping does better.
    """
    machine = site.machine
    rate = max(fastest_gb_per_s, machine.between.gb_per_s, machine.within.gb_per_s * machine.gpus_per_node)
    link = Link(rate, min(machine.between.latency_us, machine.within.latency_us))
    parts = tuple(with_fastest_links(part, fastest_gb_per_s) for part in site.parts)
    return replace(site, machine=replace(machine, between=link), parts=parts)


def _best(spec: TrainingSpec, part: Evaluated) -> Evaluated:
    """The rows that may still matter, so that memory does not grow with the sites that are tried."""
    within = within_limits(spec, part)
    rows: list[int] = [int(part.watts.argmin()), int(part.days.argmin()), int(part.kwh.argmin())]
    for objective in OBJECTIVES:
        rows += np.argsort(np.where(within, part.value(objective), np.inf), kind="stable")[:KEPT].tolist()
    return part.take(np.unique(np.array(rows, dtype=np.intp)))
