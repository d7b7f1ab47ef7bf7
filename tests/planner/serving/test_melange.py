"""Mélange configurations, as their project ships them, and with every mistake we could think of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.errors import InvalidInput
from planner.serving.load import load
from planner.serving.plan import ServingPlan
from planner.serving.solve import solve
from planner.types import SolveOptions
from profiles.types import Facts

SHIPPED = Path(__file__).parents[4] / "shared/data/formats/melange_config.json"
CONFIG: dict[str, Any] = {
    "gpu_info": {
        "A10G": {"cost": 1.01, "tputs": [[2, 1], [5, 2]]},
        "A100-80GB": {"cost": 3.67, "tputs": [[20, 20], [40, 20]]},
    },
    "workload_distribution": [[0.2, 0.1], [0.5, 0.2]],
    "total_request_rate": 30.0,
    "slice_factor": 1,
}
NOTHING = Facts(digest="nothing is known")


def plan(tmp_path: Path, config: dict[str, Any]) -> ServingPlan:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    return solve(load(path, {}), NOTHING, SolveOptions())


@pytest.mark.skipif(not SHIPPED.exists(), reason=f"{SHIPPED} is not there")
def test_a_config_is_taken_as_mélange_ships_it() -> None:
    answer = solve(load(SHIPPED, {}), NOTHING, SolveOptions())
    assert (answer.outcome, answer.usd_per_hour) == ("optimal", pytest.approx(4.68))


def test_the_plan_by_hand(tmp_path: Path) -> None:
    """An A100 has room for 6/20 + 3/20 + 6/20 of itself and 10 of the 15 requests/s at [1][0]; an A10G takes 5."""
    answer = plan(tmp_path, CONFIG)
    assert {a.gpu: (a.replicas, a.utilisation) for a in answer.allocation} == {
        "A10G": (1, pytest.approx(1.0)),
        "A100-80GB": (1, pytest.approx(1.0)),
    }
    shares = {r.unit: r.fraction for r in answer.routing if r.input_tokens == (2, 3) and r.output_tokens == (1, 2)}
    assert shares == {"config/A10G": pytest.approx(1 / 3), "config/A100-80GB": pytest.approx(2 / 3)}
    assert {b.gpu: b.usd_per_hour for b in answer.baselines} == {
        "A10G": pytest.approx(12 * 1.01),  # 3 + 3 + 3 + 3 replicas
        "A100-80GB": pytest.approx(2 * 3.67),
    }


def test_whole_numbers_mean_what_they_say(tmp_path: Path) -> None:
    """One tool casts the load to the matrix's own integers, finds none, and answers 0 GPUs for $0."""
    whole = {**CONFIG, "gpu_info": {"A": {"cost": 1, "tputs": [[7, 7], [7, 7]]}}, "total_request_rate": 30}
    assert plan(tmp_path, whole).usd_per_hour == 5  # 30/7 = 4.3 replicas


def test_no_traffic_is_an_empty_plan(tmp_path: Path) -> None:
    answer = plan(tmp_path, {**CONFIG, "total_request_rate": 0})
    assert (answer.outcome, answer.usd_per_hour, answer.allocation, answer.rentals) == ("optimal", 0, (), ())
    assert answer.explanation


def test_a_size_that_no_gpu_serves_is_named_not_bought_for(tmp_path: Path) -> None:
    """One tool answers with 300,003 GPUs."""
    trap = {
        "gpu_info": {"A": {"cost": 1.0, "tputs": [[5, 5], [5, 0]]}, "B": {"cost": 2.0, "tputs": [[9, 9], [9, 0]]}},
        "workload_distribution": [[0.5, 0.3], [0.19, 0.01]],
        "total_request_rate": 30,
    }
    answer = plan(tmp_path, trap)
    assert (answer.outcome, answer.rentals) == ("infeasible", ())
    assert "2–3 in, 2–3 out (1.00% of requests)" in answer.conflicts[0].detail
    assert "1–2 in" not in answer.conflicts[0].detail


def changed(**changes: object) -> dict[str, Any]:
    return {key: value for key, value in {**CONFIG, **changes}.items() if value is not ...}


