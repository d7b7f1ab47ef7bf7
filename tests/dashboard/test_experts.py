"""The experts page: what it shows is what the service says, and what people give it is read with care."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import httpx
import numpy as np
import pytest

from dashboard.experts import recordings, settings
from dashboard.experts.load import shown_layers
from dashboard.uploads import BadFile
from dashboard.words import plain
from tests.dashboard.conftest import OpenPage

COUNTS = [[50, 10, 20, 20], [1, 1, 1, 97]]
SPEC: dict[str, Any] = {"kind": "experts", "name": "two", "topology": {"gpus": 2, "slots_per_gpu": 3},
                        "workloads": [{"name": "a", "counts": COUNTS}]}  # fmt: skip


def saved(service_url: str, spec: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.post(f"{service_url}/v1/plans", json={"kind": "experts", "spec": spec}, timeout=60)
    assert answer.status_code == 201
    plan: dict[str, Any] = answer.json()
    return plan


def test_figures_are_those_of_the_service(open_page: OpenPage, service_url: str) -> None:
    plan = saved(service_url, SPEC)
    page = open_page("experts", plan=plan["id"])
    assert not page.exception
    assert page.metric[0].value == f"{plan['balancedness']:.3f}"


def test_address_restores_what_was_changed(open_page: OpenPage, service_url: str) -> None:
    plan = saved(service_url, SPEC)
    page = open_page("experts", plan=plan["id"], slots_per_gpu="4", experts_view="Moves")
    four = saved(service_url, {**SPEC, "topology": {**SPEC["topology"], "slots_per_gpu": 4}})
    assert page.number_input(key="slots_per_gpu").value == 4
    assert page.metric[0].value == f"{four['balancedness']:.3f}"
    page.number_input(key="slots_per_gpu").set_value(3).run()
    assert page.metric[0].value == f"{plan['balancedness']:.3f}"


def test_what_cannot_be_is_told_with_the_fix(open_page: OpenPage, service_url: str) -> None:
    page = open_page("experts", plan=saved(service_url, SPEC)["id"], slots_per_gpu="1")
    assert not page.exception
    assert plain("slots_per_gpu: 2") in page.error[0].value


def test_staying_near_a_saved_plan_limits_moves(open_page: OpenPage, service_url: str) -> None:
    page = open_page("experts", plan=saved(service_url, SPEC)["id"], near="true", max_moves="1", experts_view="Moves")
    assert not page.exception
    assert page.metric[-2].label == "To move"


def test_settings_round_trip() -> None:
    now = settings.read(SPEC)
    assert settings.written(SPEC, now, None) == {**SPEC, "max_moves": None}
    changed = settings.written(SPEC, {**now, "gpus": 4, "groups": 2, "place_for": "time"}, None)
    assert settings.read(changed) == {**now, "gpus": 4, "groups": 2, "place_for": "time"}


@pytest.mark.parametrize("max_moves", [0, 3, None])
def test_the_number_of_moves_is_kept_as_it_is(max_moves: int | None) -> None:
    current = {"physical_to_logical_map": [[0, 1, 2, 3, 0, 1]] * 2}
    spec = {**SPEC, "current": current, "max_moves": max_moves}
    assert settings.written(spec, settings.read(spec), current) == spec
    assert settings.written(spec, {**settings.read(spec), "groups": 2}, current)["max_moves"] == max_moves


def packed(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, content)
    return out.getvalue()


def damaged(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def as_npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize(("name", "content"), [
    ("a.json", json.dumps({"logical_count": COUNTS}).encode()),
    ("a.json", json.dumps(COUNTS).encode("utf-16")),
    ("a.json", json.dumps([[[25, 5, 10, 10], [1, 0, 1, 90]], [[25, 5, 10, 10], [0, 1, 0, 7]]]).encode()),
    ("a.npy", as_npy(np.array(COUNTS))),
    ("a.NPZ", packed(logical_count=np.array(COUNTS, dtype=np.float32))),
])  # fmt: skip
def test_recordings_are_read(name: str, content: bytes) -> None:
    assert recordings.counts(name, content) == COUNTS


@pytest.mark.parametrize(("name", "content", "says"), [
    ("a.json", b" ", "is empty"),
    ("a.json", b"\xff\x00\x81binary", "UTF-8"),
    ("a.json", b"[[1, 2], [3]]", "equally many experts"),
    ("a.json", b'{"counts": [[1, -2]]}', "not negative"),
    ("a.json", b'{"load": [[1, 2]]}', "logical_count"),
    ("a.json", b"[" * 100_000, "nested too deeply"),
    ("a.json", b"[1, 2]", "[layers][experts]"),
    ("a.npy", b"PK not numpy", "numpy can read"),
    ("a.npy", as_npy(np.array([{"pickled": 1}], dtype=object)), "numpy can read"),
    ("a.npz", packed(load=np.array(COUNTS)), "no array called"),
    ("a.npz", packed(counts=np.zeros((3000, 3000))), "unpacks to"),
    ("a.npy", as_npy(np.array([[1.0, np.nan]])), "not negative"),
    ("a.npy", as_npy(np.full((2, 3), 1e300)), "more than any recording"),
    ("a.npy", as_npy(np.full((4, 2, 3), 2**62)), "more than any recording"),
    ("a.npy", as_npy(np.zeros((1, 1))).replace(b"(1, 1), }" + b" " * 26, b"(1000000000000, 1000), }" + b" " * 11),
     "numpy can read"),
    ("a.json", b"[[" + b"9" * 5000 + b"]]", "digits"),
    ("a.json", b"[[" + b"9" * 400 + b"]]", "equally many experts"),
    ("a.npz", zipped("counts.npy", b"no array"), "numpy can read"),
    ("a.npz", packed(counts=np.arange(600).reshape(20, 30))[:-300], "numpy can read"),
    ("a.npz", damaged(packed(counts=np.arange(600).reshape(20, 30)), at=80), "numpy can read"),
])  # fmt: skip
def test_bad_recordings_are_told_in_words(name: str, content: bytes, says: str) -> None:
    with pytest.raises(BadFile) as told:
        recordings.counts(name, content)
    assert says in str(told.value)


def test_large_heatmaps_show_the_layers_that_are_balanced_worst() -> None:
    layers = 10
    placement = {"name": "plan", "gpu_loads": [[1.0] * 10_000] * layers, "balancedness": [0.9] * 8 + [0.1, 0.2]}
    assert shown_layers({"layers": list(range(layers)), "placements": [placement]}) == [8, 9]
