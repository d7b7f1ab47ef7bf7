"""Facts go in and come out the same, in either database, all or nothing."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from profiles import db, store
from profiles.errors import InvalidInput, StoreError, UnknownName
from profiles.store import Change
from profiles.tables import Base
from profiles.types import (
    BandwidthMeasurement,
    Batch,
    CollectiveMeasurement,
    Facts,
    GemmMeasurement,
    GpuType,
    GridIntensity,
    InstanceType,
    LayerMeasurement,
    Measurement,
    ModelCard,
    Price,
    RateProfile,
    TrainingMeasurement,
)

DAY = dt.date(2025, 3, 1)
OLDER = dt.date(2025, 2, 1)
NEWER = dt.date(2025, 4, 1)


def gpu(name: str = "H100-SXM", **changes: Any) -> GpuType:
    fields = {
        "source": "datasheet", "as_of": DAY, "vendor": "NVIDIA", "architecture": "Hopper", "memory_gib": 80,
        "memory_bandwidth_gb_per_s": 3350, "bf16_tflops": 989, "fp8_tflops": 1979, "tdp_w": 700, "idle_w": 70,
        "interconnect": "NVLink 4", "interconnect_gb_per_s": 900, "aliases": ("h100", "h100_sxm"),
    }  # fmt: skip
    return GpuType(name=name, **fields | changes)


def instance(name: str = "p5.48xlarge", **changes: Any) -> InstanceType:
    fields = {"source": "price list", "as_of": DAY, "provider": "aws", "gpu": "H100-SXM", "num_gpus": 8, "vcpus": 192}
    return InstanceType(name=name, **fields | changes)


def price(usd_per_hour: float = 55.04, as_of: dt.date = DAY, **changes: Any) -> Price:
    fields = {
        "source": "price list", "provider": "aws", "instance_type": "p5.48xlarge", "region": "eu-west-1",
        "market": "on_demand",
    }  # fmt: skip
    return Price(usd_per_hour=usd_per_hour, as_of=as_of, **fields | changes)


def card(name: str = "meta-llama/Llama-3.1-8B", **changes: Any) -> ModelCard:
    fields = {
        "source": "config.json", "as_of": DAY, "num_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
        "num_kv_heads": 8, "head_dim": 128, "intermediate_size": 14336, "vocab_size": 128256,
        "num_parameters": 8.03e9, "num_active_parameters": 8.03e9, "max_context_tokens": 131072,
    }  # fmt: skip
    return ModelCard(name=name, **fields | changes)


def measurement(**changes: Any) -> Measurement:
    fields = {
        "source": "a run", "as_of": DAY, "model": "meta-llama/Llama-3.1-8B", "gpu": "H100-SXM", "precision": "bf16",
        "engine": "vllm", "input_tokens": 512, "output_tokens": 128, "concurrency": 8, "ttft_ms": 31.7,
    }  # fmt: skip
    return Measurement(**fields | changes)


def rates(name: str = "chat", **changes: Any) -> RateProfile:
    fields = {
        "source": "Mélange", "as_of": DAY, "model": "meta-llama/Llama-3.1-8B", "gpu": "H100-SXM",
        "input_tokens": (64, 256), "output_tokens": (32, 128, 512), "requests_per_s": ((9, 5.5, 2), (7.25, 4, 0)),
        "usd_per_hour": 6.88, "slo": "TPOT p90 < 80 ms",
    }  # fmt: skip
    return RateProfile(name=name, **fields | changes)


def layer(**changes: Any) -> LayerMeasurement:
    fields = {
        "source": "helix", "as_of": DAY, "model": "llama-30b", "gpu": "H100-SXM", "phase": "decode", "size": 16,
        "ms_per_layer": 0.61,
    }  # fmt: skip
    return LayerMeasurement(**fields | changes)


def gemm(**changes: Any) -> GemmMeasurement:
    fields = {
        "source": "a sweep", "as_of": DAY, "gpu": "H100-SXM", "m": 4096, "n": 4096, "k": 1024, "precision": "bf16",
        "time_us": 51.25, "mean_power_w": 655.5, "driver": "570.86", "software": "torch 2.11.0, CUDA 12.8",
        "sm_clock_mhz": 1755,
    }  # fmt: skip
    return GemmMeasurement(**fields | changes)


def step(**changes: Any) -> TrainingMeasurement:
    fields = {
        "source": "a run", "as_of": DAY, "model": "gpt-tiny", "gpu": "H100-SXM", "num_gpus": 16, "tp": 4, "pp": 2,
        "dp": 2, "framework": "megatron-lm", "micro_batch": 2, "global_batch": 64, "sequence_length": 2048,
        "zero": 1, "step_ms": 900.5, "driver": "570.86",
    }  # fmt: skip
    return TrainingMeasurement(**fields | changes)


def collective(**changes: Any) -> CollectiveMeasurement:
    fields = {
        "source": "a run", "as_of": DAY, "gpu": "H100-SXM", "operation": "all_reduce", "num_gpus": 8,
        "num_bytes": 2**20, "time_us": 33.25, "software": "nccl-tests 2.17.1",
    }  # fmt: skip
    return CollectiveMeasurement(**fields | changes)


SHAPE = {
    "num_layers": 4, "hidden_size": 512, "num_attention_heads": 8, "num_kv_heads": 4, "intermediate_size": 2048,
    "vocab_size": 50368,
}  # fmt: skip
GRID = GridIntensity(source="ember", as_of=DAY, provider="aws", region="eu-west-1", g_co2_per_kwh=282.5)
EVERYTHING = Batch(
    gpus=(gpu(), gpu("Zürich-1", aliases=()), gpu("a100", fp8_tflops=None)),
    instances=(instance(), instance("P5.4xlarge", num_gpus=1, interconnect="EFA")),
    prices=(price(), price(50.0, NEWER), price(16.5, market="spot")),
    grid=(GRID,),
    models=(card(), card("Qwen/Qwen3-30B", num_experts=128, experts_per_token=8)),
    measurements=(
        measurement(),
        measurement(concurrency=None),
        measurement(concurrency=16, mean_power_w=1 / 3, engine_version="0.8.4"),
        measurement(model="no/card-for-this", gpu="a100"),
    ),
    layer_measurements=(layer(), layer(phase="prefill", size=2.5)),
    rate_profiles=(rates(), rates("batch")),
    gemms=(gemm(), gemm(precision="fp8", mean_power_w=None), gemm(m=1, gpu="a100", software="", driver="")),
    bandwidths=(
        BandwidthMeasurement(
            source="a sweep", as_of=DAY, gpu="H100-SXM", access="copy", num_bytes=2**30, time_us=720.5, driver="570.86"
        ),
    ),
    training_measurements=(
        step(),
        step(micro_batch=4, shard=2, sequence_parallel=True, network_gb_per_s=200),
        step(model="zwei", gated_mlp=True, tied_embeddings=True, step_ms=None, tokens_per_s_per_gpu=1 / 3, **SHAPE),
    ),
    collectives=(collective(), collective(operation="all_to_all", num_gpus=16, num_nodes=2)),
)


@pytest.mark.parametrize("kind", store._KINDS, ids=lambda kind: kind.field)
def test_every_field_has_its_column(kind: Any) -> None:
    columns = {column.name: column for column in kind.table.columns}
    assert columns.keys() - {"digest"} == kind.fact.model_fields.keys()
    for name, field in kind.fact.model_fields.items():
        assert columns[name].nullable == (type(None) in getattr(field.annotation, "__args__", ())), name


def test_every_kind_of_fact_has_its_table() -> None:
    assert [kind.field for kind in store._KINDS] == list(Batch.model_fields)
    assert {kind.table.name for kind in store._KINDS} <= Base.metadata.tables.keys()


# Round trips


def test_what_goes_in_comes_out(any_engine: Engine) -> None:
    store.add(any_engine, EVERYTHING)
    facts = store.snapshot(any_engine)
    for kind in store._KINDS:
        stored, given = getattr(facts, kind.field), getattr(EVERYTHING, kind.field)
        if kind.field == "prices":
            given = (price(50.0, NEWER), price(16.5, market="spot"))
        assert len(stored) == len(given), kind.field
        assert set(stored) == set(given), kind.field
    assert facts.rate_profiles[0].requests_per_s == ((9.0, 5.5, 2.0), (7.25, 4.0, 0.0))
    assert len(facts.digest) == 32


def test_equal_facts_have_equal_digests_whichever_the_database_and_the_order(
    sqlite_url: str, postgresql_url: str
) -> None:
    backwards = Batch(**{field: tuple(reversed(getattr(EVERYTHING, field))) for field in Batch.model_fields})
    snapshots = []
    for url, batch in ((sqlite_url, EVERYTHING), (postgresql_url, backwards)):
        engine = db.initialise(url)
        store.add(engine, batch)
        snapshots.append(store.snapshot(engine))
        engine.dispose()
    assert snapshots[0] == snapshots[1]
    assert snapshots[0].digest == snapshots[1].digest


def test_digest_follows_the_facts(any_engine: Engine) -> None:
    empty = store.snapshot(any_engine)
    assert empty == Facts(digest=empty.digest)
    store.add(any_engine, EVERYTHING)
    full = store.snapshot(any_engine)
    store.add(any_engine, EVERYTHING)
    assert store.snapshot(any_engine).digest == full.digest != empty.digest
    store.add(any_engine, Batch(gpus=(gpu(tdp_w=699),)))
    assert store.snapshot(any_engine).digest != full.digest


def test_names_sort_by_code_point_in_both_databases(any_engine: Engine) -> None:
    names = ["b", "B", "é", "a-1", "a1", "a 1", "A"]
    store.add(any_engine, Batch(gpus=tuple(gpu(name) for name in names)))
    assert [found.name for found in store.snapshot(any_engine).gpus] == sorted(names)


# What add reports and keeps


def test_same_content_again_is_unchanged(any_engine: Engine) -> None:
    first, second = store.add(any_engine, EVERYTHING), store.add(any_engine, EVERYTHING)
    for kind in store._KINDS:
        count = len(getattr(EVERYTHING, kind.field))
        assert getattr(first, kind.field) == Change(added=count)
        assert getattr(second, kind.field) == Change(unchanged=count)


@pytest.mark.parametrize(
    ("as_of", "change", "kept"),
    [
        (OLDER, Change(unchanged=1), "the old one"),
        (DAY, Change(updated=1), "the new one"),
        (NEWER, Change(updated=1), "the new one"),
    ],
)
@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("gpus", gpu),
        ("instances", instance),
        ("models", card),
        ("rate_profiles", rates),
        ("grid", lambda **changes: GRID.model_copy(update=changes)),
    ],
)
def test_later_fact_of_a_name_wins_and_on_the_same_day_the_incoming_one(
    engine: Engine, field: str, make: Callable[..., Any], as_of: dt.date, change: Change, kept: str
) -> None:
    store.add(engine, Batch(gpus=(gpu(source="the old one"),)))
    store.add(engine, Batch.model_validate({field: [make(source="the old one")]}))
    changes = store.add(engine, Batch.model_validate({field: [make(source="the new one", as_of=as_of)]}))
    assert getattr(changes, field) == change
    assert [fact.source for fact in getattr(store.snapshot(engine), field)] == [kept]


def test_updates_reach_every_column(any_engine: Engine) -> None:
    store.add(any_engine, EVERYTHING)
    changed = rates(
        input_tokens=(1,), output_tokens=(2,), requests_per_s=((3,),), usd_per_hour=None, slo="", as_of=NEWER, model="m"
    )
    assert str(store.add(any_engine, Batch(rate_profiles=(changed,)))) == "rate profiles: 1 updated"
    assert changed in store.snapshot(any_engine).rate_profiles


def test_one_batch_may_name_a_thing_twice(any_engine: Engine) -> None:
    batch = Batch(gpus=(gpu(tdp_w=1, as_of=NEWER), gpu(tdp_w=2)), measurements=(measurement(), measurement()))
    changes = store.add(any_engine, batch)
    assert changes.gpus == changes.measurements == Change(added=1, unchanged=1)
    assert store.snapshot(any_engine).gpus == (gpu(tdp_w=1, as_of=NEWER),)


def test_old_prices_stay_but_snapshots_take_the_newest(any_engine: Engine) -> None:
    store.add(any_engine, Batch(gpus=(gpu(),), instances=(instance(),), prices=(price(50.0, NEWER),)))
    changes = store.add(any_engine, Batch(prices=(price(60.0, OLDER), price(55.0, DAY), price(9.0, OLDER, region="x"))))
    assert changes.prices == Change(added=3)
    assert store.snapshot(any_engine).prices == (price(50.0, NEWER), price(9.0, OLDER, region="x"))
    assert store.counts(any_engine)["prices"] == 4


def test_price_of_the_same_day_is_corrected(any_engine: Engine) -> None:
    store.add(any_engine, Batch(gpus=(gpu(),), instances=(instance(),), prices=(price(50.0),)))
    assert store.add(any_engine, Batch(prices=(price(51.0),))).prices == Change(updated=1)
    assert store.snapshot(any_engine).prices == (price(51.0),)


def test_changes_read_as_a_sentence(engine: Engine) -> None:
    assert str(store.add(engine, Batch())) == "nothing to add"
    store.add(engine, Batch(gpus=(gpu(), gpu("L4"))))
    changes = store.add(engine, Batch(gpus=(gpu(), gpu("L4", tdp_w=72), gpu("T4")), layer_measurements=(layer(),)))
    assert str(changes) == "gpus: 1 added, 1 updated, 1 unchanged; layer measurements: 1 added"


# All or nothing


@pytest.mark.parametrize(
    ("batch", "field", "suggestion"),
    [
        (Batch(measurements=(measurement(), measurement(gpu="H100-SXN"))), "measurements[1].gpu", "H100-SXM"),
        (Batch(instances=(instance(gpu="h100-sxm"),)), "instances[0].gpu", "H100-SXM"),
        (Batch(layer_measurements=(layer(gpu="H100SXM"),)), "layer_measurements[0].gpu", "H100-SXM"),
        (Batch(rate_profiles=(rates(gpu="H100 SXM"),)), "rate_profiles[0].gpu", "H100-SXM"),
        (Batch(prices=(price(instance_type="p5.48xl"),)), "prices[0].instance_type", "p5.48xlarge"),
    ],
)
def test_unknown_reference_names_the_nearest_and_writes_nothing(
    any_engine: Engine, batch: Batch, field: str, suggestion: str
) -> None:
    store.add(any_engine, Batch(gpus=(gpu(),), instances=(instance(),)))
    with pytest.raises(UnknownName) as caught:
        store.add(any_engine, batch.model_copy(update={"models": (card(),)}))
    assert caught.value.field == field
    assert caught.value.suggestions == [suggestion]
    assert store.counts(any_engine)["models"] == 0


def test_price_of_another_providers_instance_is_unknown(engine: Engine) -> None:
    store.add(engine, Batch(gpus=(gpu(),), instances=(instance(),)))
    with pytest.raises(UnknownName, match="instance type of gcp"):
        store.add(engine, Batch(prices=(price(provider="gcp"),)))


def test_killed_halfway_nothing_is_written(any_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add(any_engine, Batch(gpus=(gpu(),)))
    before = store.snapshot(any_engine)
    write = store._write

    def killed_at_measurements(session: Any, kind: Any, facts: Any) -> Change:
        change = write(session, kind, facts)
        if kind.field == "measurements":
            raise KeyboardInterrupt
        return change

    monkeypatch.setattr(store, "_write", killed_at_measurements)
    with pytest.raises(KeyboardInterrupt):
        store.add(any_engine, EVERYTHING)
    monkeypatch.undo()
    assert store.snapshot(any_engine) == before
    assert store.add(any_engine, EVERYTHING).measurements == Change(added=4)


def test_number_beyond_64_bits_is_refused_and_nothing_written(any_engine: Engine) -> None:
    with pytest.raises(InvalidInput, match="does not fit"):
        store.add(any_engine, Batch(gpus=(gpu(),), models=(card(sliding_window=2**64),)))
    assert store.counts(any_engine)["gpus"] == 0


def test_the_same_batch_from_several_threads_is_added_once(any_engine: Engine) -> None:
    changes: list[store.Changes] = []
    threads = [
        threading.Thread(target=lambda: changes.append(store.add(any_engine, EVERYTHING))) for _ in range(4)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(change.measurements.added for change in changes) == [0, 0, 0, 4]


# Damage


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE gpu_types SET tdp_w = 'seven hundred'", "H100-SXM in table gpu_types makes no valid GpuType: .*tdp_w"),
        ("UPDATE gpu_types SET as_of = 'yesterday'", "a row in table gpu_types"),
        ("UPDATE gpu_types SET aliases = '[1'", "a row in table gpu_types"),
        ("UPDATE gpu_types SET aliases = '[1]'", "in table gpu_types"),
        ("UPDATE measurements SET precision = 'fp12'", "in table measurements"),
        ("UPDATE measurements SET ttft_ms = NULL", "measures nothing"),
        ("UPDATE models SET num_active_parameters = 1e15", "exceeds num_parameters"),
        ("UPDATE rate_profiles SET requests_per_s = '[[1]]'", "must have 2 rows"),
    ],
)
def test_damaged_row_is_an_error_never_a_fact(engine: Engine, statement: str, complaint: str) -> None:
    batch = Batch(gpus=(gpu(),), models=(card(),), measurements=(measurement(),), rate_profiles=(rates(),))
    store.add(engine, batch)
    with db.transaction(engine) as session:
        session.execute(text(statement))
    with pytest.raises(StoreError, match=complaint) as caught:
        store.snapshot(engine)
    assert "delete that row" in str(caught.value.fix)


def test_negative_numbers_do_not_even_enter(any_engine: Engine) -> None:
    store.add(any_engine, EVERYTHING)
    for statement in ("UPDATE gpu_types SET tdp_w = -1", "UPDATE prices SET usd_per_hour = -1"):
        with pytest.raises(Exception, match=r"(?i)check constraint"), db.transaction(any_engine) as session:
            session.execute(text(statement))


# Lists


def test_measurements_by_model_and_gpu_and_page_by_page(any_engine: Engine) -> None:
    store.add(any_engine, EVERYTHING)
    listed = store.measurements(any_engine)
    assert listed == store.snapshot(any_engine).measurements
    assert [found.concurrency for found in listed] == [None, 8, 16, 8]
    assert store.measurements(any_engine, gpu="a100") == listed[3:]
    assert store.measurements(any_engine, model="meta-llama/Llama-3.1-8B", gpu="a100") == ()
    assert store.measurements(any_engine, limit=2, offset=1) == listed[1:3]
    assert store.measurements(any_engine, limit=0) == ()


@pytest.mark.parametrize("page", [{"limit": -1}, {"offset": -1}, {"limit": 2**70}])
def test_page_that_cannot_be_meant(any_engine: Engine, page: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        store.measurements(any_engine, **page)


def test_counts(any_engine: Engine) -> None:
    store.add(any_engine, EVERYTHING)
    assert store.counts(any_engine) == {
        "gpus": 3, "instances": 2, "prices": 3, "grid": 1, "models": 2, "measurements": 4, "layer_measurements": 2,
        "rate_profiles": 2, "gemms": 3, "bandwidths": 1, "training_measurements": 3, "collectives": 2,
    }  # fmt: skip


def test_large_batches_of_composite_keys(any_engine: Engine) -> None:
    prices = tuple(price(1 + index, region=f"region-{index}") for index in range(2_500))
    batch = Batch(gpus=(gpu(),), instances=(instance(),), prices=prices)
    assert store.add(any_engine, batch).prices == Change(added=2_500)
    assert store.add(any_engine, batch).prices == Change(unchanged=2_500)
    assert len(store.snapshot(any_engine).prices) == 2_500
