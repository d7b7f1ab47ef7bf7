"""Replays of plans, through the library and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from planner.cli import app
from planner.errors import InvalidInput, UnknownName
from planner.serving import PLANNER, ServingPlan, ServingSpec
from planner.simulate import Failure, Options, from_arrays, simulate
from planner.types import SolveOptions
from profiles import catalogue
from profiles.types import Facts

MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def service(name: str, rate: float = 8.0) -> dict[str, Any]:
    return {
        "name": name, "model": MODEL, "slo": {"ttft_ms": 2000, "tpot_ms": 100}, "allow_roofline": True,
        "workload": {"buckets": [
            {"input_tokens": [1, 512], "output_tokens": [1, 256], "requests_per_s": rate},
            {"input_tokens": [512, 4096], "output_tokens": [1, 512], "requests_per_s": rate / 3},
        ]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def facts() -> Facts:
    known = catalogue.load()
    return Facts(**{name: getattr(known, name) for name in type(known).model_fields})


def solved(facts: Facts, **changes: Any) -> ServingPlan:
    spec = {"services": [service("chat")], "offers": {"providers": ["aws"], "regions": ["us-east-1"]}, **changes}
    plan = PLANNER.solve(ServingSpec.model_validate(spec), facts, SolveOptions())
    assert isinstance(plan, ServingPlan)
    return plan


@pytest.fixture(scope="module")
def plan(facts: Facts) -> ServingPlan:
    return solved(facts)


def requests(count: int, rate: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    times = np.cumsum(random.exponential(1 / rate, count))
    return times, random.integers(1, 4000, count), random.integers(1, 400, count)


@pytest.fixture
def files(plan: ServingPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in, with a plan and a trace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUPLAN_DATABASE_URL", raising=False)
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    times, tokens_in, tokens_out = requests(400, 5.0)
    pd.DataFrame({"time": times, "input_tokens": tokens_in, "output_tokens": tokens_out}).to_csv("t.csv", index=False)
    return tmp_path


def gpuplan(*words: str) -> Result:
    result: Result = CliRunner().invoke(app, list(words))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


# ---------------------------------------------------------------- the library


def test_a_plan_that_has_capacity_attains_and_one_overrun_does_not(plan: ServingPlan, facts: Facts) -> None:
    calm, rush = (simulate(plan, from_arrays(*requests(1500, rate)), facts) for rate in (3.0, 300.0))
    assert calm.slo_attainment > 0.95
    assert calm.stable
    assert rush.slo_attainment < 0.5
    assert {use.unit for use in calm.utilisation} == {a.unit for a in plan.allocation}
    assert {use.unit: use.replicas for use in calm.utilisation} == {a.unit: a.replicas for a in plan.allocation}


def test_several_services_are_replayed_with_their_own_traffic(facts: Facts) -> None:
    plan = solved(facts, services=[service("chat"), service("code", 3.0)])
    flows = {"chat": from_arrays(*requests(900, 6.0)), "code": from_arrays(*requests(300, 2.0, seed=1))}
    both = simulate(plan, flows, facts)
    alone = {name: simulate(plan, {name: flow}, facts, Options(seed=i)) for i, (name, flow) in enumerate(flows.items())}
    assert both.num_requests == 1200 == sum(outcome.num_requests for outcome in both.services)
    assert [outcome.service for outcome in both.services] == ["chat", "code"]
    for outcome in both.services:
        assert outcome.ttft_ms == alone[outcome.service].services[0].ttft_ms
    assert both.slo_attainment == pytest.approx(sum(s.slo_attainment * s.num_requests for s in both.services) / 1200)
    assert both.energy_kwh == pytest.approx(sum(use.energy_kwh or 0 for use in both.utilisation))
    assert "left out: code" in " ".join(alone["chat"].notes)
    with pytest.raises(InvalidInput, match="say whose the traffic is"):
        simulate(plan, flows["chat"], facts)
    with pytest.raises(UnknownName, match="unknown service 'core'"):
        simulate(plan, {"core": flows["chat"]}, facts)


def test_requests_beyond_the_context_are_rejected(plan: ServingPlan, facts: Facts) -> None:
    found = simulate(plan, from_arrays([0.0, 1.0, 2.0], [10, 200_000, 9_000_000], [10, 10, 9_000_000]), facts)
    assert found.events.rejected == found.events.rejected_longer_than_context == 2
    assert found.slo_attainment == pytest.approx(1 / 3)


def test_a_split_plan_sends_its_caches(facts: Facts) -> None:
    """A service that must be split: every request of more than one token moves to a decode unit."""
    wanted = {
        **service("chat", 30.0), "model": "meta-llama/Llama-3.1-70B-Instruct", "split": "always",
        "allow_roofline": False, "slo": {"ttft_ms": 3000, "tpot_ms": 60},
    }  # fmt: skip
    plan = solved(facts, services=[wanted], offers={"gpus": ["H100", "H200"]})
    assert plan.allocation, plan.conflicts
    found = simulate(plan, from_arrays(*requests(1000, 20.0)), facts)
    assert found.events.completed == 1000
    roles = {use.unit: use.role for use in found.utilisation}
    assert set(roles.values()) == {"prefill", "decode"}
    assert roles == {a.unit: a.role for a in plan.allocation}
    assert found.events.transferred > 950
    assert sum(u.num_completed for u in found.utilisation if u.role == "decode") == found.events.transferred


def test_plans_that_cannot_be_replayed(plan: ServingPlan, facts: Facts) -> None:
    flow = from_arrays(*requests(10, 1.0))

    def refused(match: str, **changes: Any) -> None:
        with pytest.raises(InvalidInput, match=match):
            simulate(plan.model_copy(update=changes), flow, facts)

    refused("is infeasible", outcome="infeasible")
    refused("no replicas", allocation=())
    blind = plan.allocation[0].model_copy(update={"layout": None})
    refused("given request rates and no layout", allocation=(blind,))
    layout = plan.allocation[0].layout
    assert layout is not None
    strange = plan.allocation[0].model_copy(update={"layout": layout.model_copy(update={"model": "nobody/knows"})})
    refused("runs nobody/knows, but service 'chat' is for", allocation=(strange,))
    nobody = plan.spec.services[0].model_copy(update={"model": "nobody/knows"})
    spec = plan.spec.model_copy(update={"services": (nobody,)})
    refused("nothing is known", allocation=(strange,), spec=spec)
    refused("service 'code', which the spec", allocation=(plan.allocation[0].model_copy(update={"service": "code"}),))
    for replicas in (0, -1, 10**9):
        many = plan.allocation[0].model_copy(update={"replicas": replicas})
        refused(f"{replicas} replicas cannot be replayed", allocation=(many, *plan.allocation[1:]))
    for share in (0.0, -0.5):
        routes = tuple(route.model_copy(update={"fraction": share}) for route in plan.routing)
        refused("are not fractions of 1", routing=routes)
    refused("routes nothing", routing=())
    lost = plan.routing[0].model_copy(update={"unit": "elsewhere"})
    refused("'elsewhere', which has no replicas", routing=(lost,))
    with pytest.raises(UnknownName, match=r"unknown unit 'u'\n.*units: chat/"):
        simulate(plan, flow, facts, Options(failures=(Failure(unit="u", replica=0, at_s=1),)))


def test_a_store_that_has_changed_is_told(plan: ServingPlan, facts: Facts) -> None:
    flow, old = from_arrays(*requests(10, 1.0)), plan.model_copy(update={"profile_digest": "old"})
    [note] = simulate(old, flow, facts.model_copy(update={"digest": "new"})).notes
    assert "store has changed" in note
    assert simulate(old, flow, facts.model_copy(update={"digest": "old"})).notes == ()


# ---------------------------------------------------------------- the command


KEYS = {
    "num_requests", "ttft_ms", "tpot_ms", "e2e_ms", "slo_attainment", "goodput_requests_per_s", "utilisation", "events",
    "wall_seconds", "power", "energy_kwh", "mean_power_w", "stable",
}  # fmt: skip


def test_for_machines(files: Path) -> None:
    first, again = (gpuplan("simulate", "plan.json", "--trace", "t.csv", "--json") for _ in range(2))
    assert first.exit_code == 0
    found, repeated = json.loads(first.stdout), json.loads(again.stdout)
    assert set(found) >= KEYS
    assert found["num_requests"] == 400
    assert {"p50", "p90", "p99", "mean"} <= set(found["ttft_ms"])
    assert {"unit", "role", "replicas", "utilisation", "mean_running", "kv_utilisation"} <= set(found["utilisation"][0])
    del found["wall_seconds"], repeated["wall_seconds"]
    assert found == repeated


def test_for_people(files: Path) -> None:
    result = gpuplan("simulate", "plan.json", "--trace", "t.csv", "--rate-multiplier", "2.5", "--start-up", "5")
    assert result.exit_code == 0
    for said in ("of requests meet the SLO", "goodput", "Latency of chat in ms", "TTFT", "Units", "t.csv × 2.5"):
        assert said in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("process", ["poisson", "gamma", "on-off"])
def test_generated_arrivals_at_the_planned_rate(files: Path, process: str) -> None:
    result = gpuplan("simulate", "plan.json", "--arrivals", process, "--duration", "3000", "--json")
    assert json.loads(result.stdout)["requests_per_s"] == pytest.approx(8 + 8 / 3, rel=0.15)
    options = ("--arrivals", process, "--rate", "2", "--duration", "200", "--trace", "t.csv", "--json")
    assert json.loads(gpuplan("simulate", "plan.json", *options).stdout)["num_requests"] < 700


def test_one_row_per_request(files: Path) -> None:
    failing = ("--mtbf-hours", "0.02", "--repair", "3")
    for name in ("r.csv", "sub/r.parquet"):
        assert gpuplan("simulate", "plan.json", "--trace", "t.csv", *failing, "--requests-out", name).exit_code == 0
    text, columns = pd.read_csv("r.csv"), pd.read_parquet("sub/r.parquet")
    assert sorted(text["request"]) == list(range(400))
    assert list(text.columns) == list(columns.columns)
    np.testing.assert_allclose(text["e2e_ms"], columns["e2e_ms"], atol=1e-5)
    assert (text["unit"] == columns["unit"].astype(str)).all()
    assert (text["retries"] == columns["retries"]).all()
    assert text["retries"].sum() > 0
    assert sorted(path.name for path in files.iterdir() if path.name.endswith(".part")) == []


def test_a_failure_by_hand(files: Path, plan: ServingPlan) -> None:
    unit = plan.allocation[0].unit
    result = gpuplan("simulate", "plan.json", "--trace", "t.csv", "--fail", f"{unit}#0@10+30", "--json")
    assert json.loads(result.stdout)["events"]["failures"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no traffic to replay"),
        (("--trace", "nix.csv"), "cannot be read"),
        (("--trace", "empty.csv"), "is empty"),
        (("--trace", "zero.csv"), "no requests"),
        (("--trace", "t.csv", "--trace", "t.csv"), "two traces"),
        (("--trace", "code=t.csv"), "unknown service 'code'"),
        (("--trace", "t.csv", "--rate", "3"), "a trace has its own rate"),
        (("--arrivals", "poisson", "--rate", "0"), "requests_per_s"),
        (("--arrivals", "poisson", "--duration", "1e-9"), "no requests"),
        (("--arrivals", "poisson", "--duration", "0"), "duration_s"),
        (("--trace", "t.csv", "--rate-multiplier", "1e9"), "rate_multiplier"),
        (("--trace", "t.csv", "--token-budget", "9" * 20), "token_budget"),
        (("--trace", "t.csv", "--max-running", "9" * 20), "max_running"),
        (("--trace", "t.csv", "--rate-multiplier", "-1"), "rate_multiplier"),
        (("--trace", "t.csv", "--mtbf-hours", "0"), "mtbf_hours"),
        (("--trace", "t.csv", "--fail", "x"), "is not a failure"),
        (("--trace", "t.csv", "--fail", "x#0@5"), "unknown unit 'x'"),
        (("--trace", "t.csv", "--requests-out", "r.xlsx"), "r.csv or r.parquet"),
        (("--trace", "t.csv", "--requests-out", "t.csv/r.csv"), "cannot be written"),
        (("--trace", "t.csv", "--requests-out", "./t.csv"), "would be overwritten"),
        (("--trace", "chat=t.csv", "--requests-out", "sub/../t.csv"), "would be overwritten"),
        (("--trace", "t.csv", "--warm-up", "1e9"), "none is measured"),
    ],
)
def test_mistakes_are_explained(files: Path, words: tuple[str, ...], said: str) -> None:
    (files / "empty.csv").write_text("")
    (files / "zero.csv").write_text("time,input_tokens,output_tokens\n")
    result = gpuplan("simulate", "plan.json", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_plans_of_another_kind_are_refused(files: Path) -> None:
    (files / "e.yaml").write_text((Path(__file__).parents[3] / "examples" / "experts.yaml").read_text())
    made = gpuplan("plan", "experts", "e.yaml", "--out", "e.json", "--time-limit", "2")
    assert made.exit_code == 0, made.stderr
    result = gpuplan("simulate", "e.json", "--trace", "t.csv")
    assert result.exit_code == 2
    assert "only serving plans" in result.stderr
