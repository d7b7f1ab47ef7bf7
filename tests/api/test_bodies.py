from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.examples import SPECS
from api.limits import MOST_DEPTH, depth, strict_json
from planner.errors import InvalidInput

JSON = {"Content-Type": "application/json"}

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='[]{}"\\a,:'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='[]{}"\\k'), inner, max_size=3),
    max_leaves=20,
)


def slowly(value: Any) -> int:
    """The depth of a value, by walking through it."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inside is None else 1 + max(map(slowly, inside), default=0)


@given(documents)
def test_depth_is_that_of_the_value(value: Any) -> None:
    assert depth(json.dumps(value).encode()) == slowly(value)


@given(documents)
def test_json_is_read_as_it_is(value: Any) -> None:
    assert strict_json(json.dumps(value).encode()) == value


@given(st.binary())
def test_any_bytes_are_json_or_a_mistake(body: bytes) -> None:
    with suppress(InvalidInput):
        json.dumps(strict_json(body), allow_nan=False)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"kind": "experts"', "well-formed"),
        (b'{"kind": "experts", "kind": "power"}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b"\xef\xbb\xbf{}", "well-formed"),
        (b"[" * 65 + b"]" * 65, "nested"),
        (b"[" * 1_000_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b'{"a": ' + b"9" * 5000 + b"}", "read"),
        (b"'single'", "well-formed"),
        (b"a: yaml", "well-formed"),
    ],
)
def test_bodies_that_are_no_json_are_mistakes(client: TestClient, body: bytes, says: str) -> None:
    for path in ("/v1/plans", "/v1/simulations", "/v1/sweeps", "/v1/comparisons", "/v1/prices"):
        answer = client.post(path, content=body, headers=JSON)
        assert answer.status_code == 422
        assert says in answer.json()["detail"]


def test_a_body_is_not_read_before_the_caller_is_known(
    client: TestClient, app: FastAPI, key_for: Callable[..., dict[str, str]]
) -> None:
    app.state.open_to_loopback = False
    for path in ("/v1/plans", "/v1/profiles/import?format=gpuplan&unknown=1"):
        answer = client.post(path, content=b"[", headers=JSON)
        assert answer.status_code == 401
    answer = client.post("/v1/plans", content=b"[", headers={**JSON, **key_for("plan")})
    assert answer.status_code == 422
    assert re.match(r'"posts";r=5999', answer.headers["RateLimit"]), "one request counts once"


def test_64_deep_is_still_read() -> None:
    assert strict_json(b"[" * MOST_DEPTH + b"]" * MOST_DEPTH)


@pytest.mark.parametrize(
    "value", ["1e999", "-1e999", "1e-999", "123456789012345678901234567890", '"\\ud800"', '"\\u0000"']
)
def test_numbers_and_texts_beyond_all_measure(client: TestClient, value: str) -> None:
    for place in ("time_limit_s", "seed", "name", "gpus"):
        document = json.dumps({"kind": "experts", "time_limit_s": 1, "seed": 1, "spec": {
            **SPECS["experts"], "name": "NAME", "topology": {"gpus": 4, "nodes": 2, "slots_per_gpu": 4},
        }})  # fmt: skip
        replaced = document.replace(
            {"name": '"NAME"'}.get(place, f'"{place}": 1'), {"name": value}.get(place, f'"{place}": {value}')
        )
        replaced = replaced if place != "gpus" else document.replace('"gpus": 4', f'"gpus": {value}')
        answer = client.post("/v1/plans", content=replaced.encode(), headers={**JSON, "Prefer": "respond-async"})
        assert answer.status_code in (202, 422), answer.text


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense", "application/yaml"]
)
def test_other_media_types_are_415(client: TestClient, kind: str) -> None:
    answer = client.post("/v1/plans", content=b"{}", headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["field"]) == (415, "Content-Type")
    assert client.post("/v1/plans", content=b"{}").status_code == 415
    assert (
        client.post("/v1/plans", content=b"{}", headers={"Content-Type": "application/json; charset=utf-8"}).status_code
        == 422
    )


def test_large_bodies_are_413_whatever_they_announce(client: TestClient, app: FastAPI) -> None:
    app.state.settings = app.state.settings.model_copy(update={"most_body_mib": 0.01})
    taken: list[int] = []

    def pieces() -> Iterator[bytes]:
        for i in range(1000):
            taken.append(i)
            yield b" " * 1024

    for path in ("/v1/plans", "/v1/profiles/import?format=gpuplan"):
        announced = client.post(path, content=b" " * 20_000, headers=JSON)
        assert (announced.status_code, announced.json()["field"]) == (413, "body")
        assert client.post(path, content=pieces(), headers=JSON).status_code == 413
    assert client.post("/v1/plans", content=b" " * 5000 + json.dumps({}).encode(), headers=JSON).status_code == 422


def test_arrays_are_limited(client: TestClient) -> None:
    answer = client.post("/v1/comparisons", json={"plans": ["a", "b", "c"]})
    assert (answer.status_code, answer.json()["field"]) == (422, "plans")
    many = {"kind": "experts", "spec": SPECS["experts"], "vary": [{"path": "name", "values": ["x"] * 10_001}]}
    assert client.post("/v1/sweeps", json=many).status_code == 422
