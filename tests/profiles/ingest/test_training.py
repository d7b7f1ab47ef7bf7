"""Measured training steps and collectives, read into our units and vocabulary."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest

from profiles.errors import InvalidInput, UnknownName
from profiles.ingest import read, survey_training
from profiles.ingest.training_iterations import gpt_name
from profiles.names import KnownNames

Sample = Callable[[str], Path]
Edited = Callable[..., Path]


def refused(name: str, path: Path, known: KnownNames, **options: object) -> InvalidInput:
    with pytest.raises(InvalidInput) as error:
        read(name, path, known, **options)
    return error.value


def test_training_iterations(sample: Sample, known: KnownNames) -> None:
    ingested = read("training-iterations", sample("training-iterations.csv"), known)
    first, second, small = ingested.batch.training_measurements
    assert (first.model, first.gpu, first.num_gpus, first.gpus_per_node) == ("gpt-18.4b", "A100-80GB", 16, 8)
    assert (first.tp, first.dp, first.pp, first.cp, first.ep) == (4, 2, 2, 1, 1)
    assert (first.micro_batch, first.global_batch, first.sequence_length) == (2, 64, 2048)
    assert (first.recompute, first.zero, first.framework, first.network_gb_per_s) == (
        "full", 0, "megatron-deepspeed", 100,
    )  # fmt: skip
    assert (first.step_ms, first.measured_step_ms, first.tokens_per_s_per_gpu) == (9100.5, 9100.5, None)
    assert (first.num_layers, first.hidden_size, first.intermediate_size, first.num_kv_heads) == (40, 6144, 24576, 48)
    assert (second.tp, small.model) == (8, "gpt-0.4b")
    assert ingested.notes == ("1 repeated row folded into the first copy",)


def test_another_gpu_source_and_day(sample: Sample, known: KnownNames) -> None:
    options = {"gpu": "h100", "source": "our cluster", "as_of": "2026-02-03"}
    fact = read("training-iterations", sample("training-iterations.csv"), known, **options).batch.training_measurements[
        0
    ]
    assert (fact.gpu, fact.source, fact.as_of) == ("H100", "our cluster", dt.date(2026, 2, 3))


@pytest.mark.parametrize(
    ("layers", "hidden", "name"),
    [(24, 2304, "gpt-1.7b"), (30, 3072, "gpt-3.6b"), (48, 8192, "gpt-39.1b"), (128, 25600, "gpt-1008b")],
)
def test_gpt_shapes_have_the_names_of_the_megatron_paper(
    layers: int, hidden: int, name: str, known: KnownNames
) -> None:
    assert gpt_name(layers, hidden, 2048) == name
    card = known.model_card(name)
    assert card is not None
    assert (card.num_layers, card.hidden_size) == (layers, hidden)


@pytest.mark.parametrize(
    ("old", "new", "column", "said"),
    [
        ("16,64,2,", "24,64,2,", "gpus", "make 16"),
        ("16,64,2,", "16,63,2,", "global_batch", "does not divide"),
        ("16,64,2,", "16,64,2.5,", "micro_batch", "whole number"),
        ("16,64,2,", "16,64,,", "micro_batch", "missing or blank"),
        ("16,64,2,", "16,64,-2,", "micro_batch", "at least 1"),
        ("6144,48,40,2048,4", "6144,49,40,2048,4", "tensor_parallel", "attention heads"),
        ("6144,48,40,2048,4", "6150,48,40,2048,4", "attention_heads", "hidden size"),
        ("6144,48,40,2048,4", "6144,48,1,2048,4", "pipeline_parallel", "more than the 1 layers"),
        ("9100.5", "fast", "iteration_ms", "fast"),
        ("9100.5", "-1", "iteration_ms", "greater than 0"),
        ("9100.5", "", "step_ms", "nothing is measured"),
    ],
)
def test_bad_training_rows_are_named(
    old: str, new: str, column: str, said: str, edited: Edited, known: KnownNames
) -> None:
    error = refused("training-iterations", edited("training-iterations.csv", (old, new)), known)
    assert said in str(error)
    assert "training-iterations.csv:2" in str(error.field)
    assert column in str(error)


def test_fsdp_throughput(sample: Sample, known: KnownNames) -> None:
    first, second = read("fsdp-throughput", sample("fsdp-throughput.csv"), known).batch.training_measurements
    assert (first.model, first.gpu, first.num_gpus, first.dp, first.precision) == ("mpt-7b", "H100", 64, 64, "fp8")
    assert (first.zero, first.recompute, first.cpu_offload, first.framework) == (3, "full", "none", "fsdp")
    # 512 sequences of 2048 tokens at 9000 tokens/s on each of 64 GPUs.
    assert first.measured_step_ms == pytest.approx(1e3 * 512 * 2048 / 9000 / 64)
    assert (second.gpu, second.zero, second.recompute, second.cpu_offload) == ("A100-40GB", 2, "none", "activations")
    assert (second.num_layers, second.hidden_size, second.intermediate_size, second.vocab_size) == (
        24, 2048, 8192, 50368,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "column", "said"),
    [
        ("7b,2048,", "8b,2048,", "model", "7b"),
        ("7b,2048,", "13b,2048,", "parameters", "1.285e+10"),
        ("64,h100_80gb", "64,h9000", "gpu", "h9000"),
        ("4,2,512", "4,3,512", "grad_accum", "takes 2 micro-batches"),
        ("4,2,512", "5,2,512", "global_batch", "does not divide"),
        ("amp_fp8", "fp2", "precision", "must be amp_bf16"),
        ("FULL_SHARD", "HALF", "sharding", "FULL_SHARD or"),
        ("FULL_SHARD,True", "FULL_SHARD,maybe", "activation_checkpointing", "true or false"),
        ("9000", "nan", "tokens_per_s_per_gpu", "nan"),
    ],
)
def test_bad_fsdp_rows_are_named(old: str, new: str, column: str, said: str, edited: Edited, known: KnownNames) -> None:
    error = refused("fsdp-throughput", edited("fsdp-throughput.csv", (old, new)), known)
    assert error.field == f"fsdp-throughput.csv:2: {column}"
    assert said in str(error)


def test_both_kinds_of_training_files_are_surveyed_row_by_row(edited: Edited, known: KnownNames) -> None:
    path = edited("training-iterations.csv", ("9100.5", "fast"))
    (bad_row, bad), *good = survey_training(path, known)
    assert bad_row.line == 2
    assert isinstance(bad, InvalidInput)
    assert [row.line for row, _ in good] == [3, 4, 5]
    assert not any(isinstance(told, InvalidInput) for _, told in good)
    (_, first), (_, unknown) = survey_training(edited("fsdp-throughput.csv", ("1b,4096", "9b,4096")), known)
    assert not isinstance(first, InvalidInput)
    assert isinstance(unknown, UnknownName)


def test_a_file_of_neither_kind_names_the_columns(sample: Sample, known: KnownNames) -> None:
    with pytest.raises(InvalidInput, match="has no column") as error:
        survey_training(sample("helix.csv"), known)
    assert error.value.fix == "this looks like helix: read it as that"


def test_nccl_allreduce(sample: Sample, known: KnownNames) -> None:
    four, eight = read("nccl-allreduce", sample("nccl-allreduce.csv"), known).batch.collectives
    assert (four.gpu, four.operation, four.num_gpus, four.num_nodes) == ("A100-80GB", "all_reduce", 4, 1)
    assert (four.num_bytes, four.time_us, four.bus_bandwidth_gb_per_s) == (4_000_000, 60, pytest.approx(100))
    assert eight.bus_bandwidth_gb_per_s == pytest.approx(87.5)


@pytest.mark.parametrize(
    ("old", "new", "column"),
    [
        ("4,4000000,60,100.00", "4,4000000,60000,100.00", "bus_bandwidth_gb_s"),
        ("4,4000000,60,100.00", "1,4000000,60,100.00", "gpus"),
        ("4,4000000,60,100.00", "4,4000000.5,60,100.00", "message_bytes"),
        ("4,4000000,60,100.00", "4,4000000,0,100.00", "time_us"),
    ],
)
def test_bad_allreduce_rows_are_named(old: str, new: str, column: str, edited: Edited, known: KnownNames) -> None:
    error = refused("nccl-allreduce", edited("nccl-allreduce.csv", (old, new)), known)
    assert error.field == f"nccl-allreduce.csv:2: {column}"


def test_nccl_tests(sample: Sample, known: KnownNames) -> None:
    ingested = read("nccl-tests", sample("nccl-tests.txt"), known)
    small, middle, large = ingested.batch.collectives
    assert (middle.gpu, middle.operation, middle.num_gpus, middle.num_nodes) == ("A100-80GB", "all_reduce", 4, 2)
    assert (middle.num_bytes, middle.time_us, middle.software) == (4194304, 100, "nccl-tests 2.17.1, NCCL 22703")
    assert middle.bus_bandwidth_gb_per_s == pytest.approx(62.91, rel=1e-3)
    assert (small.num_bytes, large.time_us) == (1024, 160)
    assert ingested.notes == ("1 row of 0 bytes skipped",)


ALL_GATHER = (
    ("# Collective test starting: all_reduce_perf\n", ""),
    (" sum ", " none"),
    ("62.91", "31.46"),
    ("78.64", "39.32"),
)


def test_an_older_file_needs_to_be_told_the_operation(edited: Edited, known: KnownNames) -> None:
    path = edited("nccl-tests.txt", *ALL_GATHER)
    error = refused("nccl-tests", path, known)
    assert error.fix is not None
    assert "--operation" in error.fix
    facts = read("nccl-tests", path, known, operation="all_gather").batch.collectives
    assert [fact.operation for fact in facts] == ["all_gather"] * 3
    assert facts[1].bus_bandwidth_gb_per_s == pytest.approx(31.46, rel=1e-3)


def test_an_operation_that_the_bandwidths_deny_is_refused(edited: Edited, known: KnownNames) -> None:
    error = refused("nccl-tests", edited("nccl-tests.txt", *ALL_GATHER), known, operation="all_reduce")
    assert "nccl-tests.txt:16: busbw" in str(error)
    assert "all_reduce over 4 GPUs makes 62.91" in str(error)


def test_two_tests_in_one_file_keep_their_own_ranks(sample: Sample, tmp_path: Path, known: KnownNames) -> None:
    first = sample("nccl-tests.txt").read_text()
    second = first.replace("all_reduce_perf", "reduce_scatter_perf").replace("62.91", "31.46").replace("78.64", "39.32")
    path = tmp_path / "both.log"
    path.write_text(first + second)
    facts = read("nccl-tests", path, known).batch.collectives
    assert [(fact.operation, fact.num_gpus) for fact in facts] == [("all_reduce", 4)] * 3 + [("reduce_scatter", 4)] * 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([("62.91       0", "62.91       7")], "wrong results are no measurement"),
        ([("Rank  ", "Rang  ")], "no list of at least two ranks"),
        ([("NVIDIA A100-SXM4-80GB", "NVIDIA Z9000")], "Z9000"),
        ([("[0000:0f:00] NVIDIA A100-SXM4-80GB", "[0000:0f:00] NVIDIA H100")], "more than one type of GPU"),
        ([("   100.00   41.94", "     slow   41.94")], "must be a valid number"),
        ([("   41.94   62.91", "   41.94   99.99")], "makes 62.91"),
        ([("4194304       1048576", "4194304 1048576 1")], "has not the columns of the header"),
        ([("#       size", "#       grösse")], "no measured row"),
    ],
)
def test_bad_nccl_tests_output_is_named(
    changes: list[tuple[str, str]], said: str, edited: Edited, known: KnownNames
) -> None:
    error = refused("nccl-tests", edited("nccl-tests.txt", *changes), known)
    assert said in str(error)
    assert "nccl-tests.txt" in str(error)


@pytest.mark.parametrize("content", [None, b"", b"\0\1", b"\xff\xfe", b"size,time\n1,2\n", b'{"a": 1}'])
def test_what_nccl_tests_did_not_print_is_refused(content: bytes | None, tmp_path: Path, known: KnownNames) -> None:
    path = tmp_path / "run.txt"
    if content is not None:
        path.write_bytes(content)
    assert "run.txt" in str(refused("nccl-tests", path, known).field)


def test_mixed_gpus_can_be_named(edited: Edited, known: KnownNames) -> None:
    path = edited("nccl-tests.txt", ("[0000:0f:00] NVIDIA A100-SXM4-80GB", "[0000:0f:00] NVIDIA H100"))
    assert {fact.gpu for fact in read("nccl-tests", path, known, gpu="A100-80GB").batch.collectives} == {"A100-80GB"}
