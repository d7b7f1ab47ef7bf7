"""Range exports of Prometheus: power and utilisation of servers, and every mistake named with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.errors import InvalidInput
from planner.power.traces.prometheus import read_prometheus

START_S = 1_767_571_200  # 2026-01-05 00:00 UTC, a Monday


def export(metric: str, hosts: dict[str, list[float]], num_gpus: int = 2, **labels: str) -> dict[str, Any]:
    """A range export in which every GPU of a host reads the same values."""
    result = [
        {
            "metric": {"__name__": metric, "Hostname": host, "gpu": str(g), "UUID": f"GPU-{host}-{g}", **labels},
            "values": [[START_S + 15 * i, str(value)] for i, value in enumerate(values)],
        }
        for host, values in hosts.items()
        for g in range(num_gpus)
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def saved(folder: Path, document: Any) -> Path:
    path = folder / "range.json"
    path.write_text(json.dumps(document))
    return path


def test_power_of_a_hosts_gpus_adds_up(tmp_path: Path) -> None:
    path = saved(tmp_path, export("DCGM_FI_DEV_POWER_USAGE", {"h2": [70.5, 300, 350], "h1": [60, 61, 62]}))
    found = read_prometheus(path, num_gpus=2)
    assert found.servers == ("h1", "h2")
    assert found.values.tolist() == [[120, 122, 124], [141, 600, 700]]
    assert (found.interval_s, found.start_s, found.unit) == (15.0, START_S, "watts")


def test_utilisation_of_a_hosts_gpus_is_averaged_and_power_comes_first(tmp_path: Path) -> None:
    utilisation = export("DCGM_FI_DEV_GPU_UTIL", {"h": [10, 90]})
    found = read_prometheus(saved(tmp_path, utilisation), num_gpus=2)
    assert (found.unit, found.values.tolist()) == ("utilisation", [[10, 90]])
    power = export("DCGM_FI_DEV_POWER_USAGE", {"h": [100, 200]})
    power["data"]["result"] += utilisation["data"]["result"]
    assert read_prometheus(saved(tmp_path, power), num_gpus=2).values.tolist() == [[200, 400]]


def test_an_expression_has_no_name_and_one_series_per_server(tmp_path: Path) -> None:
    document = export("", {"h": [800.0, 900.0]}, num_gpus=1)
    for entry in document["data"]["result"]:
        entry["metric"] = {"instance": "h:9400"}
    assert read_prometheus(saved(tmp_path, document), num_gpus=8).values.tolist() == [[800, 900]]


def test_bad_exports(tmp_path: Path) -> None:
    power = "DCGM_FI_DEV_POWER_USAGE"
    unlabelled = export(power, {"h": [1, 2]})
    for entry in unlabelled["data"]["result"]:
        entry["metric"].pop("Hostname")
    odd = export(power, {"h": [1, 2]})
    odd["data"]["result"][0]["values"][0] = [START_S]
    for document, message in (
        ({"status": "error", "error": "query timed out"}, "query timed out"),
        ({"data": {"resultType": "vector"}}, "no range export"),
        (export(power, {}), "no series"),
        (export("up", {"h": [1, 1]}), "neither DCGM_FI_DEV_POWER_USAGE nor"),
        (export(power, {"h": [1, 2]}, num_gpus=3), "has 3 GPUs, the spec's servers have 2"),
        (unlabelled, "none of the labels"),
        (odd, "not pairs"),
        (export(power, {"h": [1, -2]}), "is -2"),
    ):
        with pytest.raises(InvalidInput, match=message):
            read_prometheus(saved(tmp_path, document), num_gpus=2)


def test_bridged_gaps_of_a_gpu_are_said(tmp_path: Path) -> None:
    document = export("DCGM_FI_DEV_POWER_USAGE", {"h": [100, 110, 120, 130, 140]})
    del document["data"]["result"][1]["values"][2]
    found = read_prometheus(saved(tmp_path, document), num_gpus=2)
    assert found.values[0].tolist() == [200, 220, 230, 260, 280]
    assert found.notes == ("h: 1 gaps of at most 60 s are bridged",)
