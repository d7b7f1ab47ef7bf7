"""Recorded series from CSV: what is read, and every mistake named with its place and a fix."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from planner.errors import InvalidInput
from planner.power.traces.readings import Readings, side_by_side
from planner.power.traces.series import read_series

START_S = 1_767_571_200  # 2026-01-05 00:00 UTC, a Monday


def refused(message: str) -> Any:
    """The error's text has ``message`` somewhere, as a regular expression over its lines."""
    return pytest.raises(InvalidInput, match=f"(?s){message}")


def written(folder: Path, text: str) -> Path:
    path = folder / "power.csv"
    path.write_text(text)
    return path


def long(rows: list[tuple[Any, str, Any]], header: str = "time,server,watts") -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def test_wide_and_long_files_say_the_same(tmp_path: Path) -> None:
    watts = {"a": [500, 1500, 2500], "b": [600, 1600, 2600]}
    wide = "time,a,b\n" + "".join(f"{START_S + 10 * i},{watts['a'][i]},{watts['b'][i]}\n" for i in range(3))
    rows = [(START_S + 10 * i, name, watts[name][i]) for i in range(3) for name in watts]
    for text in (wide, long(rows)):
        found = read_series(written(tmp_path, text))
        assert found.servers == ("a", "b")
        assert found.values.tolist() == list(watts.values())
        assert (found.start_s, found.interval_s, found.unit) == (START_S, 10.0, "watts")


@pytest.mark.parametrize("scale", [1, 1_000, 1_000_000_000])
def test_numbers_are_seconds_to_nanoseconds(tmp_path: Path, scale: int) -> None:
    text = long([((START_S + i) * scale, "a", 1000 + i) for i in range(4)])
    found = read_series(written(tmp_path, text))
    assert found.start_s == pytest.approx(START_S)
    assert found.interval_s == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("suffix", ["Z", "+00:00", "+0000"])
def test_dates_with_an_offset(tmp_path: Path, suffix: str) -> None:
    text = long([(f"2026-01-05T00:00:0{i}{suffix}", "a", 1000) for i in range(3)])
    assert read_series(written(tmp_path, text)).start_s == START_S


def test_dates_of_a_time_zone(tmp_path: Path) -> None:
    path = written(tmp_path, long([(f"2026-01-05 01:00:0{i}", "a", 1000) for i in range(3)]))
    assert read_series(path, time_zone="Europe/Berlin").start_s == START_S
    with refused("any time zone.*time_zone: Europe/Berlin"):
        read_series(path)
    with refused("not a time zone"):
        read_series(path, time_zone="Europe/Atlantis")


def local_rows(first_utc: dt.datetime, minutes: int, servers: tuple[str, ...]) -> list[tuple[Any, str, Any]]:
    zone = ZoneInfo("Europe/Berlin")
    rows = []
    for name in servers:
        for i in range(0, minutes, 10):
            local = (first_utc + dt.timedelta(minutes=i)).astimezone(zone)
            rows.append((local.strftime("%Y-%m-%d %H:%M:%S"), name, 1000 + i))
    return rows


@pytest.mark.parametrize(
    "day", [dt.datetime(2026, 3, 28, 23, tzinfo=dt.UTC), dt.datetime(2026, 10, 24, 22, tzinfo=dt.UTC)]
)
@pytest.mark.parametrize("servers", [("a",), ("a", "b")])
def test_summer_time_begins_and_ends_within_local_dates(
    tmp_path: Path, day: dt.datetime, servers: tuple[str, ...]
) -> None:
    rows = local_rows(day, 240, servers)
    found = read_series(written(tmp_path, long(rows)), time_zone="Europe/Berlin")
    assert found.start_s == day.timestamp()
    assert found.values.shape == (len(servers), 24)
    assert found.values[0].tolist() == [1000 + i for i in range(0, 240, 10)]


def test_local_dates_that_do_not_exist_or_come_twice_are_refused(tmp_path: Path) -> None:
    spring = written(tmp_path, long([(f"2026-03-29 02:{m:02}:00", "a", 1000) for m in range(5)]))
    with refused("summer time.*offset, or in UTC"):
        read_series(spring, time_zone="Europe/Berlin")
    autumn = written(tmp_path, long([(f"2026-10-25 02:{m:02}:00", "a", 1000) for m in range(5)]))
    with refused("summer time.*offset, or in UTC"):
        read_series(autumn, time_zone="Europe/Berlin")


