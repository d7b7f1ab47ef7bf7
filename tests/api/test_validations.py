from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api import validating
from api.app import create_app
from api.routers.validations import Validation
from api.validating import MOST, bounded
from planner.settings import Settings
from profiles.store import snapshot
from profiles.validate import PARTS, validate_stored

FULL = {"Prefer": "wait=60"}
ROW = {
    "model": "meta-llama/Llama-3.1-8B-Instruct", "gpu_system": "h100_sxm", "engine": "vllm", "engine_version": "0.14",
    "precision": "bf16", "tp": "1", "pp": "1", "attention_dp": "", "moe_tp": "1", "moe_ep": "1",
    "input_tokens": "1024", "output_tokens": "256", "concurrency": "8", "ttft_ms": "101.5", "tpot_ms": "14.25",
    "measured_on": "2026-01-14",
}  # fmt: skip


def as_csv(*changes: dict[str, str]) -> str:
    out = io.StringIO()
    lines = csv.DictWriter(out, ROW, lineterminator="\n")
    lines.writeheader()
    lines.writerows([ROW | change for change in changes])
    return out.getvalue()


@pytest.fixture
def working(client: TestClient, worker: None) -> Iterator[TestClient]:
    return client


def test_what_is_stored_is_predicted_row_by_row(working: TestClient, service_store: Engine) -> None:
    made = working.post("/v1/validations", json={"part": "training", "hold_out": "model"}, headers=FULL)
    assert made.status_code == 201, made.text
    found = made.json()
    facts = snapshot(service_store)
    assert found["rows"] == len(found["predictions"]) == len(facts.training_measurements)
    expected = validate_stored(PARTS["training"], facts, hold_out="model").document()
    assert {**found, "id": ""} == {**expected, "id": "", "left_out": {}}
    assert {fold["held_out"] for fold in found["folds"]} == {row.model for row in facts.training_measurements}
    Validation.model_validate(found)  # as it is documented
    read = working.get(made.headers["Location"])
    assert read.json() == found
    assert working.get(made.headers["Location"].replace("validations", "sweeps")).status_code == 404


def test_a_file_is_predicted_from_the_store(working: TestClient) -> None:
    text = as_csv({}, {"concurrency": "16", "tpot_ms": "17"}, {"tpot_ms": "fast"}, {"gpu_system": "abacus"})
    found = working.post("/v1/validations", json={"part": "serving", "csv": text}, headers=FULL).json()
    assert (found["rows"], [row["row"] for row in found["unpredicted"]]) == (2, [4, 5])
    assert "fast" in found["unpredicted"][0]["reason"]
    first = found["predictions"][0]["compared"]["tpot_ms"]
    assert first["measured"] == 14.25
    errors = [abs(row["compared"]["tpot_ms"]["predicted"] / row["compared"]["tpot_ms"]["measured"] - 1)
              for row in found["predictions"]]  # fmt: skip
    assert found["tpot_ms"]["mape"] == pytest.approx(sum(errors) / 2)
    Validation.model_validate(found)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"part": "experts"}, "part"),
        ({"part": "serving", "hold_out": "weather"}, "--hold-out"),
        ({"part": "serving", "csv": ""}, "csv"),
        ({"part": "serving", "csv": "\n" * 10_001}, "csv"),
        ({"part": "serving", "csv": "no,such,columns\n1,2,3\n"}, "measurements.csv:1"),
        ({"part": "serving", "csv": "{}"}, "measurements.csv"),
        ({"part": "serving", "csv": "\x00\x01\x02"}, "measurements.csv"),
        ({"part": "serving", "csv": as_csv()}, "measurements.csv"),
        ({"part": "power", "csv": as_csv({})}, "measurements.csv:1"),
    ],
)
def test_what_cannot_be_meant_is_refused(working: TestClient, body: dict[str, Any], field: str) -> None:
    answer = working.post("/v1/validations", json=body, headers=FULL)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert "gpuplan-validate" not in answer.text


def test_nothing_measured_is_said(working: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validating, "snapshot", lambda engine: snapshot(engine).model_copy(update={"measurements": ()}))
    answer = working.post("/v1/validations", json={"part": "power"}, headers=FULL)
    assert (answer.status_code, answer.json()["field"]) == (422, "part")
    assert "import" in answer.json()["fix"]


def test_long_lists_are_cut_and_counted() -> None:
    document = {"rows": 9000, "predictions": [{"row": i} for i in range(9000)], "groups": [{}], "notes": []}
    cut = bounded(document)
    rows = [row["row"] for row in cut["predictions"]]
    assert (len(rows), rows[0], rows[-1]) == (MOST["predictions"], 0, 8999)
    assert sorted(set(rows)) == rows
    assert cut["left_out"] == {"predictions": 9000 - MOST["predictions"]}
    assert bounded({"predictions": [1]}) == {"predictions": [1], "left_out": {}}


def test_readers_may_not_make_work(service_store: Engine, key_for: Any) -> None:
    with TestClient(create_app(service_store, Settings(), open_to_loopback=False), headers=key_for("read")) as client:
        assert client.post("/v1/validations", json={"part": "serving"}).status_code == 403
