"""Memory model of training: time per configuration, published models on an A100, and how full measured runs are.

Run: python benchmarks/training_memory.py [path of shared/data/training]
"""

from __future__ import annotations

import csv
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
from experts_data import stopwatch, verdict

from profiles.training.layouts import Layouts, one_layout
from profiles.training.memory import Memory, memory
from profiles.training.shape import Transformer

NUM_CONFIGURATIONS = 1_000_000
USABLE = 0.985
"""Share of the marketed GiB that CUDA can hand out: 39.4 of 40, 79.1 of 80 on A100."""

MPT = {
    "125m": (768, 12, 12), "350m": (1024, 16, 24), "760m": (1536, 12, 24), "1b": (2048, 16, 24), "3b": (2560, 20, 32),
    "7b": (4096, 32, 32), "13b": (5120, 40, 40), "30b": (7168, 56, 48), "70b": (8192, 64, 80),
}  # fmt: skip
"""Hidden size, heads and layers of llm-foundry's MPT models."""


def gpt(hidden: int, heads: int, layers: int, vocab: int = 51_200) -> Transformer:
    return Transformer(
        layers, hidden, heads, heads, hidden // heads, 4 * hidden, vocab, gated_mlp=False, tied_embeddings=True
    )


PUBLISHED = {
    "22B": (gpt(6144, 64, 48), {"pp": 1, "micro_batch": 4, "global_batch": 4}),
    "175B": (gpt(12_288, 96, 96), {"pp": 8, "virtual_stages": 3, "global_batch": 64}),
    "530B": (gpt(20_480, 128, 105), {"pp": 35, "virtual_stages": 3, "global_batch": 280}),
    "1T": (gpt(25_600, 160, 128), {"pp": 64, "global_batch": 512}),
}
"""Korthikanti et al., 2022, table 3: all with TP 8 and 2,048 tokens."""

DEEPSEEK_V3 = Transformer(
    61, 7168, 128, 128, 128, 18_432, 129_280, num_experts=256, experts_per_token=8, num_shared_experts=1,
    moe_intermediate_size=2048, num_dense_layers=3,
)  # fmt: skip


def main() -> None:
    speed("dense, 1T", PUBLISHED["1T"][0])
    speed("with experts, 671B", DEEPSEEK_V3)
    published()
    data = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parents[2] / "shared/data/training"
    if not data.exists():
        sys.exit(f"skipped: no {data}")
    measured(
        "multi-node file", np.array([multi_node(row) for row in rows(data / "a100_iteration_times_multi_node.csv")])
    )
    measured("FSDP file", np.array([fsdp(row) for row in rows(data / "fsdp_throughput_measured.csv")]))


def speed(name: str, shape: Transformer) -> None:
    layouts = many(shape)
    memory(shape, layouts.take(np.arange(100)), sequence_length=2048, framework="megatron-lm")
    times: list[float] = []
    for _ in range(3):
        with stopwatch(times):
            memory(shape, layouts, sequence_length=2048, framework="megatron-lm")
    verdict(f"µs per configuration ({name})", 1e6 * min(times) / NUM_CONFIGURATIONS, 0.3, at_least=False)


def many(shape: Transformer) -> Layouts:
    """A million configurations, degrees drawn at random."""
    rng = np.random.Generator(np.random.PCG64(1))
    one = one_layout(global_batch=512, num_layers=shape.num_layers)
    values = {f.name: getattr(one, f.name).repeat(NUM_CONFIGURATIONS) for f in fields(Layouts)}
    for name, most in {"tp": 4, "pp": 6, "dp": 8, "cp": 2, "micro_batch": 4}.items():
        values[name] = 2 ** rng.integers(0, most, NUM_CONFIGURATIONS)
    for name, kinds in {"recompute": 3, "zero": 4, "precision": 2}.items():
        values[name] = rng.integers(0, kinds, NUM_CONFIGURATIONS)
    values["shard"] = np.where(values["zero"] > 0, values["dp"] * values["cp"], 1)
    values["sequence_parallel"] = rng.random(NUM_CONFIGURATIONS) < 0.5
    values["num_micro_batches"] = np.maximum(512 // (values["dp"] * values["micro_batch"]), 1)
    for name in ("layers_first", "layers_most", "layers_last"):
        values[name] = np.maximum(shape.num_layers // values["pp"], 1)
    return Layouts(**values)


def published() -> None:
    """Totals in GiB, and activations as a share of the baseline's (figure 7: under 20% with both, about 10% full)."""
    print("GiB of an A100's 80, by recompute and sequence parallelism (sp):")
    for name, (shape, degrees) in PUBLISHED.items():
        answers = {
            (recompute, sp): in_megatron(shape, degrees, recompute, sequence_parallel=sp)
            for recompute, sp in (
                ("none", False),
                ("none", True),
                ("selective", False),
                ("selective", True),
                ("full", False),
            )
        }
        baseline = answers["none", False].activations_gib[0]
        cells = (
            f"{recompute}{' sp' if sp else ''} {answer.total_gib[0]:.1f} ({answer.activations_gib[0] / baseline:.0%})"
            for (recompute, sp), answer in answers.items()
        )
        print(f"  {name:>4}: {', '.join(cells)}")


def in_megatron(shape: Transformer, degrees: dict[str, int], recompute: str, *, sequence_parallel: bool) -> Memory:
    layout = one_layout(
        tp=8, num_layers=shape.num_layers, recompute=recompute, sequence_parallel=sequence_parallel, **degrees
    )  # fmt: skip
    return memory(shape, layout, sequence_length=2048, framework="megatron-lm")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def multi_node(row: dict[str, str]) -> float:
    """Predicted memory over what the GPU has."""
    shape = gpt(int(row["hidden_size"]), int(row["attention_heads"]), int(row["layers"]))
    layout = one_layout(
        tp=int(row["tensor_parallel"]), dp=int(row["data_parallel"]), pp=int(row["pipeline_parallel"]),
        micro_batch=int(row["micro_batch"]), global_batch=int(row["global_batch"]), num_layers=shape.num_layers,
        recompute="full",
    )  # fmt: skip
    answer = memory(shape, layout, sequence_length=2048, framework="megatron-deepspeed")
    return float(answer.total_gib[0]) / (USABLE * 80)


def fsdp(row: dict[str, str]) -> float:
    """Predicted memory over what the GPU has."""
    shape = gpt(*MPT[row["model"]], vocab=50_368)
    layout = one_layout(
        dp=int(row["gpus"]), micro_batch=int(row["micro_batch"]), global_batch=int(row["global_batch"]),
        num_layers=shape.num_layers, recompute="full" if row["activation_checkpointing"] == "True" else "none",
        zero=3 if row["sharding"] == "FULL_SHARD" else 2, precision="fp8" if "fp8" in row["precision"] else "bf16",
    )  # fmt: skip
    answer = memory(shape, layout, sequence_length=int(row["sequence_length"]), framework="fsdp")
    return float(answer.total_gib[0]) / (USABLE * (80 if "80gb" in row["gpu"] else 40))


def measured(name: str, shares: np.ndarray) -> None:
    quartiles = ", ".join(f"{share:.0%}" for share in np.quantile(shares, (0, 0.25, 0.5, 0.75, 1)))
    print(f"{name}: {len(shares)} runs that did fit; share of the GPU's memory, quartiles {quartiles}")
    verdict(f"{name}: share of runs said to fit", float((shares <= 1).mean()), 1.0)


if __name__ == "__main__":
    main()
