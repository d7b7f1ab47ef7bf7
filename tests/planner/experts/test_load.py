"""Requests from files: specs, and recordings in every format."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from planner.errors import InvalidInput
from planner.experts import PLANNER

COUNTS = np.arange(1, 17).reshape(2, 8)
OPTIONS = {"gpus": 4, "slots_per_gpu": 3, "nodes": 2}


def recorded(path):
    return PLANNER.load(path, OPTIONS).workloads[0].counts


@pytest.fixture
def files(tmp_path):
    (tmp_path / "chat.json").write_text(json.dumps({"logical_count": COUNTS.tolist()}))
    (tmp_path / "steps.json").write_text(json.dumps({"logical_count": [COUNTS.tolist(), COUNTS.tolist()]}))
    (tmp_path / "tasks.json").write_text(json.dumps({"law": COUNTS.tolist(), "maths": (2 * COUNTS).tolist()}))
    np.save(tmp_path / "code.npy", COUNTS.astype(float))
    np.savez(tmp_path / "all.npz", logical_count=COUNTS, trace=np.array([[[0, 1], [2, 3]]]))
    np.save(tmp_path / "trace.npy", np.array([[[0, 1], [2, 3]], [[4, 5], [6, 7]]], dtype=np.int8))
    return tmp_path


def test_every_format_reads_the_same_counts(files):
    expected = tuple(map(tuple, COUNTS.tolist()))
    for name in ("chat.json", "code.npy", "all.npz"):
        assert recorded(files / name) == expected
    assert recorded(files / "steps.json") == tuple(map(tuple, (2 * COUNTS).tolist()))


def test_several_files_are_several_workloads(files):
    spec = PLANNER.load([files / "chat.json", files / "code.npy"], {**OPTIONS, "groups": 4})
    assert [(w.name, w.weight) for w in spec.workloads] == [("chat", 1.0), ("code", 1.0)]
    assert spec.groups == 4
    assert spec.topology.nodes == 2


def test_one_file_may_hold_several_workloads(files):
    assert [w.name for w in PLANNER.load(files / "tasks.json", OPTIONS).workloads] == ["law", "maths"]


def test_traces_are_recognised(files):
    spec = PLANNER.load(files / "trace.npy", {"gpus": 4, "slots_per_gpu": 2})
    assert spec.trace is not None
    assert spec.shape == (2, 8)
    assert PLANNER.load(files / "all.npz", OPTIONS).trace is not None


def test_same_names_are_numbered(files, tmp_path):
    other = tmp_path / "more"
    other.mkdir()
    (other / "chat.json").write_text((files / "chat.json").read_text())
    spec = PLANNER.load([files / "chat.json", other / "chat.json"], OPTIONS)
    assert [w.name for w in spec.workloads] == ["chat", "chat 2"]


def test_spec_files_name_their_data(files):
    (files / "spec.yaml").write_text(
        "kind: experts\ntopology: {gpus: 4, slots_per_gpu: 2}\n"
        "workloads: [{counts: chat.json, weight: 2}, {counts: tasks.json}]\ntrace: trace.npy\nobjective: balance\n"
    )
    spec = PLANNER.load(files / "spec.yaml", {})
    assert [(w.name, w.weight) for w in spec.workloads] == [("chat", 2), ("law", 1), ("maths", 1)]
    assert spec.trace is not None
    assert spec.trace.shape == (2, 2, 2)
    assert PLANNER.load(files / "spec.yaml", {"gpus": 8, "slots_per_gpu": 1}).topology.gpus == 8


def test_current_placement_from_plan_or_engine_file(files):
    rows = [[*range(8), 0, 1, 2, 3]] * 2
    (files / "now.json").write_text(json.dumps({"physical_to_logical_map": rows}))
    spec = PLANNER.load(files / "chat.json", {**OPTIONS, "current": files / "now.json", "max_moves": 2})
    assert spec.current is not None
    assert spec.max_moves == 2


def test_torch_dumps_where_torch_is_there(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (files / "dump.pt").write_bytes(b"")
    with pytest.raises(InvalidInput, match="torch is not installed"):
        PLANNER.load(files / "dump.pt", OPTIONS)

    class Tensor:
        def numpy(self):
            return np.stack([COUNTS, COUNTS])

    class Torch:
        @staticmethod
        def load(path, map_location, weights_only):
            assert weights_only
            return {"logical_count": Tensor()}

    monkeypatch.setitem(sys.modules, "torch", Torch())
    assert recorded(files / "dump.pt") == tuple(map(tuple, (2 * COUNTS).tolist()))


BAD = {
    "a.json": ('{"logical_count": [[1, 2], [3]]}', "logical_count[1] has 1 entries"),
    "b.json": ('{"logical_count": [[1, -2]]}', "counts[0][1] is -2"),
    "c.json": ('{"logical_count": [[1, NaN]]}', "NaN"),
    "d.json": ('{"other": 3}', "no logical_count"),
    "e.json": ('{"logical_count": [1, 2]}', "[layers][experts]"),
    "flat.json": ("[1, 2]", "[layers][experts]"),
    "step.json": ('{"logical_count": [[[9, 9]], [[9, -2]]]}', "logical_count[1][0][1] is -2"),
    "sum.json": (json.dumps({"logical_count": [[[2**62, 1]]] * 4}), "adds up to 2^63"),
    "f.json": ("{", "not well-formed JSON"),
    "g.npy": ("garbage", "cannot be read as .npy"),
    "h.npz": ("garbage", "cannot be read as .npz"),
    "missing.npy": (None, "cannot be read"),
    "missing.json": (None, "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_named(tmp_path, name):
    text, message = BAD[name]
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput) as caught:
        PLANNER.load(tmp_path / name, OPTIONS)
    assert name in str(caught.value)
    assert message in str(caught.value)


def test_damaged_and_oversized_archives_are_refused(tmp_path, monkeypatch):
    np.savez(tmp_path / "good.npz", logical_count=COUNTS)
    whole = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "damaged.npz").write_bytes(whole[:150] + b"\0\1\2" + whole[153:])
    np.savez(tmp_path / "none.npz")
    np.savez(tmp_path / "objects.npz", logical_count=np.array([[{}]], dtype=object))
    for name, message in (("damaged", "cannot be read"), ("none", "holds no array"), ("objects", "allow_pickle")):
        with pytest.raises(InvalidInput, match=message):
            PLANNER.load(tmp_path / f"{name}.npz", OPTIONS)
    monkeypatch.setattr("planner.experts.recorded.MOST_BYTES", 100)
    with pytest.raises(InvalidInput, match="sample them first"):
        PLANNER.load(tmp_path / "good.npz", OPTIONS)


def test_steps_of_a_small_model_are_no_trace(tmp_path):
    np.save(tmp_path / "steps.npy", 1000 * np.stack([COUNTS, COUNTS]))
    assert recorded(tmp_path / "steps.npy") == tuple(map(tuple, (2000 * COUNTS).tolist()))


def test_half_precision_and_plain_matrices_are_read(tmp_path):
    np.save(tmp_path / "half.npy", COUNTS.astype(np.float16))
    (tmp_path / "plain.json").write_text(json.dumps(COUNTS.tolist()))
    for name in ("half.npy", "plain.json"):
        assert recorded(tmp_path / name) == tuple(map(tuple, COUNTS.tolist()))


def test_missing_options_are_named(files):
    with pytest.raises(InvalidInput, match="--slots-per-gpu"):
        PLANNER.load(files / "chat.json", {"gpus": 4})
    with pytest.raises(InvalidInput, match="--gpus"):
        PLANNER.load(files / "chat.json", {"slots_per_gpu": 4})


def test_mixing_specs_and_recordings_is_refused(files):
    (files / "spec.yaml").write_text("kind: experts\n")
    with pytest.raises(InvalidInput, match=r"spec\.yaml"):
        PLANNER.load([files / "chat.json", files / "spec.yaml"], OPTIONS)
    with pytest.raises(InvalidInput, match="only one"):
        PLANNER.load([files / "spec.yaml", files / "spec.yaml"], OPTIONS)
    with pytest.raises(InvalidInput, match="no file"):
        PLANNER.load([], OPTIONS)


def test_current_without_map_is_refused(files):
    with pytest.raises(InvalidInput, match="physical_to_logical_map"):
        PLANNER.load(files / "chat.json", {**OPTIONS, "current": files / "tasks.json"})


def test_a_plan_in_place_of_a_spec_is_named(tmp_path):
    (tmp_path / "plan.json").write_text('{"kind": "experts", "outcome": "feasible", "spec": {}}')
    with pytest.raises(InvalidInput, match="is a plan, not a spec"):
        PLANNER.load(tmp_path / "plan.json", {})
