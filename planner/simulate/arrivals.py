"""Generated traffic: arrivals as a Poisson process, with gamma-distributed distances, or in bursts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np

from planner.errors import InvalidInput
from planner.simulate.state import Floats
from planner.simulate.traffic import CHUNK, Chunk, Sizes, Traffic

Process = Literal["poisson", "gamma", "on-off"]

_FEW = 4096
"""Arrivals drawn at a time."""


def generated(
    process: Process,
    sizes: Sizes,
    *,
    requests_per_s: float,
    duration_s: float,
    seed: int = 0,
    cv: float = 2.0,
    on_s: float = 30.0,
    off_s: float = 30.0,
) -> Traffic:
    """Requests at ``requests_per_s`` on average for ``duration_s`` seconds, their sizes drawn from ``sizes``.

    ``gamma``: distances between arrivals are gamma-distributed with coefficient of variation ``cv`` (1 is Poisson;
    BurstGPT and others fit production traffic this way). ``on-off``: a Poisson process that is on for ``on_s`` and off
    for ``off_s`` seconds on average, each exponentially distributed (an interrupted Poisson process), and faster while
    it is on. Raises ``InvalidInput`` for numbers that are not positive and finite.
    """
    asked = {"requests_per_s": requests_per_s, "duration_s": duration_s, "cv": cv, "on_s": on_s, "off_s": off_s}
    for name, value in asked.items():
        if not (value > 0 and math.isfinite(value)):
            raise InvalidInput(f"{value:g} is not a positive, finite number", field=name)

    def gaps(random: np.random.Generator, count: int) -> Floats:
        if process == "on-off":
            return _on_off_gaps(random, count, requests_per_s * (on_s + off_s) / on_s, on_s, off_s)
        shape = 1.0 if process == "poisson" else 1 / cv**2
        return random.gamma(shape, 1 / (shape * requests_per_s), count)

    def chunks() -> Iterator[Chunk]:
        random = np.random.default_rng([seed, 3])
        now = 0.0
        while now < duration_s:
            times = now + np.cumsum(gaps(random, CHUNK if requests_per_s * duration_s > CHUNK else _FEW))
            tokens_in, tokens_out = sizes.draw(random, len(times))
            within = int(np.searchsorted(times, duration_s))
            if within:
                yield Chunk(times[:within], tokens_in[:within], tokens_out[:within])
            now = float(times[-1])

    words = {"poisson": "Poisson", "gamma": f"gamma (cv {cv:g})", "on-off": f"on-off ({on_s:g} s on, {off_s:g} s off)"}
    return Traffic(
        f"{words[process]} arrivals at {requests_per_s:g}/s for {duration_s:g} s, {sizes.description}",
        chunks, duration_s,
    )  # fmt: skip


def _on_off_gaps(random: np.random.Generator, count: int, rate: float, on_s: float, off_s: float) -> Floats:
    """Distances between arrivals at ``rate`` while on. While on, it is an arrival or the end of the phase that comes
    first; phases have no memory, so each distance holds a geometric number of pauses.
    """
    pauses = random.geometric(rate / (rate + 1 / on_s), count) - 1
    waits = random.gamma(pauses + 1.0, 1 / (rate + 1 / on_s))
    return np.asarray(waits + np.where(pauses > 0, random.gamma(np.maximum(pauses, 1), off_s), 0.0))
