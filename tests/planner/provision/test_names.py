"""Names: whatever a spec calls itself, what becomes a label, a folder or an object is a DNS label of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import InvalidInput
from planner.provision.names import MOST_NAME, checked_name, name_for

HOSTILE = [
    "../../etc/passwd", "/abs", "a/b", "..", ".", "", "a" * 300, "A B", "$(reboot)", "{{ x }}", "a\nb: c", "naïve",
    "-a", "a-", "a\0b", "!!python/object:os.system", "\ud800", "CON", "a.b", "%2e%2e", "'; drop table x; --",
]  # fmt: skip


@given(st.text() | st.sampled_from(HOSTILE))
def test_every_text_gets_a_name(text: str) -> None:
    assert checked_name(name_for(text)) == name_for(text)
    assert name_for(name_for(text)) == name_for(text)


@given(st.sets(st.text(max_size=80), min_size=2, max_size=20))
def test_different_texts_get_different_names(texts: set[str]) -> None:
    assert len({name_for(text) for text in texts}) == len(texts)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_could_escape_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name a deployment"):
        checked_name(name)


def test_plain_names_stay_as_they_are() -> None:
    for name in ("chat", "chat-prod-2", "7", "a" * MOST_NAME):
        assert name_for(name) == checked_name(name) == name
