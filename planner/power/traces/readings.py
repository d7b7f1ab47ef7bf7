"""Readings of several servers brought together on one grid of times, and refused where they cannot be meant.

A few missed readings are bridged by the nearest one; longer gaps are refused, because nobody knows what was drawn then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from planner.errors import InvalidInput
from profiles.performance.answers import Floats

Unit = Literal["watts", "utilisation"]

BRIDGED_S, BRIDGED_INTERVALS = 60.0, 3.0
"""Gaps up to the larger of these are bridged: a few missed scrapes."""


@dataclass(frozen=True, eq=False)
class Readings:
    """One server's readings: ``time_s`` since 1970, rising, and ``value`` at each; NaN where a reading failed."""

    time_s: Floats
    value: Floats


@dataclass(frozen=True, eq=False)
class Recorded:
    """Servers side by side: ``values`` (servers, intervals) in watts, or percent, from ``start_s`` since 1970 on."""

    servers: tuple[str, ...]
    values: Floats
    start_s: float
    interval_s: float
    unit: Unit
    notes: tuple[str, ...] = ()


def side_by_side(by_server: Mapping[str, Readings], unit: Unit, source: str) -> Recorded:
    """Readings of all servers on one grid of times, over the span that all of them cover.

    Raises ``InvalidInput`` for times that do not rise, values that are no power or share, gaps, or no common span.
    """
    by_server = {name: _present(readings) for name, readings in by_server.items()}
    for name, readings in by_server.items():
        _check(readings, unit, f"{source}: {name}")
    steps = np.concatenate([np.diff(readings.time_s) for readings in by_server.values()])
    interval_s = float(np.median(steps))
    first_s, last_s = (np.array([r.time_s[end] for r in by_server.values()]) for end in (0, -1))
    start_s, stop_s = float(first_s.max()), float(last_s.min())
    if stop_s <= start_s:
        raise InvalidInput("has no time at which all servers were recorded", field=source,
                           fix="leave out servers that were not there")  # fmt: skip
    notes = []
    if np.ptp(first_s) + np.ptp(last_s) > interval_s:
        notes.append(f"cut to the {_duration(stop_s - start_s)} in which all servers were recorded")
    num_intervals = int((stop_s - start_s) / interval_s + 1e-6) + 1
    grid_s = start_s + interval_s * np.arange(num_intervals, dtype=np.float64)
    bridged = 0
    values = np.empty((len(by_server), len(grid_s)))
    for row, (name, readings) in zip(values, by_server.items(), strict=True):
        bridged += _check_gaps(readings, start_s, stop_s, interval_s, f"{source}: {name}")
        row[:] = readings.value[_nearest(readings.time_s, grid_s)]
    if bridged:
        notes.append(f"{bridged} gaps of at most {max(BRIDGED_S, BRIDGED_INTERVALS * interval_s):g} s are bridged")
    return Recorded(tuple(by_server), values, start_s, interval_s, unit, tuple(notes))


def _present(readings: Readings) -> Readings:
    present = ~np.isnan(readings.value)
    return Readings(readings.time_s[present], readings.value[present])


def _check(readings: Readings, unit: Unit, field: str) -> None:
    if len(readings.time_s) < 2:
        raise InvalidInput("has fewer than two readings", field=field, fix="give a recorded series, or leave it out")
    step = np.diff(readings.time_s)
    if (step <= 0).any():
        at = int((step <= 0).argmax()) + 1
        if step[at - 1] == 0:
            raise InvalidInput(f"has two readings at {_date(readings.time_s[at])}", field=field,
                               fix="keep one of them, or give each server a name of its own")  # fmt: skip
        raise InvalidInput(
            f"goes back in time, from {_date(readings.time_s[at - 1])} to {_date(readings.time_s[at])}", field=field,
            fix="sort the file by time; of local times at the end of summer time, say the offset",
        )  # fmt: skip
    odd = ~(np.isfinite(readings.value) & (readings.value >= 0))
    if odd.any():
        at = int(odd.argmax())
        raise InvalidInput(
            f"is {readings.value[at]:g} at {_date(readings.time_s[at])}",
            field=field, fix=f"{unit} is 0 or more; leave out readings that failed: short gaps are bridged",
        )  # fmt: skip
    if unit == "utilisation" and readings.value.max() > 100:
        at = int(readings.value.argmax())
        raise InvalidInput(f"is {readings.value[at]:g} at {_date(readings.time_s[at])}, above 100%", field=field,
                           fix="give percent of 0 to 100, or say unit: watts")  # fmt: skip


def _check_gaps(readings: Readings, start_s: float, stop_s: float, interval_s: float, field: str) -> int:
    """How many gaps there are; raises for a long one."""
    first, last = np.searchsorted(readings.time_s, [start_s, stop_s])
    within = readings.time_s[max(first - 1, 0) : last + 1]
    step = np.diff(within)
    longest = int(step.argmax())
    if step[longest] > max(BRIDGED_S, BRIDGED_INTERVALS * interval_s) + 0.5 * interval_s:
        raise InvalidInput(
            f"has no readings from {_date(within[longest])} to {_date(within[longest + 1])}, "
            f"{_duration(step[longest])}", field=field,
            fix="give the part before or after it, or leave out the server: nobody knows what it drew then",
        )  # fmt: skip
    return int((step > 1.5 * interval_s).sum())


def _nearest(times_s: Floats, grid_s: Floats) -> Any:
    after = np.clip(np.searchsorted(times_s, grid_s), 1, len(times_s) - 1)
    return after - (grid_s - times_s[after - 1] <= times_s[after] - grid_s)


def _date(time_s: float) -> str:
    return str(np.datetime64(round(time_s), "s")) + "Z"


def _duration(seconds: float) -> str:
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 120 else f"{seconds:g} s"
