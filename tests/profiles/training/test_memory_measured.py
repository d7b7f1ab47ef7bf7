"""Every configuration that was measured did fit on its GPU; skipped where shared/data is not at hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from profiles.training.layouts import one_layout
from profiles.training.memory import memory
from profiles.training.shape import Transformer

DATA = next((p / "shared/data" for p in Path(__file__).parents if (p / "shared/data").exists()), Path("shared/data"))
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="shared/data (real measurements) is not here")

MPT = {
    "125m": (768, 12, 12), "350m": (1024, 16, 24), "760m": (1536, 12, 24), "1b": (2048, 16, 24), "3b": (2560, 20, 32),
    "7b": (4096, 32, 32), "13b": (5120, 40, 40), "30b": (7168, 56, 48), "70b": (8192, 64, 80),
}  # fmt: skip
"""Hidden size, heads and layers of llm-foundry's MPT models."""

USABLE = 0.985
"""Share of the marketed GiB that CUDA can hand out: 39.4 of 40, 79.1 of 80 on A100."""


def gpt(hidden: int, heads: int, layers: int, vocab: int) -> Transformer:
    return Transformer(
        layers, hidden, heads, heads, hidden // heads, 4 * hidden, vocab, gated_mlp=False, tied_embeddings=True
    )


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / "training" / name).open() as file:
        return list(csv.DictReader(file))


def share_of_fsdp(row: dict[str, str]) -> float:
    """Predicted memory over what the GPU has."""
    shape = gpt(*MPT[row["model"]], 50_368)
    layout = one_layout(
        dp=int(row["gpus"]), micro_batch=int(row["micro_batch"]), global_batch=int(row["global_batch"]),
        num_layers=shape.num_layers, recompute="full" if row["activation_checkpointing"] == "True" else "none",
        zero=3 if row["sharding"] == "FULL_SHARD" else 2, precision="fp8" if "fp8" in row["precision"] else "bf16",
    )  # fmt: skip
    answer = memory(shape, layout, sequence_length=int(row["sequence_length"]), framework="fsdp")
    return float(answer.total_gib[0]) / (USABLE * (80 if "80gb" in row["gpu"] else 40))


def test_measured_fsdp_rows_fit_and_the_fullest_hardly() -> None:
    """Batches of this table were chosen to fill GPUs: a model that is far too low would show here."""
    shares = [share_of_fsdp(row) for row in rows("fsdp_throughput_measured.csv")]
    assert max(shares) <= 1.0
    assert max(shares) > 0.9
    assert sum(share > 0.75 for share in shares) > len(shares) / 3


@pytest.mark.parametrize("zero", [0, 1])
def test_measured_multi_node_rows_fit(zero: int) -> None:
    """Whether optimizer states were sharded is not said: they fit either way."""
    for row in rows("a100_iteration_times_multi_node.csv"):
        shape = gpt(int(row["hidden_size"]), int(row["attention_heads"]), int(row["layers"]), 51_200)
        layout = one_layout(
            tp=int(row["tensor_parallel"]), dp=int(row["data_parallel"]), pp=int(row["pipeline_parallel"]),
            micro_batch=int(row["micro_batch"]), global_batch=int(row["global_batch"]), num_layers=shape.num_layers,
            recompute="full", zero=zero,
        )  # fmt: skip
        answer = memory(shape, layout, sequence_length=2048, framework="megatron-deepspeed")
        assert answer.total_gib[0] <= USABLE * 80, row
