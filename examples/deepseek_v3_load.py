"""Write deepseek_v3_load.json, the load that deepseek_v3.yaml is planned for.

    python examples/deepseek_v3_load.py

DeepSeek-V3's published shape: 58 MoE layers of 256 experts, 8 of them for every token. The loads are drawn, not
recorded: in every layer they are log-normal, and prefill and decode have most of their hot experts in common. Spread
and likeness were set so that the busiest expert gets 6 to 7 times the mean, the 32 busiest a third of all tokens, and
the two workloads correlate at 0.78: as in recordings of DeepSeek-V3 made with SGLang.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

NUM_LAYERS, NUM_EXPERTS, EXPERTS_PER_TOKEN = 58, 256, 8
TOKENS = {"prefill": 50_000, "decode": 20_000}
SPREAD = {"prefill": 0.75, "decode": 0.70}
"""Standard deviation of the logarithm of an expert's load."""

LIKENESS = 0.78
"""Correlation of the logarithms between the two workloads."""


def loads(seed: int = 0) -> dict[str, list[list[int]]]:
    """Tokens that each expert receives, [layers][experts], by workload."""
    random = np.random.default_rng(seed)
    common = random.standard_normal((NUM_LAYERS, NUM_EXPERTS))
    drawn = {}
    for name, tokens in TOKENS.items():
        own = random.standard_normal((NUM_LAYERS, NUM_EXPERTS))
        weight = np.exp(SPREAD[name] * (LIKENESS**0.5 * common + (1 - LIKENESS) ** 0.5 * own))
        share = np.minimum(weight / weight.sum(axis=1, keepdims=True), 1 / EXPERTS_PER_TOKEN)
        drawn[name] = np.rint(tokens * EXPERTS_PER_TOKEN * share).astype(int).tolist()
    return drawn


def main() -> None:
    """Write the file anew: the same seed draws the same loads."""
    written = ",\n".join(
        f'"{name}": [\n' + ",\n".join(json.dumps(layer, separators=(",", ":")) for layer in layers) + "\n]"
        for name, layers in loads().items()
    )
    Path(__file__).with_name("deepseek_v3_load.json").write_text("{\n" + written + "\n}\n")


if __name__ == "__main__":
    main()
