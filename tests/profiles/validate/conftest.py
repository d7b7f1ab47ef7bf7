"""Small files of measurements, and facts to predict them from."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from profiles import catalogue
from profiles.types import Facts

SHARED = Path(__file__).parents[4] / "shared" / "data"

SERVING_ROW = {
    "model": "meta-llama/Llama-3.1-8B-Instruct", "gpu_system": "h100_sxm", "engine": "vllm", "engine_version": "0.14",
    "precision": "bf16", "tp": "1", "pp": "1", "attention_dp": "", "moe_tp": "1", "moe_ep": "1",
    "input_tokens": "1024", "output_tokens": "256", "concurrency": "8", "ttft_ms": "101.5", "tpot_ms": "14.25",
    "measured_on": "2026-01-14",
}  # fmt: skip
POWER_ROW = {
    "model": "Qwen/Qwen3-8B", "task": "gpqa", "architecture": "Dense", "total_params_b": "8", "active_params_b": "8",
    "precision": "bfloat16", "gpu": "H100", "gpus": "1", "tp": "1", "ep": "1", "dp": "1", "max_batch": "16",
    "mean_batch": "15.5", "mean_output_tokens": "2000", "output_tokens_per_s": "1200", "mean_power_w": "520",
    "joules_per_output_token": "", "itl_p50_ms": "12", "itl_p90_ms": "", "itl_p95_ms": "", "itl_p99_ms": "",
}  # fmt: skip
TRAINING_ROW = {
    "model": "7b", "sequence_length": "2048", "gpus": "64", "gpu": "h100_80gb", "micro_batch": "6", "grad_accum": "",
    "global_batch": "768", "precision": "amp_bf16", "sharding": "FULL_SHARD", "activation_checkpointing": "False",
    "activation_cpu_offload": "False", "parameters": "6658859008", "tokens_per_s_per_gpu": "10000", "mfu_percent": "43",
}  # fmt: skip
ROWS = {"serving": SERVING_ROW, "power": POWER_ROW, "training": TRAINING_ROW}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write("serving", {}, {"tp": "2"})``: a file with two rows, each a good one with some cells replaced."""

    def written(part: str, *changes: Mapping[str, object], name: str = "rows.csv") -> Path:
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = csv.DictWriter(file, ROWS[part])
            lines.writeheader()
            lines.writerows([ROWS[part] | change for change in changes])
        return path

    return written


@pytest.fixture(scope="session")
def facts() -> Facts:
    """GPUs and models of the catalogue, and nothing measured: every prediction is a roofline."""
    known = catalogue.load()
    return Facts(gpus=known.gpus, models=known.models)


@pytest.fixture(scope="session")
def grid() -> Sequence[Mapping[str, object]]:
    """Three TP degrees × two lengths × three concurrencies with plausible times: something to learn from."""
    return [
        {
            "tp": tp, "input_tokens": tokens, "concurrency": in_flight,
            "ttft_ms": 20 + tokens / 40 / tp + 2 * in_flight, "tpot_ms": 4 + 8 / tp + in_flight / 10,
        }
        for tp in (1, 2, 4)
        for tokens in (512, 2048)
        for in_flight in (4, 16, 64)
    ]  # fmt: skip


@pytest.fixture
def shared() -> Path:
    """The public measurements beside the repository, which are not part of it."""
    if not SHARED.is_dir():
        pytest.skip(f"the public data sets are not at {SHARED}")
    return SHARED