def one_gpu(**info: object) -> dict[str, Any]:
    gpu = {"cost": 1, "tputs": [[2, 1], [5, 2]], **info}
    return changed(gpu_info={"A": {key: value for key, value in gpu.items() if value is not ...}})


NOT_SQUARE = {
    "gpu_info": {"A": {"cost": 1.0, "tputs": [[2, 1, 1], [5, 2, 1]]}},
    "workload_distribution": [[0.2, 0.2], [0.2, 0.2], [0.1, 0.1]],
    "total_request_rate": 3,
}
MISTAKES = [
    (changed(gpu_info=...), "gpu_info", "is missing"),
    (changed(workload_distribution=...), "workload_distribution", "is missing"),
    (changed(total_request_rate=...), "total_request_rate", "is missing"),
    (changed(total_request_rate=-1), "total_request_rate", "-1 is not a number from 0"),
    (changed(total_request_rate="30"), "total_request_rate", "'30' is not a number"),
    (changed(total_request_rate=True), "total_request_rate", "True is not a number"),
    (changed(total_request_rate=1e9), "total_request_rate", "to 10,000,000"),
    (changed(slice_factor=0), "slice_factor", "whole number of at least 1"),
    (changed(slice_factor=1.5), "slice_factor", "whole number of at least 1"),
    (changed(workload_distribution=[]), "workload_distribution", "must be a matrix"),
    (changed(workload_distribution=[[]]), "workload_distribution", "must be a matrix"),
    (changed(workload_distribution=[0.5, 0.5]), "workload_distribution", "must be a matrix"),
    (changed(workload_distribution=[[0.2, 0.1], [0.7]]), "workload_distribution", "is ragged"),
    (changed(workload_distribution=[[20, 10], [50, 20]]), "workload_distribution", "percentages: divide by 100"),
    (changed(workload_distribution=[[0.2, 0.1], [0.5, 0.1]]), "workload_distribution", "sum to 0.9, not 1"),
    (changed(workload_distribution=[[-0.2, 0.5], [0.5, 0.2]]), "workload_distribution[0][0]", "-0.2 is not a number"),
    (changed(workload_distribution=[[None, 1], [0, 0]]), "workload_distribution[0][0]", "None is not a number"),
    (changed(gpu_info={}), "gpu_info", "at least one GPU"),
    (changed(gpu_info=[1]), "gpu_info", "at least one GPU"),
    (changed(gpu_info={" ": {"cost": 1, "tputs": [[1, 1], [1, 1]]}}), "gpu_info", "without a name"),
    (one_gpu(cost=...), "gpu_info.A", "needs cost and tputs"),
    (one_gpu(tputs=...), "gpu_info.A", "needs cost and tputs"),
    (one_gpu(cost=-1), "gpu_info.A.cost", "-1 is not a number"),
    (one_gpu(cost=0), "gpu_info.A.cost", "0 is not a number"),
    (one_gpu(cost=1e300), "gpu_info.A.cost", "to 1,000,000"),
    (one_gpu(tputs=[[2, -1], [5, 2]]), "gpu_info.A.tputs[0][1]", "-1 is not a number"),
    (one_gpu(tputs=[[2, 1, 1], [5, 2, 1]]), "gpu_info.A.tputs", "needs 2 rows"),
    (one_gpu(tputs=[[2, 1], [5]]), "gpu_info.A.tputs", "is ragged"),
    (NOT_SQUARE, "gpu_info.A.tputs", "looks transposed"),
]


@pytest.mark.parametrize(("config", "field", "detail"), MISTAKES)
def test_mistakes_name_the_field_of_the_file(tmp_path: Path, config: dict[str, Any], field: str, detail: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    with pytest.raises(InvalidInput) as error:
        load(path, {})
    assert error.value.field == f"{path}: {field}"
    assert detail in error.value.detail


def test_a_trace_beside_a_config_is_refused_not_ignored(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    with pytest.raises(InvalidInput, match="no place beside a Mélange config") as error:
        load(path, {"trace": tmp_path / "trace.csv"})
    assert error.value.field == "--trace"
