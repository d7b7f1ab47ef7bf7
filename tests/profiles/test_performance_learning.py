"""What the performance model learns from rows: limits, versions, intervals, iterations; on made-up worlds."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from profiles.performance import Iteration, Percentile, PerformanceModel, Slo
from profiles.performance.latency import crowd
from profiles.performance.lattice import DECODE_STEPS, INPUT_TOKENS, RUNNING, Lattice, monotone
from profiles.performance.limits import find_slots
from profiles.performance.rows import read_rows
from profiles.types import Layout, Measurement
from tests.profiles.test_performance import CITED, LAYOUT, MODEL, measured, model_of, row, true_times

PERCENTILES: tuple[Percentile, ...] = ("mean", "p90", "p99")
POINTS = list(product([(256, 128), (1024, 128), (1024, 512), (4096, 256)], [1, 4, 16, 64]))


def noisy(spread: float, seed: int, layout: Layout = LAYOUT) -> list[Measurement]:
    """Rows of the true world, off by a log-normal factor each."""
    random = np.random.default_rng(seed)
    rows = []
    for (i, o), n in POINTS:
        first, each = np.array(true_times(i, o, n)) / layout.tp * np.exp(spread * random.normal(size=2))
        rows.append(row(layout, i, o, n, first, each))
    return rows


def test_a_single_token_out_gives_finite_times() -> None:
    """One row of one output token, which never decodes, once gave a step of 0 and NaN."""
    model = model_of(row(LAYOUT, 33, 1, 4964, 1000, 1))
    found = model.predict(LAYOUT, [1, 33, 5000], [1, 1, 300], [1, 4964, 64])
    assert np.isfinite([found.ttft_ms, found.tpot_ms, found.e2e_ms, found.relative_error]).all()
    assert (found.tpot_ms > 0).all()


@pytest.mark.parametrize("spread", [0.03, 0.1])
def test_intervals_cover_rows_that_are_held_out(spread: float) -> None:
    inside = []
    for seed in range(6):
        rows = noisy(spread, seed)
        kept = np.random.default_rng(seed).permutation(len(rows)) % 4
        model = model_of(*(m for m, k in zip(rows, kept, strict=True) if k))
        for m in (m for m, k in zip(rows, kept, strict=True) if not k):
            assert m.input_tokens and m.output_tokens and m.concurrency and m.tpot_ms and m.ttft_ms  # noqa: PT018
            found = model.predict(LAYOUT, m.input_tokens, m.output_tokens, m.concurrency)
            for value, error, true in (
                (found.tpot_ms, found.tpot_error, m.tpot_ms),
                (found.ttft_ms, found.ttft_error, m.ttft_ms),
            ):
                inside.append(value / (1 + error) <= true <= value * (1 + error))
    assert 0.8 <= np.mean(inside) <= 1.0


def test_noisier_rows_widen_the_interval_of_their_quantity_only() -> None:
    random = np.random.default_rng(0)
    rows = [
        row(LAYOUT, i, o, n, true_times(i, o, n)[0] * np.exp(0.5 * random.normal()), true_times(i, o, n)[1])
        for (i, o), n in POINTS
    ]
    calm, wild = MODEL.predict(LAYOUT, 1024, 256, 8), model_of(*rows).predict(LAYOUT, 1024, 256, 8)
    assert wild.ttft_error > 1.5 * calm.ttft_error
    assert wild.tpot_error < 1.5 * calm.tpot_error
    assert wild.ttft_error > 3 * wild.tpot_error
    assert wild.relative_error < 0.3 * wild.ttft_error  # most of the time is decoding
    assert wild.throughput_error == wild.relative_error


def test_a_layout_known_by_its_siblings_alone_is_less_certain() -> None:
    two = LAYOUT.model_copy(update={"tp": 2})
    own, borrowed = (MODEL.predict(layout, 1024, 256, 16) for layout in (LAYOUT, two))
    assert borrowed.tpot_error > own.tpot_error
    assert borrowed.ttft_error > own.ttft_error


def test_versions_of_the_software_are_told_apart_when_asked() -> None:
    old, new = (
        [row(LAYOUT, i, o, n, *np.array(true_times(i, o, n)) * slower, engine_version=version) for (i, o), n in POINTS]
        for version, slower in (("1.0", 1.6), ("2.0", 1.0))
    )
    model = model_of(*old, *new)
    first, second, any_software, unheard_of = (
        model.predict(LAYOUT, 1024, 256, 16, software=name) for name in ("1.0", "2.0", None, "3.0")
    )
    assert first.tpot_ms / second.tpot_ms == pytest.approx(1.6, rel=0.1)
    assert second.tpot_ms < any_software.tpot_ms < first.tpot_ms
    assert unheard_of.tpot_ms == any_software.tpot_ms
    assert any_software.tpot_error > second.tpot_error


def waiting(layout: Layout, slots: float, points: list[tuple[int, int, int]]) -> list[Measurement]:
    """Rows of an engine with ``slots``, the rest waiting."""
    rows = []
    for i, o, n in points:
        first, each = true_times(i, o, min(n, slots))
        wait = max(n / slots - 1, 0) * (first + (o - 1) * each)
        rows.append(row(layout, i, o, n, first + wait, each))
    return rows


def test_slots_are_believed_only_where_different_points_agree_and_none_contradicts() -> None:
    same = waiting(LAYOUT, 24, [(1024, 256, 8), (1024, 256, 64), (256, 512, 128)])
    assert find_slots([read_rows(same)]) == pytest.approx(24, rel=0.1)
    assert find_slots([read_rows(same[:2])]) == np.inf  # one point may wait for anything
    calm = waiting(LAYOUT, 1e9, [(1024, 4096, 200)])
    assert find_slots([read_rows([*same, *calm])]) == np.inf
    other = waiting(LAYOUT, 70, [(1024, 256, 256), (256, 512, 300)])
    assert find_slots([read_rows([*same, *other])]) == np.inf


@settings(max_examples=25, deadline=None)
@given(
    arrays(np.float64, (4, 5, 6), elements=st.floats(0.1, 100)),
    arrays(np.float64, (4, 5, 6), elements=st.floats(0.1, 100)),
)
def test_a_mended_lattice_is_monotone_and_nowhere_faster(first: np.ndarray, decode: np.ndarray) -> None:
    mended = monotone(Lattice(first, decode))
    e2e = mended.first + mended.decode
    for table, axes in ((mended.first, (0, 2)), (mended.decode, (0, 2)), (e2e, (0, 1, 2))):
        for axis in axes:
            assert (np.diff(table, axis=axis) >= -1e-6 * table.max()).all()
    assert (mended.first >= first).all()
    assert (mended.decode >= decode * (1 - 1e-12)).all()


def test_between_its_nodes_a_lattice_is_linear() -> None:
    shape = len(INPUT_TOKENS), len(DECODE_STEPS), len(RUNNING)
    i, o, n = np.meshgrid(INPUT_TOKENS, DECODE_STEPS, RUNNING, indexing="ij")
    first, decode = 3 + 2 * i + 5 * n, o * (7 + 0.1 * n)
    assert first.shape == decode.shape == shape
    found = Lattice(first, decode).at(np.array([777.0]), np.array([201.0]), np.array([13.3]))
    assert np.ravel(found) == pytest.approx([3 + 2 * 777 + 5 * 13.3, 7 + 0.1 * 13.3])


def peak_ms_per_token(layout: Layout) -> float:
    """Reading a prompt token through 8e9 weights at the datasheet's 989 TFLOP/s."""
    return 2 * 8e9 / 989e12 * 1e3 / layout.num_gpus


