"""Measured training steps and collectives refuse what cannot have been measured."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from profiles.measured_training import bus_factor
from profiles.types import CollectiveMeasurement, TrainingMeasurement

SHAPE = {
    "num_layers": 24, "hidden_size": 1024, "num_attention_heads": 16, "num_kv_heads": 8, "intermediate_size": 4096,
    "vocab_size": 50368,
}  # fmt: skip


def step(**changes: Any) -> TrainingMeasurement:
    fields = {
        "source": "a run", "as_of": dt.date(2026, 1, 1), "model": "m", "gpu": "H100", "num_gpus": 32, "tp": 4, "pp": 2,
        "dp": 2, "cp": 2, "framework": "megatron-lm", "micro_batch": 2, "global_batch": 64, "sequence_length": 2048,
        "step_ms": 1000.0,
    }  # fmt: skip
    return TrainingMeasurement(**fields | changes)


def collective(**changes: Any) -> CollectiveMeasurement:
    fields = {
        "source": "a run", "as_of": dt.date(2026, 1, 1), "gpu": "H100", "operation": "all_reduce", "num_gpus": 8,
        "num_bytes": 8_000_000, "time_us": 100.0,
    }  # fmt: skip
    return CollectiveMeasurement(**fields | changes)


def test_throughput_and_step_time_are_two_names_of_one_thing() -> None:
    timed = step()
    rate = 64 * 2048 / 1.0 / 32
    told = step(step_ms=None, tokens_per_s_per_gpu=rate)
    assert told.measured_step_ms == pytest.approx(timed.measured_step_ms)
    assert step(tokens_per_s_per_gpu=1.01 * rate).measured_step_ms == 1000
    assert timed.digest != told.digest


def test_a_row_with_the_shape_of_its_model() -> None:
    assert not step().has_shape
    assert step(**SHAPE).has_shape


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"step_ms": None}, "nothing is measured"),
        ({"tokens_per_s_per_gpu": 1.0}, "means a step of"),
        ({"num_gpus": 16}, "num_gpus: tp · pp · dp · cp is 32, not 16"),
        ({"ep": 3}, "ep: 3 does not divide"),
        ({"global_batch": 62}, "global_batch: dp · micro_batch = 4 does not divide 62"),
        ({"pp": 1, "num_gpus": 16, "virtual_stages": 2}, "virtual_stages: there is no pipeline"),
        ({"shard": 4}, "shard: 4 must divide"),
        ({"shard": 3, "zero": 1}, "shard: 3 must divide"),
        ({"zero": 4}, "less than or equal to 3"),
        ({"num_layers": 24}, "num_layers: the shape lacks hidden_size"),
        (SHAPE | {"num_kv_heads": 3}, "num_kv_heads: 3 does not divide 16 heads"),
        (SHAPE | {"num_layers": 1}, "pp: 1 layers cannot fill"),
        (SHAPE | {"num_attention_heads": 6, "num_kv_heads": 6}, "tp: 4 does not divide 6 attention heads"),
        ({"precision": "fp12"}, "precision"),
        ({"recompute": "some"}, "recompute"),
        ({"model": ""}, "model"),
        ({"step_ms": float("inf")}, "step_ms"),
        ({"step_ms": -1.0}, "step_ms"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_steps_that_cannot_have_been_measured(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        step(**changes)
    assert said in str(error.value)


def test_bus_bandwidth_is_that_of_nccl_tests() -> None:
    """PERFORMANCE.md of nccl-tests: all-reduce 2 (n − 1) / n, the gathering and exchanging ones (n − 1) / n."""
    assert collective().bus_bandwidth_gb_per_s == pytest.approx(80 * 2 * 7 / 8)
    assert collective(operation="all_gather").bus_bandwidth_gb_per_s == pytest.approx(80 * 7 / 8)
    assert collective(operation="send_recv", num_gpus=2).bus_bandwidth_gb_per_s == pytest.approx(80)


@given(num_gpus=st.integers(2, 10_000))
def test_an_all_reduce_is_a_reduce_scatter_and_an_all_gather(num_gpus: int) -> None:
    parts = bus_factor("reduce_scatter", num_gpus) + bus_factor("all_gather", num_gpus)
    assert bus_factor("all_reduce", num_gpus) == pytest.approx(parts)
    assert 1 <= parts < 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_gpus": 1}, "num_gpus"),
        ({"num_gpus": 8, "num_nodes": 3}, "num_nodes: 8 GPUs do not spread evenly over 3 nodes"),
        ({"operation": "broadcast"}, "operation"),
        ({"num_bytes": 0}, "num_bytes"),
        ({"time_us": 0.0}, "time_us"),
    ],
)
def test_collectives_that_cannot_have_been_measured(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        collective(**changes)
    assert said in str(error.value)
