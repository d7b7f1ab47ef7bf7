"""Reports of load generators, read into our vocabulary."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from profiles.errors import InvalidInput
from profiles.ingest import read
from profiles.names import KnownNames
from profiles.types import Measurement

Sample = Callable[[str], Path]
Edited = Callable[..., Path]


def one(name: str, path: Path, known: KnownNames, **options: object) -> Measurement:
    (measured,) = read(name, path, known, **{"gpu": "h100_sxm", **options}).batch.measurements
    return measured


def test_vllm_bench(sample: Sample, known: KnownNames) -> None:
    measured = one("vllm-bench", sample("vllm-bench.json"), known, tp="2", precision="bfloat16")
    assert measured.layout.label == "H100 ×2 bf16 vllm"
    assert measured.model == "meta-llama/Llama-3.1-8B-Instruct"
    assert (measured.load, measured.concurrency) == ("closed_loop", 16)
    assert (measured.input_tokens, measured.output_tokens) == (1024, 128)
    assert (measured.ttft_ms, measured.ttft_p50_ms, measured.ttft_p90_ms, measured.ttft_p99_ms) == (125, 120, None, 190)
    assert (measured.tpot_ms, measured.tpot_p90_ms, measured.itl_p50_ms, measured.e2e_ms) == (21, 22, 20, 2792)
    assert (measured.requests_per_s, measured.output_tokens_per_s) == (2, 256)
    assert measured.as_of == dt.date(2026, 2, 14)


@pytest.mark.parametrize(
    ("rate", "in_flight", "load", "concurrency"),
    [
        ("5.0", "null", "open_loop", None),
        ("5.0", "32", "open_loop", 32),
        ("Infinity", "8", "closed_loop", 8),
        ('"inf"', "null", "static_batch", 100),
    ],
)
def test_vllm_bench_says_how_requests_were_sent(
    rate: str, in_flight: str, load: str, concurrency: float | None, edited: Edited, known: KnownNames
) -> None:
    path = edited(
        "vllm-bench.json",
        ('"request_rate": "inf"', f'"request_rate": {rate}'),
        ('"max_concurrency": 16', f'"max_concurrency": {in_flight}'),
    )
    measured = one("vllm-bench", path, known)
    assert (measured.load, measured.concurrency) == (load, concurrency)


def test_vllm_bench_zero_means_nothing_to_measure(edited: Edited, known: KnownNames) -> None:
    """With one output token per request there is no TPOT, and vLLM writes 0."""
    path = edited("vllm-bench.json", ('"mean_tpot_ms": 21.0', '"mean_tpot_ms": 0.0'))
    assert one("vllm-bench", path, known).tpot_ms is None


def test_vllm_bench_without_completed_requests(edited: Edited, known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="no request completed"):
        one("vllm-bench", edited("vllm-bench.json", ('"completed": 100', '"completed": 0')), known)


def test_guidellm(sample: Sample, known: KnownNames) -> None:
    ingested = read("guidellm", sample("guidellm.json"), known, gpu="H100", engine="vllm")
    (measured,) = ingested.batch.measurements
    assert (measured.model, measured.load, measured.concurrency) == ("Qwen/Qwen3-32B", "open_loop", 11)
    assert (measured.ttft_ms, measured.ttft_p99_ms) == (200, 400)
    # Our TPOT is (2200 - 200) / (101 - 1) ms: what GuideLLM calls inter-token latency.
    assert (measured.tpot_ms, measured.tpot_p99_ms, measured.e2e_ms) == (20, 23, 2200)
    assert (measured.source, measured.as_of) == ("GuideLLM 0.8.1", dt.date(2026, 2, 2))
    assert ingested.notes == ("benchmarks[1] skipped: no request succeeded",)


def test_guidellm_where_nothing_succeeded(edited: Edited, known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="no request succeeded"):
        one("guidellm", edited("guidellm.json", ('"successful": 20', '"successful": 0')), known)


def test_aiperf_profile(sample: Sample, known: KnownNames) -> None:
    measured = one("aiperf", sample("aiperf.json"), known)
    assert (measured.model, measured.load, measured.concurrency) == ("Qwen/Qwen3-32B", "closed_loop", 8)
    assert (measured.ttft_p90_ms, measured.tpot_ms, measured.itl_p99_ms) == (150, 19, 60)
    assert measured.e2e_ms == 2000
    assert measured.as_of == dt.date(2026, 3, 1)


def test_aiperf_records(sample: Sample, known: KnownNames) -> None:
    ingested = read("aiperf", sample("aiperf.jsonl"), known, gpu="H100", model="Qwen/Qwen3-32B")
    (measured,) = ingested.batch.measurements
    # Three requests of 300, 500 and 500 ms within one second.
    assert measured.requests_per_s == pytest.approx(3)
    assert measured.concurrency == pytest.approx(1.3)
    assert (measured.ttft_ms, measured.ttft_p50_ms) == (200, 200)
    assert measured.ttft_p90_ms == pytest.approx(280)
    assert measured.tpot_ms == pytest.approx((20 + 30 + 20) / 3)
    assert (measured.input_tokens, measured.output_tokens) == (40, 11)
    assert ingested.notes == ("2 warm-up or cancelled requests left out",)


def test_aiperf_records_name_no_model(sample: Sample, known: KnownNames) -> None:
    with pytest.raises(InvalidInput) as error:
        one("aiperf", sample("aiperf.jsonl"), known)
    assert error.value.field == "--model"


def test_aiperf_bad_record_is_told_by_its_line(sample: Sample, tmp_path: Path, known: KnownNames) -> None:
    path = tmp_path / "aiperf.jsonl"
    path.write_text(sample("aiperf.jsonl").read_text() + json.dumps({"metrics": {}}) + "\n")
    with pytest.raises(InvalidInput) as error:
        one("aiperf", path, known, model="x")
    assert error.value.field == "aiperf.jsonl:6: metrics.request_latency"


def test_aiperf_unknown_unit(edited: Edited, known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="no unit of time"):
        one("aiperf", edited("aiperf.json", ('"unit": "sec"', '"unit": "fortnight"')), known)
