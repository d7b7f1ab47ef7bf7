"""Paths into specs: new values land where they should, the base stays as it is, mistakes say what is there."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InvalidInput
from planner.sweep.paths import changed, steps_of

BASE = {"services": [{"name": "a", "rate": 2, "slo": None}, {"name": "b", "rate": 3.5, "slo": {"ttft_ms": 10}}],
        "tags": [], "on": True}  # fmt: skip

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,5}", fullmatch=True)
leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
documents = st.recursive(
    leaves,
    lambda inside: st.lists(inside, min_size=1, max_size=3) | st.dictionaries(names, inside, min_size=1, max_size=3),
    max_leaves=6,
)


def places(document: Any, before: str = "") -> list[str]:
    """Every path in a document, written out by hand."""
    if isinstance(document, dict):
        inside = [(f"{before}.{name}" if before else name, value) for name, value in document.items()]
    elif isinstance(document, list):
        inside = [(f"{before}[{i}]", value) for i, value in enumerate(document)]
    else:
        return []
    return [path for path, value in inside for path in (path, *places(value, path))]


def at(document: Any, path: str) -> Any:
    for step in steps_of(path):
        document = document[step]
    return document


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(names, documents, min_size=1, max_size=3), st.data())
def test_one_place_changes_and_nothing_else(document: dict[str, Any], data: st.DataObject) -> None:
    before = copy.deepcopy(document)
    path = data.draw(st.sampled_from(places(document)))
    new = changed(document, path, "new")
    assert document == before
    assert at(new, path) == "new"
    # Putting the old value back gives the old document: nothing else was touched.
    assert changed(new, path, at(document, path)) == before


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ("services[*].rate", {"times": 2}, [4, 7.0]),
        ("services[*].rate", {"times": 0.5}, [1, 1.75]),
        ("services[0].rate", {"times": 0.25}, [0.5, 3.5]),
        ("services[*].rate", 9, [9, 9]),
        ("services[1].rate", {"times": 2, "other": 1}, [2, {"times": 2, "other": 1}]),
    ],
)
def test_every_entry_and_multiples(path: str, value: Any, found: list[Any]) -> None:
    assert [service["rate"] for service in changed(BASE, path, value)["services"]] == found


def test_every_entry_of_an_empty_list_is_none() -> None:
    assert changed(BASE, "tags[*].x", 1) == BASE


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("service[0].rate", "has no field 'service' but services, tags, on; did you mean 'services'?"),
        ("services[2].rate", "services has 2 entries, counted from 0"),
        ("services[0].rates", "services[0] has no field 'rates' but name, rate, slo; did you mean 'rate'?"),
        ("services.rate", "services is a list, which has no field 'rate'"),
        ("services[*].slo.ttft_ms", "services[0].slo is not set, which has no field 'ttft_ms'"),
        ("services[0][0]", "services[0] is an object, not a list"),
        ("services[0].name.x", "services[0].name is 'a', which has no field 'x'"),
    ],
)
def test_a_path_that_leads_nowhere_says_what_is_there(path: str, said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        changed(BASE, path, 1)
    assert said in error.value.detail
    assert error.value.field == path


@pytest.mark.parametrize(
    "path", ["", ".a", "a.", "a..b", "[0]", "a[", "a[x]", "a[-1]", "a[0]b", "a b", "a[99999999]", "a/b", "é", "a\n"]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    if path == "":
        assert steps_of(path) == ()  # the request refuses empty paths
        return
    with pytest.raises(InvalidInput, match="is not a path"):
        steps_of(path)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("services[0].name", {"times": 2}, "'a', not a number to multiply"),
        ("on", {"times": 2}, "True, not a number to multiply"),
        ("services[0].slo", {"times": 2}, "not set, not a number to multiply"),
        ("services[0].rate", {"times": "2"}, "cannot multiply by '2'"),
        ("services[0].rate", {"times": True}, "cannot multiply by True"),
        ("services[0].rate", {"times": 10**400}, "cannot multiply by"),
    ],
)
def test_only_numbers_are_multiplied(path: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        changed(BASE, path, value)
    assert said in error.value.detail
