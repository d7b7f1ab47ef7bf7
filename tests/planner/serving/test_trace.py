"""Reading request traces: every common way of writing one gives the same traffic, and every mistake is named."""

from __future__ import annotations

import datetime as dt
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from planner import trace_file as trace
from planner.errors import InvalidInput
from planner.serving.spec import Workload
from planner.serving.trace import read_trace

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
ROWS = [(2 * i, 100 + i % 50, 20 + i % 30) for i in range(600)]
START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
AZURE = Path(__file__).parents[4] / "shared/data/traces/azure_llm_2023_conv.csv"


@pytest.fixture
def csv(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "trace.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def lines(row: Callable[[int, int, int], str], header: str = HEADER) -> str:
    return header + "".join(row(*each) + "\n" for each in ROWS)


def moment(seconds: int, offset_hours: int = 0) -> dt.datetime:
    return (START + dt.timedelta(seconds=seconds)).astimezone(dt.timezone(dt.timedelta(hours=offset_hours)))


SAME_TRAFFIC = {
    "seconds": lines(lambda t, i, o: f"{t},{i},{o}"),
    "epoch seconds": lines(lambda t, i, o: f"{1709251200 + t},{i},{o}"),
    "epoch milliseconds": lines(lambda t, i, o: f"{(1709251200 + t) * 1000},{i},{o}"),
    "epoch microseconds": lines(lambda t, i, o: f"{(1709251200 + t) * 10**6},{i},{o}"),
    "epoch nanoseconds": lines(lambda t, i, o: f"{(1709251200 + t) * 10**9},{i},{o}"),
    "dates": lines(lambda t, i, o: f"{moment(t):%Y-%m-%d %H:%M:%S.%f},{i},{o}"),
    "dates with Z": lines(lambda t, i, o: f"{moment(t):%Y-%m-%dT%H:%M:%SZ},{i},{o}"),
    "dates with offsets": lines(lambda t, i, o: f"{moment(t, offset_hours=t % 9).isoformat()},{i},{o}"),
    "windows line ends": lines(lambda t, i, o: f"{t},{i},{o}").replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + lines(lambda t, i, o: f"{t},{i},{o}"),
    "quotes": lines(lambda t, i, o: f'"{t}","{i}","{o}"', '"TIMESTAMP","ContextTokens","GeneratedTokens"\n'),
    "spaces": lines(lambda t, i, o: f"{t} , {i} , {o}", "TIMESTAMP , ContextTokens , GeneratedTokens\n"),
    "other names and columns": lines(
        lambda t, i, o: f'"x, y",{o},{t},,{i}', '"model, size",completion_tokens,arrived_at,user,prompt_tokens\n'
    ),
    "unsorted": HEADER + "".join(f"{t},{i},{o}\n" for t, i, o in (*ROWS[::-3], *ROWS[1::3], *ROWS[::3])),
    "whole numbers with a point": lines(lambda t, i, o: f"{t}.0,{i}.0,{o}.0"),
}


@pytest.mark.parametrize("content", SAME_TRAFFIC.values(), ids=SAME_TRAFFIC)
def test_every_way_to_write_a_trace_gives_the_same_traffic(csv: Callable[[str], Path], content: str) -> None:
    workload = read_trace(csv(content))
    plain = read_trace(csv(SAME_TRAFFIC["seconds"]))
    assert [(b.label, *b.size) for b in workload.buckets] == [(b.label, *b.size) for b in plain.buckets]
    assert [b.requests_per_s for b in workload.buckets] == pytest.approx([b.requests_per_s for b in plain.buckets])
    assert rate(workload) == pytest.approx(600 / 1198)


def rate(workload: Workload) -> float:
    return sum(bucket.requests_per_s for bucket in workload.buckets)


MISTAKES = {
    "": ("trace.csv", "is empty", "header"),
    HEADER: ("trace.csv", "a header but no requests", "at least two rows"),
    HEADER.strip(): ("trace.csv", "a header but no requests", "at least two rows"),
    HEADER + "5,50,50\n": ("trace.csv", "says nothing of a rate", "at least two requests"),
    HEADER + "5,50,50\n" * 9: ("trace.csv", "says nothing of a rate", "at least two requests"),
    "when,input_tokens,output_tokens\n": ("trace.csv:1", "no column for time", "'timestamp'"),
    "time,input_tokens\n0,1\n": ("trace.csv:1", "no column for output", "'output_tokens'"),
    "0,100,20\n1,100,20\n": ("trace.csv:1", "no column for time (0, 100, 20)", "'timestamp'"),
    HEADER.replace(",", ";"): ("trace.csv:1", "no column for time", "with commas"),
    HEADER.replace(",", "\t"): ("trace.csv:1", "no column for time", "with commas"),
    HEADER + "0,5,5\n1,-5,5\n": ("trace.csv:3: input tokens", "'-5'", "whole numbers"),
    HEADER + "0,5,5\n1,5,5.5\n": ("trace.csv:3: output tokens", "'5.5'", "whole numbers"),
    HEADER + "0,5,5\n1,,5\n": ("trace.csv:3: input tokens", "empty cell", "whole numbers"),
    HEADER + "0,5,5\n1,5\n": ("trace.csv:3: output tokens", "empty cell", "whole numbers"),
    HEADER + "0,5,5\n1,abc,5\n": ("trace.csv:3: input tokens", "'abc'", "whole numbers"),
    HEADER + "0,5,5\n1,99999999999,5\n": ("trace.csv:3: input tokens", "between 0 and 10,000,000", "whole numbers"),
    HEADER + "0,5,5\nyesterday,5,5\n": ("trace.csv:3: time", "'yesterday'", "numbers of seconds"),
    HEADER + "2024-01-01,5,5\nyesterday,5,5\n": ("trace.csv:3: time", "'yesterday'", "dates like"),
    HEADER + "0,5,5\n2024-01-01,5,5\n": ("trace.csv:3: time", "'2024-01-01'", "numbers of seconds"),
    HEADER + "0,5,5\ninf,5,5\n": ("trace.csv:3: time", "'inf'", "numbers of seconds"),
    HEADER + "0,5,5\n1e300,5,5\n": ("trace.csv:3: time", "'1e+300'", "numbers of seconds"),
    HEADER + "0,5,5\n,5,5\n": ("trace.csv:3: time", "empty cell", "numbers of seconds"),
    b"\x89PNG\r\n\x1a\n\x00\xff\xfe": ("trace.csv", "is not a text file", "UTF-8"),
    HEADER.encode("utf-16"): ("trace.csv", "is not a text file", "UTF-8"),
}


@pytest.mark.parametrize(("content", "said"), MISTAKES.items(), ids=[repr(c)[-40:] for c in MISTAKES])
def test_mistakes_name_line_column_and_fix(
    csv: Callable[[str | bytes], Path], content: str | bytes, said: tuple[str, str, str]
) -> None:
    with pytest.raises(InvalidInput) as error:
        read_trace(csv(content))
    field, detail, fix = said
    assert str(error.value.field).endswith(field)
    assert detail in error.value.detail
    assert fix in str(error.value.fix)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read") as error:
        read_trace(tmp_path / "nope.csv")
    assert error.value.field == str(tmp_path / "nope.csv")


def test_a_bad_row_far_down_is_named_by_its_line(csv: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "ROWS_AT_ONCE", 100)
    with pytest.raises(InvalidInput) as error:
        read_trace(csv(SAME_TRAFFIC["seconds"] + "1200,x,5\n"))
    assert str(error.value.field).endswith(":602: input tokens")


def test_reading_in_pieces_changes_nothing(csv: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = csv(SAME_TRAFFIC["unsorted"])
    whole = read_trace(path)
    monkeypatch.setattr(trace, "ROWS_AT_ONCE", 37)
    assert read_trace(path) == whole


def test_an_empty_prompt_or_answer_costs_one_token(csv: Callable[[str], Path]) -> None:
    (bucket,) = read_trace(csv(HEADER + "0,0,0\n10,0,0\n")).buckets
    assert (bucket.mean_input_tokens, bucket.mean_output_tokens) == (1, 1)


def test_the_busiest_window_is_planned_for_unless_the_mean_is_asked_for(csv: Callable[[str], Path]) -> None:
    busy = "".join(f"{600 + i},100,100\n" for i in range(300))
    path = csv(HEADER + "0,100,100\n" + busy + "3600,100,100\n")
    assert rate(read_trace(path, window_s=300)) == pytest.approx(1.0)
    assert rate(read_trace(path, rate="mean")) == pytest.approx(302 / 3600)
    assert "busiest 300 s" in read_trace(path).description


def test_memory_stays_bounded_however_long_the_trace(
    csv: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of the rows at once or all: what is held is what was read last, so the peak follows the piece."""
    path = csv(HEADER + "".join(f"{i},{100 + i % 900},{1 + i % 500}\n" for i in range(200_000)))
    monkeypatch.setattr(trace, "ROWS_AT_ONCE", 5_000)
    read_trace(path)  # imports
    tracemalloc.start()
    read_trace(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


@pytest.mark.skipif(not AZURE.exists(), reason=f"{AZURE} is not there")
def test_the_azure_trace_works_as_it_is() -> None:
    workload = read_trace(AZURE, rate="mean")
    assert rate(workload) == pytest.approx(19_366 / 3500, rel=0.05)
    tokens = sum(b.requests_per_s * (b.mean_input_tokens or 0) for b in workload.buckets) / rate(workload)
    assert tokens == pytest.approx(1155, rel=0.01)
