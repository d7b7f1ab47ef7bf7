"""``gpuplan plan serving --verify``: with the real planner, store and simulator."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from planner.cli import app
from planner.serving import ServingPlan
from planner.simulate import Options, simulate
from planner.simulate.trace_file import traffic_of_trace
from profiles import catalogue
from profiles.types import Facts

MODEL = "meta-llama/Llama-3.1-70B-Instruct"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a store, a bursty trace and a spec that takes its traffic from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUPLAN_DATABASE_URL", raising=False)
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    rng = np.random.default_rng(3)
    gaps = rng.gamma(0.4, 1 / 0.4 / 6.0, 2_500)
    rows = zip(np.cumsum(gaps), rng.integers(200, 2000, 2_500), rng.integers(20, 400, 2_500), strict=True)
    lines = [f"{at:.3f},{tokens_in},{tokens_out}" for at, tokens_in, tokens_out in rows]
    Path("trace.csv").write_text("\n".join(["time,input_tokens,output_tokens", *lines]) + "\n")
    write_spec()
    return tmp_path


def write_spec(**slo: Any) -> None:
    service = {
        "name": "chat", "model": MODEL, "slo": {"ttft_ms": 3000, "tpot_ms": 60, **slo},
        "workload": {"trace": "trace.csv", "rate": "mean"},
    }  # fmt: skip
    spec = {"services": [service], "offers": {"providers": ["nebius"], "gpus": ["H100", "H200"]}}
    Path("spec.yaml").write_text(yaml.safe_dump(spec))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["plan", "serving", "spec.yaml", *arguments])


def test_the_plan_is_one_whose_replay_attains(here: Path) -> None:
    result = run("--verify", "trace.csv", "--attain", "0.97", "--json", "--gap", "0.001")
    assert result.exit_code == 0, result.stderr
    plan = ServingPlan.model_validate_json(result.stdout)
    verification = plan.verification
    assert verification is not None
    assert verification.attained
    assert verification.slo_attainment >= 0.97
    again = simulate(plan, traffic_of_trace(here / "trace.csv"), Facts(**dict(catalogue.load())), Options())
    assert again.slo_attainment == pytest.approx(verification.slo_attainment, abs=1e-9)
    costs = [round_.usd_per_hour for round_ in verification.rounds if round_.slo_attainment >= 0.97 and round_.stable]
    assert plan.usd_per_hour == min(cost for cost in costs if cost is not None)
    assert plan.check is not None
    assert plan.check.passed


def test_a_percentage_that_nothing_attains_is_said(here: Path) -> None:
    write_spec(ttft_ms=1500, tpot_ms=20.5)
    result = run("--verify", "trace.csv", "--attain", "1", "--json", "--gap", "0.01")
    if result.exit_code == 3:
        pytest.skip("the catalogue no longer has a GPU that fast")
    verification = json.loads(result.stdout)["verification"]
    assert verification["attained"] == (verification["slo_attainment"] >= 1)
    assert len(verification["rounds"]) >= 2


def test_people_see_what_the_replay_found(here: Path) -> None:
    result = run("--verify", "trace.csv", "--attain", "0.9", "--gap", "0.001")
    assert result.exit_code == 0, result.stderr
    assert "replayed" in result.stdout
    assert "of requests meet the SLO (90% asked)" in result.stdout


@pytest.mark.parametrize(("arguments", "named"), [
    (["--verify", "nowhere.csv"], "nowhere.csv"),
    (["--verify", "trace.csv", "--attain", "1.5"], "--attain"),
    (["--verify", "spec.yaml"], "spec.yaml"),
])  # fmt: skip
def test_what_cannot_be_replayed_is_named(here: Path, arguments: list[str], named: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert named in result.stderr


def test_one_trace_cannot_be_of_two_services(here: Path) -> None:
    document = yaml.safe_load(Path("spec.yaml").read_text())
    document["services"].append(deepcopy(document["services"][0]) | {"name": "other"})
    Path("spec.yaml").write_text(yaml.safe_dump(document))
    result = run("--verify", "trace.csv")
    assert result.exit_code == 2
    assert "2 services" in result.stderr


def test_a_trace_that_brings_less_is_replayed_as_if_more_sent_it(here: Path) -> None:
    document = yaml.safe_load(Path("spec.yaml").read_text())
    document["services"][0]["workload"] = {"requests_per_s": 40, "distribution": {
        "input_tokens": [1, 2048], "output_tokens": [1, 400], "fractions": [[1.0]]}}  # fmt: skip
    Path("spec.yaml").write_text(yaml.safe_dump(document))
    result = run("--verify", "trace.csv", "--attain", "0.95", "--json", "--gap", "0.001")
    assert result.exit_code == 0, result.stderr
    traffic = json.loads(result.stdout)["verification"]["traffic"]
    factor = float(traffic.split("×")[1])
    assert 40 / 9 < factor < 40 / 5.5, "the trace brings about 6 requests/s, at its busiest a few more"


def test_the_power_of_a_plan_is_a_bound_on_that_of_its_replay(here: Path) -> None:
    result = run("--json", "--gap", "0.001", "--out", "plan.json")
    plan = ServingPlan.model_validate_json(result.stdout)
    found = simulate(plan, traffic_of_trace(here / "trace.csv", rate_multiplier=3), Facts(**dict(catalogue.load())))
    assert found.power is not None
    assert plan.power_w is not None
    assert max(found.power.power_w) <= plan.power_w * 1.001
