"""Differences of documents: enough to make one into the other, and nothing where they are equal."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from planner.provision.changes import ABSENT, FieldChange, changes, differences
from planner.provision.driver import Document, Driver, Objects, Preview

scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.sampled_from([0.5, 1.0])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    | st.lists(st.fixed_dictionaries({"name": st.sampled_from("abc"), "v": inner}), max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=300)
@given(values, values)
def test_documents_differ_exactly_where_a_difference_is_named(before: Any, after: Any) -> None:
    found = list(differences(before, after))
    assert bool(found) != (_unordered(before) == _unordered(after))
    assert [FieldChange(c.path, c.after, c.before) for c in found] == _sorted_as(found, differences(after, before))


def _sorted_as(found: list[FieldChange], others: Any) -> list[FieldChange]:
    by_path = {change.path: change for change in others}
    assert len(by_path) == len(found)
    return [by_path[change.path] for change in found]


def _unordered(value: Any) -> str:
    """A text of the value, equal where values are: lists whose items all have names of their own are sets."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{_unordered(item)}" for key, item in sorted(value.items())) + "}"
    if isinstance(value, list):
        items = [_unordered(item) for item in value]
        names = [item.get("name") if isinstance(item, dict) else None for item in value]
        by_name = value and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
        return "[" + ",".join(sorted(items) if by_name else items) + "]"
    return f"{float(value)}" if isinstance(value, (int, float)) and not isinstance(value, bool) else repr(value)


def test_fields_are_named_as_people_write_them() -> None:
    before = {"spec": {"containers": [{"name": "engine", "args": ["a"]}], "nodeSelector": {"nvidia.com/gpu": "L4"}}}
    after = {"spec": {"containers": [{"name": "engine", "args": ["a", "b"]}], "nodeSelector": {}}}
    assert list(differences(before, after)) == [
        FieldChange("spec.containers[engine].args[1]", ABSENT, "b"),
        FieldChange("spec.nodeSelector['nvidia.com/gpu']", "L4", ABSENT),
    ]


def test_true_is_not_one() -> None:
    assert list(differences({"a": True}, {"a": 1})) == [FieldChange("a", True, 1)]


objects = st.dictionaries(
    st.sampled_from(["Unit/a", "Unit/b", "Unit/c", "Router/r"]), st.fixed_dictionaries({"v": st.integers(0, 1)})
)


@given(objects, objects, st.sets(st.sampled_from(["Unit/a", "Unit/b", "Unit/c", "Router/r"])))
def test_only_what_was_recorded_is_changed_or_removed(desired: Objects, actual: Objects, recorded: set[str]) -> None:
    found = {change.key: change for change in changes(_driver(actual), desired, "x", recorded)}
    for key in desired.keys() | actual.keys():
        action = found[key].action if key in found else None
        if key not in actual:
            assert action == "add"
        elif key not in desired:
            assert action == ("remove" if key in recorded else "leave")
        elif key not in recorded:
            assert found[key].obstacle
        else:
            assert action == (None if desired[key] == actual[key] else "change")


def _driver(actual: Objects) -> Driver:
    def preview(name: str, document: Document, take_over: bool) -> Preview:
        return Preview(document)

    def nothing(*_: Any) -> Any:
        raise AssertionError("comparing must not change anything")

    return Driver("test", lambda _: False, nothing, lambda _: actual, preview, nothing, nothing, nothing)
