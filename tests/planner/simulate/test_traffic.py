"""Traffic from files and generators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner import trace_file as rows_of_file
from planner.errors import InvalidInput
from planner.serving.spec import Bucket, Service, Workload
from planner.simulate import Chunk, Sizes, Traffic, from_arrays, generated, sizes_of_trace, trace_file, traffic_of_trace
from planner.simulate.traffic import CHUNK


def whole(traffic: Traffic) -> Chunk:
    found = trace_file._joined([*traffic.chunks()])
    assert (np.diff(found.arrival_s, prepend=0.0) >= 0).all()
    return found


def written(path: Path, times: list[float], tokens_in: list[float], tokens_out: list[float]) -> Path:
    rows = [f"{t!r},{i:g},{o:g}" for t, i, o in zip(times, tokens_in, tokens_out, strict=True)]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    random = np.random.default_rng(3)
    times = 1e9 + np.cumsum(random.exponential(0.5, 2000))
    return written(
        tmp_path / "t.csv",
        times.tolist(),
        random.integers(1, 4000, 2000).tolist(),
        random.integers(1, 900, 2000).tolist(),
    )


def test_a_trace_starts_at_zero_and_keeps_its_rows(tmp_path: Path) -> None:
    found = whole(traffic_of_trace(written(tmp_path / "t.csv", [107.0, 103.5, 104.0], [7, 3, 0], [70, 30, 0])))
    assert found.arrival_s.tolist() == [0.0, 0.5, 3.5]
    assert found.input_tokens.tolist() == [3, 1, 7]  # no tokens count as one, as in plans
    assert found.output_tokens.tolist() == [30, 1, 70]


def test_dates_as_in_the_azure_traces(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
    )
    assert whole(traffic_of_trace(path)).arrival_s[1] == pytest.approx(4.314579, abs=1e-6)


@pytest.mark.parametrize("rows", [7, 64, 100_000])
def test_rows_out_of_order_are_sorted_while_reading(file: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = file.read_text().splitlines()
    shuffled = [line for start in range(1, len(lines), 50) for line in reversed(lines[start : start + 50])]
    mixed = file.with_name("mixed.csv")
    mixed.write_text("\n".join([lines[0], *shuffled]) + "\n")
    expected = whole(traffic_of_trace(file))
    monkeypatch.setattr(rows_of_file, "ROWS_AT_ONCE", rows)
    monkeypatch.setattr(trace_file, "_KEPT_ROWS", 50)
    found = whole(traffic_of_trace(mixed))
    for name in ("arrival_s", "input_tokens", "output_tokens"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_rows_too_far_out_of_order_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *lines[500:], *lines[1:500]]) + "\n")
    monkeypatch.setattr(rows_of_file, "ROWS_AT_ONCE", 100)
    monkeypatch.setattr(trace_file, "_KEPT_ROWS", 50)
    with pytest.raises(InvalidInput, match="sort it by time"):
        whole(traffic_of_trace(file))


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("", "is empty"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "no requests"),
        ("a,b,c\n1,2,3\n", "no column for time"),
        ("time,input_tokens,output_tokens\n1,2,3\n2,-4,5\n", ":3: input tokens"),
        ("time,input_tokens,output_tokens\n1,2,3\n2,4,99999999\n", ":3: output tokens"),
        ("time,input_tokens,output_tokens\n1,2,3\nsoon,4,5\n", ":3: time"),
        ("time,input_tokens,output_tokens\n1,2,3\n2,4.5,5\n", ":3: input tokens"),
        ("time,input_tokens,output_tokens\n1,2,3\n\n \n2,4.5,5\n", ":5: input tokens"),
        ('time,note,input_tokens,output_tokens\n1,"a\nb",2,3\n\n2,c,4.5,5\n', ":5: input tokens"),
        ("time,input_tokens,output_tokens\n\n1,5,2,3\n2,4,5\n", ":3: has 3 columns by its header and 4"),
        ("\0" * 300, "is not a text file"),
    ],
)
def test_bad_rows_are_named_by_their_line(tmp_path: Path, content: str, where: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=where):
        whole(traffic_of_trace(path))


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0.05, 5.0), seed=st.integers(0, 1000))
def test_multiplied(factor: float, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """So many times the requests, each within the spread of one of the trace, in every part of the trace."""
    random = np.random.default_rng(seed)
    times = np.sort(random.uniform(0, 3000, 3000))
    path = written(tmp_path_factory.mktemp("m") / "t.csv", times.tolist(), list(range(1, 3001)), [5] * 3000)
    found = whole(traffic_of_trace(path, rate_multiplier=factor, seed=seed))
    again = whole(traffic_of_trace(path, rate_multiplier=factor, seed=seed))
    np.testing.assert_array_equal(found.arrival_s, again.arrival_s)
    copies = np.bincount(found.input_tokens, minlength=3001)[1:]
    assert set(copies) <= {int(factor), int(factor) + 1}
    assert copies.mean() == pytest.approx(factor, abs=0.04)
    delay = found.arrival_s - (times - times[0])[found.input_tokens - 1]
    assert delay.min() == pytest.approx(0.0, abs=1e-6)
    assert delay.max() <= trace_file.SPREAD_S
    if factor >= 1:
        assert (np.abs(delay) < 1e-6).sum() == 3000  # the original of each


def test_a_duration_cuts_or_repeats(file: Path) -> None:
    once = whole(traffic_of_trace(file))
    span = once.arrival_s[-1]
    cut = whole(traffic_of_trace(file, duration_s=span / 3))
    np.testing.assert_array_equal(cut.arrival_s, once.arrival_s[once.arrival_s < span / 3])
    long = whole(traffic_of_trace(file, duration_s=3.5 * span))
    period = span * 2000 / 1999
    assert len(long.arrival_s) == pytest.approx(3.5 * 2000, rel=0.02)
    np.testing.assert_allclose(long.arrival_s[4000:6000] - 2 * period, once.arrival_s, atol=1e-6)
    np.testing.assert_array_equal(long.input_tokens[4000:6000], once.input_tokens)


def test_a_trace_of_one_moment_cannot_be_repeated(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", [5.0, 5.0], [1, 2], [3, 4])
    assert whole(traffic_of_trace(path)).arrival_s.tolist() == [0.0, 0.0]
    with pytest.raises(InvalidInput, match="cannot be repeated"):
        whole(traffic_of_trace(path, duration_s=10))


def test_a_header_may_break_lines_in_quotes(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('time,"a\nnote",input_tokens,output_tokens\n1,x,2,3\n')
    assert whole(traffic_of_trace(path)).output_tokens.tolist() == [3]


def test_many_copies_come_in_pieces(file: Path) -> None:
    """However often a request is copied, no more are in memory than come within seconds."""
    chunks = traffic_of_trace(file, rate_multiplier=3000).chunks()
    most = max(len(chunk) for chunk, _ in zip(chunks, range(50), strict=False))
    assert most <= CHUNK
    with pytest.raises(InvalidInput, match="rate_multiplier: 1e\\+06"):
        traffic_of_trace(file, rate_multiplier=1e6)


@pytest.mark.parametrize("number", [0.0, -1.0, float("nan"), float("inf")])
def test_numbers_that_cannot_be_meant(file: Path, number: float) -> None:
    with pytest.raises(InvalidInput):
        traffic_of_trace(file, rate_multiplier=number)
    with pytest.raises(InvalidInput):
        traffic_of_trace(file, duration_s=number)
    sizes = Sizes("", np.array([1]), np.array([1]), np.ones(1))
    for name in ("requests_per_s", "duration_s", "cv", "on_s", "off_s"):
        with pytest.raises(InvalidInput, match=name):
            generated("gamma", sizes, **{"requests_per_s": 1.0, "duration_s": 9.0, name: number})


SIZES = Sizes("two sizes", np.array([10, 2000]), np.array([300, 4]), np.array([3.0, 1.0]))


@pytest.mark.parametrize(
    ("process", "cv", "expected_cv"), [("poisson", 2.0, 1.0), ("gamma", 3.0, 3.0), ("gamma", 0.5, 0.5)]
)
def test_renewal_arrivals(process: str, cv: float, expected_cv: float) -> None:
    found = whole(generated(process, SIZES, requests_per_s=20.0, duration_s=20_000, cv=cv, seed=1))  # type: ignore[arg-type]
    gaps = np.diff(found.arrival_s)
    assert found.arrival_s[-1] < 20_000
    assert 1 / gaps.mean() == pytest.approx(20, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(expected_cv, rel=0.03)
    assert (found.input_tokens == 10).mean() == pytest.approx(0.75, abs=0.01)
    assert ((found.input_tokens == 10) == (found.output_tokens == 300)).all()


def test_on_off_arrivals() -> None:
    """Of the interrupted Poisson process: the rate, and the share of distances that hold no pause."""
    on_s, off_s, rate = 5.0, 15.0, 10.0
    found = whole(generated("on-off", SIZES, requests_per_s=rate, duration_s=40_000, on_s=on_s, off_s=off_s, seed=2))
    gaps = np.diff(found.arrival_s)
    assert 1 / gaps.mean() == pytest.approx(rate, rel=0.03)
    fast = rate * (on_s + off_s) / on_s
    # Laplace transform of the distances: w + (1 − w) · v · transform, w = fast / (fast + 1/on + x), v = 1 / (1 + x off)
    for x in (0.01, 0.1, 1.0, 10.0):
        first = fast / (fast + 1 / on_s + x)
        pause = (1 / on_s) / (fast + 1 / on_s + x) / (1 + x * off_s)
        assert np.exp(-x * gaps).mean() == pytest.approx(first / (1 - pause), rel=0.01)


def test_generated_traffic_is_the_same_for_a_seed_and_differs_between_seeds() -> None:
    first, again, other = (
        whole(generated("poisson", SIZES, requests_per_s=9.0, duration_s=100, seed=seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.arrival_s, again.arrival_s)
    assert first.arrival_s[0] != other.arrival_s[0]


def test_sizes_of_a_service_and_of_a_trace(file: Path) -> None:
    buckets = (
        Bucket(input_tokens=(1, 99), output_tokens=(1, 50), requests_per_s=3, mean_input_tokens=41.6,
               mean_output_tokens=0.2),
        Bucket(input_tokens=(100, 200), output_tokens=(1, 50), requests_per_s=1),
    )  # fmt: skip
    sizes = Sizes.of_service(Service(name="s", model="m", workload=Workload(buckets=buckets)))
    assert (sizes.input_tokens.tolist(), sizes.output_tokens.tolist()) == ([42, 200], [1, 50])
    np.testing.assert_array_equal(sizes_of_trace(file).input_tokens, whole(traffic_of_trace(file)).input_tokens)
    idle = Service(name="s", model="m", workload=Workload(requests_per_s=0))
    with pytest.raises(InvalidInput, match="no traffic"):
        Sizes.of_service(idle)


@pytest.mark.parametrize(
    "rows",
    [
        ([1.0, 0.5], [1, 1], [1, 1]),
        ([-1.0, 0.5], [1, 1], [1, 1]),
        ([0.0, np.nan], [1, 1], [1, 1]),
        ([0.0, 1.0], [0, 1], [1, 1]),
        ([0.0, 1.0], [1, 1], [1, 1.5]),
        ([0.0, 1.0], [1, 1], [1, 10**9]),
        ([0.0, 1.0], [1, 1, 1], [1, 1]),
    ],
)
def test_arrays_that_cannot_be_meant(rows: tuple[list[float], ...]) -> None:
    with pytest.raises(InvalidInput):
        from_arrays(*rows)
