"""Each table of measurements, read into our units and vocabulary."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest

from profiles.errors import InvalidInput
from profiles.ingest import read
from profiles.names import KnownNames

Sample = Callable[[str], Path]


def test_inference_latency(sample: Sample, known: KnownNames) -> None:
    plain, attention_dp, recounted, unknown = (
        ingested := read("inference-latency", sample("inference-latency.csv"), known)
    ).batch.measurements
    assert (plain.model, plain.gpu, plain.precision) == ("meta-llama/Llama-3.1-70B-Instruct", "H100", "fp8")
    assert (plain.tp, plain.pp, plain.dp, plain.ep) == (4, 1, 1, 1)
    assert (plain.ttft_ms, plain.tpot_ms, plain.concurrency, plain.load) == (101.5, 14.25, 8, "closed_loop")
    assert plain.as_of == dt.date(2026, 1, 14)
    assert (attention_dp.tp, attention_dp.dp, attention_dp.ep, attention_dp.layout.num_gpus) == (1, 8, 8, 8)
    assert (recounted.tp, recounted.dp, recounted.ep, recounted.layout.num_gpus) == (8, 1, 8, 8)
    assert (unknown.model, unknown.precision) == ("acme/tiny-1b", "unknown")
    assert len(ingested.notes) == 2
    assert "1 repeated row folded" in ingested.notes[0]
    assert "1 row with a GPU count of moe_tp × moe_ep" in ingested.notes[1]


def test_inference_power(sample: Sample, known: KnownNames) -> None:
    dense, spread, attention_dp, oss = read("inference-power", sample("inference-power.csv"), known).batch.measurements
    assert (dense.mean_power_w, dense.output_tokens_per_s, dense.concurrency) == (420.5, 1000, 15.5)
    assert (dense.itl_p50_ms, dense.itl_p90_ms, dense.itl_p99_ms, dense.task) == (14, 18, 25, "chat")
    assert (dense.precision, oss.precision) == ("bf16", "fp4")
    assert (spread.tp, spread.dp, spread.ep) == (8, 1, 8)
    assert (attention_dp.tp, attention_dp.dp, attention_dp.ep) == (1, 8, 8)
    assert attention_dp.output_tokens is None
    assert (oss.tp, oss.layout.num_gpus) == (2, 2)


def test_inference_power_with_gpus_that_do_not_divide(edited: Callable[..., Path], known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="3 GPUs do not divide into tp 2") as error:
        read("inference-power", edited("inference-power.csv", ("B200,2,2", "B200,3,2")), known)
    assert error.value.field == "inference-power.csv:5: gpus"


def test_splitwise(sample: Sample, known: KnownNames) -> None:
    ingested = read("splitwise", sample("splitwise.csv"), known)
    a100, h100, stopped_early = ingested.batch.measurements
    # Fractions of 400 W on each of eight GPUs.
    assert (a100.peak_power_w, a100.mean_power_w) == (3200, 1600)
    assert (a100.model, a100.gpu, a100.load) == ("meta-llama/Llama-2-70b-hf", "A100-80GB", "static_batch")
    assert (a100.ttft_ms, a100.tpot_ms, a100.e2e_ms) == (95, 45, 5810)
    assert (h100.peak_power_w, h100.mean_power_w) == (None, None)
    assert (stopped_early.tpot_ms, stopped_early.e2e_ms) == (30, None)
    assert ingested.notes == ("1 row skipped: synthetic power-capped hardware (-pcap), not measured",)


def test_splitwise_power_in_watts_is_refused(edited: Callable[..., Path], known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="no fraction of a GPU's TDP"):
        read("splitwise", edited("splitwise.csv", ("128,1.0,0.5", "128,380,0.5")), known)


def test_helix(sample: Sample, known: KnownNames) -> None:
    ingested = read("helix", sample("helix.csv"), known)
    four, one = ingested.batch.layer_measurements
    assert (four.gpu, four.num_gpus, four.phase, four.size, four.ms_per_layer) == ("T4", 4, "prefill", 750, 31.5)
    assert (one.model, one.gpu, one.num_gpus, one.phase) == ("huggyllama/llama-30b", "A100-40GB", 1, "decode")
    assert ingested.notes == ("1 row skipped: 0 ms for 0 tokens measures nothing",)


def test_helix_with_an_unknown_phase(edited: Callable[..., Path], known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="must be prompt or decode"):
        read("helix", edited("helix.csv", ("a100,decode", "a100,both")), known)
