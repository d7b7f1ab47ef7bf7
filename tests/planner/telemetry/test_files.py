"""The same requests in every format give the same traffic, and every damage is named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.errors import InvalidInput
from planner.serving.trace import read_trace
from planner.telemetry.hourly import busiest_of_counter, hourly_of_counter, hourly_rates
from planner.trace_file import Rows, read_rows

REQUESTS = [(1_709_251_200 + 2 * i, 100 + i % 50, 20 + i % 30) for i in range(400)]
SHARED = Path(__file__).parents[4] / "shared" / "data"
Write = Callable[[Path], None]


def as_csv(path: Path) -> None:
    path.write_text("time,input_tokens,output_tokens\n" + "".join(f"{t},{i},{o}\n" for t, i, o in REQUESTS))


def as_lines(line: Callable[[int, int, int], dict[str, Any]], *, zipped: bool = False) -> Write:
    def write(path: Path) -> None:
        text = "\n\n".join(json.dumps(line(*request)) for request in REQUESTS) + "\n"
        path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())

    return write


def as_parquet(path: Path, **columns: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    time, tokens_in, tokens_out = zip(*REQUESTS, strict=True)
    given = columns or {"timestamp": time}
    parquet.write_table(pa.table({"model": ["m"] * len(time), **given, "prompt_tokens": tokens_in,
                                  "completion_tokens": tokens_out}), path, row_group_size=77)  # fmt: skip


def as_parquet_dates(path: Path) -> None:
    as_parquet(path, created_at=np.array([t for t, _, _ in REQUESTS], dtype="datetime64[s]").astype("datetime64[us]"))


def as_parquet_ms(path: Path) -> None:
    as_parquet(path, start_time_ms=[t * 1000 for t, _, _ in REQUESTS])


def as_guidellm(path: Path) -> None:
    successful = [{"request_start_time": t, "prompt_tokens": i, "output_tokens": o} for t, i, o in REQUESTS]
    requests = {"successful": successful, "errored": [{"request_start_time": 1, "prompt_tokens": 5}]}
    path.write_text(json.dumps({"benchmarks": [{"requests": requests}]}))


def as_aiperf(path: Path) -> None:
    def record(t: int, i: int, o: int, **more: Any) -> str:
        sizes = {"input_sequence_length": {"value": i}, "output_sequence_length": {"value": o}}
        return json.dumps({"metadata": {"request_start_ns": t * 10**9, **more}, "metrics": sizes})

    lines = [record(1, 9, 9, benchmark_phase="warmup"), record(1, 9, 9, was_cancelled=True)]
    path.write_text("\n".join([*lines, *(record(*request, benchmark_phase="profiling") for request in REQUESTS)]))


def as_vllm_bench(path: Path) -> None:
    inputs, outputs = [i for _, i, _ in REQUESTS], [o for _, _, o in REQUESTS]
    errors = ["" for _ in REQUESTS]
    report = {"duration": 800.0, "input_lens": [*inputs, 7], "output_lens": [*outputs, 0], "errors": [*errors, "lost"]}
    path.write_text(json.dumps(report))


FORMATS: dict[str, Write] = {
    "a.csv": as_csv,
    "a.csv.gz": lambda path: (as_csv(path), path.write_bytes(gzip.compress(path.read_bytes())))[0],
    "a.jsonl": as_lines(lambda t, i, o: {"timestamp": t, "prompt_tokens": i, "completion_tokens": o}),
    "openai.jsonl": as_lines(lambda t, i, o: {"created": t, "usage": {"prompt_tokens": i, "completion_tokens": o}}),
    "gzipped.jsonl.gz": as_lines(
        lambda t, i, o: {"@timestamp": t, "Request tokens": i, "Response tokens": o}, zipped=True
    ),
    "mooncake.jsonl": as_lines(
        lambda t, i, o: {
            "timestamp": (t - 1_709_251_200) * 1000,
            "input_length": i,
            "output_length": o,
            "hash_ids": [1],
        }
    ),
    "litellm.ndjson": as_lines(
        lambda t, i, o: {
            "startTime": str(np.datetime64(t, "s")),
            "metadata": {},
            "prompt_tokens": i,
            "completion_tokens": o,
        }
    ),
    "a.parquet": as_parquet,
    "dates.parquet": as_parquet_dates,
    "ms.parquet": as_parquet_ms,
    "guidellm.json": as_guidellm,
    "aiperf.jsonl": as_aiperf,
    "vllm-bench.json": as_vllm_bench,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_traffic(tmp_path: Path, name: str) -> None:
    as_csv(tmp_path / "plain.csv")
    FORMATS[name](tmp_path / name)
    (plain,), found = (
        read_rows(tmp_path / "plain.csv"),
        Rows(*map(np.concatenate, zip(*read_rows(tmp_path / name), strict=True))),
    )
    assert (found.input_tokens == plain.input_tokens).all()
    assert (found.output_tokens == plain.output_tokens).all()
    assert found.time_s - found.time_s[0] == pytest.approx(plain.time_s - plain.time_s[0])
    ours, theirs = (read_trace(tmp_path / one, rate="mean").buckets for one in (name, "plain.csv"))
    assert [(bucket.label, *bucket.size) for bucket in ours] == [(bucket.label, *bucket.size) for bucket in theirs]
    assert [b.requests_per_s for b in ours] == pytest.approx([b.requests_per_s for b in theirs])


CSV = b"time,input_tokens,output_tokens\n"
LINE = '{"time": 1, "input_tokens": 5, "output_tokens": 5}\n'
BAD: dict[str, tuple[str, bytes, str]] = {
    "not json": ("a.jsonl", (LINE + "{oops\n").encode(), "a.jsonl:2: is not JSON"),
    "a list": ("a.jsonl", (LINE + "[1]\n").encode(), "a.jsonl:2: is not a JSON object"),
    "no field": ("a.jsonl", (LINE + '{"time": 1, "input_tokens": 5}\n').encode(), "a.jsonl:2: output tokens: an empty"),
    "no column": ("a.jsonl", b'{"time": 1, "x": {"y": 2}}\n', "a.jsonl:1: has no column for input (time, x.y)"),
    "wrong type": ("a.jsonl", (LINE + '{"time": 1, "input_tokens": [5], "output_tokens": 1}').encode(), "2: input"),
    "huge": ("a.jsonl", (LINE + '{"time": 1, "input_tokens": 1e999, "output_tokens": 1}').encode(), "2: input tokens"),
    "bad time": ("a.jsonl", (LINE + '{"time": "soon", "input_tokens": 1, "output_tokens": 1}').encode(), "'soon'"),
    "nested": ("a.jsonl", b'{"a":' * 100_000 + b"\n", "nested too deeply"),
    "long line": ("a.jsonl", b'{"a": "' + b"x" * (5 * 2**20), "longer than 4 MiB"),
    "no text": ("a.jsonl", b'{"time": "\xff\xfe"}\n', "is not text"),
    "many digits": ("a.jsonl", b'{"time": 1' + b"0" * 5000 + b"}", "a.jsonl:1: is not JSON"),
    "a long number": ("a.csv", CSV + b"1,5,5\n2," + b"9" * 400 + b",5\n", "a.csv:3: input tokens"),
    "a very long cell": ("a.csv", CSV + b"1,5,5\n2," + b"x" * 200_000 + b",5\n", "a.csv:3: is not a well-formed CSV"),
    "cut off": ("a.csv.gz", gzip.compress(CSV + b"1,2,3\n" * 9999, mtime=0)[:-30], "damaged gzip"),
    "flipped": ("a.csv.gz", gzip.compress(CSV + b"1,2,3\n", mtime=0)[:20] + b"\0" * 30, "damaged gzip"),
    "parquet": ("a.parquet", b"PAR1" + b"\0" * 100 + b"PAR1", "not a readable Parquet"),
    "empty parquet": ("a.parquet", b"PAR1", "not a readable Parquet"),
    "other report": ("a.json", b'{"ttft": 5}', "holds no single requests"),
    "list report": ("a.json", b"[1, 2]", "must be a JSON object"),
    "report": ("a.json", b'{"benchmarks": [{"requests": {"successful": [{"prompt_tokens": 1}]}}]}', "successful[0]"),
    "no requests": ("a.json", b'{"benchmarks": []}', "no requests"),
    "uneven": ("a.json", b'{"duration": 5, "input_lens": [1, 2], "output_lens": [1]}', "1 lengths for 2 inputs"),
    "aiperf": ("a.jsonl", b'{"metadata": {"request_start_ns": "x"}, "metrics": {}}', "request_start_ns"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_damage_is_named(tmp_path: Path, what: str) -> None:
    name, content, said = BAD[what]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput) as error:
        list(read_rows(tmp_path / name))
    assert said in str(error.value)


def test_a_column_of_a_parquet_file_is_missing(tmp_path: Path) -> None:
    as_parquet(tmp_path / "a.parquet", when=[1] * len(REQUESTS))
    with pytest.raises(InvalidInput, match="no column for time"):
        list(read_rows(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (["A" * 2000] * len(REQUESTS), "time: holds a text of 2,000 bytes"),
        ([[1]] * len(REQUESTS), "row 1: time: '[1]'"),
    ],
    ids=["a text that rows repeat", "a list"],
)
def test_a_column_of_a_parquet_file_holds_no_times(tmp_path: Path, time: Any, said: str) -> None:
    as_parquet(tmp_path / "a.parquet", time=time)
    with pytest.raises(InvalidInput) as error:
        list(read_rows(tmp_path / "a.parquet"))
    assert said in str(error.value)


def test_a_zip_of_many_zeros_is_read_piece_by_piece(tmp_path: Path) -> None:
    """200 MB in 200 KB: refused at its first line, not unpacked."""
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(b"{" + b" " * (200 * 2**20), 9))
    with pytest.raises(InvalidInput, match="longer than 4 MiB"):
        list(read_rows(tmp_path / "bomb.jsonl.gz"))


def test_rates_by_hour_count_every_request(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    time_s = np.sort(1_709_251_200 + 1234 + random.random(5000) * 4.2 * 3600)
    (tmp_path / "a.csv").write_text(
        "time,input_tokens,output_tokens\n" + "".join(f"{t:.6f},1,1\n" for t in random.permutation(time_s))
    )
    hourly = hourly_rates(tmp_path / "a.csv")
    assert hourly.start is not None
    edges = hourly.start.timestamp() + 3600 * np.arange(len(hourly.requests_per_s) + 1)
    counts, _ = np.histogram(time_s, edges)
    assert hourly.requests_per_s[1:-1] * 3600 == pytest.approx(counts[1:-1])
    seconds = np.diff(np.clip(edges, time_s[0], time_s[-1]))
    assert (hourly.requests_per_s * seconds).sum() == pytest.approx(5000, rel=1e-6)


def test_times_that_count_from_anywhere_have_no_date(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,input_tokens,output_tokens\n0,1,1\n7200,1,1\n")
    hourly = hourly_rates(tmp_path / "a.csv")
    assert hourly.start is None
    assert len(hourly.requests_per_s) == 3


def test_rates_of_a_counter() -> None:
    random = np.random.default_rng(2)
    time_s = 1_709_251_200 + 600.0 + np.cumsum(random.uniform(10, 40, 900))
    ended = np.cumsum(random.poisson(60, 900)).astype(float)
    hourly = hourly_of_counter(time_s, ended)
    seconds = np.diff(
        np.clip(hourly.start.timestamp() + 3600 * np.arange(len(hourly.requests_per_s) + 1), time_s[0], time_s[-1])
    )  # type: ignore[union-attr]
    assert (hourly.requests_per_s * seconds).sum() == pytest.approx(ended[-1] - ended[0])
    tried = [(ended[j] - ended[i]) / (time_s[j] - time_s[i]) for i in range(900) for j in range(i + 1, 900)
             if time_s[j] - time_s[i] >= 300 > time_s[j - 1] - time_s[i]]  # fmt: skip
    assert busiest_of_counter(time_s, ended, 300.0) == pytest.approx(max(tried))
    assert busiest_of_counter(time_s[:5], ended[:5], 300.0) is None


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the public data sets are not at {SHARED}")
@pytest.mark.parametrize(("name", "count"), [("guidellm_0.8_report.json", 20), ("aiperf_0.13_records.jsonl", 20)])
def test_real_reports(name: str, count: int) -> None:
    assert sum(len(rows.time_s) for rows in read_rows(SHARED / "formats" / name)) == count
