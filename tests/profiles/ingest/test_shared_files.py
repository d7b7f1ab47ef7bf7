"""The real files of each format, where the public data sets lie beside the repository."""

import csv
import math
from pathlib import Path

import pytest

from profiles import catalogue
from profiles.ingest import read
from profiles.names import KnownNames


@pytest.mark.parametrize(
    ("name", "file", "kind", "at_least", "options"),
    [
        ("inference-latency", "serving/inference_latency_measured.csv", "measurements", 1200, {}),
        ("inference-power", "power/inference_power_measured.csv", "measurements", 389, {}),
        ("splitwise", "serving/splitwise_latency_power_measured.csv", "measurements", 700, {}),
        ("helix", "serving/helix_layer_times_measured.csv", "layer_measurements", 1200, {}),
        ("training-iterations", "training/a100_iteration_times_multi_node.csv", "training_measurements", 73, {}),
        ("fsdp-throughput", "training/fsdp_throughput_measured.csv", "training_measurements", 127, {}),
        ("nccl-allreduce", "training/a100_nvlink_allreduce.csv", "collectives", 140, {}),
        ("guidellm", "formats/guidellm_0.8_report.json", "measurements", 1, {"gpu": "H100"}),
        ("aiperf", "formats/aiperf_0.13_profile.json", "measurements", 1, {"gpu": "H100"}),
        ("aiperf", "formats/aiperf_0.13_records.jsonl", "measurements", 1, {"gpu": "H100", "model": "m"}),
        ("aibrix", "formats/aibrix_profile_a100.json", "rate_profiles", 1, {}),
        ("aibrix", "formats/aibrix_profile_a40.json", "rate_profiles", 1, {}),
        (
            "melange", "formats/melange_config.json", "rate_profiles", 2,
            {"model": "m", "input_tokens": "100,1000", "output_tokens": "10,100"},
        ),
    ],
)  # fmt: skip
def test_a_real_file_reads(
    name: str, file: str, kind: str, at_least: int, options: dict[str, object], shared: Path, known: KnownNames
) -> None:
    assert len(getattr(read(name, shared / file, known, **options).batch, kind)) >= at_least


def test_both_files_of_an_aiperf_run_agree(shared: Path, known: KnownNames) -> None:
    options = {"gpu": "H100", "model": "m"}
    (profile,) = read("aiperf", shared / "formats/aiperf_0.13_profile.json", known, **options).batch.measurements
    (records,) = read("aiperf", shared / "formats/aiperf_0.13_records.jsonl", known, **options).batch.measurements
    for field in (
        "ttft_ms",
        "ttft_p90_ms",
        "ttft_p99_ms",
        "tpot_ms",
        "tpot_p99_ms",
        "itl_p50_ms",
        "itl_p99_ms",
        "e2e_ms",
    ):
        assert getattr(records, field) == pytest.approx(getattr(profile, field))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("inference-latency", "serving/inference_latency_measured.csv"),
        ("inference-power", "power/inference_power_measured.csv"),
        ("helix", "serving/helix_layer_times_measured.csv"),
    ],
)
def test_the_catalogue_holds_rows_of_the_real_files_as_they_are(
    name: str, file: str, shared: Path, known: KnownNames
) -> None:
    """So that importing a whole data set adds to the catalogue and doubles nothing."""
    imported = read(name, shared / file, known).batch
    for kind in ("measurements", "layer_measurements"):
        there = {fact.digest for fact in getattr(imported, kind)}
        sources = {fact.source for fact in getattr(imported, kind)}
        here = {fact.digest for fact in getattr(catalogue.load(), kind) if fact.source in sources}
        assert here <= there


def test_catalogue_prices_are_those_of_the_snapshot(shared: Path) -> None:
    prices = {(p.provider, p.instance_type, p.region, p.market): p.usd_per_hour for p in catalogue.load().prices}
    with (shared / "prices/prices.csv").open() as lines:
        for row in csv.DictReader(lines):
            key = (row["provider"], row["instance_type"], row["region"] or "global")
            assert prices[*key, "on_demand"] == float(row["usd_per_hour"])
            assert prices.get((*key, "spot"), "") == (float(row["spot_usd_per_hour"] or 0) or "")


def test_the_catalogue_holds_no_row_of_the_training_files(shared: Path, known: KnownNames) -> None:
    """Its collectives are a coarse curve, its training steps other published tables."""
    profile = read("nccl-allreduce", shared / "training/a100_nvlink_allreduce.csv", known).batch.collectives
    points = {(fact.num_gpus, fact.num_bytes) for fact in profile}
    assert not points & {(fact.num_gpus, fact.num_bytes) for fact in catalogue.load().collectives}
    steps = read("training-iterations", shared / "training/a100_iteration_times_multi_node.csv", known).batch
    times = {fact.step_ms for fact in steps.training_measurements}
    assert not times & {fact.step_ms for fact in catalogue.load().training_measurements}


def test_the_catalogue_curve_is_near_the_profile_it_is_drawn_through(shared: Path, known: KnownNames) -> None:
    profile = read("nccl-allreduce", shared / "training/a100_nvlink_allreduce.csv", known).batch.collectives
    for drawn in catalogue.load().collectives:
        near = min(
            (fact for fact in profile if fact.num_gpus == drawn.num_gpus),
            key=lambda fact: abs(math.log(fact.num_bytes / drawn.num_bytes)),
        )
        assert drawn.bus_bandwidth_gb_per_s == pytest.approx(near.bus_bandwidth_gb_per_s, rel=0.35)
