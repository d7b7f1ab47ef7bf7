"""What lies outside the GPU and what crosses in a step, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from profiles.training.layouts import OFFLOAD, joined, one_layout
from profiles.training.memory import GIB, memory
from profiles.training.offload import STAGING_BYTES, offload_traffic
from profiles.training.shape import Transformer

GPT = Transformer(24, 2048, 16, 16, 128, 8192, 50_304, gated_mlp=False, tied_embeddings=True)
DP, M = 4, 5
LAYOUTS = joined([
    one_layout(dp=DP, global_batch=DP * M, num_layers=24, recompute="full", zero=3, offload=offload)
    for offload in OFFLOAD
])  # fmt: skip
OWN = GPT.num_parameters / DP
INPUTS = 24 * 2 * GPT.hidden_size * 2048


def test_what_lies_in_host_memory_and_on_nvme() -> None:
    answer = memory(GPT, LAYOUTS, sequence_length=2048, framework="deepspeed")
    optimizer, everything = 16 * OWN, 18 * OWN + INPUTS
    assert answer.host_gib_per_gpu * GIB == pytest.approx([0, optimizer, everything, STAGING_BYTES, STAGING_BYTES])
    assert answer.nvme_gib_per_gpu * GIB == pytest.approx([0, 0, 0, optimizer, everything])


def test_layer_inputs_of_all_micro_batches_in_flight_are_outside() -> None:
    layout = one_layout(pp=4, global_batch=8, num_layers=24, recompute="full", zero=0, offload="all_cpu")
    answer = memory(GPT, layout, sequence_length=2048, framework="deepspeed")
    per_layer = GPT.attention_parameters + GPT.mlp_parameters
    own = 6 * per_layer + GPT.embedding_parameters
    assert answer.host_gib_per_gpu[0] * GIB == pytest.approx(18 * own + 4 * INPUTS / 4)


def test_what_is_outside_is_not_on_the_gpu() -> None:
    answer = memory(GPT, LAYOUTS, sequence_length=2048, framework="fsdp")
    assert (answer.optimizer_gib[1:] == 0).all()
    assert answer.optimizer_gib[0] * GIB == pytest.approx(12 * OWN)
    assert answer.activations_gib[2] < answer.activations_gib[1]
    in_transit = 2 * (2 * (GPT.attention_parameters + GPT.mlp_parameters) + GPT.embedding_parameters)
    assert answer.gradients_gib[1:] * GIB == pytest.approx(in_transit)
    assert answer.parameters_gib * GIB == pytest.approx(in_transit)  # as ZeRO-3 has them


def test_what_crosses_in_a_step() -> None:
    traffic = offload_traffic(GPT, LAYOUTS, sequence_length=2048, framework="deepspeed")
    gradients, inputs = 2 * M * OWN, 2 * M * INPUTS
    optimizer, everything = gradients + 2 * OWN, gradients + 4 * M * OWN + inputs
    assert traffic.host_bytes == pytest.approx([0, optimizer, everything, optimizer, everything])
    states = 2 * 16 * OWN
    weights = 2 * (2 * M + 1) * OWN
    assert traffic.nvme_bytes == pytest.approx([0, 0, 0, states, states + weights + inputs])


def test_nothing_crosses_where_nothing_is_outside() -> None:
    traffic = offload_traffic(GPT, LAYOUTS.take(np.array([0, 0])), sequence_length=2048, framework="fsdp")
    assert traffic.host_bytes.tolist() == traffic.nvme_bytes.tolist() == [0, 0]
