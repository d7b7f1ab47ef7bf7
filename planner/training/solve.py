"""From a spec to ranked configurations: evaluate everything that fits, rank, map the best onto real links, explain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.clock import Clock
from planner.training.elastic import by_nodes, elastic_advice
from planner.training.explain import explain
from planner.training.failures import goodput
from planner.training.infeasible import keeps_limits, too_large, too_tight, too_tight_on_links
from planner.training.mapped import is_even, map_best
from planner.training.mixed import joined_site
from planner.training.model import Evaluated, best_of, best_of_each
from planner.training.pareto import pareto, pareto_of
from planner.training.plan import Configuration, TrainingPlan
from planner.training.search import Search, with_fastest_links
from planner.training.shapes import described, shape_of
from planner.training.sites import Site, node_counts, require_price, sites
from planner.training.spec import TrainingSpec
from planner.training.write import configuration, value_of
from planner.types import SolveOptions
from profiles.training.performance import TrainingPerformance
from profiles.types import Facts

MAPPED = 4
"""Of the best by typical links, so many are mapped onto the real ones; where these are uneven, those are ranked."""

MOST_NODES = 0.75
"""On uneven links the best of so large a share of the nodes and more are mapped too: slow nodes may be left out."""


def solve(spec: TrainingSpec, facts: Facts, options: SolveOptions) -> TrainingPlan:
    """The plan for ``spec``.

    Raises
    ------
    UnknownName
        A GPU type that the store does not know.
    MissingProfile
        The shape of the model, or a price that is needed, is not known.
    """
    clock = Clock(options.time_limit_s)
    shape = shape_of(spec, facts)
    kinds = sites(spec, facts)
    if spec.objective == "money" or spec.budget_usd is not None:
        for kind in kinds:
            require_price(kind)
    search = Search(spec, shape, TrainingPerformance(facts), clock)
    _fill(search, kinds)
    plan = TrainingPlan(
        outcome="no_solution", spec=spec, solver="every configuration evaluated", profile_digest=facts.digest,
        num_evaluated=search.num_evaluated, num_fitting=search.num_fitting, num_parameters=shape.num_parameters,
        shape=described(shape),
    )  # fmt: skip
    # On uneven links a mapping may be faster than typical links are: only mapped configurations can miss a limit.
    if best_of(search.found, spec.objective, 1, spec) or (search.found and not is_even(spec.cluster)):
        plan = _answer(plan, search, kinds, options)
    elif search.complete and search.found:
        plan = too_tight(plan, spec, search.found)
    elif search.complete:
        plan = too_large(plan, spec, shape, kinds, search.least_gib)
    return plan.model_copy(update={"solve_seconds": clock.elapsed_s})


def _fill(search: Search, kinds: Sequence[Site]) -> None:
    for site in _sites_to_try(kinds, search):
        search.add(site)
        if search.out_of_time():
            return


def _sites_to_try(kinds: Sequence[Site], search: Search) -> Iterator[Site]:
    """All nodes of every kind first, together and apart, then fewer of them."""
    together = joined_site(kinds)
    if together is not None:
        yield together
    yield from kinds
    for kind in kinds:
        machine = kind.machine
        for count in node_counts(machine.num_nodes, machine.gpus_per_node, search.spec, search.shape)[1:]:
            yield kind.first(count)


def _answer(plan: TrainingPlan, search: Search, kinds: Sequence[Site], options: SolveOptions) -> TrainingPlan:
    spec, even = search.spec, is_even(search.spec.cluster)
    mapped = map_best(search, kinds, _to_map(search, even), options.seed)
    kept = [one for one in mapped if keeps_limits(spec, one.configuration)]
    if not kept:
        impossible = search.complete and _no_links_would_do(search, kinds)
        return too_tight_on_links(plan, spec, [one.configuration for one in mapped], proven=impossible)
    kept.sort(key=lambda one: value_of(one.configuration, spec.objective))
    winner, on_links = kept[0], [one.configuration for one in kept]
    ranked = _even_ranks(search, on_links) if even else on_links[: spec.top]
    value = value_of(winner.configuration, spec.objective)
    bound = value if even else min(_bound(search, kinds), value)
    gap = (value - bound) / value if value > 0 else 0.0
    plan = plan.model_copy(
        update={
            "outcome": "optimal" if search.complete and gap <= max(options.gap, 1e-9) else "feasible",
            "objective": value,
            "bound": bound if search.complete else None,
            "gap": gap if search.complete else None,
            "ranked": tuple(ranked),
            "pareto": pareto(search) if even else pareto_of(on_links),
            "mapping": winner.places(spec.cluster),
            "mapping_gain": winner.gain,
            "goodput": goodput(search.shape.num_parameters, ranked[0].num_gpus, spec.failures),
            "elastic": elastic_advice(search, kinds, ranked[0], () if even else on_links),
        }
    )
    return plan.model_copy(update={"explanation": explain(plan, search.complete)})


def _to_map(search: Search, even: bool) -> list[tuple[Evaluated, int]]:
    """The best, and the best of each framework; on uneven links of most of the nodes too."""
    spec = search.spec
    chosen = best_of(search.found, spec.objective, MAPPED, spec) or _best_without_limits(search)
    others = best_of_each(search.found, spec)
    if not even:
        most = max(part.site.machine.num_nodes for part in search.found)
        for count, found in sorted(by_nodes(search.found).items(), reverse=True):
            others += best_of(found, spec.objective, 1, spec) if count >= MOST_NODES * most else []
    return [*chosen, *(one for i, one in enumerate(others) if one not in chosen and one not in others[:i])]


def _even_ranks(search: Search, on_links: Sequence[Configuration]) -> list[Configuration]:
    """Where links are even a mapping changes nothing: all of the best are ranked."""
    spec = search.spec
    best = [configuration(search, *found) for found in best_of(search.found, spec.objective, spec.top, spec)]
    ranked = [*best, *(c for c in on_links if c not in best)]
    return sorted(ranked, key=lambda c: value_of(c, spec.objective))


def _best_without_limits(search: Search) -> list[tuple[Evaluated, int]]:
    """The best, and the fastest, whatever limits say."""
    spec = search.spec.model_copy(update={"deadline_days": None, "budget_usd": None, "power_limit_w": None})
    best = best_of(search.found, spec.objective, MAPPED, spec)
    return [*best, *(one for one in best_of(search.found, "time", MAPPED, spec) if one not in best)]


def _bound(search: Search, kinds: Sequence[Site]) -> float:
    """The best that any configuration would come to on the best links that can be thought of."""
    spec = search.spec
    ideal = _on_fastest_links(search, kinds)
    if not ideal.complete:
        return 0.0
    found = best_of(ideal.found, spec.objective, 1, spec)
    return float(found[0][0].value(spec.objective)[found[0][1]])


def _no_links_would_do(search: Search, kinds: Sequence[Site]) -> bool:
    """Whether no configuration keeps every limit even on the best links that can be thought of."""
    ideal = _on_fastest_links(search, kinds)
    return ideal.complete and not best_of(ideal.found, search.spec.objective, 1, search.spec)


def _on_fastest_links(search: Search, kinds: Sequence[Site]) -> Search:
    """The same search on the best links that can be thought of."""
    fastest = float(search.spec.cluster.link_rates()[0].max())
    ideal = Search(search.spec, search.shape, search.performance, search.clock)
    for site in _sites_to_try(kinds, search):
        ideal.add(with_fastest_links(site, fastest))
        if search.out_of_time():
            ideal.complete = False
            break
    return ideal
