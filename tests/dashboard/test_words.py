"""Texts of others are shown as they are."""

from hypothesis import given
from hypothesis import strategies as st

from dashboard.words import plain


def test_names_do_not_become_markup() -> None:
    assert plain("a *b* [c](d)\n`e` TP 2 · PP 4") == r"a \*b\* \[c\]\(d\) \`e\` TP 2 · PP 4"
    assert plain(":red[$x$]") == r"\:red\[\$x\$\]"


@given(st.text(st.characters(codec="ascii", min_codepoint=32), max_size=60))
def test_every_character_stays(text: str) -> None:
    assert plain(text).replace("\\", "") == " ".join(text.split()).replace("\\", "")
