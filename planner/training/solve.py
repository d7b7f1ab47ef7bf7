"""From a spec to ranked configurations: evaluate everything that fits, rank, map the best onto real links, explain."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np

from planner.training.elastic import elastic_advice
from planner.training.explain import explain
from planner.training.failures import goodput
from planner.training.infeasible import too_large, too_tight
from planner.training.mapped import is_even, map_best
from planner.training.mixed import joined_site
from planner.training.model import best_of, best_of_each
from planner.training.pareto import pareto
from planner.training.plan import Configuration, TrainingPlan
from planner.training.search import Search, with_fastest_links
from planner.training.shapes import described, shape_of
from planner.training.sites import Site, node_counts, require_price, sites
from planner.training.spec import TrainingSpec
from planner.training.write import configuration
from planner.types import SolveOptions
from profiles.training.performance import TrainingPerformance
from profiles.types import Facts

MAPPED = 10
"""Of the best by the model, so many are mapped onto links that are uneven; they are what is ranked then."""


def solve(spec: TrainingSpec, facts: Facts, options: SolveOptions) -> TrainingPlan:
    """The plan for ``spec``.

    Raises
    ------
    UnknownName
        A GPU type that the store does not know.
    MissingProfile
        The shape of the model, or a price that is needed, is not known.
    """
    started = time.monotonic()
    shape = shape_of(spec, facts)
    kinds = sites(spec, facts)
    if spec.objective == "money" or spec.budget_usd is not None:
        for kind in kinds:
            require_price(kind)
    search = Search(spec, shape, TrainingPerformance(facts), ends_at=started + options.time_limit_s)
    _fill(search, kinds)
    plan = TrainingPlan(
        outcome="no_solution", spec=spec, solver="every configuration evaluated", profile_digest=facts.digest,
        num_evaluated=search.num_evaluated, num_fitting=search.num_fitting, num_parameters=shape.num_parameters,
        shape=described(shape),
    )  # fmt: skip
    if best_of(search.found, spec.objective, 1, spec):
        plan = _answer(plan, search, kinds, options)
    elif search.complete and search.found:
        plan = too_tight(plan, spec, search.found)
    elif search.complete:
        plan = too_large(plan, spec, shape, kinds, search.least_gib)
    return plan.model_copy(update={"solve_seconds": time.monotonic() - started})


def _fill(search: Search, kinds: Sequence[Site]) -> None:
    for site in _sites_to_try(kinds):
        search.add(site)
        if search.out_of_time():
            return


def _sites_to_try(kinds: Sequence[Site]) -> Iterator[Site]:
    """All nodes of every kind first, together and apart, then fewer of them."""
    together = joined_site(kinds)
    if together is not None:
        yield together
    yield from kinds
    for kind in kinds:
        machine = kind.machine
        for count in node_counts(machine.num_nodes, machine.gpus_per_node)[1:]:
            yield kind.first(count)


def _answer(plan: TrainingPlan, search: Search, kinds: Sequence[Site], options: SolveOptions) -> TrainingPlan:
    spec, shape = search.spec, search.shape
    best = best_of(search.found, spec.objective, spec.top, spec)
    leaders = [found for found in best_of_each(search.found, spec) if found not in best[:MAPPED]]
    mapped = map_best(search, kinds, [*best[:MAPPED], *leaders], options.seed)
    mapped = sorted(mapped, key=lambda m: _value(m.configuration, spec.objective))
    winner = mapped[0]
    value = _value(winner.configuration, spec.objective)
    even = is_even(spec.cluster)
    bound = value if even else min(_bound(search, kinds), value)
    gap = (value - bound) / value
    ranked = tuple(m.configuration for m in mapped)
    if even:
        others = (configuration(search, *found) for found in best[MAPPED:] if found not in leaders)
        ranked = tuple(sorted((*ranked, *others), key=lambda c: _value(c, spec.objective)))
    plan = plan.model_copy(
        update={
            "outcome": "optimal" if search.complete and gap <= max(options.gap, 1e-9) else "feasible",
            "objective": value,
            "bound": bound if search.complete else None,
            "gap": gap if search.complete else None,
            "ranked": ranked,
            "pareto": pareto(search),
            "mapping": winner.places,
            "mapping_gain": winner.gain,
            "goodput": goodput(shape.num_parameters, ranked[0].num_gpus, spec.failures),
            "elastic": elastic_advice(search, kinds, ranked[0]),
        }
    )
    return plan.model_copy(update={"explanation": explain(plan, search.complete)})


def _value(configuration: Configuration, objective: str) -> float:
    """Days, USD or kWh."""
    found = {"time": configuration.days_to_train, "money": configuration.usd_to_train, "energy": configuration.kwh}
    value = found[objective]
    return math.inf if value is None else value


def _bound(search: Search, kinds: Sequence[Site]) -> float:
    """The best that any configuration would come to on the best links that can be thought of."""
    spec = search.spec
    rates = spec.cluster.node_gb_per_s()
    fastest = float(rates[np.isfinite(rates)].max())
    ideal = Search(spec, search.shape, search.performance, search.ends_at)
    for site in _sites_to_try(kinds):
        ideal.add(with_fastest_links(site, fastest))
        if search.out_of_time():
            return 0.0
    found = best_of(ideal.found, spec.objective, 1, spec)
    return float(found[0][0].value(spec.objective)[found[0][1]])
