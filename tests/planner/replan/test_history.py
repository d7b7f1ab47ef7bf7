"""Histories out of files of every kind, good and bad."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from planner.errors import InvalidInput
from planner.replan.history import History, read_history
from planner.replan.service import Demand, Observed
from tests.planner.replan.demands import START, write_csv

LATER = START + dt.timedelta(days=400)


def read(*files: Path, observed: Observed | None = None, before: dt.datetime = LATER) -> History:
    return read_history(Demand(service="chat", files=files, observed=observed), before)


def test_rates_by_hour_with_gaps(tmp_path: Path) -> None:
    history = read(write_csv(tmp_path / "d.csv", np.array([1.0, np.nan, 3.0])))
    assert history.start == START
    assert history.requests_per_s == pytest.approx([1.0, np.nan, 3.0], nan_ok=True)


def test_every_format_says_the_same(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    rates = np.linspace(1, 5, 48).round(3)
    csv = write_csv(tmp_path / "d.csv", rates)
    table = pd.read_csv(csv)
    lines = "".join(json.dumps(row) + "\n" for row in table.to_dict("records"))
    (tmp_path / "d.jsonl").write_text(lines)
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(csv.read_bytes()))
    names = ["d.jsonl", "d.jsonl.gz", "d.csv.gz"]
    if pytest.importorskip("pyarrow"):
        table.to_parquet(tmp_path / "d.parquet")
        names.append("d.parquet")
    for name in names:
        history = read(tmp_path / name)
        assert history.start == START, name
        assert history.requests_per_s == pytest.approx(rates), name


def test_numbers_of_seconds_and_offsets_are_the_same_moments(tmp_path: Path) -> None:
    moment = int(START.timestamp())
    for name, first, second in (
        ("s", str(moment), str(moment + 3600)),
        ("ms", str(moment * 1000), str((moment + 3600) * 1000)),
        ("iso", START.isoformat(), (START + dt.timedelta(hours=1)).isoformat()),
        ("offset", "2026-01-05T05:30:00+05:30", "2026-01-05T06:30:00+05:30"),
    ):
        file = tmp_path / f"{name}.csv"
        file.write_text(f"timestamp,qps\n{first},2\n{second},4\n")
        assert read(file).start == START, name
        assert read(file).requests_per_s == pytest.approx([2, 4]), name


def test_counts_and_finer_rows(tmp_path: Path) -> None:
    quarter = [START + dt.timedelta(minutes=15 * i) for i in range(8)]
    file = tmp_path / "d.csv"
    file.write_text(
        "time,requests\n" + "".join(f"{at.isoformat()},{900 * (1 + i // 4)}\n" for i, at in enumerate(quarter))
    )
    assert read(file).requests_per_s == pytest.approx([1.0, 2.0])


def test_requests_one_by_one(tmp_path: Path) -> None:
    """Whole hours only: the first and the last may have begun before, or end after, the file."""
    rows = [START + dt.timedelta(seconds=10 * i) for i in range(100, 360 * 4 + 100)]
    file = tmp_path / "d.csv"
    file.write_text("time,input_tokens,output_tokens\n" + "".join(f"{at.isoformat()},10,20\n" for at in rows))
    history = read(file)
    assert history.start == START + dt.timedelta(hours=1)
    assert history.requests_per_s == pytest.approx([0.1] * 3)
    assert any("not whole" in note for note in history.notes)


def test_later_files_win_and_observed_over_all(tmp_path: Path) -> None:
    one = write_csv(tmp_path / "1.csv", np.full(6, 1.0))
    two = write_csv(tmp_path / "2.csv", np.full(6, 2.0), START + dt.timedelta(hours=3))
    observed = Observed(start=START + dt.timedelta(hours=8), requests_per_s=(7.0, None, 8.0))
    history = read(one, two, observed=observed)
    assert history.requests_per_s[:9] == pytest.approx([1, 1, 1, 2, 2, 2, 2, 2, 7])
    assert np.isnan(history.requests_per_s[9])
    assert history.requests_per_s[10] == 8
    assert any("repeats 3 hours" in note for note in history.notes)


def test_only_what_is_over(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "d.csv", np.arange(1.0, 25.0))
    history = read(file, before=START + dt.timedelta(hours=5, minutes=59))
    assert history.requests_per_s == pytest.approx([1, 2, 3, 4, 5])
    with pytest.raises(InvalidInput, match="nothing of any hour"):
        read(file, before=START)


def test_an_index_of_pandas_is_a_column(tmp_path: Path) -> None:
    """As monitoring writes it: the times are the index, which Parquet keeps beside the columns."""
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    hours = pd.date_range(START - dt.timedelta(hours=4), periods=4, freq="h", name="time")
    pd.DataFrame({"requests_per_s": [1.0, 2.0, 3.0, 4.0]}, index=hours).to_parquet(tmp_path / "d.parquet")
    assert read(tmp_path / "d.parquet", before=START).requests_per_s.tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.csv", None, "cannot be read"),
        ("empty.csv", b"", "is empty"),
        ("header.csv", b"time,requests_per_s\n", "no rows"),
        ("times.csv", b"when,requests_per_s\n2026-01-05,1\n", "no column for time"),
        ("word.csv", b"time,requests_per_s\n2026-01-05T00:00Z,1\n2026-01-05T01:00Z,many\n", "'many' is not"),
        ("minus.csv", b"time,requests_per_s\n2026-01-05T00:00Z,-1\n", "-1.* is not"),
        ("inf.csv", b"time,requests_per_s\n2026-01-05T00:00Z,inf\n", "inf.* is not"),
        ("huge.csv", b"time,requests_per_s\n2026-01-05T00:00Z,1e300\n", "1e.?300.* is not"),
        ("date.csv", b"time,requests_per_s\n2026-02-30T00:00Z,1\n", "is not a time"),
        ("year1.csv", b"time,requests_per_s\n0001-01-01T00:00Z,1\n", "is not a time"),
        ("long.csv", b"time,requests_per_s\n2026-01-05T00:00Z," + b"9" * 400 + b"\n", "999.* is not"),
        ("zero.csv", b"time,requests_per_s\n0,1\n3600,2\n", "is not a time"),
        ("daily.csv", b"time,requests_per_s\n2026-01-05,1\n2026-01-06,1\n2026-01-07,1\n", "every 24 hours"),
        ("wide.csv", b"time,requests_per_s\n2026-01-05T00:00Z,1,2,3\n2026-01-05T00:00Z,1,2,3,4,5\n", "not well-formed"),
        ("latin.csv", "time,requests_per_s\n2026-01-05T00:00Z,1 é\n".encode("latin-1"), "not well-formed"),
        ("binary.csv", bytes(range(256)) * 4, "not well-formed|no column|no known"),
        ("torn.csv.gz", gzip.compress(b"time,requests_per_s\n" * 999, mtime=0)[:40], "not well-formed|cannot be read"),
        ("plain.csv.gz", b"time,requests_per_s\n", "cannot be read|not well-formed"),
        ("torn.parquet", b"PAR1 and then nothing", "not well-formed|cannot be read|needs"),
        ("list.jsonl", b"[1, 2\n", "not well-formed"),
        ("what.xml", b"<a/>", "no known format"),
        ("count.csv", b"time,input_tokens,output_tokens\n0,1,1\n9999,1,1\n", "1970|whole hour"),
    ],
)  # fmt: skip
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInput, match=words) as caught:
        read(file)
    assert name in str(caught.value)
    assert caught.value.fix


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(InvalidInput, match="cannot be read"):
        read(tmp_path / "d.csv")
