"""Every file of ``examples/``: specs are planned, and answer what the lines on top of them and the README claim."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from api.examples import SPECS
from planner.experts import ExpertsPlan
from planner.power import PowerPlan, check
from planner.power import solve as power
from planner.power.traces.pools import pools
from planner.power.trials import Effort
from planner.registry import planner_for
from planner.service import answer_from
from planner.serving import ServingPlan
from planner.training import TrainingPlan
from planner.types import Plan, SolveOptions
from profiles import catalogue
from profiles.types import Facts

EXAMPLES = Path(__file__).parents[2] / "examples"
TRACE = Path(__file__).parents[3] / "shared/data/traces/azure_llm_2023_conv.csv"

SERVING = ("azure_chat", "chat", "long_context_batch", "scarce_h100s", "shared_nodes", "split")
EXPERTS = ("deepseek_v3", "experts", "experts_groups")
POWER = ("power", "row_30_percent")
SPEC_FILES = {*SERVING, *EXPERTS, *POWER, "training"}
BESIDE = {"README.md", "deepseek_v3_load.json", "deepseek_v3_load.py", "training_links.csv"}
"""Files that belong to specs, each used by a test below."""

FOLDERS = {"replan", "deploy"}
"""Examples of operating: tests/planner/replan/test_examples.py, test_replay.py beside this file, tests/api/ops."""

LIMIT_S = {"serving": 60.0, "experts": 30.0, "training": 2.0, "power": 1.0}
"""Serving and experts end by themselves long before. What training finds so soon suffices for its claim; power ends
once its servers are judged, without comparing policies or assumptions."""

FOUND = {
    "name": "two thresholds 85%/94%",
    "steps": [
        {"at": 0.85, "release": 0.80, "caps": [{"priority": "low", "clock_mhz": 1305}]},
        {"at": 0.94, "release": 0.89, "caps": [{"priority": "low", "clock_mhz": 1200}]},
        {"at": 0.94, "release": 0.89, "caps": [{"priority": "high", "clock_mhz": 1350}], "waits": True},
    ],
    "brake_release": 0.89,
}
"""The policy that two minutes of search find for both rows; here it is judged, not found."""

FEW_WEEKS = Effort(choosing_weeks=1, judging_weeks=4)
"""Against 4 and 48 of a whole run."""


@pytest.fixture(scope="module")
def facts() -> Facts:
    """What a fresh store knows."""
    return Facts(**dict(catalogue.load()), digest="catalogue")


def loaded(name: str) -> Any:
    path = EXAMPLES / f"{name}.yaml"
    kind = yaml.safe_load(path.read_text())["kind"]
    return planner_for(kind).load([path], {})


@pytest.fixture(scope="module")
def planned(facts: Facts) -> Callable[[str], Any]:
    """The plan of an example, made once; its check has passed, or this raises."""
    made: dict[str, Plan] = {}

    def plan(name: str) -> Any:
        if name not in made:
            spec = loaded(name)
            made[name] = answer_from(spec.kind, spec, facts, SolveOptions(time_limit_s=LIMIT_S[spec.kind]))
            assert made[name].outcome in ("optimal", "feasible")
        return made[name]

    return plan


def gpus(plan: ServingPlan, service: str | None = None) -> set[str]:
    return {entry.gpu for entry in plan.allocation if service in (None, entry.service)}


def test_nothing_in_the_folder_is_without_a_test() -> None:
    found = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert found == {f"{name}.yaml" for name in SPEC_FILES} | BESIDE
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__"} == FOLDERS


@pytest.mark.parametrize("name", sorted(SPEC_FILES))
def test_three_lines_on_top_say_what_is_asked_and_how_to_run_it(name: str) -> None:
    lines = (EXAMPLES / f"{name}.yaml").read_text().splitlines()
    top = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    assert len(top) >= 3
    assert max(map(len, lines)) <= 120
    command = shlex.split(next(line for line in top if "gpuplan plan" in line)[2:], comments=True)
    assert command == ["gpuplan", "plan", loaded(name).kind, f"examples/{name}.yaml"]


def test_the_table_of_the_readme_has_every_example() -> None:
    table = (EXAMPLES / "README.md").read_text()
    assert set(re.findall(r"\| \[(\w+)\.yaml\]", table)) == SPEC_FILES
    assert all((EXAMPLES / target).exists() for target in re.findall(r"\]\((?!http)([^)#]+)\)", table))


def test_the_service_shows_the_first_examples_as_they_are() -> None:
    for kind, name in (("serving", "chat"), ("experts", "experts")):
        spec_type = planner_for(kind).spec_type
        assert spec_type.model_validate(SPECS[kind]) == loaded(name)


def test_chat_mixes_two_small_gpus(planned: Callable[[str], ServingPlan]) -> None:
    plan = planned("chat")
    assert plan.outcome == "optimal"
    assert gpus(plan) == {"L4", "L40S"}
    assert plan.savings_vs_best_single_type is not None
    assert plan.savings_vs_best_single_type > 0.2


def test_azure_chat_is_cheapest_on_two_gpu_types(planned: Callable[[str], ServingPlan]) -> None:
    plan = planned("azure_chat")
    assert gpus(plan) == {"L4", "L40S"}
    assert sum(rental.instances for rental in plan.rentals) == 3
    assert plan.savings_vs_best_single_type is not None
    assert plan.savings_vs_best_single_type > 0.05


@pytest.mark.skipif(not TRACE.exists(), reason=f"no {TRACE.name}")
def test_azure_chat_has_the_shape_of_the_trace() -> None:
    distribution = loaded("azure_chat").services[0].workload.distribution
    sizes = np.loadtxt(TRACE, delimiter=",", skiprows=1, usecols=(1, 2))
    sizes = np.clip(sizes, 1, (distribution.input_tokens[-1], distribution.output_tokens[-1]))
    # Low ends of ranges are excluded but the first, which holds single tokens too.
    edges = [(0, *ends[1:]) for ends in (distribution.input_tokens, distribution.output_tokens)]
    counted = np.histogram2d(*sizes.T, [np.array(ends) + 0.5 for ends in edges])[0] / len(sizes)
    assert np.abs(counted - np.array(distribution.fractions)).max() < 0.0016  # rounded to 0.1%, and made to sum to 1


def test_both_services_share_the_scarce_h100s(planned: Callable[[str], ServingPlan]) -> None:
    plan = planned("scarce_h100s")
    assert gpus(plan, "assistant") == {"H100", "H200"}
    assert "H100" in gpus(plan, "chat")
    rented = sum(rental.gpus_per_instance * rental.instances for rental in plan.rentals if rental.gpu == "H100")
    assert 14 <= rented <= 16
    without = next(baseline for baseline in plan.baselines if baseline.gpu == "H200")
    assert without.usd_per_hour is not None
    assert plan.usd_per_hour is not None
    assert without.usd_per_hour > 1.4 * plan.usd_per_hour
    alone = next(baseline for baseline in plan.baselines if baseline.gpu == "H100")
    assert alone.usd_per_hour is None  # there are too few


def test_the_longest_contracts_go_to_other_gpus(planned: Callable[[str], ServingPlan]) -> None:
    plan = planned("long_context_batch")
    assert gpus(plan) == {"B200", "H200"}
    assert {entry.market for entry in plan.allocation} == {"spot"}
    on_h200 = {entry.unit for entry in plan.allocation if entry.gpu == "H200"}
    assert {route.input_tokens[0] for route in plan.routing if route.unit in on_h200} == {65_536}


def test_replicas_of_several_sizes_share_nodes(planned: Callable[[str], ServingPlan]) -> None:
    plan = planned("shared_nodes")
    assert gpus(plan) == {"H100", "H200"}
    assert {entry.market for entry in plan.allocation} == {"spot", "on_demand"}
    assert not [route for route in plan.routing if route.origin == "roofline"]


def test_splitting_halves_nearly_what_a_tight_pace_costs(planned: Callable[[str], ServingPlan]) -> None:
    plan = planned("split")
    assert {"prefill", "decode"} <= {entry.role for entry in plan.allocation}
    cost = {baseline.pools: baseline.usd_per_hour for baseline in plan.pool_baselines}
    assert cost["unified"] is not None
    assert plan.usd_per_hour is not None
    assert plan.usd_per_hour < 0.7 * cost["unified"]


@pytest.mark.parametrize(("name", "least"), [("experts", 0.84), ("experts_groups", 0.95), ("deepseek_v3", 0.97)])
def test_experts_are_balanced_better_than_the_greedy_does(
    planned: Callable[[str], ExpertsPlan], name: str, least: float
) -> None:
    plan = planned(name)
    assert plan.balancedness is not None
    assert plan.balancedness > max(least, plan.baselines["greedy"].balancedness)


def test_deepseek_v3_has_32_copies_more_than_experts_in_every_layer(planned: Callable[[str], ExpertsPlan]) -> None:
    plan = planned("deepseek_v3")
    copies = np.array(plan.logical_replica_count)
    assert copies.shape == (58, 256)
    assert copies.min() == 1
    assert set(copies.sum(axis=1)) == {288}
    assert [result.name for result in plan.workloads] == ["prefill", "decode"]


def test_the_load_of_deepseek_v3_is_what_its_script_draws() -> None:
    spec = importlib.util.spec_from_file_location("deepseek_v3_load", EXAMPLES / "deepseek_v3_load.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    drawn = script.loads()
    assert json.loads((EXAMPLES / "deepseek_v3_load.json").read_text()) == drawn
    prefill, decode = (np.array(drawn[name], dtype=float) for name in ("prefill", "decode"))
    for load in (prefill, decode):  # the skew that the script speaks of
        assert 5.5 < (load.max(axis=1) / load.mean(axis=1)).mean() < 7
        assert 0.3 < (np.sort(load, axis=1)[:, -32:].sum(axis=1) / load.sum(axis=1)).mean() < 0.36
    alike = [np.corrcoef(np.log(a), np.log(b))[0, 1] for a, b in zip(prefill, decode, strict=True)]
    assert np.mean(alike) == pytest.approx(0.78, abs=0.02)


def test_ranks_go_around_the_slow_links(planned: Callable[[str], TrainingPlan]) -> None:
    plan = planned("training")
    assert plan.ranked[0].num_gpus == 128
    assert len(plan.mapping) == 128
    assert plan.mapping_gain is not None
    assert plan.mapping_gain.seconds < 0.9 * plan.mapping_gain.default_seconds


def test_the_service_shows_a_training_job_on_uneven_links(facts: Facts) -> None:
    spec = planner_for("training").spec_type.model_validate(SPECS["training"])
    plan = answer_from("training", spec, facts, SolveOptions(time_limit_s=10))
    assert isinstance(plan, TrainingPlan)
    assert plan.mapping_gain is not None
    assert plan.mapping_gain.seconds < 0.7 * plan.mapping_gain.default_seconds


@pytest.fixture(scope="module")
def requests_of_the_rows(facts: Facts) -> Any:
    """Both rows run the same requests: replaying them once takes less time."""
    assert loaded("power").workloads == loaded("row_30_percent").workloads
    return pools(loaded("power"), facts)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # one week to choose on has no spread
@pytest.mark.parametrize(("name", "num_servers"), [("power", 51), ("row_30_percent", 52)])
def test_a_row_carries_more_servers_than_its_rating(
    facts: Facts, requests_of_the_rows: Any, monkeypatch: pytest.MonkeyPatch, name: str, num_servers: int
) -> None:
    """The policy of the whole run, on a twelfth of its weeks and for a promise of one."""
    for module in (power, check):
        monkeypatch.setattr(module, "pools", lambda *_: requests_of_the_rows)
    document = loaded(name).model_dump()
    document |= {"policy": FOUND, "num_servers": num_servers, "promise": {"weeks": 1, "confidence": 0.95}}
    spec = planner_for("power").spec_type.model_validate(document)
    plan = power.solve(spec, facts, SolveOptions(time_limit_s=LIMIT_S["power"]), FEW_WEEKS)
    assert isinstance(plan, PowerPlan)
    assert plan.outcome == "feasible"
    assert check.check(plan, facts).passed
    assert plan.oversubscription_ratio == pytest.approx(num_servers / 40)
    assert plan.num_brakes == 0
    assert plan.natural_peak_utilisation > 1  # it would brake, were nobody slowed down


def test_scripts_say_how_they_are_run() -> None:
    for path in EXAMPLES.rglob("*.py"):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert f"python {path.relative_to(EXAMPLES.parent)}" in text
