"""What measuring wrote becomes facts, with the machine they were measured on; nothing else does."""

import json
from pathlib import Path
from typing import Any

import pytest

from profiles import catalogue
from profiles.errors import InvalidInput, UnknownName
from profiles.ingest import read
from profiles.names import KnownNames

KNOWN = KnownNames.of(catalogue.load())
GPU: dict[str, Any] = {
    "device": "NVIDIA H200", "driver": "570.1", "power_limit_w": 700.0, "software": "torch 2.11.0, CUDA 12.8",
    "as_of": "2026-11-21",
}  # fmt: skip
STATE = {"time_us": 50.0, "time_p90_us": 51.0, "num_repeats": 9, "mean_power_w": 600.0, "sm_clock_mhz": 1700,
         "temperature_c": 55}  # fmt: skip
GEMM = {"m": 64, "n": 128, "k": 256, "precision": "bf16"}


def journal(path: Path, run: dict[str, Any], *lines: dict[str, Any]) -> Path:
    texts = [json.dumps(line) for line in ({"gpuplan_journal": 1, "run": run}, *lines)]
    path.write_text("\n".join(texts) + "\n")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def test_gemm(path: Path) -> None:
    journal(path, {"kind": "gemm", **GPU}, {"point": GEMM, "result": STATE})
    (fact,) = read("gpuplan-journal", path, KNOWN).batch.gemms
    assert fact.tflops == pytest.approx(2 * 64 * 128 * 256 / 50e-6 / 1e12)
    told = fact.model_dump(mode="json", exclude={"source"})
    assert told == {
        "gpu": "H200", **GEMM, "time_us": 50.0, "mean_power_w": 600.0, "sm_clock_mhz": 1700.0, "temperature_c": 55.0,
        "driver": "570.1", "power_limit_w": 700.0, "software": "torch 2.11.0, CUDA 12.8", "as_of": "2026-11-21",
    }  # fmt: skip
    assert fact.source == "gpuplan profiles measure, gemm on NVIDIA H200"


def test_bandwidth(path: Path) -> None:
    lines = [
        {"point": {"access": access, "num_bytes": 2**30}, "result": {"time_us": 700.0}} for access in ("copy", "read")
    ]
    journal(path, {"kind": "bandwidth", **GPU}, *lines)
    copied, seen = read("gpuplan-journal", path, KNOWN).batch.bandwidths
    assert copied.gb_per_s == pytest.approx(2 * 2**30 / 700e-6 / 1e9)
    assert seen.gb_per_s == pytest.approx(copied.gb_per_s / 2)


def test_decoder(path: Path) -> None:
    run = {"kind": "decoder", "model": "meta-llama/Llama-3.1-8B", "precision": "bf16", **GPU}
    points = [{"phase": phase, "batch": 8, "context": 512} for phase in ("prefill", "decode")]
    journal(path, run, *({"point": point, "result": STATE | {"time_us": 20_000.0}} for point in points))
    prefill, decode = read("gpuplan-journal", path, KNOWN).batch.measurements
    assert (prefill.ttft_ms, prefill.tpot_ms, prefill.output_tokens) == (20, None, 1)
    assert (decode.ttft_ms, decode.tpot_ms, decode.output_tokens_per_s) == (None, 20, 400)
    assert (decode.model, decode.engine, decode.load) == ("meta-llama/Llama-3.1-8B-Instruct", "torch", "static_batch")
    assert (decode.concurrency, decode.input_tokens, decode.mean_power_w) == (8, 512, 600)


def test_endpoint(path: Path) -> None:
    run = {
        "kind": "endpoint", "url": "http://host", "served_model": "default", "model": "Llama-3.1-8B", "gpu": "H100",
        "tp": 2, "precision": "fp8", "engine": "vllm", "software": "GuideLLM 0.8.1", "as_of": "2026-11-21",
    }  # fmt: skip
    result = {"ttft_ms": 30.0, "tpot_ms": 9.0, "input_tokens": 500.0, "concurrency": 8}
    journal(path, run, {"point": {"input_tokens": 512}, "result": result})
    (fact,) = read("gpuplan-journal", path, KNOWN).batch.measurements
    assert fact.layout.label == "H100 ×2 fp8 vllm"
    assert (fact.model, fact.input_tokens, fact.software) == ("meta-llama/Llama-3.1-8B-Instruct", 500, "GuideLLM 0.8.1")


