"""How many training configurations a second are timed and sized, on one core.

``python benchmarks/training_speed.py [N]`` draws N configurations (a million) of a 530B model on 5,128 GPUs and of one
with experts, and prints CPU time of the step time model, of the memory model and of both.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from profiles.catalogue import load
from profiles.training.layouts import Layouts
from profiles.training.memory import memory
from profiles.training.performance import TrainingPerformance
from profiles.training.rows import typical_machine
from profiles.training.shape import Transformer

DENSE = Transformer(
    num_layers=105, hidden_size=20480, num_attention_heads=128, num_kv_heads=128, head_dim=160,
    intermediate_size=81920, vocab_size=51200, gated_mlp=False, tied_embeddings=True,
)  # fmt: skip
EXPERTS = Transformer(
    num_layers=60, hidden_size=6144, num_attention_heads=64, num_kv_heads=8, head_dim=128, intermediate_size=16384,
    vocab_size=128256, num_experts=64, experts_per_token=4, num_shared_experts=1, moe_intermediate_size=4096,
    num_dense_layers=2,
)  # fmt: skip


def drawn(num: int, num_layers: int, with_experts: bool) -> Layouts:
    draw = np.random.Generator(np.random.PCG64(0))
    degree = {name: 2 ** draw.integers(0, most, num) for name, most in (("tp", 4), ("pp", 6), ("cp", 2), ("dp", 6))}
    most = -(-num_layers // degree["pp"])
    zero = draw.integers(0, 4, num)
    return Layouts(
        **degree, ep=np.minimum(8, degree["dp"] * degree["tp"]) if with_experts else np.ones(num, dtype=np.int64),
        micro_batch=2 ** draw.integers(0, 4, num), num_micro_batches=2 ** draw.integers(0, 8, num),
        virtual_stages=np.where(degree["pp"] > 1, draw.integers(1, 4, num), 1), layers_first=most, layers_most=most,
        layers_last=most, recompute=draw.integers(0, 3, num), recomputed_layers=most, zero=zero,
        shard=np.where(zero == 0, 1, degree["dp"] * degree["cp"]), sequence_parallel=draw.integers(0, 2, num) == 1,
        precision=np.zeros(num, dtype=np.int64), offload=np.zeros(num, dtype=np.int64),
    )  # fmt: skip


ASKED = {"sequence_length": 2048, "framework": "megatron-lm"}


ASKED = {"sequence_length": 2048, "framework": "megatron-lm"}


def cpu_s(work: Callable[[], object]) -> float:
    work()
    start = time.process_time()
    work()
    return time.process_time() - start


def main(num: int) -> None:
    facts = load()
    model = TrainingPerformance(facts)
    h100 = next(gpu for gpu in facts.gpus if gpu.name == "H100")
    machine = typical_machine(h100, 5128, 8)
    for name, shape in (("530B dense", DENSE), ("64 experts", EXPERTS)):
        layouts = drawn(num, shape.num_layers, shape is EXPERTS)
        timed = cpu_s(lambda shape=shape, layouts=layouts: model.step_time(shape, layouts, machine, **ASKED).step_ms)
        sized = cpu_s(lambda shape=shape, layouts=layouts: memory(shape, layouts, **ASKED).total_gib)
        print(
            f"{name}: {num:,} configurations: time {timed:.2f} s, memory {sized:.2f} s of CPU; "
            f"both {num / (timed + sized):,.0f} a second, time alone {num / timed:,.0f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
