"""Clusters of several GPU types."""

import pytest

from planner.training.check import check
from planner.training.solve import solve
from planner.types import SolveOptions

OPTIONS = SolveOptions(time_limit_s=60)
FAST = {"name": "fast", "gpu": "H100", "nodes": 2, "gpus_per_node": 4, "between_gb_per_s": 200}
SLOW = {"name": "slow", "gpu": "A100-80GB", "nodes": 4, "gpus_per_node": 4, "between_gb_per_s": 100}
BIG = {
    "shape": {"num_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "vocab_size": 32_000},
    "global_batch": 384,
}
PIPELINES = {"choices": {"pipeline_parallel": [2, 4], "virtual_stages": [1]}}


@pytest.fixture(scope="module")
def mixed(facts):
    from planner.training.spec import TrainingSpec
    from tests.planner.training.conftest import SMALL

    cluster = {"groups": [SLOW, FAST], "between_groups_gb_per_s": 12}
    return solve(TrainingSpec.model_validate({**SMALL, **BIG, "cluster": cluster}), facts, OPTIONS)


def stage_kinds(plan):
    """The kind of node that each stage of the best configuration is on; one kind a stage."""
    best = plan.ranked[0]
    per_stage, found = best.num_gpus // best.pipeline_parallel, []
    for stage in range(best.pipeline_parallel):
        ranks = range(stage * per_stage, (stage + 1) * per_stage)
        kinds = {place.node.rsplit("-", 1)[0] for place in plan.mapping if place.rank in ranks}
        assert len(kinds) == 1
        found += kinds
    return found


def test_faster_gpus_get_more_layers(mixed, facts):
    best = mixed.ranked[0]
    assert set(best.groups) == {"fast", "slow"}
    kind_of = stage_kinds(mixed)
    layers = {kind: [n for k, n in zip(kind_of, best.stage_layers, strict=True) if k == kind] for kind in best.groups}
    assert min(layers["fast"]) > max(layers["slow"])
    found = check(mixed, facts)
    assert found.passed, found.violations


def test_stages_of_a_kind_follow_one_another(mixed):
    kinds = stage_kinds(mixed)
    assert kinds == sorted(kinds, key=mixed.ranked[0].groups.index)


def test_together_beats_the_better_half(small, facts, mixed):
    alone = solve(small(**BIG, cluster={"groups": [FAST]}), facts, OPTIONS)
    assert mixed.objective < alone.objective


def test_a_slower_link_between_clusters_is_never_faster(small, facts):
    def days(rate):
        cluster = {"groups": [SLOW, FAST], "between_groups_gb_per_s": rate}
        plan = solve(small(**BIG, **PIPELINES, cluster=cluster), facts, OPTIONS)
        return plan.objective

    assert days(100) <= days(5) <= days(0.5)


def test_layers_tampered_with_are_caught(mixed, facts):
    best = mixed.ranked[0]
    assert best.stage_layers != best.stage_layers[::-1]
    swapped = best.model_copy(update={"stage_layers": best.stage_layers[::-1]})
    found = check(mixed.model_copy(update={"ranked": (swapped, *mixed.ranked[1:])}), facts)
    assert not found.passed
