"""The performance model on small, made-up facts whose answers are known."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.errors import InvalidInput
from profiles.performance import PerformanceModel, Slo
from profiles.types import Facts, GpuType, Layout, Measurement, ModelCard

CITED: dict[str, Any] = {"source": "made up", "as_of": dt.date(2026, 1, 1)}
GPU = GpuType(
    name="H100", vendor="NVIDIA", architecture="Hopper", memory_gib=80, memory_bandwidth_gb_per_s=3350,
    bf16_tflops=989, fp8_tflops=1979, tdp_w=700, idle_w=100, interconnect="NVLink 4", interconnect_gb_per_s=900,
    **CITED,
)  # fmt: skip
OLD_GPU = GPU.model_copy(update={"name": "V100", "architecture": "Volta", "fp8_tflops": None, "memory_gib": 16.0})
CARD = ModelCard(
    name="org/dense-8b", aliases=("dense",), num_layers=32, hidden_size=4096, num_attention_heads=32, num_kv_heads=8,
    head_dim=128, intermediate_size=14336, vocab_size=128256, num_parameters=8e9, num_active_parameters=8e9,
    max_context_tokens=16384, **CITED,
)  # fmt: skip
LAYOUT = Layout(model=CARD.name, gpu="H100", tp=1, precision="bf16", engine="vllm")
LENGTHS = [(256, 128), (1024, 128), (1024, 512), (4096, 256)]
CONCURRENCIES = [1, 4, 16, 64]


def true_times(tokens_in: float, tokens_out: float, n: float) -> tuple[float, float]:
    """A world that the model's form can express: TTFT and TPOT in ms."""
    first = 20 + 0.02 * tokens_in + 0.0005 * n * tokens_in
    step, prompt = 6.0 + 0.03 * n + 2e-5 * n * (tokens_in + tokens_out / 2), 0.02 * tokens_in
    each = step
    for _ in range(50):
        each = step + prompt * n / (tokens_out - 1 + first / each)
    return first, each


def measured(layout: Layout = LAYOUT, points: Iterable[tuple[int, int, int]] | None = None) -> list[Measurement]:
    """Rows of the true world, TP dividing every time."""
    if points is None:
        points = [(i, o, n) for (i, o), n in product(LENGTHS, CONCURRENCIES)]
    rows = []
    for i, o, n in points:
        first, each = (time / layout.tp for time in true_times(i, o, n))
        rows.append(row(layout, i, o, n, first, each))
    return rows


def row(layout: Layout, i: float, o: float, n: float, ttft_ms: float, tpot_ms: float, **more: Any) -> Measurement:
    return Measurement(
        **layout.model_dump(), input_tokens=i, output_tokens=o, concurrency=n, ttft_ms=ttft_ms, tpot_ms=tpot_ms,
        **{**CITED, **more},
    )  # fmt: skip


def model_of(*rows: Measurement, card: bool = True) -> PerformanceModel:
    return PerformanceModel(Facts(gpus=(GPU, OLD_GPU), models=(CARD,) if card else (), measurements=rows))


MODEL = model_of(*measured())
lengths = st.floats(1, 12000)
outputs = st.floats(1, 4000)
crowds = st.floats(1, 400)
percentiles = st.sampled_from(["mean", "p50", "p90", "p95", "p99"])
limits = st.one_of(st.none(), st.floats(1, 1e5))
slos = st.builds(Slo, ttft_ms=limits, tpot_ms=limits, e2e_ms=limits, percentile=percentiles)


def test_recovers_the_world_it_measured_and_what_lies_between() -> None:
    for i, o, n in [(256, 128, 4), (1024, 512, 64), (600, 200, 10), (2048, 256, 32)]:
        ttft_ms, tpot_ms = true_times(i, o, n)
        found = MODEL.predict(LAYOUT, i, o, n)
        assert found.tpot_ms == pytest.approx(tpot_ms, rel=0.03)
        assert found.ttft_ms == pytest.approx(ttft_ms, rel=0.12)
        assert found.requests_per_s == pytest.approx(1e3 * n / found.e2e_ms)
        assert found.output_tokens_per_s == pytest.approx(o * found.requests_per_s)


