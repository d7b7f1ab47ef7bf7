from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.compare import MOST_CHANGES, compare
from planner.errors import InvalidInput

values = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2)
trees = st.recursive(
    values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    | st.lists(st.fixed_dictionaries({"name": st.sampled_from("abc"), "size": inner}), max_size=3),
    max_leaves=15,
)  # fmt: skip


def plan(**fields: Any) -> dict[str, Any]:
    return {"kind": "serving", "outcome": "optimal", "objective": 10.0, "spec": {}, "profile_digest": "d", **fields}


@given(trees, trees)
def test_equal_and_only_equal_plans_are_the_same(old: Any, new: Any) -> None:
    found = compare(plan(tree=old), plan(tree=new))
    named = isinstance(old, list) and isinstance(new, list)
    if old == new:
        assert found.same
        assert not found.plan
    elif not named and not isinstance(old, dict):
        assert not found.same


@given(trees, trees)
def test_there_and_back_are_the_same_changes(old: Any, new: Any) -> None:
    there, back = compare(plan(tree=old), plan(tree=new)), compare(plan(tree=new), plan(tree=old))
    assert {(c.path, str(c.old), str(c.new)) for c in there.plan} == {
        (c.path, str(c.new), str(c.old)) for c in back.plan
    }


def test_money_and_power_are_differences() -> None:
    found = compare(plan(usd_per_hour=10.0, power_w=500), plan(objective=8.0, usd_per_hour=8.0, power_w=None))
    assert (found.objective.difference, found.objective.relative) == (-2.0, -0.2)
    assert found.usd_per_hour is not None
    assert found.usd_per_hour.relative == -0.2
    assert found.power_w is not None
    assert (found.power_w.old, found.power_w.new, found.power_w.difference) == (500, None, None)
    assert compare(plan(), plan()).usd_per_hour is None


def test_entries_are_matched_by_their_names_not_places() -> None:
    chat = {"name": "chat", "rate": 1}
    code = {"name": "code", "rate": 2}
    found = compare(plan(spec={"services": [chat]}), plan(spec={"services": [code, {**chat, "rate": 3}]}))
    assert [(c.path, c.old, c.new, c.difference) for c in found.spec] == [
        ("services[chat].rate", 1, 3, 2), ("services[code]", None, code, None),
    ]  # fmt: skip
    assert found.reasons[0] == "what is asked changed: services[chat].rate, services[code]"


def test_routes_are_matched_by_service_sizes_and_unit() -> None:
    def route(unit: str, tokens: list[int], fraction: float) -> dict[str, Any]:
        return {"service": "chat", "input_tokens": tokens, "unit": unit, "fraction": fraction}

    old = [route("a", [1, 128], 0.5), route("b", [1, 128], 0.5), route("a", [128, 512], 1.0)]
    new = [route("a", [128, 512], 1.0), route("a", [1, 128], 0.25), route("b", [1, 128], 0.75)]
    changes = compare(plan(routing=old), plan(routing=new)).plan
    assert {(c.path, c.new) for c in changes} == {
        ("routing[chat, 1–128, a].fraction", 0.25), ("routing[chat, 1–128, b].fraction", 0.75),
    }  # fmt: skip


def test_long_lists_are_counted_not_listed() -> None:
    old = [[0] * 100 for _ in range(4)]
    new = copy.deepcopy(old)
    new[2][7] = 1
    (change,) = compare(plan(map=old), plan(map=new)).plan
    assert (change.path, change.detail) == ("map", "1 of 4 entries differ")
    many = compare(plan(**{f"f{i}": i for i in range(2000)}), plan())
    assert (len(many.plan), many.truncated) == (MOST_CHANGES, True)


def test_time_taken_is_no_change() -> None:
    assert compare(plan(solve_seconds=1.0, id="a"), plan(solve_seconds=2.0, id="b")).same


def test_reasons_are_what_the_new_plan_says_itself() -> None:
    old = plan(explanation=["as ever"])
    new = plan(explanation=["as ever", "H200 is cheaper now"], profile_digest="e", conflicts=[{"detail": "too dear"}])
    assert compare(old, new).reasons == ("profiles or prices changed", "H200 is cheaper now", "too dear")
    assert compare(plan(), plan(profile_digest="")).reasons == ()  # unknown is not changed


def test_plans_of_two_kinds_have_nothing_in_common() -> None:
    with pytest.raises(InvalidInput):
        compare(plan(), {**plan(), "kind": "power"})
