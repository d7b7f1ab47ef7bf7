"""What is written as YAML is read as the same values, by readers of YAML 1.1 and of YAML 1.2."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from planner.render.yaml_text import yaml_text
from tests.planner.render.serving_plans import EVIL

texts = st.one_of(st.sampled_from(EVIL), st.text(max_size=40))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
documents = st.dictionaries(texts, values, min_size=1, max_size=4)


@given(st.lists(documents, min_size=1, max_size=3))
def test_documents_are_read_back(made: list[dict[str, Any]]) -> None:
    text = yaml_text(*made, about=["all of it"])
    assert list(yaml.safe_load_all(text)) == made
    assert text.startswith("# all of it\n")
    assert text.endswith("\n")


@given(documents, st.text(max_size=100))
def test_what_is_said_about_documents_stays_a_comment(made: dict[str, Any], about: str) -> None:
    assert yaml.safe_load(yaml_text(made, about=[about])) == made


@pytest.mark.parametrize("word", [word for word in EVIL if "\n" not in word])
def test_only_words_that_are_no_other_value_anywhere_go_without_quotes(word: str) -> None:
    """YAML 1.1 of Go knows more numbers and booleans than PyYAML's."""
    plain = yaml_text({"a": word}) == f"a: {word}\n"
    assert not plain or re.fullmatch(r"[A-Za-z/][A-Za-z0-9_./-]*", word)
    assert not plain or word.lower() not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null")


def test_nothing_is_written_as_an_alias() -> None:
    shared = {"a": [1]}
    assert "&" not in yaml_text({"one": shared, "two": shared})


def test_python_objects_are_not_written() -> None:
    with pytest.raises(yaml.YAMLError):
        yaml_text({"a": object()})