def test_works_without_a_card_or_a_datasheet() -> None:
    found = model_of(*measured(), card=False).predict(LAYOUT, 1024, 512, 16)
    assert found.tpot_ms == pytest.approx(true_times(1024, 512, 16)[1], rel=0.05)
    stranger = LAYOUT.model_copy(update={"gpu": "Unheard-of"})
    found = model_of(*measured(stranger), card=False).predict(stranger, 1024, 512, 16)
    assert found.tpot_ms == pytest.approx(true_times(1024, 512, 16)[1], rel=0.05)
    assert np.isnan(found.power_w)


def test_a_sibling_layout_is_predicted_from_the_family() -> None:
    two = LAYOUT.model_copy(update={"tp": 2})
    four = LAYOUT.model_copy(update={"tp": 4})
    found = model_of(*measured(), *measured(four)).predict(two, 1024, 512, 16)
    assert found.tpot_ms == pytest.approx(true_times(1024, 512, 16)[1] / 2, rel=0.25)
    assert found.origin == "extrapolated"


def test_origin_says_how_a_point_relates_to_the_measured_ones() -> None:
    origin = MODEL.predict(
        LAYOUT, [1024, 1050, 1024, 900, 8000], [512, 500, 512, 300, 512], [16, 15, 24, 10, 16]
    ).origin
    assert list(origin) == ["measured", "measured", "interpolated", "interpolated", "extrapolated"]


def test_errors_grow_beyond_the_measured_box() -> None:
    errors = MODEL.predict(LAYOUT, [1024, 8192, 16000], 256, 16).relative_error
    assert all(a < b for a, b in pairwise(errors))


def test_no_measurements_and_nothing_known() -> None:
    empty = PerformanceModel(Facts())
    assert empty.layouts("anything") == ()
    assert empty.layouts("anything", allow_roofline=True) == ()
    assert empty.memory(LAYOUT) is None
    with pytest.raises(InvalidInput, match="nothing is known"):
        empty.predict(LAYOUT, 100, 100, 1)


def test_layouts_need_points_match_filters_and_answer_to_aliases() -> None:
    two = LAYOUT.model_copy(update={"tp": 2})
    lonely = LAYOUT.model_copy(update={"tp": 4})
    model = model_of(*measured(two), *measured(), *measured(lonely, [(256, 128, 1)]))
    assert model.layouts("dense") == (LAYOUT, two)
    assert model.layouts(CARD.name, tp=[2]) == (two,)
    assert model.layouts(CARD.name, gpus=["h100"], engines=["vllm"], precisions=["bf16"]) == (LAYOUT, two)
    assert model.layouts(CARD.name, gpus=["V100"]) == ()
    assert model.layouts(CARD.name, precisions=["fp8"]) == ()


def test_rooflines_only_for_unmeasured_gpus_where_the_model_fits() -> None:
    offered = model_of(*measured()).layouts(CARD.name, allow_roofline=True)
    rooflines = [layout for layout in offered if layout.engine == "roofline"]
    assert {layout.gpu for layout in rooflines} == {"V100"}
    assert {layout.precision for layout in rooflines} == {"fp16"}
    assert {layout.tp for layout in rooflines} == {2, 4, 8}  # 16 GB of weights do not fit 16 GiB
    found = model_of().predict(rooflines[0], 512, 128, 8)
    assert found.origin == "roofline"
    assert found.relative_error > 0.3
    assert 5 < found.tpot_ms < 60


def test_more_gpus_and_narrower_weights_make_a_roofline_faster() -> None:
    layouts = [Layout(model=CARD.name, gpu="H100", tp=tp, precision="bf16", engine="roofline") for tp in (1, 2, 4)]
    times = [model_of().predict(layout, 1024, 256, 32).tpot_ms.item() for layout in layouts]
    assert times == sorted(times, reverse=True)
    fp8 = layouts[0].model_copy(update={"precision": "fp8"})
    assert model_of().predict(fp8, 1024, 256, 32).tpot_ms < times[0]


def test_a_layout_that_does_not_fit_is_not_offered() -> None:
    small = LAYOUT.model_copy(update={"gpu": "V100", "precision": "fp16"})
    assert model_of(*measured(small)).layouts(CARD.name) == ()
    memory = model_of().memory(small)
    assert memory is not None
    assert memory.max_tokens == 0


