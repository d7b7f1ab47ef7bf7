"""What servers ask of power, second by second: the currency between whatever makes traces and whatever simulates rows.

A server of a workload is, each second, in one of S *states*. A ``StateTable`` says what its GPUs would draw in each,
uncapped, and how the work done there answers to clocks. A ``Pool`` holds recorded seconds: K servers side by side, at
each of several levels of load, from which weeks are drawn in blocks. All servers of a workload are drawn at one moment
of the pool, so that bursts hit them together as they did when recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.performance.answers import Floats

States = NDArray[np.uint8]
"""Indices into a ``StateTable``: at most 256 states."""


@dataclass(frozen=True, eq=False)
class StateTable:
    """S states of one server; arrays (S,).

    Attributes
    ----------
    gpu_w:
        all GPUs of the server together, uncapped
    time_on_clock, power_on_clock:
        shares of time, and of power above idle, that follow the clocks (``profiles.performance.capping.Phase``); of
        time on average over as long as a request takes, so that slowdowns of seconds are near those of requests
    running:
        requests in progress: by it slowdowns are weighted (training: 1 while it runs)
    busy:
        share of the server's capacity that the work of the second needs; what a cap stretches beyond 1 waits (training
        has nothing to wait for: 0)
    """

    gpu_w: Floats
    time_on_clock: Floats
    power_on_clock: Floats
    running: Floats
    busy: Floats


@dataclass(frozen=True, eq=False)
class Pool:
    """Recorded seconds of one workload.

    Attributes
    ----------
    workload:
        its name in the spec
    table:
        what the states mean
    states:
        (levels, servers, seconds), recorded side by side; the seconds wrap around
    load:
        (levels,) increasing: load of each level as a share of the workload's own peak, 0 to 1 or beyond
    in_step:
        whether all servers move together (training jobs): then one column serves all
    origin:
        where the watts come from, in words: measured, modelled, assumed
    notes:
        assumptions, in words, that people should see
    """

    workload: str
    table: StateTable
    states: States
    load: Floats
    in_step: bool
    origin: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Calendar:
    """How a workload's load moves through a week.

    Attributes
    ----------
    shape:
        (168,) load of each hour of the week as a share of the peak hour
    daily_spread:
        standard deviation of the logarithm by which whole days differ from one another, same hours of other weeks
    hourly_spread:
        the same from hour to hour, on top
    correlation:
        share of both variances that all workloads have in common
    origin:
        where it comes from, in words
    """

    shape: Floats
    daily_spread: float
    hourly_spread: float
    correlation: float
    origin: str
