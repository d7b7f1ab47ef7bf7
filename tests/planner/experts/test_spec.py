"""Bad input: every mistake is an error that names its field and a fix."""

from __future__ import annotations

import json

import numpy as np
import pytest

from planner.documents import validated
from planner.errors import InvalidInput
from planner.experts import ExpertsSpec
from planner.packed import PackedArray, whole_numbers

COUNTS = [[5, 3, 2, 1, 4, 4, 1, 9], [1, 1, 1, 1, 2, 2, 2, 0]]
GOOD = {"topology": {"gpus": 4, "slots_per_gpu": 2}, "workloads": [{"name": "chat", "counts": COUNTS}]}


def with_counts(counts):
    return {**GOOD, "workloads": [{"counts": counts}]}


def with_topology(**fields):
    return {**GOOD, "topology": {**GOOD["topology"], **fields}}


def with_current(rows, **fields):
    return {**GOOD, "current": {"physical_to_logical_map": rows}, **fields}


ORDER = list(range(8))

MISTAKES = {
    "negative": (with_counts([[1, -2, 3, 4] * 2] * 2), "counts[0][1] is -2", "negative"),
    "fraction": (with_counts([[1, 2.5, 3, 4] * 2] * 2), "counts[0][1] is 2.5", "raw token counts"),
    "nan": (with_counts([[1, float("nan"), 3, 4] * 2] * 2), "counts[0][1] is nan", "0 where nothing was counted"),
    "infinite": (with_counts([[1, float("inf"), 3, 4] * 2] * 2), "counts[0][1] is inf", "whole numbers"),
    "text": (with_counts([["a", "b"], ["c", "d"]]), "counts", "whole numbers"),
    "nothing": (with_counts([]), "counts", "[layers][experts]"),
    "no lists": (with_counts(7), "counts", "a list of layers"),
    "ragged": (with_counts([[1, 2, 3], [1, 2]]), "counts[1] has 2 entries but counts[0] has 3", "write 0"),
    "all zero": (with_counts([[0] * 8] * 2), "counts is zero everywhere", "record the load"),
    "uneven nodes": (with_topology(nodes=3), "4 GPUs cannot be shared evenly by 3 nodes", "try nodes: 2"),
    "too few slots": (with_topology(slots_per_gpu=1), "slots_per_gpu", "at least slots_per_gpu: 2"),
    "too many slots": (with_topology(slots_per_gpu=9), "slots_per_gpu", "at most 8"),
    "links": (with_topology(gb_per_s=[[1.0]]), "gb_per_s", "4 rows of 4"),
    "dead link": (with_topology(gb_per_s=[[0.0] * 4] * 4), "gb_per_s", "above 0"),
    "groups of experts": ({**GOOD, "groups": 3}, "groups: 8 experts", "evenly"),
    "groups on nodes": ({**with_topology(nodes=4), "groups": 2}, "groups: 2 groups", "leave groups out"),
    "groups and hops": ({**GOOD, "groups": 2, "objective": "time"}, "groups", "leave one"),
    "cap without groups": ({**GOOD, "max_off_home": 0.1}, "max_off_home", "groups"),
    "memory": (
        {**GOOD, "costs": {"expert_gib": 1.0, "memory_gib_per_gpu": 3.0}}, "memory_gib_per_gpu", "use more GPUs"),
    "no data": ({"topology": GOOD["topology"]}, "workloads is missing", "give counts"),
    "twins": ({**GOOD, "workloads": GOOD["workloads"] * 2}, "'chat' appears twice", "differ"),
    "other model": (
        {**GOOD, "workloads": [*GOOD["workloads"], {"counts": [[1, 2]]}]}, "differ in layers × experts", "same model"),
    "hops without routes": ({**GOOD, "objective": "hops"}, "objective hops", "give a trace"),
    "fan-out without trace": ({**GOOD, "objective": "fan_out"}, "fan_out", "trace"),
    "trace id": ({**GOOD, "trace": [[[0, 1], [8, 2]]]}, "trace[0][1][0] is expert 8", "0 to 7"),
    "trace layers": ({**GOOD, "trace": [[[0, 1]]]}, "trace has 1 layers", "one model"),
    "trace shape": ({**GOOD, "trace": [[0, 1]]}, "trace has shape", "[tokens][layers][top k]"),
    "hops top": ({**GOOD, "trace": [[[0, 1], [1, 2]]], "hops_top": 3}, "hops_top", "2 experts per token"),
    "transitions": ({**GOOD, "transitions": [[[1, 2], [3, 4]]]}, "transitions", "[1, 8, 8]"),
    "negative transitions": (
        {**GOOD, "transitions": (-np.ones((1, 8, 8), dtype=int)).tolist()}, "transitions", "negative"),
    "moves without current": ({**GOOD, "max_moves": 3}, "max_moves", "needs current"),
    "moves and groups": (with_current([ORDER] * 2, max_moves=1, groups=2), "max_moves", "without groups"),
    "current layers": (with_current([ORDER]), "physical_to_logical_map has 1 layers", "same model"),
    "current slots": (with_current([ORDER, [0, 1]]), "physical_to_logical_map[1] has 2 slots", "topology in use"),
    "current id": (with_current([ORDER, [0, 1, 2, 3, 4, 5, 6, 8]]), "expert 8", "0 to 7"),
    "current lacks": (with_current([ORDER, [0, 1, 2, 3, 4, 5, 6, 6]]), "no copy of expert 7", "every expert needs one"),
    "typing error": ({**GOOD, "max_move": 3}, "max_move", "max_moves"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_names_its_field_and_a_fix(name):
    document, place, fix = MISTAKES[name]
    with pytest.raises(InvalidInput) as caught:
        validated(ExpertsSpec, document, "spec.json")
    assert place in str(caught.value)
    assert fix in str(caught.value)


def test_memory_says_how_many_slots_fit():
    document = {"topology": {"gpus": 4, "slots_per_gpu": 4}, "workloads": GOOD["workloads"],
                "costs": {"expert_gib": 1.0, "memory_gib_per_gpu": 6.0}}  # fmt: skip
    with pytest.raises(InvalidInput, match="at most slots_per_gpu: 3 fit"):
        validated(ExpertsSpec, document)


def test_an_expert_never_used_is_still_placed(plan_of):
    plan = plan_of(**{**GOOD, "topology": {"gpus": 4, "slots_per_gpu": 3}})
    assert 7 in plan.physical_to_logical_map[1]
    assert plan.logical_replica_count[1][7] >= 1


def test_a_dense_layer_is_passed_through(plan_of):
    plan = plan_of(**with_counts([[0] * 8, COUNTS[0]]))
    assert plan.dense_layers == (0,)
    assert plan.physical_to_logical_map[0] == tuple(range(8))


def test_a_workload_silent_about_a_layer_does_not_count_there(plan_of):
    silent = [[0] * 8, COUNTS[1]]
    both = plan_of(**{**GOOD, "workloads": [{"name": "a", "counts": COUNTS}, {"name": "b", "counts": silent}]})
    assert both.workloads[1].balancedness > 0


def test_packed_arrays_round_trip_and_refuse_damage():
    array = np.random.default_rng(0).integers(0, 300, (4, 3, 2))
    packed = PackedArray.pack(array)
    assert packed.dtype == "int16"
    again = PackedArray.model_validate_json(packed.model_dump_json())
    np.testing.assert_array_equal(again.array(), array)
    for damage in ("not base64!", packed.data[: len(packed.data) // 2]):
        with pytest.raises(ValueError, match=r"data"):
            packed.model_copy(update={"data": damage}).array()
    with pytest.raises(ValueError, match="larger than"):
        PackedArray(dtype="int64", shape=(10**6, 10**6), data="")
    np.testing.assert_array_equal(PackedArray.model_validate(array.tolist()).array(), array)


def test_whole_floats_are_whole_numbers():
    assert whole_numbers(np.array([[1.0, 2.0]]), "counts").tolist() == [[1, 2]]


def test_a_damaged_trace_is_a_clear_error():
    damaged = {"dtype": "int8", "shape": [1, 2, 1], "data": "????"}
    with pytest.raises(InvalidInput, match="base64"):
        validated(ExpertsSpec, {**GOOD, "trace": damaged})


def test_specs_survive_json():
    spec = validated(ExpertsSpec, {**GOOD, "trace": [[[0, 1], [1, 2]]], "objective": "balance"})
    assert ExpertsSpec.model_validate(json.loads(spec.model_dump_json())) == spec


def test_more_slots_than_can_be_planned_are_refused() -> None:
    workload = {"name": "a", "counts": [[1, 2], [3, 4]]}
    document = {"topology": {"gpus": 600_000, "slots_per_gpu": 2}, "workloads": [workload]}
    with pytest.raises(InvalidInput, match=r"topology\.gpus: .* at most 1,000,000"):
        validated(ExpertsSpec, document)
