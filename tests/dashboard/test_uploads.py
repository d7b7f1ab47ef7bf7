"""Files that people give as specs: whatever is in them, it is a spec or words about why not."""

from __future__ import annotations

import json

import pytest

from dashboard import uploads
from dashboard.uploads import BadFile

SPEC = {"kind": "serving", "name": "chat"}
YAML = "kind: serving\nname: chat\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", YAML.encode()),
        ("a.yaml", YAML.replace("\n", "\r\n").encode()),
        ("a.yaml", b"\xef\xbb\xbf" + YAML.encode()),
        ("a.yaml", YAML.encode("utf-16")),
        ("A.JSON", json.dumps(SPEC).encode()),
    ],
)
def test_encodings_and_ends_of_lines(name: str, content: bytes) -> None:
    assert uploads.spec(name, content) == SPEC


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.yaml", b"kind: serving\nkind: power", "twice"),
        ("a.json", b'{"a": {"b": 1, "b": 2}}', "twice"),
        ("a.yaml", b"a: &x 1\nb: *x", "line 2 has a YAML alias"),
        ("a.yaml", b"a: &x {p: 1}\nb: {<<: *x}", "alias"),
        ("a.yaml", b"a: !!python/object/apply:os.system [x]", "constructor"),
        ("a.yaml", b"[" * 1_000_000, "nested too deeply"),
        ("a.yaml", b"? " * 3000, "nested too deeply"),
        ("a.json", b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested too deeply"),
        ("a.json", b'{"a": NaN}', "not JSON"),
        ("a.yaml", b"a: .inf", "not JSON"),
        ("a.yaml", b"a: 2026-01-01", "date"),
        ("a.json", b'{"a": "\\ud800"}', "surrogates"),
        ("a.yaml", b"a: " + b"9" * 5000, "digits"),
        ("a.yaml", b"a: 1\n---\nb: 2", "another document"),
        ("a.yaml", b"- 1", "holds no spec"),
        ("a.yaml", b"a: \xff", "UTF-8"),
        ("a.yaml", b"a\x00b: 1", "binary"),
        ("a.yaml", b"a: " + b"x" * 3 * 2**20, "larger than 2 MiB"),
    ],
)
def test_what_is_no_spec_is_said_why(name: str, content: bytes, why: str) -> None:
    with pytest.raises(BadFile, match=why):
        uploads.spec(name, content)
