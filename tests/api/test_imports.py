from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api.app import create_app
from planner.settings import Settings
from profiles.ingest import FORMATS, write
from profiles.store import snapshot
from profiles.types import Batch

PREVIEW, IMPORT = "/v1/profiles/preview", "/v1/profiles/import"
HEADER = "model,gpu,phase,batch_tokens_or_requests,ms_per_layer\n"


@pytest.fixture
def some(service_store: Engine, tmp_path: Path) -> bytes:
    """A file of three measurements, one of them known as it is."""
    known = snapshot(service_store).measurements[:3]
    new = [m.model_copy(update={"ttft_ms": 123.0, "as_of": dt.date(2026, 2, 3)}) for m in known[1:]]
    file = tmp_path / "m.csv"
    write(Batch(measurements=(known[0], *new)), file)
    return file.read_bytes()


def test_every_format_is_listed_with_its_options(client: TestClient) -> None:
    answer = client.get("/v1/profiles/formats")
    listed = {one["name"]: one for one in answer.json()["formats"]}
    assert listed.keys() == FORMATS.keys()
    assert {"model", "gpu", "tp", "precision", "source", "as_of"} <= listed["vllm-bench"]["options"].keys()
    assert listed["vllm-bench"]["options"]["tp"]["type"] == "integer"
    assert listed["helix"]["columns"] == ["model", "gpu", "phase", "batch_tokens_or_requests", "ms_per_layer"]
    same = client.get("/v1/profiles/formats", headers={"If-None-Match": answer.headers["ETag"]})
    assert same.status_code == 304


def test_a_preview_says_what_an_import_does_and_keeps_nothing(
    client: TestClient, service_store: Engine, some: bytes
) -> None:
    before = snapshot(service_store)
    preview = client.post(PREVIEW, params={"format": "gpuplan"}, content=some)
    assert preview.status_code == 200, preview.text
    found = preview.json()
    assert (found["num"], found["num_known"]) == ({"measurements": 3}, 1)
    assert sum(subject["num"] for subject in found["subjects"]) == 3
    assert {(one["model"], one["gpu"]) for one in found["subjects"]} == {
        (m.model, m.gpu) for m in before.measurements[:3]
    }
    assert snapshot(service_store) == before
    imported = client.post(IMPORT, params={"format": "gpuplan"}, content=some).json()
    assert imported["changes"]["measurements"] == {"added": 2, "updated": 0, "unchanged": 1}
    again = client.post(PREVIEW, params={"format": "gpuplan"}, content=some).json()
    assert again["num_known"] == 3


@pytest.mark.parametrize("path", [PREVIEW, IMPORT])
def test_mistakes_are_told_row_by_row(client: TestClient, path: str) -> None:
    rows = "".join(f"llama2_70b,t4,decode,{size},-1\n" for size in range(1, 31))
    answer = client.post(path, params={"format": "helix"}, content=(HEADER + rows).encode())
    problem = answer.json()
    assert (answer.status_code, problem["field"]) == (422, "body.csv")
    assert problem["detail"].startswith("30 problems, so nothing was imported")
    assert [one["field"] for one in problem["errors"]] == [f"body.csv:{line}: ms_per_layer" for line in range(2, 22)]
    one = client.post(path, params={"format": "helix"}, content=(HEADER + rows[:24]).encode()).json()
    assert (one["field"], "errors" in one) == ("body.csv:2: ms_per_layer", False)


def test_a_file_is_read_as_its_name_says(client: TestClient, service_store: Engine, tmp_path: Path) -> None:
    write(Batch(models=snapshot(service_store).models[:1]), tmp_path / "m.json")
    content = (tmp_path / "m.json").read_bytes()
    found = client.post(PREVIEW, params={"format": "gpuplan", "suffix": ".json"}, content=content)
    assert found.json()["num"] == {"models": 1}
    assert client.post(PREVIEW, params={"format": "gpuplan"}, content=content).status_code == 422
    for suffix in (".exe", "/../x", ".JSON/"):
        answer = client.post(PREVIEW, params={"format": "gpuplan", "suffix": suffix}, content=content)
        assert answer.status_code == 422


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 50, "a,b\n1,ä\n".encode("latin-1"), b"\xff\xfea\x00", b"{}"])
def test_what_is_no_table_is_refused(client: TestClient, content: bytes) -> None:
    answer = client.post(PREVIEW, params={"format": "helix"}, content=content)
    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert "gpuplan-import" not in answer.text


def test_who_may_plan_may_look_and_only_admins_import(
    service_store: Engine, key_for: Callable[..., dict[str, str]], some: bytes
) -> None:
    for scopes, looks, imports in ((("read",), 403, 403), (("read", "plan"), 200, 403), (("admin",), 200, 201)):
        key = key_for(*scopes)
        with TestClient(create_app(service_store, Settings(), open_to_loopback=False), headers=key) as client:
            assert client.post(PREVIEW, params={"format": "gpuplan"}, content=some).status_code == looks
            assert client.post(IMPORT, params={"format": "gpuplan"}, content=some).status_code == imports
