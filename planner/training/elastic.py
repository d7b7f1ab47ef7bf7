"""What to run when nodes come or go: the best configuration for other numbers of nodes, and the price of switching."""

from __future__ import annotations

from collections.abc import Sequence

from planner.training.failures import goodput
from planner.training.model import Evaluated, best_of
from planner.training.plan import Configuration, Elastic
from planner.training.search import Search
from planner.training.sites import Site, larger_counts
from planner.training.write import configuration, value_of


def elastic_advice(
    search: Search, kinds: Sequence[Site], best: Configuration, mapped: Sequence[Configuration]
) -> tuple[Elastic, ...]:
    """For each number of nodes that was tried on the best configuration's site, and a few more than it has.

    ``mapped``: configurations on the links that there are, where links are uneven; else none. A switch writes a
    checkpoint, reshards it on reading (universal checkpoints: Lian et al., 2024) and restarts.
    """
    kind = next((kind for kind in kinds if kind.groups == best.groups), None)
    if kind is None:  # several kinds of nodes together: nobody can say which of them come and go
        return ()
    tried = by_nodes([part for part in search.found if part.site.groups == best.groups])
    for count in larger_counts(kind.machine.num_nodes):
        if not search.out_of_time():
            tried[count] = [part for part in search.evaluated(kind.first(count)) if len(part.layouts)]
    of_kind = [configuration for configuration in mapped if configuration.groups == best.groups]
    counts = sorted(count for count in tried if count != best.num_nodes)
    return tuple(_advice(search, kind.first(count), tried, of_kind) for count in counts)


def by_nodes(found: Sequence[Evaluated]) -> dict[int, list[Evaluated]]:
    """What fits, by number of nodes."""
    tried: dict[int, list[Evaluated]] = {}
    for part in found:
        tried.setdefault(part.site.machine.num_nodes, []).append(part)
    return tried


def _advice(search: Search, site: Site, tried: dict[int, list[Evaluated]], mapped: Sequence[Configuration]) -> Elastic:
    spec, count, num_gpus = search.spec, site.machine.num_nodes, site.machine.num_gpus
    saving = goodput(search.shape.num_parameters, num_gpus, spec.failures)
    write_s = saving.checkpoint_gib * 2**30 / 1e9 / spec.failures.storage_gb_per_s
    fewer = spec.objective == "time"  # a number that divides badly leaves some nodes idle; cheaper is always fewer
    chosen: Configuration | None
    on_links = [c for c in mapped if c.num_nodes == count or (fewer and c.num_nodes < count)]
    if any(c.num_nodes == count for c in on_links):
        chosen = min(on_links, key=lambda c: value_of(c, spec.objective))
    else:
        found = [part for number in sorted(tried, reverse=True) if number == count or (fewer and number < count)
                 for part in tried[number]]  # fmt: skip
        best = best_of(found, spec.objective, 1, spec)
        chosen = configuration(search, *best[0]) if best else None
    why_not = "fits, but misses a limit of the spec" if tried[count] else "nothing fits, or no degrees exist"
    return Elastic(
        num_nodes=count,
        num_gpus=num_gpus,
        configuration=chosen,
        on_typical_links=bool(mapped) and chosen is not None and chosen not in on_links,
        switch_s=2 * write_s + spec.failures.restart_s,
        why_not="" if chosen is not None else why_not,
    )
