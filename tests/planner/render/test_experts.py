"""Rendered placements say what the plan says: every format is read back."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex

import numpy as np
import pytest
import yaml

from planner.errors import FailedCheck
from planner.experts import PLANNER, ExpertsPlan, ExpertsSpec
from planner.render.experts import RENDERERS
from planner.types import SolveOptions
from profiles.types import Facts

COUNTS = np.random.default_rng(0).gamma(0.7, 1000, (4, 16)).astype(int) + 1
COUNTS[0] = 0  # a dense layer


@pytest.fixture(scope="module")
def plan() -> ExpertsPlan:
    fields = {"topology": {"gpus": 4, "nodes": 2, "slots_per_gpu": 5}, "workloads": [{"counts": COUNTS.tolist()}],
              "dispatch": "weighted"}  # fmt: skip
    return PLANNER.solve(ExpertsSpec.model_validate(fields), Facts(), SolveOptions())


def rendered(plan: ExpertsPlan, target: str) -> dict[str, str]:
    files = RENDERERS[target].render(plan)
    assert all(text.endswith("\n") for text in files.values())
    return files


def test_sglang_holds_all_layers_and_nothing_else(plan, tmp_path):
    files = rendered(plan, "sglang")
    document = json.loads(files["expert_location.json"])
    assert list(document) == ["physical_to_logical_map"]
    assert document["physical_to_logical_map"] == [list(row) for row in plan.physical_to_logical_map]
    assert "--ep-num-redundant-experts 4" in files["sglang_flags.txt"]
    np.save(tmp_path / "load.npy", COUNTS)
    (tmp_path / "now.json").write_text(files["expert_location.json"])
    again = PLANNER.load(
        tmp_path / "load.npy",
        {"gpus": 4, "nodes": 2, "slots_per_gpu": 5, "current": tmp_path / "now.json", "max_moves": 0},
    )
    assert PLANNER.solve(again, Facts(), SolveOptions()).physical_to_logical_map == plan.physical_to_logical_map


def test_tensorrt_llm_holds_moe_layers_only(plan):
    document = yaml.safe_load(rendered(plan, "tensorrt-llm")["moe_load_balancer.yaml"])
    assert document["num_slots"] == 20
    assert document["layer_updates_per_iter"] == 0
    assert document["initial_global_assignments"] == {i: list(plan.physical_to_logical_map[i]) for i in (1, 2, 3)}


def test_vllm_flags_parse(plan):
    words = shlex.split(rendered(plan, "vllm")["vllm_flags.txt"])
    assert "--enable-eplb" in words
    assert json.loads(words[words.index("--eplb-config") + 1])["num_redundant_experts"] == 4


def test_vllm_ascend_map(plan):
    document = json.loads(rendered(plan, "vllm-ascend")["expert_map.json"])
    assert document["moe_layer_count"] == 3
    for layer, row in zip(document["layer_list"], plan.physical_to_logical_map[1:], strict=True):
        assert layer["device_count"] == 4
        assert [e for device in layer["device_list"] for e in device["device_expert"]] == list(row)


def test_csv_and_dispatch_agree_with_the_plan(plan):
    rows = list(csv.DictReader(io.StringIO(rendered(plan, "csv")["placement.csv"])))
    assert len(rows) == 3 * 20
    for row in rows:
        assert plan.physical_to_logical_map[int(row["layer"])][int(row["slot"])] == int(row["expert"])
        assert int(row["gpu"]) == int(row["slot"]) // 5
        assert int(row["node"]) == int(row["gpu"]) // 2
    totals: dict[tuple[str, str], float] = {}
    for row in rows:
        totals[row["layer"], row["expert"]] = totals.get((row["layer"], row["expert"]), 0) + float(row["share"])
    assert all(abs(total - 1) < 1e-6 for total in totals.values())
    layers = json.loads(rendered(plan, "dispatch")["dispatch.json"])["layers"]
    assert [layer["layer"] for layer in layers] == [1, 2, 3]
    for layer, made in zip(layers, plan.dispatch, strict=True):
        assert [r["share"] for r in layer["replicas"]] == list(made.share)
    without = plan.model_copy(update={"dispatch": (), "balancedness_dispatched": None})
    even = json.loads(rendered(without, "dispatch")["dispatch.json"])["layers"]
    assert all(r["share"] <= 0.5 for layer in even for r in layer["replicas"])


def test_heatmap_draws_every_gpu_and_layer_twice(plan):
    page = rendered(plan, "heatmap")["heatmap.html"]
    assert page.count("<svg") == 2
    assert len(re.findall(r"M\d+ \d+h1v1h-1z", page)) == 2 * 3 * 4
    assert f"balancedness {plan.balancedness:.3f}" in page
    assert "<script" not in page


def test_heatmap_of_a_trace_and_of_a_placement_in_use(plan):
    trace = np.random.default_rng(1).integers(0, 8, (50, 2, 1)).tolist()
    spec = ExpertsSpec.model_validate({"topology": {"gpus": 4, "slots_per_gpu": 2}, "trace": trace, "num_experts": 8})
    made = PLANNER.solve(spec, Facts(), SolveOptions())
    assert f"balancedness {made.balancedness:.3f}" in rendered(made, "heatmap")["heatmap.html"]
    current = {"physical_to_logical_map": plan.physical_to_logical_map}
    moved = plan.model_copy(update={"spec": ExpertsSpec.model_validate({**plan.spec.model_dump(), "current": current})})
    assert "the placement in use" in rendered(moved, "heatmap")["heatmap.html"]


def test_targets_describe_themselves():
    for name, renderer in RENDERERS.items():
        assert renderer.target == name
        assert renderer.kind == "experts"
        assert renderer.description


@pytest.mark.parametrize("target", RENDERERS)
def test_falsified_maps_are_not_rendered(plan, target):
    rows = plan.physical_to_logical_map
    single = plan.logical_replica_count[1].index(1)
    lost = tuple((single + 1) % 16 if expert == single else expert for expert in rows[1])
    for row in ((99, *rows[1][1:]), rows[1][:2], lost):
        with pytest.raises(FailedCheck, match="not rendered"):
            RENDERERS[target].render(plan.model_copy(update={"physical_to_logical_map": (rows[0], row, *rows[2:])}))
    with pytest.raises(FailedCheck, match="dense_layers"):
        RENDERERS[target].render(plan.model_copy(update={"dense_layers": ()}))