def test_memory_adds_up() -> None:
    memory = MODEL.memory(LAYOUT)
    assert memory is not None
    assert memory.weights_gib == pytest.approx(8e9 * 2 / 2**30)
    assert memory.kv_bytes_per_token == 2 * 32 * 8 * 128 * 2
    assert memory.max_tokens == pytest.approx(memory.kv_gib * 2**30 / memory.kv_bytes_per_token)
    assert memory.weights_gib + memory.kv_gib < GPU.memory_gib


def test_unknown_precision_means_bf16_unless_it_cannot_fit() -> None:
    unknown = LAYOUT.model_copy(update={"precision": "unknown"})
    believed, measured_there = MODEL.memory(unknown), MODEL.memory(LAYOUT)
    assert believed is not None
    assert measured_there is not None
    assert believed.kv_gib == measured_there.kv_gib
    assert believed.max_tokens == pytest.approx(measured_there.max_tokens, rel=1e-3)
    big = CARD.model_copy(update={"num_parameters": 60e9, "num_active_parameters": 60e9, "native_precision": "fp8"})
    memory = PerformanceModel(Facts(gpus=(GPU,), models=(big,))).memory(unknown)
    assert memory is not None
    assert memory.weights_gib == pytest.approx(60e9 / 2**30)


def test_queueing_is_learned_from_rows_that_waited() -> None:
    """24 slots: the rest waits, by Little's law."""
    slots = 24
    rows = []
    for (i, o), n in product(LENGTHS, [4, 16, 64, 128]):
        ttft_ms, tpot_ms = true_times(i, o, min(n, slots))
        service = ttft_ms + (o - 1) * tpot_ms
        rows.append(row(LAYOUT, i, o, n, ttft_ms + max(n / slots - 1, 0) * service, tpot_ms))
    model = model_of(*rows)
    crowded, roomy = model.predict(LAYOUT, 1024, 256, [100, 20]).ttft_ms
    first, each = true_times(1024, 256, slots)
    assert crowded == pytest.approx(first + (100 / slots - 1) * (first + 255 * each), rel=0.2)
    assert roomy < 3 * true_times(1024, 256, 20)[0]
    assert model.capacity(LAYOUT, [1024], [256], Slo()).concurrency == pytest.approx(slots, rel=0.1)


def test_single_row_and_contradictory_rows() -> None:
    once = model_of(row(LAYOUT, 1024, 256, 8, 50, 10))
    assert once.predict(LAYOUT, 1024, 256, 8).tpot_ms == pytest.approx(10, rel=0.35)
    torn = model_of(*(row(LAYOUT, 1024, 256, 8, ttft, tpot) for ttft, tpot in [(50, 10), (500, 40), (60, 11)]))
    found = torn.predict(LAYOUT, 1024, 256, 8)
    assert 8 < found.tpot_ms < 25
    assert found.relative_error > 0.2


def test_static_batches_are_reproduced_and_planned_as_continuous_traffic() -> None:
    points = list(product([128, 512, 2048], [128, 512], [1, 4, 16]))
    rows = [
        row(LAYOUT, i, o, n, 15 + 0.03 * i * n, 10 + 0.1 * n + 1e-5 * n * i, load="static_batch") for i, o, n in points
    ]
    model = model_of(*rows)
    assert model.predict(LAYOUT, 512, 128, 16).ttft_ms == pytest.approx(15 + 0.03 * 512 * 16, rel=0.15)
    assert model.predict(LAYOUT, 512, 128, 16).tpot_ms == pytest.approx(11.7, rel=0.1)
    capacity = model.capacity(LAYOUT, [512], [128], Slo(tpot_ms=30))
    assert 0 < capacity.requests_per_s[0] < 1e3 / (0.03 * 512)


