"""What to run when nodes come or go: the best configuration for other numbers of nodes, and the price of switching."""

from __future__ import annotations

from collections.abc import Sequence

from planner.training.failures import goodput
from planner.training.model import Evaluated, best_of
from planner.training.plan import Configuration, Elastic
from planner.training.search import Search
from planner.training.sites import Site, larger_counts
from planner.training.write import configuration


def elastic_advice(search: Search, kinds: Sequence[Site], best: Configuration) -> tuple[Elastic, ...]:
    """For each number of nodes that was tried on the best configuration's site, and a few more than it has.

    A switch writes a checkpoint, reshards it on reading (universal checkpoints: Lian et al., 2024) and restarts.
    """
    kind = next((kind for kind in kinds if kind.groups == best.groups), None)
    if kind is None:  # several kinds of nodes together: nobody can say which of them come and go
        return ()
    tried: dict[int, list[Evaluated]] = {}
    for part in search.found:
        if part.site.groups == best.groups:
            tried.setdefault(part.site.machine.num_nodes, []).append(part)
    for count in larger_counts(kind.machine.num_nodes):
        if not search.out_of_time():
            tried[count] = [part for part in search.evaluated(kind.first(count)) if len(part.layouts)]
    tried.pop(best.num_nodes, None)
    return tuple(_advice(search, kind.first(count), found) for count, found in sorted(tried.items()))


def _advice(search: Search, site: Site, found: list[Evaluated]) -> Elastic:
    spec, num_gpus = search.spec, site.machine.num_gpus
    saving = goodput(search.shape.num_parameters, num_gpus, spec.failures)
    write_s = saving.checkpoint_gib * 2**30 / 1e9 / spec.failures.storage_gb_per_s
    best = best_of(found, spec.objective, 1, spec)
    why_not = "" if best else "fits, but misses a limit of the spec" if found else "nothing fits, or no degrees exist"
    return Elastic(
        num_nodes=site.machine.num_nodes,
        num_gpus=num_gpus,
        configuration=configuration(search, *best[0]) if best else None,
        switch_s=2 * write_s + spec.failures.restart_s,
        why_not=why_not,
    )
