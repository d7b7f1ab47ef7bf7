from __future__ import annotations

import gzip
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, create_engine
from starlette.testclient import TestClient

from api.app import create_app
from api.examples import SPECS
from api.observing import MOST_ROWS, MOST_UNPACKED_MIB, WorkloadFile
from planner.serving.observed import Reading, observe
from planner.settings import Settings
from tests.api.conftest import LOOPBACK

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:{i // 60:02}:{i % 60:02}.5,{100 + 7 * i},{20 + i}\n" for i in range(120)
)

SERIES = [{"__name__": f"vllm:request_{side}_tokens_bucket", "le": edge}
          for side in ("prompt", "generation") for edge in ("10", "+Inf")]  # fmt: skip
METRICS = {"status": "success", "data": {"result": [
    {"metric": metric, "values": [[1.7e9, "6"], [1.7e9 + 60, "12"]]}
    for metric in (*SERIES, {"__name__": "vllm:request_success_total"})
]}}  # fmt: skip
"""An answer of Prometheus: six requests in a minute."""


@pytest.fixture(scope="module")
def reader() -> Iterator[TestClient]:
    """A caller of an application without a store, which reading does not need; one process reads for all tests."""
    app = create_app(create_engine("sqlite://"), Settings(), open_to_loopback=True)
    with TestClient(app, base_url="http://127.0.0.1", client=LOOPBACK) as made:
        yield made


def read(client: TestClient, content: str | bytes, **query: Any) -> Any:
    return client.post("/v1/workloads", content=content, params=query)


def test_a_trace_is_read_as_the_command_line_reads_it(reader: TestClient, tmp_path: Path) -> None:
    file = tmp_path / "chat.csv"
    file.write_text(TRACE)
    for options in ({}, {"rate": "mean"}, {"window_s": 30.0}, {"requests_per_s": 2.5}):
        answer = read(reader, TRACE, name="chat.csv", **options)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {**observe([file], Reading(**options)).model_dump(mode="json"), "requests": None}  # type: ignore[arg-type]


def test_the_workload_goes_into_a_spec_and_the_requests_into_a_simulation(client: TestClient, worker: None) -> None:
    seen = read(client, TRACE, requests="true").json()
    assert seen["requests"]["arrival_s"] == list(range(120))
    assert seen["requests"]["input_tokens"] == [100 + 7 * i for i in range(120)]
    assert seen["requests"]["output_tokens"] == [20 + i for i in range(120)]
    service = SPECS["serving"]["services"][0]
    spec = {**SPECS["serving"], "services": [{**service, "workload": seen["workload"]}]}
    wait = {"Prefer": "wait=60"}
    plan = client.post("/v1/plans", json={"kind": "serving", "spec": spec}, headers=wait).json()
    assert plan["outcome"] == "optimal"
    asked = {"plan_id": plan["id"], "traffic": {"chat": seen["requests"]}}
    assert client.post("/v1/simulations", json=asked, headers=wait).json()["events"]["completed"] == 120


def test_requests_come_in_the_order_of_their_times(reader: TestClient) -> None:
    random = np.random.default_rng(1)
    times, sizes = random.permutation(1000) + 1.7e9, random.integers(1, 900, (1000, 2))
    lines = [
        json.dumps({"created": t, "usage": {"prompt_tokens": int(i), "completion_tokens": int(o)}})
        for t, (i, o) in zip(times, sizes, strict=True)
    ]
    requests = read(reader, "\n".join(lines), name="log.jsonl", requests="true").json()["requests"]
    assert requests["arrival_s"] == list(range(1000))
    by_time = sizes[np.argsort(times)]
    assert list(zip(requests["input_tokens"], requests["output_tokens"], strict=True)) == [tuple(s) for s in by_time]


def test_formats_are_told_by_content(reader: TestClient) -> None:
    plain = read(reader, TRACE).json()
    assert read(reader, gzip.compress(TRACE.encode())).json() == plain
    assert read(reader, b"\xef\xbb\xbf" + TRACE.encode()).json() == plain
    report = {"duration": 10, "input_lens": [5, 6], "output_lens": [7, 8], "errors": ["", ""]}
    assert read(reader, json.dumps(report), name="run.json", requests="true").json()["requests"] == {
        "arrival_s": [0, 5], "input_tokens": [5, 6], "output_tokens": [7, 8],
    }  # fmt: skip
    metrics = read(reader, json.dumps(METRICS), requests="true")
    assert metrics.status_code == 200, metrics.text
    assert metrics.json()["requests"] is None
    assert metrics.json()["requests_per_s"] == pytest.approx(6 / 60)