def test_power_rows_without_lengths_or_latencies() -> None:
    rows = [
        Measurement(
            **LAYOUT.model_dump(), task="gpqa", output_tokens=1000, concurrency=n, mean_power_w=watts,
            output_tokens_per_s=1e3 * n / (10 + n / 10), **CITED,
        )
        for n, watts in [(1, 350), (8, 420), (32, 560), (128, 640), (512, 650)]
    ]  # fmt: skip
    model = model_of(*rows)
    found = model.predict(LAYOUT, 300, 1000, [1, 8, 32, 128])
    assert found.power_w == pytest.approx([350, 420, 560, 640], rel=0.1)
    assert found.tpot_ms == pytest.approx([10.1, 10.8, 13.2, 22.8], rel=0.1)
    assert set(found.origin) == {"extrapolated"}
    assert model.layouts(CARD.name) == (LAYOUT,)


def test_power_lies_between_idle_and_tdp_without_measurements() -> None:
    watts = MODEL.predict(LAYOUT, 1024, 256, [1, 16, 256]).power_w
    assert all(GPU.idle_w < a <= b < GPU.tdp_w for a, b in pairwise(watts))


def test_what_binds() -> None:
    binding = {
        slo: MODEL.capacity(LAYOUT, [1024], [256], slo).binding[0]
        for slo in (Slo(ttft_ms=60), Slo(tpot_ms=15), Slo(e2e_ms=4000), Slo())
    }
    assert list(binding.values()) == ["ttft", "tpot", "e2e", "throughput"]
    impossible = MODEL.capacity(LAYOUT, [1024], [256], Slo(tpot_ms=1))
    assert impossible.requests_per_s[0] == 0
    assert impossible.binding[0] == "tpot"
    assert impossible.best_tpot_ms[0] > 1
    assert MODEL.capacity(LAYOUT, [16000], [1000], Slo()).binding[0] == "context"
    assert MODEL.capacity(LAYOUT, [1000], [1000], Slo(), max_context_tokens=1500).requests_per_s[0] == 0
    tight = model_of(*measured(points=[(1024, 256, n) for n in (1, 2, 4, 4000)]))
    assert tight.capacity(LAYOUT, [8000], [1000], Slo()).binding[0] == "memory"


def test_a_capacity_meets_its_slo_when_predicted_back() -> None:
    slo = Slo(ttft_ms=200, tpot_ms=25, percentile="p90")
    capacity = MODEL.capacity(LAYOUT, [256, 1024, 4096], [128, 512, 256], slo)
    back = MODEL.predict(LAYOUT, [256, 1024, 4096], [128, 512, 256], capacity.concurrency, "p90", serving=True)
    assert (back.ttft_ms <= 200 * 1.001).all()
    assert (back.tpot_ms <= 25 * 1.001).all()
    assert back.requests_per_s == pytest.approx(capacity.requests_per_s)


def test_a_capacity_that_is_asked_again_is_the_same_and_cannot_be_changed() -> None:
    first = MODEL.capacity(LAYOUT, [256, 1024], 128, Slo(tpot_ms=50))
    assert MODEL.capacity(LAYOUT, np.array([256.0, 1024.0]), [128, 128], Slo(tpot_ms=50)) is first
    assert MODEL.capacity(LAYOUT, [256, 1024], 128, Slo(tpot_ms=20)) is not first
    with pytest.raises(ValueError, match="read-only"):
        first.requests_per_s[0] = 1.0


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf")])
def test_refuses_impossible_questions(bad: float) -> None:
    with pytest.raises(InvalidInput, match="positive"):
        MODEL.predict(LAYOUT, bad, 100, 1)
    with pytest.raises(InvalidInput, match="positive"):
        MODEL.capacity(LAYOUT, [100.0], [bad], Slo())


def test_huge_inputs_stay_finite_and_shapes_are_kept() -> None:
    found = MODEL.predict(LAYOUT, 1e7, 1e7, 1e6)
    assert np.isfinite([found.ttft_ms, found.tpot_ms, found.e2e_ms, found.relative_error]).all()
    assert MODEL.predict(LAYOUT, np.ones((3, 4)), 10, 1).origin.shape == (3, 4)


