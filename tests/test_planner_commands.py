"""`plan training`, `plan power` and `plan serving --row` as people and machines meet them: keys, exit codes, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from planner.cli import app
from tests.contract import EVERY_PLAN

RANKED = {
    "tensor_parallel", "pipeline_parallel", "data_parallel", "context_parallel", "expert_parallel", "micro_batch",
    "virtual_stages", "recompute", "sharding", "step_ms", "mfu", "memory_gib_per_gpu", "tokens_per_s", "usd_to_train",
    "days_to_train", "kwh",
}  # fmt: skip
POWER_PLAN = {
    "num_servers", "oversubscription_ratio", "policy", "capped_time_fraction", "slowdown", "num_brakes",
    "peak_utilisation", "confidence",
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "kind": "training", "name": "small", "model": "meta-llama/Llama-3.1-8B", "sequence_length": 4096,
    "global_batch": 64, "tokens": 1e9, "cluster": {"groups": [{"gpu": "H100", "nodes": 2}]},
}  # fmt: skip
POWER: dict[str, Any] = {
    "kind": "power", "name": "small",
    "servers": [{"name": "dgx", "gpu": "A100-80GB", "num_gpus": 8, "rated_w": 6500, "other_w": 2000}],
    "row": {"budget_servers": 4, "max_servers": 8},
    "priorities": [{"name": "low"}],
    "workloads": [{"name": "job", "server": "dgx", "priority": "low", "share": 1, "demand": {"kind": "training"}}],
    "policy": "none", "num_servers": 4, "promise": {"weeks": 1, "confidence": 0.5},
}  # fmt: skip
SERVING: dict[str, Any] = {
    "name": "chat",
    "services": [{
        "name": "chat", "model": "meta-llama/Llama-3.1-8B-Instruct", "slo": {"ttft_ms": 2000, "tpot_ms": 100},
        "allow_roofline": True,
        "workload": {"buckets": [{"input_tokens": [1, 512], "output_tokens": [1, 256], "requests_per_s": 9}]},
    }],
    "offers": {"providers": ["aws"], "regions": ["us-east-1"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store")
    assert CliRunner().invoke(app, ["init", "--database", f"sqlite:///{path / 'gpuplan.db'}"]).exit_code == 0
    return path


@pytest.fixture(scope="module")
def run(folder: Path):
    def called(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--database", f"sqlite:///{folder / 'gpuplan.db'}"])

    return called


def written(folder: Path, name: str, document: dict[str, Any]) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def test_a_training_plan_from_spec_to_files(folder, run):
    out = folder / "training.json"
    made = run("plan", "training", written(folder, "training", TRAINING), "--json", "--out", str(out))
    assert made.exit_code == 0, made.stderr
    plan = json.loads(made.stdout)
    assert plan.keys() >= EVERY_PLAN | {"ranked", "num_evaluated", "mapping"}
    assert plan["ranked"][0].keys() >= RANKED
    assert plan["check"]["passed"]
    assert len(plan["mapping"]) == plan["ranked"][0]["num_gpus"]
    assert run("check", str(out)).exit_code == 0
    rendered = CliRunner().invoke(app, ["render", str(out), "--target", "slurm", "--out", str(folder / "job")])
    assert rendered.exit_code == 0, rendered.stderr
    shown = run("plan", "training", written(folder, "training", TRAINING))
    assert "Where the time of a step goes" in shown.stdout


def test_a_training_plan_that_fits_nowhere(folder, run):
    spec = {**TRAINING, "model": "gpt-1008b"}
    made = run("plan", "training", written(folder, "large", spec), "--json")
    assert made.exit_code == 3
    plan = json.loads(made.stdout)
    assert plan["conflicts"]
    assert plan["fixes"]


def test_a_power_plan_from_spec_to_files(folder, run):
    out = folder / "power.json"
    made = run("plan", "power", written(folder, "power", POWER), "--json", "--out", str(out), "--time-limit", "20")
    assert made.exit_code == 0, made.stderr
    plan = json.loads(made.stdout)
    assert plan.keys() >= EVERY_PLAN | POWER_PLAN
    assert plan["num_servers"] == 4
    assert plan["check"]["passed"], plan["check"]
    assert run("check", str(out)).exit_code == 0
    for target in ("policy", "commands", "prometheus", "controller", "plot"):
        rendered = CliRunner().invoke(app, ["render", str(out), "--target", target, "--out", str(folder / target)])
        assert rendered.exit_code == 0, rendered.stderr


def test_a_serving_plan_keeps_to_what_a_row_carries(folder, run):
    serving, power = written(folder, "serving", SERVING), written(folder, "row", POWER)
    free = json.loads(run("plan", "serving", serving, "--json").stdout)
    made = run("plan", "serving", serving, "--row", power, "--json")
    assert made.exit_code == 0, made.stderr
    plan = json.loads(made.stdout)
    assert plan["spec"]["limits"]["power_w"] > plan["power_w"]
    assert plan["usd_per_hour"] == pytest.approx(free["usd_per_hour"])
    assert "Row small carries 4 servers" in plan["explanation"][-1]
    crowded = {**SERVING, "limits": {"power_w": free["power_w"] / 10}}
    assert run("plan", "serving", written(folder, "crowded", crowded), "--row", power).exit_code == 3


def test_a_row_must_be_a_row(folder, run):
    serving = written(folder, "serving", SERVING)
    made = run("plan", "serving", serving, "--row", written(folder, "training", TRAINING))
    assert made.exit_code == 2
    assert "not power" in made.stderr
    both = run("plan", "serving", serving, "--row", serving, "--verify", serving)
    assert both.exit_code == 2
    assert "--row" in both.stderr
