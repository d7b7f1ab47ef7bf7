"""Controls and specs: what is read and written back unchanged is the same spec, and one change changes one thing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.serving import lists, settings, workload
from planner.serving import ServingSpec

Document = dict[str, Any]

BY_DISTRIBUTION: Document = {
    "requests_per_s": 8,
    "distribution": {
        "input_tokens": [1, 512, 2048], "output_tokens": [1, 256, 1024], "fractions": [[0.5, 0.2], [0.2, 0.1]],
    },
}  # fmt: skip
BY_BUCKETS: Document = {
    "buckets": [
        {"input_tokens": [1, 100], "output_tokens": [1, 50], "requests_per_s": 3.0, "mean_input_tokens": 60.0},
        {"input_tokens": [100, 4000], "output_tokens": [1, 50], "requests_per_s": 1.0},
    ]
}
WORKLOADS = pytest.mark.parametrize("traffic", [BY_DISTRIBUTION, BY_BUCKETS], ids=["distribution", "buckets"])


def spec_of(traffic: Document) -> Document:
    service = {"name": "chat", "model": "m", "slo": {"ttft_ms": 2000}, "workload": traffic}
    return {"kind": "serving", "services": [service, {**service, "name": "other"}]}


@WORKLOADS
def test_without_a_change_the_spec_is_the_same(traffic: Document) -> None:
    spec = spec_of(traffic)
    assert settings.written(spec, 0, settings.read(spec, 0)) is spec


CHANGES = {
    "rate": 20.0, "longer_prompts": 2.0, "longer_answers": 0.5, "ttft_ms": 500.0, "tpot_ms": 40.0, "e2e_ms": 9000.0,
    "percentile": "p90", "utilisation": 70, "spare_replicas": 1, "spot": 30, "roofline": True, "split": "allowed",
    "objective": "power", "budget_usd_per_hour": 12.0, "power_w": 900.0, "max_gpu_types": 2, "providers": ["aws"],
    "regions": ["us-east-1"], "gpus": ["H100"], "markets": ["on_demand", "spot"],
}  # fmt: skip


@WORKLOADS
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_in_a_valid_spec_and_nothing_else_is_changed(traffic: Document, name: str) -> None:
    spec = spec_of(traffic)
    now = settings.read(spec, 0)
    changed = settings.written(spec, 0, {**now, name: CHANGES[name]})
    ServingSpec.model_validate(changed)
    assert changed["services"][1] is spec["services"][1]
    expected = now if name in ("longer_prompts", "longer_answers") else {**now, name: CHANGES[name]}
    assert settings.read(changed, 0) == expected


def test_every_setting_is_tried_above() -> None:
    assert set(CHANGES) == set(settings.read(spec_of(BY_BUCKETS), 0))


def test_zero_takes_a_limit_away() -> None:
    spec = spec_of(BY_DISTRIBUTION)
    now = settings.read(spec, 0)
    changed = settings.written(spec, 0, {**now, "ttft_ms": 0.0})
    assert ServingSpec.model_validate(changed).services[0].slo.ttft_ms is None
    assert settings.written(spec, 0, {**now, "markets": []})["offers"]["markets"] == ["on_demand"]


@WORKLOADS
@given(rate=st.floats(0.001, 1e6))
def test_another_rate_keeps_the_mix(traffic: Document, rate: float) -> None:
    changed = workload.at_rate(traffic, rate)
    assert workload.requests_per_s(changed) == pytest.approx(rate)
    before, after = workload.sizes(traffic), workload.sizes(changed)
    assert [row["share %"] for row in after] == pytest.approx([row["share %"] for row in before], abs=1e-5)


@WORKLOADS
@given(prompts=st.floats(0.25, 4), answers=st.floats(0.25, 4))
def test_longer_requests_are_as_many_sizes_at_the_same_rates(traffic: Document, prompts: float, answers: float) -> None:
    changed = workload.longer(traffic, prompts, answers)
    ServingSpec.model_validate(spec_of(changed))
    assert [row["share %"] for row in workload.sizes(changed)] == [row["share %"] for row in workload.sizes(traffic)]
    assert workload.requests_per_s(changed) == workload.requests_per_s(traffic)


@given(edges=st.lists(st.integers(1, 10_000), min_size=2, unique=True), factor=st.floats(0.01, 4))
def test_edges_that_differ_stay_different(edges: list[int], factor: float) -> None:
    edges = sorted(edges)
    traffic = {"requests_per_s": 1, "distribution": {
        "input_tokens": edges, "output_tokens": [1, 2], "fractions": [[1.0]] + [[0.0]] * (len(edges) - 2),
    }}  # fmt: skip
    ServingSpec.model_validate(spec_of(workload.longer(traffic, factor, factor)))


@WORKLOADS
def test_shares_are_proportions(traffic: Document) -> None:
    num = len(workload.sizes(traffic))
    changed = workload.with_shares(traffic, [3.0, *[0.0] * (num - 2), 1.0])
    ServingSpec.model_validate(spec_of(changed))
    assert [row["share %"] for row in workload.sizes(changed)] == [75.0, *[0.0] * (num - 2), 25.0]
    assert workload.requests_per_s(changed) == workload.requests_per_s(traffic)


def test_edited_lists_are_in_the_spec_and_untouched_shares_are_left_alone() -> None:
    spec = spec_of(BY_BUCKETS)
    shares = [row["share %"] for row in workload.sizes(BY_BUCKETS)]
    edited = {("limits", "availability"): [{"gpu": "L4", "max_gpus": 3}, {}], ("offers", "discounts"): []}
    changed = lists.changed(spec, 1, shares, edited)
    assert changed["limits"]["availability"] == [{"gpu": "L4", "max_gpus": 3}]
    assert changed["services"] is spec["services"]
    assert lists.changed(spec, 1, shares[::-1], edited)["services"][0] is spec["services"][0]
    ServingSpec.model_validate(lists.changed(spec, 1, shares[::-1], edited))
