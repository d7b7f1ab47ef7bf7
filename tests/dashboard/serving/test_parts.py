"""What the tabs of the serving page make of a plan, as plain functions."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from dashboard.serving import curves, keep, limits, single_types, sizes

Document = dict[str, Any]


def route(size: tuple[int, int], unit: str, fraction: float, decode_unit: str | None = None) -> Document:
    return {
        "service": "chat", "input_tokens": [1, size[0]], "output_tokens": [1, size[1]], "unit": f"chat/{unit} @ aws/x",
        "decode_unit": decode_unit, "fraction": fraction, "requests_per_s": fraction, "requests_per_s_per_replica": 2.0,
        "ttft_ms": 100.0, "tpot_ms": 10.0, "e2e_ms": 1000.0, "origin": "measured", "relative_error": 0.1,
        "num_measurements": 7,
    }  # fmt: skip


def test_units_that_share_a_size_lie_side_by_side_in_its_cell() -> None:
    routes = [route((10, 10), "A", 0.25), route((10, 10), "B", 0.75), route((20, 10), "A", 1.0)]
    found = sizes.cells(routes, {f"chat/{name} @ aws/x": f"GPU {name}" for name in "AB"})
    assert [(c["GPU"], c["left"], c["right"], c["top"]) for c in found] == [
        ("GPU B", 0.0, 0.75, 0), ("GPU A", 0.75, 1.0, 0), ("GPU A", 0.0, 1.0, 1),
    ]  # fmt: skip


def test_times_say_on_hover_where_they_are_from() -> None:
    row = sizes.row_of(route((10, 10), "A", 1.0))
    for name in ("rate", "TTFT", "TPOT", "E2E"):
        assert "measured on this GPU" in row[name].about
        assert "±10%" in row[name].about
        assert "7 measurements" in row[name].about


def test_a_split_route_names_both_pools() -> None:
    row = sizes.row_of(route((10, 10), "A ×1 fp8 vllm", 1.0, "chat/B ×2 fp8 vllm @ aws/y"))
    assert row["unit"] == "A ×1 → B ×2"
    assert "B ×2 fp8 vllm" in row["unit"].about


@pytest.mark.parametrize(("objective", "best"), [("cost", "L4"), ("goodput", "H100")])
def test_single_types_are_listed_best_first(objective: str, best: str) -> None:
    baselines = [
        {"gpu": "H100", "usd_per_hour": 9.0, "objective": 9.0}, {"gpu": "L4", "usd_per_hour": 3.0, "objective": 3.0},
        {"gpu": "T4", "usd_per_hour": None, "objective": None},
    ]  # fmt: skip
    plan = {"spec": {"objective": objective}, "objective": 2.0, "usd_per_hour": 2.0, "baselines": baselines}
    rows = single_types.compared(plan)
    assert [row["GPU"] for row in rows[:2]] == [single_types.MIX, best]
    assert len(rows) == 3
    assert next(row["× the mix"] for row in rows if row["GPU"] == "L4") == 1.5


def test_limits_have_names_of_people() -> None:
    spec = {
        "services": [{"name": "chat"}],
        "limits": {"availability": [{"gpu": "L4", "market": "spot", "max_gpus": 3}]},
    }
    assert limits.named(spec, "limits.availability[0].max_gpus") == "GPUs of spot L4"
    assert limits.named(spec, "services[0].max_spot_fraction") == "spot share of chat"
    assert limits.named(spec, "limits.power_w") == "power limit"
    assert limits.named(spec, "something.new") == "something.new"


def test_curves_vary_what_the_spec_has() -> None:
    service = {
        "name": "a",
        "workload": {"buckets": [{"requests_per_s": 4.0}]},
        "slo": {"tpot_ms": 50.0, "ttft_ms": None},
    }
    found = curves.axes({"services": [service]}, 0)
    assert list(found) == ["requests/s", "TPOT limit, ms"]
    assert found["requests/s"].path == "services[0].workload.buckets[*].requests_per_s"
    assert found["requests/s"].numbers[-1] == 16.0
    assert curves.axes({"services": [{"name": "a", "workload": {"requests_per_s": 0}}]}, 0) == {}


def test_a_kept_spec_has_no_empty_fields_and_keeps_zeros() -> None:
    spec = {"name": "x", "limits": {"power_w": None, "availability": []}, "services": [{"spare": 0, "roofline": False}]}
    assert yaml.safe_load(keep.as_yaml(keep.trimmed(spec))) == {
        "name": "x",
        "services": [{"spare": 0, "roofline": False}],
    }
