"""Power specs from files: what they name is read in, and nothing refers to files any more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from planner.errors import InvalidInput
from planner.power.load import load
from planner.power.spec import PowerSpec, Series, Trace, Training
from planner.serving import ServingPlan, ServingSpec
from planner.serving.plan import Allocation, Route
from profiles.types import Layout

EXAMPLE = Path(__file__).parents[3] / "examples/power.yaml"
START_S = 1_767_571_200  # 2026-01-05 00:00 UTC, a Monday


def saved(folder: Path, demand: Any, **server: Any) -> Path:
    path = folder / "row.yaml"
    path.write_text(yaml.safe_dump({
        "kind": "power",
        "servers": [{"name": "dgx", "gpu": "A100-80GB", "other_w": 1800, "rated_w": 6500, **server}],
        "row": {"budget_servers": 10},
        "priorities": [{"name": "low"}],
        "workloads": [{"name": "w", "server": "dgx", "priority": "low", "share": 1, "demand": demand}],
    }))  # fmt: skip
    return path


def demand_of(path: Path, **options: Any) -> Any:
    spec = load(path, options)
    assert PowerSpec.model_validate_json(spec.model_dump_json()) == spec
    return spec.workloads[0].demand


def requests_csv(folder: Path) -> Path:
    path = folder / "requests.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:00.5,374,44\n2023-11-16 18:15:00.25,0,7\n"
    )
    return path


def test_the_example() -> None:
    spec = load(EXAMPLE, {})
    assert spec.num_by_rating == 40
    assert [w.priority for w in spec.workloads] == ["low", "high"]
    assert all(isinstance(w.demand, Trace) and w.demand.generated is not None for w in spec.workloads)


def test_a_trace_is_sorted_and_starts_at_zero(tmp_path: Path) -> None:
    requests_csv(tmp_path)
    found = demand_of(
        saved(tmp_path, {"trace": "requests.csv", "model": "bigscience/bloom", "tp": 8, "peak_load": 0.6})
    )
    assert isinstance(found, Trace)
    assert found.requests is not None
    assert found.requests.array().tolist() == [[0, 1, 7], [120_250, 374, 44]]
    assert (found.tp, found.peak_load) == (8, 0.6)


def test_a_trace_of_the_command_line_replaces_those_of_all_inference_workloads(tmp_path: Path) -> None:
    found = load(EXAMPLE, {"trace": requests_csv(tmp_path)})
    for workload in found.workloads:
        assert isinstance(workload.demand, Trace)
        assert workload.demand.generated is None
        assert workload.demand.requests is not None
        assert workload.demand.requests.shape == (2, 3)
    training = load(saved(tmp_path, {"kind": "training"}), {"trace": requests_csv(tmp_path)})
    assert isinstance(training.workloads[0].demand, Training)


def test_a_series_knows_its_hour_of_the_week(tmp_path: Path) -> None:
    rows = [
        f"{START_S + 86_400 + 7200 + 10 * i},{name},{watts + 1800}"
        for i in range(3)
        for name, watts in (("a", 900), ("b", 1000))
    ]
    (tmp_path / "power.csv").write_text("\n".join(["time,server,watts", *rows]))
    found = demand_of(saved(tmp_path, {"series": "power.csv", "other_w": 1800, "time_on_clock": 0.3}))
    assert isinstance(found, Series)
    assert found.values.array().tolist() == [[900] * 3, [1000] * 3]
    assert (found.start_hour, found.interval_s, found.time_on_clock) == (26.0, 10.0, 0.3)
    with pytest.raises(InvalidInput, match=r"2700 W of a whole reading"):
        load(saved(tmp_path, {"series": "power.csv", "other_w": 5000}), {})


def test_a_wide_series_of_utilisation_in_local_time(tmp_path: Path) -> None:
    (tmp_path / "util.csv").write_text("time,a,b\n2026-01-05 01:00:00,50,0\n2026-01-05 01:00:15,100,12.34\n")
    demand = {"series": "util.csv", "unit": "utilisation", "time_zone": "Europe/Berlin"}
    found = demand_of(saved(tmp_path, demand))
    assert found.utilisation.array().tolist() == [[5000, 10_000], [0, 1234]]
    assert found.start_hour == 0


def test_an_export_of_prometheus(tmp_path: Path) -> None:
    result = [
        {"metric": {"__name__": "DCGM_FI_DEV_POWER_USAGE", "Hostname": "h", "gpu": str(g)},
         "values": [[START_S + 15 * i, str(100 + g)] for i in range(4)]}
        for g in range(4)
    ]  # fmt: skip
    (tmp_path / "range.json").write_text(
        json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})
    )
    assert demand_of(saved(tmp_path, {"prometheus": "range.json"}, num_gpus=4)).gpu_w.array().tolist() == [[406] * 4]
    with pytest.raises(InvalidInput, match="has 4 GPUs, the spec's servers have 8"):
        load(saved(tmp_path, {"prometheus": "range.json"}), {})
    with pytest.raises(InvalidInput, match="series, prometheus: give one"):
        load(saved(tmp_path, {"prometheus": "range.json", "series": "x.csv"}), {})


def serving_plan(role: str = "unified", replicas: int = 10) -> dict[str, Any]:
    """A plan of two request sizes on ten replicas of four GPUs, as a saved file holds it."""
    document = {"services": [{"name": "chat", "model": "m", "workload": {"requests_per_s": 0}}]}
    unit = {"unit": "A100 ×4", "service": "chat"}
    layout = Layout(model="llama2-70b", gpu="A100-80GB", tp=4, precision="fp16", engine="vllm")
    allocation = Allocation(
        **unit, gpu="A100-80GB", gpus_per_replica=4, role=role, precision="fp16", engine="vllm", layout=layout,
        provider="p", instance_type="i", region="r", market="on_demand", replicas=replicas, utilisation=0.7,
        usd_per_hour=1.0, power_w=1.0,
    )  # fmt: skip
    routes = [
        Route(
            **unit, input_tokens=(1, 4 * size), output_tokens=(1, size), mean_input_tokens=3.0 * size,
            mean_output_tokens=size / 2, fraction=1.0, requests_per_s=rate, requests_per_s_per_replica=1.0,
            origin="measured",
        )
        for size, rate in ((100, 15.0), (400, 5.0))
    ]  # fmt: skip
    plan = ServingPlan(
        outcome="optimal", spec=ServingSpec.model_validate(document), allocation=(allocation,), routing=tuple(routes)
    )
    found: dict[str, Any] = json.loads(plan.model_dump_json())
    return found


def test_a_serving_plan_becomes_the_requests_it_was_made_for(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(serving_plan()))
    found = demand_of(saved(tmp_path, {"plan": "plan.json"}))
    assert (found.model, found.tp, found.precision, found.engine) == ("llama2-70b", 4, "fp16", "vllm")
    assert found.peak_requests_per_s == pytest.approx(20 / 10 * 2)  # two replicas on a server of eight
    sizes, count = np.unique(found.requests.array()[:, 1:], axis=0, return_counts=True)
    assert sizes.tolist() == [[300, 50], [1200, 200]]
    assert count[0] / count.sum() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"kind": "experts"}, "no plan of `gpuplan plan serving`"),
        (serving_plan(role="prefill"), r"no unified replicas on A100-80GB, only A100-80GB \(prefill, chat\)"),
        ({**serving_plan(), "routing": []}, "routes nothing"),
        ({"kind": "serving", "allocation": [{}]}, "damaged plan: 'gpu'"),
        (serving_plan(replicas=0), "no unified replicas"),
    ],
)
def test_plans_that_cannot_be_used(tmp_path: Path, plan: dict[str, Any], message: str) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(InvalidInput, match=message):
        load(saved(tmp_path, {"plan": "plan.json"}), {})


def test_the_kind_is_told_by_the_fields(tmp_path: Path) -> None:
    assert isinstance(demand_of(saved(tmp_path, {"generated": {}, "model": "m", "tp": 8})), Trace)
    assert isinstance(demand_of(saved(tmp_path, {"gpu_w": [[900, 800]]})), Series)
    assert isinstance(demand_of(saved(tmp_path, {"iteration_s": 2.5})), Training)


@pytest.mark.parametrize(
    ("demand", "message"),
    [
        ({"trace": "none.csv", "model": "m"}, "none.csv: cannot be read"),
        ({"trace": 5, "model": "m"}, r"demand.trace: must be the path"),
        ({"series": "none.csv"}, "none.csv: cannot be read"),
        ({"series": "x.csv", "unit": "kW"}, "'watts' or 'utilisation'"),
        ({"plan": "none.json"}, "none.json: cannot be read"),
        ({"generated": {}, "model": "m", "tq": 8}, "demand.trace.tq: unknown field; did you mean 'tp'"),
        ("chat", "demand"),
    ],
)
def test_bad_demands(tmp_path: Path, demand: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"(?s){message}"):
        load(saved(tmp_path, demand), {})


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="one spec is planned at a time"):
        load([EXAMPLE, EXAMPLE], {})
    plan = tmp_path / "plan.json"
    plan.write_text('{"kind": "power", "outcome": "feasible"}')
    with pytest.raises(InvalidInput, match="is a plan, not a spec"):
        load(plan, {})
    listed = tmp_path / "list.yaml"
    listed.write_text("- 1\n")
    with pytest.raises(InvalidInput, match="object with fields"):
        load(listed, {})
