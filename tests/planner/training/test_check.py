"""A plan tampered with in every way that the check knows, and the check of plans on even and uneven links."""

import pytest

from planner.training.check import check
from planner.training.plan import Place
from planner.training.solve import solve
from planner.types import SolveOptions

OPTIONS = SolveOptions(time_limit_s=60)
LINKS = [[0, 10, 40, 40], [10, 0, 40, 40], [40, 40, 0, 12], [40, 40, 12, 0]]


@pytest.fixture(scope="module")
def plan(facts):
    from planner.training.spec import TrainingSpec
    from tests.planner.training.conftest import SMALL

    cluster = {"groups": [{"name": "a", "gpu": "A100-80GB", "nodes": 2, "gpus_per_node": 4}]}
    spec = TrainingSpec.model_validate({**SMALL, "cluster": cluster, "deadline_days": 100, "power_limit_w": 1e6})
    return solve(spec, facts, OPTIONS)


@pytest.fixture(scope="module")
def uneven(facts):
    from planner.training.spec import TrainingSpec
    from tests.planner.training.conftest import SMALL

    cluster = {"groups": [{"name": "a", "gpu": "A100-80GB", "nodes": 4, "gpus_per_node": 2}], "gb_per_s": LINKS}
    return solve(TrainingSpec.model_validate({**SMALL, "cluster": cluster}), facts, OPTIONS)


def named(found):
    return {violation.constraint for violation in found.violations}


def test_honest_plans_pass(plan, uneven, facts):
    for honest in (plan, uneven):
        found = check(honest, facts)
        assert found.passed, found.violations
    assert uneven.mapping_gain is not None


CHANGES = {
    "tensor_parallel": 3, "pipeline_parallel": 5, "data_parallel": 9, "context_parallel": 7, "expert_parallel": 3,
    "micro_batch": 31, "num_micro_batches": 77, "virtual_stages": 5, "stage_layers": (1, 2), "recomputed_layers": 99,
    "shard_replicas": 5, "groups": ("b",), "num_nodes": 9, "num_gpus": 3, "step_ms": 1.0, "mfu": 0.99,
    "memory_gib_per_gpu": 1e-3, "memory_limit_gib": 500.0, "tokens_per_s": 1.0, "goodput_fraction": 0.5,
    "days_to_train": 1e-3, "usd_to_train": 1.0, "kwh": 1.0, "power_w": 1e9,
}  # fmt: skip


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_configuration_is_caught(plan, facts, field):
    assert getattr(plan.ranked[0], field) != CHANGES[field]
    changed = plan.ranked[0].model_copy(update={field: CHANGES[field]})
    found = check(plan.model_copy(update={"ranked": (changed, *plan.ranked[1:])}), facts)
    assert not found.passed
    assert any(constraint.startswith("ranked[0]") for constraint in named(found))


@pytest.mark.parametrize("part", ["compute_ms", "bubble_ms", "data_parallel_ms"])
def test_a_changed_part_of_the_step_is_caught(plan, facts, part):
    best = plan.ranked[0]
    parts = best.parts.model_copy(update={part: getattr(best.parts, part) + 5.0})
    found = check(
        plan.model_copy(update={"ranked": (best.model_copy(update={"parts": parts}), *plan.ranked[1:])}), facts
    )
    assert "ranked[0].parts" in named(found)


def test_memory_that_does_not_fit_is_caught(plan, facts):
    spec = plan.spec.model_copy(update={"memory_reserve_gib": 79.0})
    found = check(plan.model_copy(update={"spec": spec}), facts)
    assert any("do not fit" in violation.detail for violation in found.violations)


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [({"deadline_days": 1e-6}, "deadline_days"), ({"budget_usd": 1e-6}, "budget_usd"),
     ({"power_limit_w": 1.0}, "power_limit_w")],
)  # fmt: skip
def test_limits_are_held_against_the_plan(plan, facts, changes, constraint):
    found = check(plan.model_copy(update={"spec": plan.spec.model_copy(update=changes)}), facts)
    assert constraint in named(found)


def test_order_objective_bound_and_gap(plan, facts):
    backwards = plan.model_copy(update={"ranked": plan.ranked[::-1]})
    assert {"ranked", "objective"} <= named(check(backwards, facts))
    assert "bound" in named(check(plan.model_copy(update={"bound": plan.objective * 2}), facts))
    assert "gap" in named(check(plan.model_copy(update={"gap": 0.3}), facts))
    assert "ranked" in named(check(plan.model_copy(update={"ranked": ()}), facts))


def test_a_beaten_point_of_the_front(plan, facts):
    best = plan.ranked[0]
    slow = plan.ranked[-1]
    if all(getattr(best, f) < getattr(slow, f) * 0.999 for f in ("days_to_train", "usd_to_train", "kwh")):
        assert "pareto" in named(check(plan.model_copy(update={"pareto": (best, slow)}), facts))
    else:
        pytest.fail("the last of the ranked configurations is beaten in nothing; choose another for this test")


def test_goodput_and_elastic_advice(plan, facts):
    wrong = plan.goodput.model_copy(update={"checkpoint_every_s": 1.0})
    assert "goodput.goodput_fraction" in named(check(plan.model_copy(update={"goodput": wrong}), facts))
    assert "goodput" in named(check(plan.model_copy(update={"goodput": None}), facts))
    other = next(e for e in plan.elastic if e.configuration is not None)
    moved = other.model_copy(update={"num_nodes": 0})
    assert "elastic[0]" in named(check(plan.model_copy(update={"elastic": (moved,)}), facts))


def test_a_mapping_that_is_none(uneven, facts):
    places = uneven.mapping
    twice = (*places[:-1], Place(rank=places[-1].rank, node=places[0].node, gpu=places[0].gpu))
    lost = (*places[:-1], Place(rank=places[-1].rank, node="elsewhere", gpu=0))
    beyond = (*places[:-1], Place(rank=places[-1].rank, node=places[-1].node, gpu=99))
    for wrong in (places[:-1], twice, lost, beyond):
        assert "mapping" in named(check(uneven.model_copy(update={"mapping": wrong}), facts))


def test_a_gain_that_was_not_made(uneven, facts):
    gain = uneven.mapping_gain
    rosy = gain.model_copy(update={"seconds": gain.seconds / 2, "bound_seconds": 0.0})
    assert "mapping_gain.seconds" in named(check(uneven.model_copy(update={"mapping_gain": rosy}), facts))
    high = gain.model_copy(update={"bound_seconds": gain.seconds * 2})
    assert "mapping_gain.bound_seconds" in named(check(uneven.model_copy(update={"mapping_gain": high}), facts))


def test_ranks_in_another_order_cost_something_else(uneven, facts):
    ranks = [place.rank for place in uneven.mapping]
    moved = tuple(
        place.model_copy(update={"rank": rank})
        for place, rank in zip(uneven.mapping, ranks[::2] + ranks[1::2], strict=True)
    )
    found = check(uneven.model_copy(update={"mapping": moved}), facts)
    assert "mapping_gain.seconds" in named(found)


def test_infeasible_plans_say_why_and_list_nothing(plan, facts):
    empty = plan.model_copy(update={"outcome": "infeasible", "ranked": (), "mapping": ()})
    assert "conflicts" in named(check(empty, facts))
    assert "outcome" in named(check(plan.model_copy(update={"outcome": "no_solution"}), facts))
