"""The built-in facts agree with each other and with what is public about them."""

from collections import Counter

import pytest

from profiles import catalogue
from profiles.names import KnownNames
from profiles.types import Batch

FACTS = catalogue.load()
KNOWN = KnownNames.of(FACTS)
GPUS = {gpu.name: gpu for gpu in FACTS.gpus}


def test_every_row_is_valid_and_says_where_it_is_from() -> None:
    for kind, facts in FACTS:
        for fact in facts:
            # From JSON, not from its fields: nothing that skipped validation would survive it.
            assert type(fact).model_validate_json(fact.model_dump_json()) == fact, kind
            assert len(fact.source) > 10


def test_no_table_is_empty_and_no_row_stands_twice() -> None:
    for kind in Batch.model_fields:
        facts = getattr(FACTS, kind)
        assert len(set(facts)) == len(facts)
        # Sweeps of GPUs have their tables, and wait for a GPU.
        assert facts or kind in ("rate_profiles", "gemms", "bandwidths")


@pytest.mark.parametrize("kind", ["gpus", "models"])
def test_no_spelling_means_two_things(kind: str) -> None:
    facts = getattr(FACTS, kind)
    spellings = Counter(spelling for fact in facts for spelling in {fact.name.lower(), *map(str.lower, fact.aliases)})
    assert [spelling for spelling, count in spellings.items() if count > 1] == []


@pytest.mark.parametrize("kind", ["instances", "measurements", "layer_measurements", "training_measurements"])
def test_every_gpu_and_model_goes_by_its_catalogue_name(kind: str) -> None:
    for fact in getattr(FACTS, kind):
        assert fact.gpu in GPUS
        if kind != "instances":
            assert KNOWN.model_card(fact.model) is not None
            assert KNOWN.model(fact.model) == fact.model


def test_every_price_has_its_machine_and_its_grid() -> None:
    machines = {(machine.provider, machine.name) for machine in FACTS.instances}
    grids = {(grid.provider, grid.region) for grid in FACTS.grid}
    for price in FACTS.prices:
        assert (price.provider, price.instance_type) in machines
        assert (price.provider, price.region) in grids
    assert {(price.provider, price.instance_type) for price in FACTS.prices} == machines


def test_spot_prices_are_no_placeholders() -> None:
    on_demand = {
        (p.provider, p.instance_type, p.region): p.usd_per_hour for p in FACTS.prices if p.market == "on_demand"
    }
    spot = [price for price in FACTS.prices if price.market == "spot"]
    assert spot
    for price in spot:
        ratio = price.usd_per_hour / on_demand[price.provider, price.instance_type, price.region]
        assert ratio < 1
        assert ratio != pytest.approx(0.1, rel=1e-4)


def test_datasheet_figures_are_dense() -> None:
    """Sparse figures are twice as high: the classic slip."""
    assert GPUS["H100"].bf16_tflops == pytest.approx(989, rel=0.01)
    assert GPUS["H100"].fp8_tflops == pytest.approx(1979, rel=0.01)
    assert GPUS["L4"].bf16_tflops == pytest.approx(121, rel=0.01)
    assert GPUS["L40S"].bf16_tflops == pytest.approx(362, rel=0.01)
    assert GPUS["B200"].fp4_tflops == pytest.approx(9000, rel=0.01)
    assert GPUS["MI300X"].bf16_tflops == pytest.approx(1307, rel=0.01)
    for gpu in FACTS.gpus:
        for faster, slower in ((gpu.fp8_tflops, gpu.bf16_tflops), (gpu.fp4_tflops, gpu.fp8_tflops)):
            assert faster is None or slower is None or faster == pytest.approx(2 * slower, rel=0.02)
        assert gpu.idle_w == pytest.approx(0.17 * gpu.tdp_w, abs=1)
        assert "assumption" in gpu.source


def test_no_measurement_is_synthetic_or_impossible() -> None:
    for row in FACTS.measurements:
        assert "pcap" not in row.source
        assert row.mean_power_w is None or row.mean_power_w <= 1.05 * row.layout.num_gpus * GPUS[row.gpu].tdp_w
        assert row.layout.num_gpus <= 8 or row.gpu == "GB200"
        assert (row.tp * row.dp) % row.ep == 0


def test_every_layout_can_be_fitted() -> None:
    """Latency rows of a layout vary in length and in concurrency."""
    layouts: dict[object, list[tuple[object, object]]] = {}
    for row in FACTS.measurements:
        if row.source.startswith("InferenceX"):
            lengths = (row.input_tokens, row.output_tokens)
            layouts.setdefault(row.layout, []).append((lengths, row.concurrency))
    assert len(layouts) > 60
    for points in layouts.values():
        assert len(points) >= 3
        assert len({concurrency for _, concurrency in points}) >= 2


def test_training_steps_are_those_of_the_published_tables() -> None:
    by_model = {row.model: row for row in FACTS.training_measurements if row.dp > 1}
    # Megatron-LM (SC 2021), table 1: TFLOP/s per GPU, with the recomputed forward pass.
    for name, tflops in (("gpt-1008b", 163), ("gpt-310.1b", 155)):
        row, card = by_model[name], KNOWN.model_card(name)
        assert card is not None
        assert row.step_ms is not None
        products = 8 * card.num_parameters * row.global_batch * row.sequence_length
        assert products / (row.step_ms / 1e3) / row.num_gpus / 1e12 == pytest.approx(tflops, rel=0.04)
    faster = {
        (row.model, row.recompute): row.step_ms for row in FACTS.training_measurements if row.dp == 1
    }  # fmt: skip
    assert faster["gpt-22.1b", "full"] == 1420
    assert faster["gpt-22.1b", "selective"] == 1100


def test_collectives_never_beat_the_link() -> None:
    for row in FACTS.collectives:
        assert row.bus_bandwidth_gb_per_s < GPUS[row.gpu].interconnect_gb_per_s / 2