def test_iterations_are_physical_even_where_only_power_was_measured() -> None:
    rows = [
        Measurement(
            **LAYOUT.model_dump(), task="gpqa", output_tokens=1000, concurrency=n, mean_power_w=500,
            output_tokens_per_s=1e3 * n / (10 + n / 10), **CITED,
        )
        for n in (1, 8, 32, 128)
    ]  # fmt: skip
    for model in (model_of(*rows), MODEL, model_of()):
        found = model.iteration(LAYOUT)
        assert found.prompt_ms_per_token >= peak_ms_per_token(LAYOUT)
        assert found.prompt_ms_per_token < 30 * peak_ms_per_token(LAYOUT)
        assert found.prompt_ms_per_token2 > 0
        assert found.kv_ms_per_token > 0
        assert 0 <= found.decode_ms[0] <= found.decode_ms[1]
        assert all(a <= b for a, b in pairwise(found.decode_ms))


def replayed(iteration: Iteration, tokens_in: int, tokens_out: int, clients: int) -> tuple[float, float]:
    """Mean TTFT and TPOT of a closed loop, prompts in chunks of 2048 tokens: the simplest replay there is."""
    now, done = 0.0, 0
    arrived, left, prompt_done = [0.0] * clients, [0] * clients, [0] * clients
    first_at = [0.0] * clients
    first_ms: list[float] = []
    each_ms: list[float] = []
    for k in range(clients):  # spread out, as in a loop that has run for a while
        left[k], prompt_done[k], first_at[k] = 1 + k * (tokens_out - 1) // clients, tokens_in, np.nan
    while done < 6 * clients:
        decoding = [k for k in range(clients) if prompt_done[k] >= tokens_in]
        room, chunk_ms, finished = 2048, 0.0, []
        for k in sorted((k for k in range(clients) if prompt_done[k] < tokens_in), key=lambda k: arrived[k]):
            m = min(room, tokens_in - prompt_done[k])
            chunk_ms += m * iteration.prompt_ms_per_token
            chunk_ms += m * (2 * prompt_done[k] + m) * iteration.prompt_ms_per_token2
            prompt_done[k] += m
            room -= m
            finished += [k] if prompt_done[k] >= tokens_in else []
            if room == 0:
                break
        context = sum(tokens_in + tokens_out - left[k] for k in decoding)
        now += iteration.decode_ms[len(decoding)] + iteration.kv_ms_per_token * context + chunk_ms
        for k in finished:
            first_at[k], left[k] = now, tokens_out - 1
            first_ms.append(now - arrived[k] + iteration.prompt_overhead_ms)
        for k in decoding:
            left[k] -= 1
            if left[k] == 0:
                each_ms += [] if np.isnan(first_at[k]) else [(now - first_at[k]) / (tokens_out - 1)]
                arrived[k], prompt_done[k], done = now, 0, done + 1
    return float(np.mean(first_ms)), float(np.mean(each_ms))