BAD = {
    "nothing": (b"", {}, "body", "is empty"),
    "blank": (b" \n ", {}, "trace", "is empty"),
    "binary": (b"\x00\xff\xfe" * 1000, {}, "trace", "is not a text file"),
    "UTF-16": (TRACE.encode("utf-16"), {}, "trace", "is not a text file"),
    "Latin-1": (TRACE.encode().replace(b"ContextTokens", b"ContextTokens,na\xefve"), {}, "trace", "not a text file"),
    "another table": (b"a,b\n1,2\n", {"name": "x.csv"}, "x.csv:1", "has no column for time"),
    "no rows": (TRACE.partition("\n")[0].encode(), {}, "trace", "no requests"),
    "a bad row": (TRACE.replace(",27,", ",many,").replace(",107,", ",-3,").encode(), {"name": "x.csv"},
                  "x.csv:3: input tokens", "'-3' is not a number of tokens"),
    "one time": (b"time,input_tokens,output_tokens\n5,1,1\n5,2,2\n", {}, "trace", "nearly the same time"),
    "half a gzip": (gzip.compress(TRACE.encode())[:-20], {}, "trace", "damaged gzip"),
    "gzipped twice": (gzip.compress(gzip.compress(TRACE.encode())), {}, "trace", "gzipped twice"),
    "far too much in little": (gzip.compress(b"\n" * ((MOST_UNPACKED_MIB << 20) + 1)), {}, "trace", "MiB unpacked"),
    "half a Parquet": (b"PAR1" + b"\x00" * 50, {}, "trace", "not a readable Parquet file"),
    "not JSON lines": (b'{"time": 1\n', {}, "trace:1", "is not JSON"),
    "ages": (b"time_s,input_tokens,output_tokens\n0,1,1\n9e9,1,1\n", {"requests": "true"}, "trace", ""),
    "an option of metrics": (TRACE.encode(), {"model": "m"}, "trace", "for metrics"),
    "a path": (TRACE.encode(), {"name": "../x.csv"}, "name", ""),
    "a folder": (TRACE.encode(), {"name": ".."}, "name", ""),
    "an unknown option": (TRACE.encode(), {"format": "csv"}, "format", "parameter"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_refused_in_words(reader: TestClient, case: str) -> None:
    content, query, field, detail = BAD[case]
    answer = read(reader, content, **query)
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == field
    assert detail in answer.json()["detail"]
    assert tempfile.gettempdir() not in answer.text


def test_more_rows_than_are_read_are_refused_before_reading(reader: TestClient) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    none = np.zeros(MOST_ROWS + 1, dtype=np.int8)
    packed = io.BytesIO()
    parquet.write_table(pa.table({"time": none, "input_tokens": none, "output_tokens": none}), packed)
    assert len(packed.getvalue()) < 2**20
    answer = read(reader, packed.getvalue(), name="t.parquet")
    assert (answer.status_code, answer.json()["field"]) == (422, "t.parquet")
    assert "10,000,001 rows" in answer.json()["detail"]


def test_too_large_is_refused_with_the_limit(reader: TestClient) -> None:
    answer = read(reader, b"x" * (16 * 2**20 + 1))
    assert (answer.status_code, answer.json()["detail"]) == (413, "the body is larger than 16 MiB")


def test_readers_may_ask(service_store: Engine, key_for: Callable[..., dict[str, str]]) -> None:
    app = create_app(service_store, Settings(), open_to_loopback=False)
    with TestClient(app) as client:
        for scopes, status in ((("read",), 200), (("provision",), 403)):
            answer = client.post("/v1/workloads", content=TRACE, headers=key_for(*scopes))
            assert answer.status_code == status
        assert read(client, TRACE).status_code == 401


def test_options_are_those_of_the_command_line() -> None:
    """But for the interval between scrapes: one body is one file."""
    ours = WorkloadFile().model_dump(exclude={"name", "requests"})
    assert ours == Reading().model_dump(exclude={"interval_s"})