def test_a_short_gap_is_bridged_by_the_nearest_reading_and_said(tmp_path: Path) -> None:
    rows = [(START_S + i, "a", 1000 + i) for i in range(100) if not 50 <= i < 80]
    found = read_series(written(tmp_path, long(rows)))
    assert found.values.shape == (1, 100)
    assert found.values[0, 55] == 1049
    assert found.values[0, 75] == 1080
    assert found.notes == ("1 gaps of at most 60 s are bridged",)


def test_failed_readings_are_gaps(tmp_path: Path) -> None:
    rows = [(START_S + i, "a", "NaN" if i == 5 else 1000 + i) for i in range(10)]
    found = read_series(written(tmp_path, long(rows)))
    assert found.values[0, 5] == 1004
    assert len(found.notes) == 1


def test_a_long_gap_is_refused_with_its_place(tmp_path: Path) -> None:
    rows = [(START_S + i, name, 1000) for name in "ab" for i in range(600) if name == "a" or not 100 <= i < 300]
    with pytest.raises(
        InvalidInput, match=r"b: has no readings from 2026-01-05T00:01:39Z to 2026-01-05T00:05:00Z, 3.4 min"
    ):
        read_series(written(tmp_path, long(rows)))


def test_only_the_span_of_all_servers_is_used(tmp_path: Path) -> None:
    rows = [(START_S + i, "a", 1000) for i in range(100)] + [(START_S + i, "b", 1000 + i) for i in range(20, 120)]
    found = read_series(written(tmp_path, long(rows)))
    assert found.start_s == START_S + 20
    assert found.values.shape == (2, 80)
    assert found.values[1, 0] == 1020
    assert "all servers were recorded" in found.notes[0]


def good(i: int) -> tuple[Any, str, Any]:
    return START_S + i, "a", 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("time,server,watts\n", "no rows"),
        ("hour,server,watts\n1,a,2\n", "no column for time"),
        ("time,a\n1,2,3\n4,5\n1,2,3,4\n", "not a well-formed CSV"),
        ("time\n1\n2\n", "no values"),
        ("time,server,amps\n1,a,2\n", "name it 'watts'"),
        ("time,server,power_kw\n1,a,2.5\n2,a,2.5\n", "kilowatts.*multiply it by 1000"),
        (long([good(0)]), "fewer than two readings"),
        (long([good(1), good(0)]), "goes back in time, from 2026-01-05T00:00:01Z to 2026-01-05T00:00:00Z.*sort"),
        (long([good(0), good(0), good(1)]), "two readings at 2026-01-05T00:00:00Z"),
        (long([good(0), (START_S + 1, "a", -5)]), "is -5 at 2026-01-05T00:00:01Z.*0 or more"),
        (long([good(0), (START_S + 1, "a", "inf")]), "is inf"),
        (long([good(0), (START_S + 1, "a", "1.2k")]), "'1.2k'.*not a number"),
        (long([good(0), ("soon", "a", 1000)]), "row 3: 'soon' is not a time"),
        (long([("2026-01-05T00:00:00Z", "a", 1), ("2026-01-05T00:00:01", "a", 1)]), "has no offset"),
        (long([("2026-01-05T00:00:00Z", "a", 1), ("2026-13-05T00:00:01Z", "a", 1)]), "is not a time"),
        (long([(START_S, "a", 50), (START_S + 1, "a", 140)], "time,server,gpu_util"), "is 140.*above 100%"),
        (long([good(0), good(1), (START_S + 99, "b", 1), (START_S + 100, "b", 1)]), "no time at which all servers"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    with refused(message) as caught:
        read_series(written(tmp_path, text))
    assert "power.csv" in str(caught.value.field)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with refused("cannot be read"):
        read_series(tmp_path / "none.csv")


def test_readings_that_are_late_now_and_then_keep_their_peaks() -> None:
    time_s = np.arange(0.0, 100.0, 10.0) + np.array([0, 1, 0, 2, 0, 0, 3, 0, 0, 0])
    value = np.arange(10.0)
    found = side_by_side({"a": Readings(time_s, value)}, "watts", "here")
    assert found.values[0].max() == value.max()
    assert found.values.shape == (1, 10)