@pytest.mark.parametrize("point", [(1024, 128, 16), (1024, 512, 32), (4096, 256, 8), (256, 128, 4)])
def test_replayed_iterations_agree_with_predictions(point: tuple[int, int, int]) -> None:
    found = MODEL.predict(LAYOUT, *point)
    first_ms, each_ms = replayed(MODEL.iteration(LAYOUT), *point)
    assert each_ms == pytest.approx(found.tpot_ms.item(), rel=0.12)
    assert first_ms == pytest.approx(found.ttft_ms.item(), rel=0.5)


def test_a_high_percentile_waits_for_the_prompts_of_others() -> None:
    """Prompts that keep the engine busy for long make the slowest requests wait for more than one of them."""
    mean, p99 = (
        MODEL.predict(LAYOUT, 4096, 128, 8, percentile, serving=True).ttft_ms.item() for percentile in ("mean", "p99")
    )
    prompt_ms = MODEL.iteration(LAYOUT).prompt_ms(np.array([4096.0])).item()
    assert p99 > mean + prompt_ms
    rates = [
        MODEL.capacity(LAYOUT, [4096], [128], Slo(ttft_ms=400, percentile=p)).requests_per_s[0] for p in PERCENTILES
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[2] < 0.9 * rates[0]


def test_an_unmeasured_engine_is_less_certain_than_a_measured_one() -> None:
    empty: PerformanceModel = model_of()
    known, unknown = (
        empty.predict(LAYOUT.model_copy(update={"engine": engine}), 1024, 256, 8) for engine in ("vllm", "roofline")
    )
    assert unknown.tpot_error > known.tpot_error
    assert set(unknown.origin.ravel()) == {"roofline"}


def test_measured_rows_of_the_same_world_leave_little_open() -> None:
    assert MODEL.predict(LAYOUT, 1024, 256, 8).tpot_error < 0.12
    assert model_of(*measured()[:4]).predict(LAYOUT, 4000, 1000, 200).tpot_error > 0.12


def test_no_request_sizes_have_no_capacities() -> None:
    found = MODEL.capacity(LAYOUT, [], [], Slo(ttft_ms=400))
    assert len(found.requests_per_s) == len(found.binding) == 0


@pytest.mark.parametrize("percentile", ["p90", "p95", "p99"])
def test_a_tail_is_never_longer_than_the_prompts_that_are_there(percentile: Percentile) -> None:
    """Long prompts with short answers: even the slowest wait for no more than everybody else's prompts."""
    prompt_ms = MODEL.iteration(LAYOUT).prompt_ms(np.array([16384.0])).item()
    for n in (1.0, 2.0, 4.0, 8.0):
        present = crowd(np.array([n]), percentile)
        slow = MODEL.predict(LAYOUT, 16384, 256, n, percentile, serving=True)
        mean = MODEL.predict(LAYOUT, 16384, 256, present, serving=True)
        alone = MODEL.predict(LAYOUT, 16384, 256, 1, serving=True)
        assert slow.ttft_ms <= max(mean.ttft_ms, alone.ttft_ms + present * prompt_ms) * 1.05
        assert slow.tpot_ms <= 1.5 * mean.tpot_ms.item() + 1
