"""Power by phase and load, on small made-up facts whose answers are known."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.catalogue import load
from profiles.performance import PerformanceModel, Slo
from profiles.performance.power import Power
from profiles.performance.power_points import (
    MOST_POINTS,
    Points,
    decoding_load,
    new_replica,
    read_points,
    sizes_in,
)  # fmt: skip
from profiles.performance.power_process import WIDTHS, Loads, covariance, learn_power, prior_log_share, variance
from profiles.types import Facts, Layout, Measurement, ModelCard

CITED: dict[str, Any] = {"source": "made up", "as_of": dt.date(2026, 1, 1)}
GPUS = tuple(gpu for gpu in load().gpus if gpu.name in ("H100", "B200", "A100-80GB", "T4"))
H100 = next(gpu for gpu in GPUS if gpu.name == "H100")
CARD = ModelCard(
    name="org/dense-8b", num_layers=32, hidden_size=4096, num_attention_heads=32, num_kv_heads=8, head_dim=128,
    intermediate_size=14336, vocab_size=128256, num_parameters=8e9, num_active_parameters=8e9,
    max_context_tokens=131072, **CITED,
)  # fmt: skip
LAYOUT = Layout(model=CARD.name, gpu="H100", tp=1, precision="bf16", engine="vllm")


def row(
    running: float, watts: float, layout: Layout = LAYOUT, i: float = 100, o: float = 1000, **more: Any
) -> Measurement:
    """Decodes 50 tokens a second per request."""
    return Measurement(
        **layout.model_dump(), input_tokens=i, output_tokens=o, concurrency=running, mean_power_w=watts,
        output_tokens_per_s=50 * running, **{**CITED, **more},
    )  # fmt: skip


def power_of(*rows: Measurement, layout: Layout = LAYOUT, card: bool = True) -> Power:
    facts = Facts(gpus=GPUS, models=(CARD,) if card else (), measurements=rows)
    found = PerformanceModel(facts).power(layout)
    assert found is not None
    return found


CURVE = {1: 330.0, 4: 370.0, 16: 450.0, 64: 560.0, 256: 640.0}
MEASURED = power_of(*(row(n, watts) for n, watts in CURVE.items()))
FALLING = power_of(*(row(n, watts) for n, watts in [(8, 400.0), (64, 600.0), (512, 450.0), (2048, 350.0)]))
UNMEASURED = power_of()
loads = st.floats(0, 5000)
tokens = st.floats(1, 100_000)
rates = st.floats(0, 1000)


def test_measured_loads_come_back() -> None:
    for n, watts in CURVE.items():
        found = MEASURED.mean_w(*np.array([[n], [100.0], [1000.0], [0.05 * n]]))
        assert found.item() == pytest.approx(watts, rel=0.03)


def test_between_measured_loads_the_curve_is_between_them() -> None:
    assert 450 < MEASURED.decode_w(np.array(32.0), np.array(600.0)) < 560


def test_at_least_as_much_as_expected_is_reserved() -> None:
    n = np.geomspace(1, 4096, 25)
    context = np.full_like(n, 600.0)
    assert (FALLING.at(n, context) >= FALLING.decode_w(n, context)).all()
    assert FALLING.decode_w(np.array(2048.0), np.array(600.0)) < 400
    assert FALLING.at(np.array(2048.0)) > 550


@pytest.mark.parametrize("power", [MEASURED, FALLING, UNMEASURED])
@settings(max_examples=60, deadline=None)
@given(a=loads, b=loads, i=tokens, o=tokens, rate=rates, more=rates)
def test_more_requests_never_need_less(
    power: Power, a: float, b: float, i: float, o: float, rate: float, more: float
) -> None:
    few, many = np.sort([a, b])
    size = np.array([i]), np.array([o])
    less = power.reserve_w(np.array([few]), *size, np.array([rate]))
    assert less <= power.reserve_w(np.array([many]), *size, np.array([rate + more])) * (1 + 1e-12)
    assert power.at(np.array([few])) <= power.at(np.array([many])) * (1 + 1e-12)
    assert power.peak_w(np.array([few]), i) <= power.peak_w(np.array([many]), i) * (1 + 1e-12)


@pytest.mark.parametrize("power", [MEASURED, FALLING, UNMEASURED])
@settings(max_examples=60, deadline=None)
@given(n=loads, i=tokens, o=tokens, rate=rates)
def test_power_lies_between_idle_and_tdp(power: Power, n: float, i: float, o: float, rate: float) -> None:
    load = np.array([n]), np.array([i]), np.array([o]), np.array([rate])
    for watts in (power.mean_w(*load), power.reserve_w(*load), power.at(load[0]), power.decode_w(load[0])):
        assert power.idle_w * (1 - 1e-12) <= watts <= power.tdp_w * (1 + 1e-12)
    assert power.at(load[0]) <= power.peak_w(load[0], i) <= 1.02 * power.tdp_w
    assert power.prompt_w() <= power.tdp_w


def test_an_idle_replica_draws_idle_power_and_half_a_request_half_the_way() -> None:
    idle, half, one = MEASURED.decode_w(np.array([0.0, 0.5, 1.0]), np.array(600.0))
    assert idle == MEASURED.idle_w == H100.idle_w
    assert half == pytest.approx((idle + one) / 2)
    none, rarely, alone = MEASURED.peak_w(np.array([0.0, 0.01, 1.0]))
    assert none == MEASURED.idle_w
    assert rarely == alone


def test_prompts_raise_power_by_their_share_of_the_time() -> None:
    running, size = np.array([4.0, 4.0]), np.array([1000.0, 1000.0])
    busy_s = 1000 * 2 * 8e9 / (0.5 * H100.bf16_tflops * 1e12)
    none, some = MEASURED.mean_w(running, size, size / 10, np.array([0.0, 0.25 / busy_s]))
    assert some == pytest.approx(0.75 * none + 0.25 * H100.tdp_w, rel=1e-6)


def test_power_of_prompts_mixed_in_is_taken_out_of_decoding() -> None:
    plain, mixed = row(16, 500), row(16, 500, i=8000)
    replica = new_replica(LAYOUT, CARD, H100)
    (*_, decoding), (*_, less) = (decoding_load(replica, m) or () for m in (plain, mixed))
    assert less < decoding <= 500 / 700
    (*_, static) = decoding_load(replica, row(16, 500, i=8000, load="static_batch")) or ()
    assert static == pytest.approx(500 / 700)


def test_rows_that_say_nothing_of_decoding_are_left_out() -> None:
    replica = new_replica(LAYOUT, CARD, H100)
    nothing = {"mean_power_w": None, "ttft_ms": 10.0}
    assert decoding_load(replica, row(16, 500).model_copy(update=nothing)) is None
    assert decoding_load(replica, row(16, 500, o=1)) is None
    assert decoding_load(replica, row(16, 300, power_limit_w=350.0)) is None
    assert decoding_load(replica, row(16, 300, power_limit_w=700.0)) is not None
    assert decoding_load(replica, row(16, 500).model_copy(update={"output_tokens": None})) is None
    assert decoding_load(replica, row(16, 500).model_copy(update={"input_tokens": None})) is None
    assert decoding_load(replica, row(16, 500).model_copy(update={"concurrency": None})) is None


def test_single_steps_and_prompts_alone_count_for_their_phase() -> None:
    """What ``gpuplan profiles measure decoder`` writes: decode steps at a context, and prompts of one output token."""
    step = row(16, 500, i=2000, load="static_batch").model_copy(update={"output_tokens": None})
    assert decoding_load(new_replica(LAYOUT, CARD, H100), step) == pytest.approx((16, 2000, 500 / 700))
    prompts = [row(1, 300, i=64, o=1, load="static_batch"), row(8, 640, i=4096, o=1, load="static_batch")]
    power = power_of(step, *prompts)
    assert power.prompt_w() == pytest.approx(640)
    assert power.decode_w(np.array(16.0), np.array(2000.0)) == pytest.approx(500, rel=0.03)
    other = power_of(*prompts, layout=LAYOUT.model_copy(update={"gpu": "B200"}))
    assert other.prompt_w() == other.tdp_w


def test_a_layout_borrows_from_its_siblings_and_a_model_from_others() -> None:
    hot = {n: min(1.3 * watts, 690) for n, watts in CURVE.items()}
    rows = [row(n, watts) for n, watts in hot.items()]
    two = LAYOUT.model_copy(update={"tp": 2})
    sibling, alone = power_of(*rows, layout=two), power_of(layout=two)
    at = np.array(32.0)
    assert sibling.decode_w(at) > 1.1 * alone.decode_w(at)
    other = LAYOUT.model_copy(update={"model": "org/other-9B"})
    assert power_of(*rows, layout=other).decode_w(at) > 1.1 * power_of(layout=other).decode_w(at)
    assert sibling.origin == "extrapolated"
    assert alone.origin == power_of(*rows, layout=other).origin == "roofline"
    assert MEASURED.error < sibling.error < alone.error


def test_origins() -> None:
    running, i, o = np.array([[16.0, 30.0, 600.0, 16.0], [100] * 4, [1000, 1000, 1000, 9000]])
    error = MEASURED.error_at(running, i, o)
    assert MEASURED.origin_at(running, i, o).tolist() == ["measured", "interpolated", "extrapolated", "extrapolated"]
    assert error[0] < error[2]
    assert error[0] < error[3]
    assert MEASURED.origin == "measured"


def test_one_wrong_row_among_many_does_little_harm() -> None:
    good = [row(n, CURVE[16] * (n / 16) ** 0.12) for n in (2, 4, 8, 16, 24, 32, 48, 64, 96, 128)]
    wrong = row(20, 130)
    at = np.array(20.0)
    assert power_of(*good, wrong).decode_w(at) > 0.93 * power_of(*good).decode_w(at)


def test_repeats_count_once_and_very_many_rows_are_thinned() -> None:
    replica = new_replica(LAYOUT, CARD, H100)
    points, _ = read_points([(replica, [row(16, 500), row(16, 520), row(16.01, 100)])])
    assert len(points) == 1
    assert np.exp(points.log_share) * 700 == pytest.approx(500, rel=0.01)
    many, _ = read_points([(replica, [row(n, 500, o=o) for n in range(1, 90) for o in np.geomspace(2, 1e5, 90)])])
    assert MOST_POINTS / 2 < len(many) <= MOST_POINTS


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("Qwen/Qwen3-30B-A3B-Thinking-2507", (30e9, 3e9)),
        ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", (9e9, 9e9)),
        ("org/model-1.5b", (1.5e9, 1.5e9)),
        ("org/mystery", (30e9, 30e9)),
        ("A3B", (30e9, 30e9)),
    ],
)
def test_a_model_without_a_card_is_as_large_as_its_name_says(name: str, sizes: tuple[float, float]) -> None:
    assert sizes_in(name) == sizes


def test_unknown_gpus_have_no_power_and_predict_nan() -> None:
    nowhere = LAYOUT.model_copy(update={"gpu": "H900"})
    model = PerformanceModel(Facts(gpus=GPUS, models=(CARD,), measurements=(row(8, 400, nowhere, tpot_ms=20.0),)))
    assert model.power(nowhere) is None
    found = model.predict(nowhere, 100, 100, [1, 8])
    assert np.isnan(found.power_w).all()
    assert np.isnan(found.power_error).all()
    assert np.isfinite(found.tpot_ms).all()
    assert np.isnan(model.iteration(nowhere).decode_w).all()


def test_what_is_predicted_counted_and_replayed_agrees() -> None:
    rows = [row(n, watts, ttft_ms=50.0, tpot_ms=20.0) for n, watts in CURVE.items()]
    model = PerformanceModel(Facts(gpus=GPUS, models=(CARD,), measurements=tuple(rows)))
    capacity = model.capacity(LAYOUT, [100, 4000], [1000, 200], Slo(tpot_ms=100))
    for share in (1.0, 0.5, 0.1):
        found = model.predict(LAYOUT, [100, 4000], [1000, 200], share * capacity.concurrency, serving=True)
        assert (found.power_w <= capacity.power_w * (1 + 1e-9)).all()
    iteration = model.iteration(LAYOUT)
    power = model.power(LAYOUT)
    assert power is not None
    assert (np.diff(iteration.decode_w) >= -1e-9).all()
    assert iteration.idle_w == iteration.decode_w[0] == power.idle_w
    assert iteration.prompt_w == power.prompt_w()


def points(*at: tuple[float, float, int]) -> Points:
    """(running, log share, layout) of one replica shape."""
    replica = new_replica(LAYOUT, CARD, H100)
    running, shares, layouts = (np.array(column) for column in zip(*at, strict=True))
    features = replica.features(running.astype(float), np.full(len(at), 600.0))
    return Points(features, np.zeros(len(at), dtype=np.int64), layouts.astype(np.int64), shares.astype(float))


def test_the_process_is_the_textbook_posterior() -> None:
    known = points((1, -0.7, 0), (8, -0.5, 0), (64, -0.3, 1))
    asked = points((4, 0, 0), (200, 0, 1))
    seen, new = (Loads(p.features, p.place, p.layout) for p in (known, asked))
    process = learn_power(known)
    noisy = covariance(seen, seen, WIDTHS) + WIDTHS.noise**2 * np.eye(3)
    cross = covariance(new, seen, WIDTHS)
    expected = prior_log_share(asked.features) + cross @ np.linalg.solve(
        noisy, known.log_share - prior_log_share(known.features)
    )
    left = np.diag(covariance(new, new, WIDTHS) - cross @ np.linalg.solve(noisy, cross.T)) + WIDTHS.noise**2
    assert process.at(new) == pytest.approx(expected)
    assert process.spread(new) == pytest.approx(np.sqrt(left))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 4096), st.floats(-1.5, 0), st.integers(0, 3)), min_size=1, max_size=12))
def test_covariances_are_valid_whatever_was_measured(at: list[tuple[float, float, int]]) -> None:
    some = points(*at)
    where = Loads(some.features, some.place, some.layout)
    matrix = covariance(where, where, WIDTHS)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9
    assert np.diag(matrix) == pytest.approx(variance(where, WIDTHS))
    process = learn_power(some)
    assert np.isfinite(process.at(where)).all()
    assert (process.spread(where) >= WIDTHS.noise).all()
