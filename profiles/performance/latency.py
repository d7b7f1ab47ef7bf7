"""Latency of one layout as a function of lengths and concurrency."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from profiles.performance.answers import Floats, Percentile
from profiles.performance.datasheet import Datasheet
from profiles.performance.lattice import INPUT_TOKENS, RUNNING, Lattice, monotone, new_lattice, slower
from profiles.performance.learn import Learned
from profiles.performance.limits import RunningLimit
from profiles.performance.terms import SHARE, new_load, prompt_work

NORMAL_QUANTILE: dict[Percentile, float] = {"mean": 0.0, "p50": 0.0, "p90": 1.2816, "p95": 1.6449, "p99": 2.3263}
SLOWER: dict[Percentile, float] = {"mean": 1.0, "p50": 1.0, "p90": 0.1, "p95": 0.05, "p99": 0.01}
"""Share of the requests whose wait for the prompts of others may be longer than what is added for it."""


def crowd(concurrency: Floats, percentile: Percentile) -> Floats:
    """Requests in flight that are exceeded for the slowest requests only.

    Under open (Poisson) traffic the number in flight is Poisson around its mean N where service is spread over many
    requests at once (M/G/∞), so its q-quantile is about ``N + z_q · √N``; a request that arrives then sees those times.
    """
    return concurrency + NORMAL_QUANTILE[percentile] * np.sqrt(concurrency)


@dataclass(frozen=True)
class Timing:
    """Times of requests in ms and how many of them run at once; arrays of one shape."""

    ttft_ms: Floats
    tpot_ms: Floats
    e2e_ms: Floats
    running: Floats


@dataclass(frozen=True)
class Latency:
    """Times of one layout, from what its family ``learned``."""

    sheet: Datasheet
    learned: Learned
    limit: RunningLimit
    measured_static: bool = False
    """Its rows are of static batches, all of whose requests start together."""
    as_measured: bool = True
    """Mean times follow the rows even where more or longer requests looked faster; otherwise they never do. And a
    layout that was measured in static batches answers for such batches, not for requests that arrive one by one."""

    def at(
        self, input_tokens: Floats, output_tokens: Floats, concurrency: Floats, percentile: Percentile = "mean"
    ) -> Timing:
        """Times in a closed loop with ``concurrency`` requests in flight: running, or waiting for those that run.

        Below 1, it is the share of the time that some request is there. With throughput ``running / service``,
        Little's law makes the wait ``(present / running − 1) · service``. At a percentile, a ``crowd`` is present.
        """
        present = crowd(concurrency, percentile)
        fits = np.clip(self.limit.running(input_tokens, output_tokens), 1.0, RUNNING[-1])
        running = np.minimum(present, fits)
        first, each = self._lattice(percentile).at(input_tokens, output_tokens, running)
        service = first + (output_tokens - 1) * each
        wait = (present / running - 1) * service
        return Timing(first + wait, each, service + wait, running)

    def _lattice(self, percentile: Percentile) -> Lattice:
        """Times of requests that need not wait to run."""
        share = SLOWER[percentile]
        as_measured = self.as_measured and share == 1.0
        if (share, as_measured) not in self._lattices:
            self._lattices[share, as_measured] = self._new_lattice(share, as_measured=as_measured)
        return self._lattices[share, as_measured]

    def _new_lattice(self, share: float, *, as_measured: bool) -> Lattice:
        mean = new_lattice(
            self.sheet, self.learned, continuous=not self.static_batch,
            corrected=self.static_batch == self.measured_static,
        )  # fmt: skip
        if as_measured:
            return mean
        mended = monotone(mean)
        return mended if self.static_batch or share == 1.0 else slower(mended, self.prompt_ms(INPUT_TOKENS), share)

    @property
    def static_batch(self) -> bool:
        """Whether all requests start together."""
        return self.measured_static and self.as_measured

    @cached_property
    def _lattices(self) -> dict[tuple[float, bool], Lattice]:
        return {}

    def prompt_ms(self, input_tokens: Floats) -> Floats:
        """Time that one prompt keeps the engine from decoding."""
        linear, squared = self.prompt_work
        return np.asarray(input_tokens * (linear + input_tokens * squared))

    @cached_property
    def mean_factor(self) -> float:
        """What the remainder of TPOT multiplies times by, on the mean over the layout's own rows."""
        remainder, own = self.learned.tpot, self.learned.places[self.learned.own]
        if not len(own):
            return float(np.exp(remainder.constant))
        values = [remainder.on_grid([place[[0]], place[[1]], place[[2]]]).item() for place in own]
        return float(np.exp(np.mean(values)))

    @cached_property
    def prompt_work(self) -> tuple[float, float]:
        """(per token, per squared token) of a prompt, in ms; never faster than the datasheet's peak."""
        coefficients = np.exp(self.learned.log_coefficients)
        one = np.ones(1)
        linear, squared = prompt_work(new_load(self.sheet, one, one, one), coefficients)
        share = coefficients[SHARE]
        peak = self.sheet.flops_ms_per_token
        return max(float(share * linear.item()), peak), float(share * squared.item())
