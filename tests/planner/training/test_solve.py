"""Plans against trying every configuration by itself, and what must hold when limits or machines change."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import MissingProfile, UnknownName
from planner.training.check import check
from planner.training.failures import goodput
from planner.training.model import num_steps
from planner.training.shapes import shape_of
from planner.training.sites import node_counts, sites
from planner.training.solve import solve
from planner.training.space import configurations
from planner.types import SolveOptions
from profiles.training.memory import memory
from profiles.training.performance import TrainingPerformance

OPTIONS = SolveOptions(time_limit_s=60)


def nodes(number, gpu="A100-80GB", **more):
    return {"groups": [{"name": "a", "gpu": gpu, "nodes": number, "gpus_per_node": 4, **more}]}


def best_by_trying(spec, facts):
    """Least days over all configurations and numbers of nodes, one configuration at a time."""
    shape, performance = shape_of(spec, facts), TrainingPerformance(facts)
    site = sites(spec, facts)[0]
    least = np.inf
    for count in node_counts(site.machine.num_nodes, site.machine.gpus_per_node, spec, shape):
        machine = site.first(count).machine
        useful = goodput(shape.num_parameters, machine.num_gpus, spec.failures).goodput_fraction
        for framework in spec.choices.frameworks:
            layouts = configurations(
                framework, shape, spec.choices, world=machine.num_gpus, gpus_per_node=machine.gpus_per_node,
                global_batch=spec.global_batch, sequence_length=spec.sequence_length,
            )  # fmt: skip
            for row in range(len(layouts)):
                one = layouts.take(np.array([row]))
                needed = memory(shape, one, sequence_length=spec.sequence_length, framework=framework).total_gib[0]
                if needed <= machine.gpu.memory_gib - spec.memory_reserve_gib:
                    time = performance.step_time(
                        shape, one, machine, sequence_length=spec.sequence_length, framework=framework
                    )
                    days = num_steps(spec) * time.step_ms[0] / 86_400e3 / useful
                    least = min(least, days)
    return least


def test_no_configuration_is_faster_than_the_plan(small, facts):
    spec = small(
        choices={"tensor_parallel": [2, 4], "micro_batch": [4], "virtual_stages": [1, 2], "recompute": ["none", "full"],
                 "partial_recompute": False, "frameworks": ["megatron-lm"], "sequence_parallel": [True]},
    )  # fmt: skip
    plan = solve(spec, facts, OPTIONS)
    assert plan.outcome == "optimal"
    assert plan.objective == pytest.approx(best_by_trying(spec, facts), rel=1e-9)
    assert check(plan, facts).passed


@pytest.mark.parametrize("objective", ["time", "money", "energy"])
def test_ranked_best_first_and_checked(small, facts, objective):
    plan = solve(small(objective=objective), facts, OPTIONS)
    values = [{"time": c.days_to_train, "money": c.usd_to_train, "energy": c.kwh}[objective] for c in plan.ranked]
    assert values == sorted(values)
    assert plan.objective == values[0]
    assert plan.num_evaluated >= plan.num_fitting > 0
    found = check(plan, facts)
    assert found.passed, found.violations


def test_equal_requests_get_equal_plans(small, facts):
    plans = [solve(small(), facts, OPTIONS).model_copy(update={"solve_seconds": 0.0}) for _ in range(2)]
    assert plans[0] == plans[1]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.3, 3.0))
def test_a_looser_deadline_never_costs_more(small, facts, factor):
    free = solve(small(objective="money"), facts, OPTIONS)
    deadline = free.ranked[0].days_to_train * factor
    tight = solve(small(objective="money", deadline_days=deadline), facts, OPTIONS)
    loose = solve(small(objective="money", deadline_days=deadline * 1.5), facts, OPTIONS)
    if tight.objective is None:
        assert tight.outcome == "infeasible"
        needed = tight.conflicts[0].relaxations[0].needed
        again = solve(small(objective="money", deadline_days=needed * (1 + 1e-9)), facts, OPTIONS)
        assert again.ranked, "the relaxation that is offered is enough"
        assert needed > deadline
    else:
        assert loose.objective <= tight.objective * (1 + 1e-9)


def test_more_nodes_never_take_longer(small, facts):
    days = [solve(small(cluster=nodes(n)), facts, OPTIONS).ranked[0].days_to_train for n in (1, 2, 3, 4)]
    assert days == sorted(days, reverse=True)


def test_more_memory_is_never_slower(small, facts):
    big = {"shape": {"num_layers": 24, "hidden_size": 4096, "num_attention_heads": 32, "vocab_size": 32_000}}
    lean = solve(small(**big, cluster=nodes(2, "A100-80GB"), memory_reserve_gib=40), facts, OPTIONS)
    rich = solve(small(**big, cluster=nodes(2, "A100-80GB")), facts, OPTIONS)
    assert rich.objective <= lean.objective
    assert lean.ranked[0].memory_gib_per_gpu <= 40


def test_what_fits_nowhere_says_by_how_much_and_what_would_do(small, facts):
    huge = {"shape": {"num_layers": 96, "hidden_size": 12_288, "num_attention_heads": 96, "vocab_size": 51_200}}
    plan = solve(small(**huge, cluster=nodes(1)), facts, OPTIONS)
    assert plan.outcome == "infeasible"
    assert "GiB on its fullest GPU" in plan.conflicts[0].detail
    needed = plan.conflicts[0].relaxations[0].needed
    assert needed > 80
    assert plan.fixes
    assert check(plan, facts).passed


def test_no_degrees_for_a_prime_world_and_fixed_choices(small, facts):
    choices = {"tensor_parallel": [1], "pipeline_parallel": [1], "context_parallel": [1]}
    one = {"groups": [{"name": "a", "gpu": "H100", "nodes": 1, "gpus_per_node": 7}]}
    plan = solve(small(cluster=one, choices=choices), facts, OPTIONS)
    assert plan.outcome == "infeasible"
    assert "no degrees exist" in plan.conflicts[0].detail


def test_a_world_that_divides_badly_leaves_nodes_idle(small, facts):
    plan = solve(small(cluster=nodes(7)), facts, OPTIONS)
    assert plan.ranked[0].num_nodes in range(1, 8)
    assert check(plan, facts).passed


def test_pareto_front_has_the_fastest_and_the_cheapest(small, facts):
    plan = solve(small(cluster=nodes(8)), facts, OPTIONS)
    fastest = min(c.days_to_train for c in plan.pareto)
    cheapest = min(c.usd_to_train for c in plan.pareto)
    assert fastest == pytest.approx(plan.ranked[0].days_to_train, rel=2e-3)
    assert cheapest <= plan.ranked[0].usd_to_train
    assert check(plan, facts).passed


def test_elastic_advice_covers_fewer_and_more_nodes(small, facts):
    plan = solve(small(cluster=nodes(4)), facts, OPTIONS)
    counts = [advice.num_nodes for advice in plan.elastic]
    assert 8 in counts
    assert {1, 2, 3} <= set(counts)
    assert all(advice.switch_s > plan.spec.failures.restart_s for advice in plan.elastic)


def test_unknown_gpu_and_model(small, facts):
    with pytest.raises(UnknownName, match=r"H101"):
        solve(small(cluster=nodes(1, "H101")), facts, OPTIONS)
    spec = small().model_copy(update={"shape": None, "model": "nobody/knows"})
    with pytest.raises(MissingProfile, match="shape of nobody/knows"):
        solve(spec, facts, OPTIONS)


def test_a_price_that_nobody_knows(small, facts):
    nowhere = facts.model_copy(update={"prices": ()})
    plan = solve(small(), nowhere, OPTIONS)
    assert plan.ranked[0].usd_to_train is None
    assert check(plan, nowhere).passed
    with pytest.raises(MissingProfile, match="no price is known"):
        solve(small(objective="money"), nowhere, OPTIONS)


@pytest.mark.parametrize("method", ["lora", "qlora", "zeroth_order"])
def test_fine_tuning_fits_where_training_does_not(small, facts, method):
    one = {"groups": [{"name": "a", "gpu": "A100-80GB", "nodes": 1, "gpus_per_node": 1}]}
    small_machine = {"model": "meta-llama/Llama-3.1-8B", "shape": None, "cluster": one, "global_batch": 8}
    assert solve(small(**small_machine), facts, OPTIONS).outcome == "infeasible"
    plan = solve(small(**small_machine, finetune={"method": method}), facts, OPTIONS)
    assert plan.ranked
    assert check(plan, facts).passed


def test_offload_fits_where_memory_does_not(small, facts):
    one = {"name": "a", "gpu": "A100-80GB", "nodes": 1, "gpus_per_node": 1, "host_memory_gib": 400}
    asked = {"model": "meta-llama/Llama-3.1-8B", "shape": None, "global_batch": 8}
    offload = {"offload": ["none", "optimizer_cpu"]}
    without = solve(small(**asked, cluster={"groups": [one]}), facts, OPTIONS)
    offloaded = solve(small(**asked, cluster={"groups": [one]}, choices=offload), facts, OPTIONS)
    assert without.outcome == "infeasible"
    assert offloaded.ranked[0].offload == "optimizer_cpu"
    no_host = {**one, "host_memory_gib": 10}
    assert solve(small(**asked, cluster={"groups": [no_host]}, choices=offload), facts, OPTIONS).outcome == "infeasible"
