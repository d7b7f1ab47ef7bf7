"""Every kind of bad input that we know of: the message names the field and says what would be right."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from planner.errors import GpuplanError, InvalidInput, MissingProfile, UnknownName
from planner.serving.check import check
from planner.serving.load import load
from planner.serving.plan import ServingPlan
from planner.serving.solve import solve
from planner.types import SolveOptions
from profiles import catalogue
from profiles.types import Facts

SPEC: dict[str, Any] = {
    "name": "chat",
    "services": [{
        "name": "chat", "model": "meta-llama/Llama-3.1-8B-Instruct", "slo": {"ttft_ms": 2000, "tpot_ms": 100},
        "allow_roofline": True,
        "workload": {
            "requests_per_s": 12,
            "distribution": {
                "input_tokens": [1, 512, 2048, 4096], "output_tokens": [1, 128, 512],
                "fractions": [[0.3, 0.2], [0.2, 0.1], [0.1, 0.1]],
            },
        },
    }],
    "offers": {"providers": ["aws"], "regions": ["us-east-1"], "gpus": ["L4", "L40S", "H100"]},
}  # fmt: skip
OWN_PRICE = {"provider": "aws", "instance_type": "g6.xlarge", "region": "us-east-1", "usd_per_hour": 0.1}
SERVICE, WORKLOAD = "services.0", "services.0.workload"
DISTRIBUTION = f"{WORKLOAD}.distribution"
GONE = object()


@pytest.fixture(scope="module")
def facts() -> Facts:
    return Facts(**dict(catalogue.load()))


def changed(path: str, value: object) -> dict[str, Any]:
    """The spec with one value set, or taken out, at a dotted path."""
    spec = copy.deepcopy(SPEC)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = spec
    for part in parents:
        place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return spec


def plan(spec: dict[str, Any], facts: Facts, tmp_path: Path) -> ServingPlan:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec))
    answer = solve(load(path, {}), facts, SolveOptions(time_limit_s=5))
    assert check(answer, facts).passed
    return answer


MISTAKES = [
    # rates
    (f"{WORKLOAD}.requests_per_s", -1, "services[0].workload.requests_per_s", "greater than or equal to 0 (got -1)"),
    (f"{WORKLOAD}.requests_per_s", 1e9, "services[0].workload.requests_per_s", "less than or equal to 10000000"),
    (f"{WORKLOAD}.requests_per_s", "12", "services[0].workload.requests_per_s", "must be a valid number (got '12')"),
    (f"{WORKLOAD}.requests_per_s", True, "services[0].workload.requests_per_s", "must be a valid number (got True)"),
    (f"{WORKLOAD}.requests_per_s", None, "services[0].workload", "distribution needs requests_per_s"),
    (f"{WORKLOAD}.requests_per_s", GONE, "services[0].workload", "distribution needs requests_per_s"),
    (DISTRIBUTION, GONE, "services[0].workload", "requests_per_s with a distribution"),
    (WORKLOAD, GONE, "services[0].workload", "is missing"),
    (WORKLOAD, 12, "services[0].workload", "must be"),
    # matrices
    (f"{DISTRIBUTION}.fractions", [], DISTRIBUTION, "fractions is empty; it needs 3 rows"),
    (f"{DISTRIBUTION}.fractions", [[], [], []], DISTRIBUTION, "fractions is empty"),
    (f"{DISTRIBUTION}.fractions", [[0.5], [0.2, 0.1], [0.1, 0.1]], DISTRIBUTION, "ragged"),
    (f"{DISTRIBUTION}.fractions", [[0.3, 0.2, 0.1], [0.2, 0.1, 0.1]], DISTRIBUTION, "it looks transposed"),
    (f"{DISTRIBUTION}.fractions", [[30, 20], [20, 10], [10, 10]], DISTRIBUTION, "percentages: divide by 100"),
    (f"{DISTRIBUTION}.fractions", [[0.3, 0.2], [0.2, 0.1], [0.1, 0]], DISTRIBUTION, "sum to 0.9, not 1"),
    (f"{DISTRIBUTION}.fractions", [[0.6, -0.1], [0.2, 0.1], [0.1, 0.1]], DISTRIBUTION, "negative"),
    (f"{DISTRIBUTION}.fractions.0.1", None, f"{DISTRIBUTION}.fractions.0.1", "must be a valid number (got None)"),
    (f"{DISTRIBUTION}.input_tokens", [1, 2048, 512, 4096], DISTRIBUTION, "input_tokens must increase"),
    (f"{DISTRIBUTION}.input_tokens", [1], f"{DISTRIBUTION}.input_tokens", "needs at least 2"),
    (f"{DISTRIBUTION}.input_tokens.0", -1, f"{DISTRIBUTION}.input_tokens.0", "greater than or equal to 1"),
    (f"{DISTRIBUTION}.input_tokens.3", 10**12, f"{DISTRIBUTION}.input_tokens.3", "less than or equal to 10000000"),
    (f"{DISTRIBUTION}.input_tokens.1", 512.5, f"{DISTRIBUTION}.input_tokens.1", "valid integer"),
    (WORKLOAD, {"buckets": [{"input_tokens": [9, 1], "output_tokens": [1, 2], "requests_per_s": 1}]},
     "services[0].workload.buckets[0]", "9 to 1 is not a range"),
    (WORKLOAD, {"buckets": 2 * [{"input_tokens": [1, 9], "output_tokens": [1, 2], "requests_per_s": 1}]},
     "services[0].workload", "two buckets have the same ranges"),
    # latencies, and units that can be seen to be wrong
    (f"{SERVICE}.slo.tpot_ms", 0.1, "services[0].slo", "write tpot_ms: 100"),
    (f"{SERVICE}.slo.ttft_ms", 2, "services[0].slo", "write ttft_ms: 2000"),
    (f"{SERVICE}.slo.e2e_ms", 8, "services[0].slo", "write e2e_ms: 8000"),
    (f"{SERVICE}.slo.tpot_ms", -5, "services[0].slo.tpot_ms", "greater than 0"),
    (f"{SERVICE}.slo.percentile", "p75", "services[0].slo.percentile", "'p90'"),
    (f"{SERVICE}.slo.tpot_s", 0.1, "services[0].slo.tpot_s", "did you mean 'tpot_ms'?"),
    # fractions
    (f"{SERVICE}.max_utilisation", 85, "services[0]", "85 looks like a percentage: write 0.85"),
    (f"{SERVICE}.max_utilisation", 0, "services[0]", "max_utilisation must be at least 0.01"),
    (f"{SERVICE}.max_spot_fraction", 50, "services[0]", "50 looks like a percentage: write 0.5"),
    ("offers.discounts", [{"fraction": 30}], "offers.discounts[0]", "30 looks like a percentage: write 0.3"),
    ("offers.discounts", [{"fraction": -0.3}], "offers.discounts[0]", "between 0 and 1"),
    ("offers.discounts", [{"fraction": 1}], "offers.discounts[0]", "everything free"),
    # counts
    (f"{SERVICE}.min_replicas", -1, "services[0].min_replicas", "greater than or equal to 0"),
    (f"{SERVICE}.spare_replicas", 10**6, "services[0].spare_replicas", "less than or equal to 1000"),
    (f"{SERVICE}.tp", [], "services[0].tp", "needs at least 1"),
    ("limits.max_gpu_types", 0, "limits.max_gpu_types", "greater than or equal to 1"),
    ("limits.budget_usd_per_hour", -1, "limits.budget_usd_per_hour", "greater than or equal to 0"),
    ("limits.power_w", "5 kW", "limits.power_w", "must be a valid number"),
    ("limits.availability", [{}], "limits.availability[0]", "exactly one of max_instances and max_gpus"),
    ("limits.availability", {"gpu": "L4"}, "limits.availability", "must be a list"),
    ("limits.budget", 3, "limits.budget", "known fields: budget_usd_per_hour"),
    # prices
    ("offers.prices", [{**OWN_PRICE, "usd_per_hour": -1}], "offers.prices[0].usd_per_hour", "greater than or equal"),
    ("offers.prices", [{**OWN_PRICE, "usd_per_hour": 1e9}], "offers.prices[0].usd_per_hour", "less than or equal"),
    ("offers.prices", [OWN_PRICE, {**OWN_PRICE, "usd_per_hour": 2}], "offers", "has two prices; keep one"),
    # names and shapes
    (f"{SERVICE}.name", " ", "services[0].name", "must not be empty"),
    (f"{SERVICE}.model", GONE, "services[0]", "model is missing"),
    (f"{SERVICE}.units", [{"name": "a", "gpu": "x", "usd_per_hour": 1, "requests_per_s": [[1]]}], "services[0]",
     "needs 3 rows"),
    (f"{SERVICE}.precisions", ["int3"], "services[0].precisions[0]", "'int4'"),
    ("services", [], "services", "needs at least 1"),
    ("services", {"name": "chat"}, "services", "must be a list"),
    ("services", 2 * SPEC["services"], "", "services: 'chat' appears twice"),
    ("service", {}, "service", "did you mean 'services'?"),
    ("kind", "experts", "kind", "must be 'serving'"),
    ("objective", "money", "objective", "'goodput'"),
    ("objective", "goodput", "", "needs a limit to work within: limits.budget_usd_per_hour"),
    ("offers.gpus", [], "offers.gpus", "needs at least 1"),
    ("offers.markets", ["spott"], "offers.markets[0]", "must be 'on_demand', 'spot' or 'reserved'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "field", "said"),
    MISTAKES,
    ids=[f"{m[0]}={'gone' if m[1] is GONE else repr(m[1]):.40}" for m in MISTAKES],
)
def test_a_mistake_in_a_spec_is_named_once_with_what_would_be_right(
    path: str, value: object, field: str, said: str, tmp_path: Path
) -> None:
    place = tmp_path / "spec.json"
    place.write_text(json.dumps(changed(path, value)))
    with pytest.raises(InvalidInput) as error:
        load(place, {})
    assert error.value.field == f"{place}: {bracketed(field)}".rstrip(": ")
    assert said in error.value.detail
    assert "mistakes" not in error.value.detail


def bracketed(path: str) -> str:
    """``a.0.b`` as ``a[0].b``."""
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path.split(".")).removeprefix(".")


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_numbers_that_are_none(number: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("# YAML\n" + json.dumps(SPEC).replace('"requests_per_s": 12', f'"requests_per_s": {number}'))
    with pytest.raises(InvalidInput, match="must be a finite number") as error:
        load(path, {})
    assert error.value.field == f"{path}: services[0].workload.requests_per_s"


UNKNOWN = [
    (f"{SERVICE}.model", "meta-llama/Llama-3.1-8B-Instuct", "services[0].model", "meta-llama/Llama-3.1-8B-Instruct"),
    (f"{SERVICE}.engines", ["vlm"], "services[0].engines[0]", "vllm"),
    (f"{SERVICE}.regions", ["us-est-1"], "services[0].regions[0]", "us-east-1"),
    (f"{SERVICE}.rate_profiles", ["mine"], "services[0].rate_profiles[0]", "gpuplan profiles import"),
    ("offers.gpus", ["H1000"], "offers.gpus[0]", "H100"),
    ("offers.providers", ["awz"], "offers.providers[0]", "aws"),
    ("offers.regions", ["us-est-1"], "offers.regions[0]", "us-east-1"),
    ("offers.instance_types", ["g6.xlrge"], "offers.instance_types[0]", "g6.xlarge"),
    ("offers.discounts", [{"fraction": 0.1, "gpu": "L40X"}], "offers.discounts[0].gpu", "L40S"),
    ("offers.prices", [{**OWN_PRICE, "instance_type": "g6.xlrge"}], "offers.prices[0].instance_type", "g6.xlarge"),
    ("offers.prices", [{**OWN_PRICE, "provider": "awz"}], "offers.prices[0].provider", "aws"),
    ("limits.availability", [{"max_gpus": 1, "gpu": "L40X"}], "limits.availability[0].gpu", "L40S"),
    ("limits.availability", [{"max_gpus": 1, "region": "us-est-1"}], "limits.availability[0].region", "us-east-1"),
]


@pytest.mark.parametrize(("path", "value", "field", "suggested"), UNKNOWN, ids=[f"{u[0]}={u[1]}" for u in UNKNOWN])
def test_an_unknown_name_gets_the_closest_ones(
    path: str, value: object, field: str, suggested: str, facts: Facts, tmp_path: Path
) -> None:
    with pytest.raises(UnknownName) as error:
        plan(changed(path, value), facts, tmp_path)
    assert error.value.field == field
    assert suggested in str(error.value.fix)


NOTHING_TO_CHOOSE: list[tuple[str, object, type[GpuplanError], str, str]] = [
    ("offers.gpus", ["MI300X"], InvalidInput, "offers", "gpuplan profiles list prices"),
    ("offers.markets", ["reserved"], InvalidInput, "offers", "widen a filter"),
    (f"{SERVICE}.regions", ["us-west-2"], InvalidInput, "services[0].regions", "us-east-1"),
    (f"{SERVICE}.tp", [3], MissingProfile, "services[0].model", "allow one of: H100 TP1"),
    (f"{SERVICE}.allow_roofline", False, MissingProfile, "services[0].model", "allow_roofline: true"),
    (f"{SERVICE}.model", "deepseek-ai/DeepSeek-R1", InvalidInput, "services[0].model", "larger GPUs"),
]


@pytest.mark.parametrize(("path", "value", "kind", "field", "fix"), NOTHING_TO_CHOOSE)
def test_nothing_to_choose_from_says_which_way_out(
    path: str, value: object, kind: type[GpuplanError], field: str, fix: str, facts: Facts, tmp_path: Path
) -> None:
    spec = changed(path, value)
    if value is False or "DeepSeek" in str(value):
        spec["offers"]["gpus"] = ["L4"]
    with pytest.raises(kind) as error:
        plan(spec, facts, tmp_path)
    assert type(error.value) is kind
    assert error.value.field == field
    assert fix in str(error.value.fix)


@pytest.mark.parametrize("workload", [{"requests_per_s": 0}, {**SPEC["services"][0]["workload"], "requests_per_s": 0}])
def test_no_traffic_is_a_valid_empty_plan(workload: dict[str, Any], facts: Facts, tmp_path: Path) -> None:
    answer = plan(changed(WORKLOAD, workload), facts, tmp_path)
    assert (answer.outcome, answer.usd_per_hour, answer.allocation, answer.routing) == ("optimal", 0, (), ())


def test_an_idle_service_runs_only_what_it_must(facts: Facts, tmp_path: Path) -> None:
    spec = changed(f"{WORKLOAD}.requests_per_s", 0)
    spec["services"][0]["min_replicas"] = 2
    answer = plan(spec, facts, tmp_path)
    assert sum(unit.replicas for unit in answer.allocation) == 2


def test_names_may_hold_anything_printable(facts: Facts, tmp_path: Path) -> None:
    name = "[red]x[/red] $(rm -rf) `ls` é中文 a/b @ c"
    answer = plan(changed(f"{SERVICE}.name", name), facts, tmp_path)
    assert {route.service for route in answer.routing} == {name}


@pytest.mark.parametrize("rate", [0.01, 1e5])
def test_very_small_and_very_large_traffic(rate: float, facts: Facts, tmp_path: Path) -> None:
    answer = plan(changed(f"{WORKLOAD}.requests_per_s", rate), facts, tmp_path)
    assert answer.outcome in ("optimal", "feasible")
