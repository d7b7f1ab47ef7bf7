from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api.app import create_app
from api.routers.profiles import KINDS
from planner.audit import entries
from planner.settings import Settings
from profiles.ingest import write
from profiles.store import snapshot
from profiles.types import Batch


@pytest.mark.parametrize("kind", KINDS)
def test_lists_hold_every_fact_once_and_in_order(client: TestClient, service_store: Engine, kind: str) -> None:
    facts = getattr(snapshot(service_store), KINDS[kind])
    found = []
    url: str | None = f"/v1/profiles/{kind}?limit=300"
    while url:
        page = client.get(url)
        assert page.status_code == 200
        found += page.json()["items"]
        url = page.json()["next"]
    assert found == [fact.model_dump(mode="json") for fact in facts]


def test_lists_are_tagged_with_the_digest(client: TestClient) -> None:
    first = client.get("/v1/profiles/prices?limit=1")
    assert first.headers["ETag"] == f'"{first.json()["digest"]}"'
    assert (
        client.get("/v1/profiles/prices?limit=1", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    )
    price = {**first.json()["items"][0], "usd_per_hour": 1.25, "as_of": "2030-01-01"}
    added = client.post("/v1/prices", json={"prices": [price]})
    assert (added.status_code, added.json()["changes"]["prices"]["added"]) == (201, 1)
    changed = client.get("/v1/profiles/prices?limit=1", headers={"If-None-Match": first.headers["ETag"]})
    assert (changed.status_code, changed.json()["items"][0]["usd_per_hour"]) == (200, 1.25)
    stale = client.get(first.json()["next"])
    assert (stale.status_code, stale.json()["field"]) == (409, "cursor")


def test_filters_take_any_name(client: TestClient) -> None:
    gpus = client.get("/v1/profiles/instances", params={"gpu": "h100"}).json()["items"]
    assert {item["gpu"] for item in gpus} == {"H100"}
    prices = client.get("/v1/prices", params={"provider": "aws", "gpu": "H100", "market": "spot"}).json()["items"]
    assert {(item["provider"], item["market"]) for item in prices} <= {("aws", "spot")}
    wrong = client.get("/v1/profiles/instances", params={"gpu": "h1000"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "gpu")
    assert client.get("/v1/prices?market=stock").status_code == 422
    assert client.get("/v1/profiles/nonsense").status_code == 404
    assert client.get("/v1/profiles/gpus?cursor=x.y").status_code == 422


def test_files_are_imported_whole_or_not_at_all(client: TestClient, service_store: Engine, tmp_path: Path) -> None:
    some = snapshot(service_store).measurements[:3]
    file = tmp_path / "m.csv"
    write(Batch(measurements=tuple(m.model_copy(update={"ttft_ms": 123.0}) for m in some)), file)
    made = client.post("/v1/profiles/import?format=gpuplan", content=file.read_bytes())
    assert made.status_code == 201, made.text
    assert made.json()["changes"]["measurements"]["added"] == 3
    assert client.get("/v1/profiles").json()["num"]["measurements"] == len(snapshot(service_store).measurements)
    assert entries(service_store)[0].action == "profiles.import"
    for body, query in (
        (b"", "format=gpuplan"), (b"nonsense", "format=gpuplan"), (b"a,b\n1,2\n", "format=vllm-bench"),
        (b"\x00\xff" * 100, "format=gpuplan"), (b"x", "format=nonsense"), (b"x", "format=gpuplan&tp=0"),
        (b"x", "format=gpuplan&nonsense=1"), (b"x", ""), (b"!!python/object:os.system {}", "format=aibrix"),
    ):  # fmt: skip
        answer = client.post(f"/v1/profiles/import?{query}", content=body)
        assert answer.status_code == 422, (query, answer.text)
        assert tempfile.gettempdir() not in answer.text
        assert "gpuplan-import" not in answer.text


def test_only_admins_change_what_is_known(service_store: Engine, key_for: Callable[..., dict[str, str]]) -> None:
    app = create_app(service_store, Settings(), open_to_loopback=False)
    with TestClient(app, headers=key_for("read", "plan", "provision")) as client:
        assert client.get("/v1/profiles").status_code == 200
        assert client.post("/v1/profiles/import?format=gpuplan", content=b"x").status_code == 403
        price = client.get("/v1/prices?limit=1").json()["items"][0]
        assert client.post("/v1/prices", json={"prices": [price]}).status_code == 403


def test_prices_of_what_is_not_known_are_refused(client: TestClient) -> None:
    price = client.get("/v1/prices?limit=1").json()["items"][0]
    answer = client.post("/v1/prices", json={"prices": [{**price, "instance_type": "p5.49xlarge"}]})
    assert (answer.status_code, answer.json()["field"]) == (422, "prices[0].instance_type")
    assert client.post("/v1/prices", json={"prices": [{**price, "usd_per_hour": -1}]}).status_code == 422


def test_planners_say_what_they_take(client: TestClient) -> None:
    listed = client.get("/v1/planners").json()["planners"]
    assert [entry["kind"] for entry in listed] == ["serving", "experts", "training", "power"]
    for entry in listed:
        details = client.get(entry["url"])
        assert details.json()["spec_schema"]["properties"]
        assert details.json()["example"]["kind"] == entry["kind"]
        assert client.get(entry["url"], headers={"If-None-Match": details.headers["ETag"]}).status_code == 304
    assert client.get("/v1/planners/none").status_code == 404