@given(lengths, outputs, crowds, st.floats(1, 3), st.integers(0, 2), percentiles)
def test_longer_and_more_requests_are_never_faster(
    i: float, o: float, n: float, factor: float, axis: int, percentile: Any
) -> None:
    more = [i, o, n]
    more[axis] *= factor
    base, longer = (
        MODEL.predict(LAYOUT, point[0], point[1], point[2], percentile, serving=True) for point in ([i, o, n], more)
    )
    assert longer.e2e_ms >= base.e2e_ms * (1 - 1e-9)
    if axis != 1:
        assert longer.ttft_ms >= base.ttft_ms * (1 - 1e-9)
    assert all(np.isfinite(x).all() and (x > 0).all() for x in (base.ttft_ms, base.tpot_ms, base.power_w))


@given(lengths, outputs, crowds)
def test_percentiles_are_in_order(i: float, o: float, n: float) -> None:
    times = [MODEL.predict(LAYOUT, i, o, n, p).e2e_ms.item() for p in ("mean", "p50", "p90", "p95", "p99")]
    assert times == sorted(times)


@settings(max_examples=60)
@given(lengths, outputs, slos, st.floats(1, 4), st.integers(0, 2))
def test_a_looser_slo_never_lowers_the_rate(i: float, o: float, slo: Slo, factor: float, which: int) -> None:
    name = ("ttft_ms", "tpot_ms", "e2e_ms")[which]
    limit = getattr(slo, name)
    looser = Slo(**{**slo.__dict__, name: None if limit is None else limit * factor})
    tight, loose = (MODEL.capacity(LAYOUT, [i], [o], s).requests_per_s[0] for s in (slo, looser))
    assert loose >= tight * (1 - 1e-6)
    assert np.isfinite(tight)
    assert tight >= 0


@settings(max_examples=60)
@given(lengths, outputs, slos, st.floats(1, 4), st.booleans())
def test_longer_requests_never_have_a_higher_capacity(i: float, o: float, slo: Slo, factor: float, out: bool) -> None:
    longer = (i, o * factor) if out else (i * factor, o)
    capacity = MODEL.capacity(LAYOUT, [i, longer[0]], [o, longer[1]], slo)
    assert capacity.requests_per_s[1] <= capacity.requests_per_s[0] * (1 + 1e-5)


rows_of_any_kind = st.lists(
    st.builds(
        row, st.just(LAYOUT), st.floats(1, 1e6), st.floats(1, 1e6), st.floats(0.1, 1e6), st.floats(1e-3, 8e7),
        st.floats(1e-3, 8e7), load=st.sampled_from(["closed_loop", "static_batch"]),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(rows_of_any_kind, lengths, outputs, crowds, slos)
def test_any_rows_give_finite_answers(rows: list[Measurement], i: float, o: float, n: float, slo: Slo) -> None:
    model = model_of(*rows)
    found = model.predict(LAYOUT, i, o, n)
    assert np.isfinite([found.ttft_ms, found.tpot_ms, found.e2e_ms, found.relative_error, found.power_w]).all()
    capacity = model.capacity(LAYOUT, [i], [o], slo)
    assert np.isfinite(capacity.requests_per_s).all()
    assert (capacity.requests_per_s >= 0).all()


def test_a_capacity_from_static_batches_is_what_serving_predicts() -> None:
    points = product([128, 2048], [128, 512], [1, 4, 16])
    model = model_of(
        *(row(LAYOUT, i, o, n, 15 + 0.03 * i * n, 10 + 0.1 * n, load="static_batch") for i, o, n in points)
    )
    capacity = model.capacity(LAYOUT, [512], [128], Slo(tpot_ms=30))
    served = model.predict(LAYOUT, [512], [128], capacity.concurrency, serving=True)
    assert served.tpot_ms == pytest.approx(capacity.tpot_ms)
    assert served.requests_per_s == pytest.approx(capacity.requests_per_s)
    assert served.tpot_ms > model.predict(LAYOUT, [512], [128], capacity.concurrency).tpot_ms


def test_memory_that_rows_prove_is_believed() -> None:
    expected = MODEL.memory(LAYOUT)
    assert expected is not None
    n = 1.3 * expected.max_tokens / (1024 + 128)
    proven = model_of(*measured(), row(LAYOUT, 1024, 256, n, 2000, 200)).memory(LAYOUT)
    assert proven is not None
    assert proven.max_tokens == pytest.approx(1.3 * expected.max_tokens)
    assert proven.kv_gib == expected.kv_gib
