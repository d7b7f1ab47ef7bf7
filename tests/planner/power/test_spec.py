"""Bad input: every mistake in a power spec is an error that names its field and says what to do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from planner.documents import validated
from planner.errors import InvalidInput
from planner.power.policy import Policy, one_threshold, polca
from planner.power.spec import PowerSpec, Range, Server

GOOD: dict[str, Any] = {
    "servers": [{"name": "dgx", "gpu": "A100-80GB", "other_w": {"low": 1500, "high": 2400}, "rated_w": 6500}],
    "row": {"budget_servers": 40},
    "priorities": [
        {"name": "low"},
        {"name": "high", "max_slowdown_p50": 0.01, "max_slowdown_p99": 0.05},
    ],
    "workloads": [
        {"name": "a", "server": "dgx", "priority": "low", "share": 0.5, "demand": {"kind": "training"}},
        {"name": "b", "server": "dgx", "priority": "high", "share": 0.5, "demand": {"kind": "training"}},
    ],
}


def changed(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    change(document)
    return document


def trace(**fields: Any) -> dict[str, Any]:
    return {"kind": "trace", "model": "bigscience/bloom", "tp": 8, **fields}


def step(at: float, release: float, priority: str = "low") -> dict[str, Any]:
    return {"at": at, "release": release, "caps": [{"priority": priority, "clock_mhz": 1275}]}


def test_a_good_spec_and_what_follows_from_it() -> None:
    spec = validated(PowerSpec, GOOD)
    assert spec.budget_w == 260_000
    assert spec.rated_w == 6500
    assert spec.num_by_rating == 40
    assert spec.servers[0].other_range_w == (1500, 2400)
    assert Server(gpu="g", other_w=1800, rated_w=1).other_range_w == (1800, 1800)
    assert spec.controls.latency_s == 40
    assert PowerSpec.model_validate_json(spec.model_dump_json()) == spec


def set_demand(demand: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda d: d["workloads"][0].update(demand=demand)


def policy(*steps: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda d: d.update(policy={"steps": steps})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("row"), "row, site: give a row to fill, a site to place servers on, or both"),
        (lambda d: d["row"].update(budget_w=1), "budget_w, budget_servers: give one of them"),
        (lambda d: d["row"].update(budget_servers=0), "greater than or equal to 1"),
        (lambda d: d["servers"][0].update(other_w={"low": 2400, "high": 1500}), "2400 is above high, 1500; swap them"),
        (lambda d: d["servers"][0].update(other_w=-1), "greater than or equal to 0"),
        (lambda d: d["servers"][0].update(rated_w=0), "greater than 0"),
        (lambda d: d["servers"].append(d["servers"][0]), "'dgx' appears twice"),
        (lambda d: d["priorities"][0].update(max_slowdown_p50=0.9), "max_slowdown_p50 is above max_slowdown_p99"),
        (lambda d: d["workloads"][0].update(share=0.7), r"shares add up to 1.2, more than the servers there are"),
        (lambda d: d["workloads"][0].update(share=0.2), r"shares add up to 0.7, what runs on the rest\?"),
        (lambda d: d["workloads"][0].update(share=1.5), "less than or equal to 1"),
        (lambda d: d["workloads"][0].update(server="hgx"), r"workloads\[0\].server: 'hgx' is not one of dgx"),
        (lambda d: d["workloads"][0].update(priority="mid"), r"workloads\[0\].priority: 'mid' is not one of low, high"),
        (lambda d: d["workloads"][0].update(week={"hours": [1] * 23}), "23 factors; give 24"),
        (lambda d: d["workloads"][0].update(week={"hours": [0] * 24}), "all are zero"),
        (lambda d: d.update(num_servers=90, row={"budget_w": 1e6, "max_servers": 80}), "90 do not fit"),
        (lambda d: d.update(controls={"cap_latency_s": 7 * 86_400.0 * 6}), "controls.cap_latency_s: .* longer than"),
        (lambda d: d.update(events=[{"kind": "runaway", "at_s": 1, "workload": "c"}]), "'c' is not one of a, b"),
        # policies
        (policy(step(0.8, 0.85)), "release: 0.85 is not below at, 0.8"),
        (policy(step(0.89, 0.84), step(0.8, 0.75)), r"steps\[1\].at: 0.8 is below 0.89"),
        (policy(step(0.8, 0.75), step(0.89, 0.7)), r"steps\[1\].release: 0.7 is below 0.75"),
        (policy(step(0.8, 0.6), step(0.89, 0.7)), "hysteresis, 0.19, is larger than the gap"),
        (policy(step(1.1, 1.0)), "1.1 is above brake_at, 1"),
        (lambda d: d.update(policy={"brake_release": 1.0}), "brake_release: 1 is not below brake_at"),
        (policy(step(0.8, 0.75, "mid")), "policy: 'mid' is not one of low, high"),
        (lambda d: d.update(policy={"always": [{"priority": "low"}]}), "clock_mhz, power_w: give one of them"),
        (lambda d: d.update(policy="polka"), "'polca'"),
        # demands
        (set_demand(trace()), "requests, generated: give one of them"),
        (set_demand(trace(generated={}, requests=[[0, 1, 1], [99_999, 1, 1]])), "requests, generated: give one"),
        (set_demand(trace(requests=[[0, 1], [99_999, 1]])), r"shape \[2, 2\]; give \[ms, input tokens"),
        (set_demand(trace(requests=[[0, 1, 1], [9_999, 1, 1]])), "less than a minute"),
        (set_demand(trace(requests=[[0, 1, 1], [70_000, 1, 1], [65_000, 1, 1]])), r"requests\[2\]: is earlier.*sort"),
        (set_demand(trace(requests=[[0, 0, 1], [70_000, 1, 1]])), "at least one token"),
        (set_demand(trace(requests=[[0, 1, 1], [70_000, 1, 9_000_000]])), "9,000,000 tokens in one request"),
        (set_demand(trace(generated={}, tp=3)), "replicas of 3 GPUs do not fill a server of 8"),
        (set_demand(trace(generated={}, peak_load=1.2)), "less than or equal to 1"),
        (set_demand({"kind": "series"}), "gpu_w, utilisation: give one of them"),
        (set_demand({"kind": "series", "gpu_w": [1, 2]}), r"shape \[2\]; give one list per server"),
        (set_demand({"kind": "series", "gpu_w": [[]]}), "is empty"),
        (set_demand({"kind": "series", "gpu_w": [[100, 200], [100, -5]]}), r"gpu_w\[1\]\[1\]: is negative, -5"),
        (set_demand({"kind": "series", "gpu_w": [[1.5]]}), "whole numbers"),
        (set_demand({"kind": "series", "utilisation": [[10_001]]}), "more than 10000, all of the time"),
        (set_demand({"kind": "training", "checkpoint_every_s": 60, "checkpoint_s": 60}), "leaves no time to train"),
        (set_demand({"kind": "training", "compute_power": 2}), "less than or equal to 1.2"),
        (set_demand({"kind": "batch"}), "'trace', 'series', 'training'"),
    ],
)  # fmt: skip
def test_mistakes(change: Callable[[dict[str, Any]], None], message: str) -> None:
    with pytest.raises(InvalidInput, match=f"(?s){message}"):
        validated(PowerSpec, changed(change))


def test_policies_of_the_paper_are_in_order_and_round_trip() -> None:
    for policy in (polca("low", "high"), one_threshold(("low", "high"))):
        assert Policy.model_validate_json(policy.model_dump_json()) == policy
    assert (polca("low", "high").t1, polca("low", "high").t2) == (0.80, 0.89)
    assert Range(low=1, high=1).high == 1