def test_points_with_problems_are_counted_unless_they_worked_later(path: Path) -> None:
    other, worked = GEMM | {"m": 1}, GEMM | {"m": 2}
    journal(path, {"kind": "gemm", **GPU}, {"point": other, "problem": "x"}, {"point": other, "problem": "x"},
            {"point": worked, "problem": "x"}, {"point": worked, "result": STATE})  # fmt: skip
    ingested = read("gpuplan-journal", path, KNOWN)
    assert [fact.m for fact in ingested.batch.gemms] == [2]
    assert ingested.notes == ("1 point with problems left out",)


@pytest.mark.parametrize("gpu", [None, "H100"])
def test_a_cpu_is_no_gpu_whatever_is_said(path: Path, gpu: str | None) -> None:
    journal(path, {"kind": "gemm", **GPU, "device": "CPU"}, {"point": GEMM, "result": STATE})
    with pytest.raises(InvalidInput, match="measured on a CPU"):
        read("gpuplan-journal", path, KNOWN, gpu=gpu)


def test_an_unknown_device_needs_a_name(path: Path) -> None:
    journal(path, {"kind": "gemm", **GPU, "device": "NVIDIA H800"}, {"point": GEMM, "result": STATE})
    with pytest.raises(InvalidInput, match="no known GPU type"):
        read("gpuplan-journal", path, KNOWN)
    with pytest.raises(UnknownName):
        read("gpuplan-journal", path, KNOWN, gpu="H9000")
    assert read("gpuplan-journal", path, KNOWN, gpu="h100").batch.gemms[0].gpu == "H100"


@pytest.mark.parametrize(
    ("run", "point", "result", "said"),
    [
        ({"kind": "gemm"}, GEMM | {"m": 0}, STATE, "greater than or equal to 1"),
        ({"kind": "gemm"}, GEMM | {"precision": "int3"}, STATE, "precision"),
        ({"kind": "gemm"}, GEMM, STATE | {"time_us": -1.0}, "time_us"),
        ({"kind": "gemm"}, GEMM, {}, "time_us"),
        ({"kind": "decoder", "model": "m"}, {"phase": "decode", "batch": 1, "context": 1}, {}, "time_us"),
        ({"kind": "decoder", "model": "m"}, {"phase": "decode", "batch": "1", "context": 1}, STATE, "batch"),
        ({"kind": "dance"}, GEMM, STATE, "'dance'"),
    ],
)
def test_journals_that_cannot_be_meant(
    path: Path, run: dict[str, Any], point: dict[str, Any], result: dict[str, Any], said: str
) -> None:
    journal(path, GPU | run, {"point": point, "result": result})
    with pytest.raises(InvalidInput, match=said):
        read("gpuplan-journal", path, KNOWN)


@pytest.mark.parametrize("kind", [None, [], {}, 5])
def test_a_kind_that_is_no_name(path: Path, kind: object) -> None:
    with pytest.raises(InvalidInput, match="does not know"):
        read("gpuplan-journal", journal(path, {**GPU, "kind": kind}, {"point": GEMM, "result": STATE}), KNOWN)


def test_a_journal_without_a_point(path: Path) -> None:
    journal(path, {"kind": "gemm", **GPU}, {"point": GEMM, "problem": "out of memory"})
    with pytest.raises(InvalidInput, match="holds no measured point"):
        read("gpuplan-journal", path, KNOWN)


def test_half_a_last_line_is_left_out(path: Path) -> None:
    journal(path, {"kind": "gemm", **GPU}, {"point": GEMM, "result": STATE})
    path.write_text(path.read_text() + '{"point": {"m": 3')
    assert len(read("gpuplan-journal", path, KNOWN).batch.gemms) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a,b\n1,2\n",
        b'{"a": 1',
        b"[1, 2]\n",
        b'{"unrelated": 1}\n',
        b"\xff\n",
        b"\0\n",
        b'{"a":' * 100_000 + b"\n",
    ],
)
def test_what_is_no_journal_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as error:
        read("gpuplan-journal", path, KNOWN)
    assert "run.jsonl" in str(error.value.field)


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read("gpuplan-journal", path, KNOWN)
