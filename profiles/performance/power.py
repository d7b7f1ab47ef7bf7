"""Power of a replica by phase and load, with what is known of it: idle, decoding, prompts, their mix, and peaks.

GPUs draw much as soon as they read weights and KV, more as arithmetic fills the gaps, and all they may while working
on prompts (Splitwise, ISCA 2024, section 3.4; POLCA, ASPLOS 2024, section 4). Decoding power is learned from every
measured replica at once (``power_process``): the saturating rise with the batch, and its fall where a host or a link
can no longer feed the GPUs. Prompts follow a curve fitted to the peaks that Splitwise measured on A100.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from profiles.performance.answers import Floats, Strings
from profiles.performance.power_points import (
    NOWHERE,
    PROMPT_SHARE_OF_TDP,
    Codes,
    Replica,
    decoding_load,
    is_prompt,
    new_replica,
    read_points,
)  # fmt: skip
from profiles.performance.power_process import Loads, Process, learn_power
from profiles.types import GpuType, Layout, Measurement, ModelCard, Origin

TYPICAL_RUNNING, TYPICAL_CONTEXT = 32.0, 1024.0
"""Requests per GPU, and tokens of context of each, where neither the question nor a measurement says them."""

LOG_RUNNING = np.log(np.geomspace(1.0, 8192.0, 27))
LOG_CONTEXT = np.log(np.geomspace(64.0, 131072.0, 23))
"""Loads at which a replica is tabulated, beside contexts of its own rows: interpolated between them, in logarithms,
and level beyond."""

OWN_CONTEXTS, NEAR_CONTEXT = 12, 0.1
"""Most contexts of its own, and how far apart they are in the logarithm."""

NORMAL_90 = 1.645
SAME_LOAD = np.log(1.1)
"""Loads within 10% of a measured one count as that one."""

PEAK_SHARE, LEAST_PEAK_SHARE, PEAK_KNEE_MS = 1.02, 0.48, 0.5
"""Peak of a saturated GPU and of a tiny prompt, as shares of TDP, and the ideal milliseconds of prompt per layer at
which 63% of the way between is made: fitted to the 44 distinct peaks that Splitwise measured on A100."""

PEAK_ERROR, PEAK_ERROR_ELSEWHERE = 0.18, 0.25
"""Leaving each layout out, 90% of those peaks lie within the first; the second is an assumption for other GPUs."""


@dataclass(frozen=True, eq=False)
class Power:
    """Watts of all GPUs of one replica of ``layout``. Arrays of requests and tokens broadcast.

    ``decode_w``, ``prompt_w`` and ``mean_w`` are expected means; ``at`` and ``reserve_w`` are what a plan must count
    on: the most that is expected at that load or any smaller one.
    """

    layout: Layout
    idle_w: float
    tdp_w: float
    _replica: Replica
    _process: Process
    _codes: Codes
    _measured: Floats
    """(rows, 2) log running requests and log context of the layout's own rows."""
    _prompt_share_of_tdp: float

    @property
    def error(self) -> float:
        """Width ``r`` of a 90% interval ``[w / (1+r), w · (1+r)]`` of decoding power amid what was measured."""
        return float(self.error_at(*self._typical_load)[0])

    @property
    def origin(self) -> Origin:
        """Where decoding power comes from, amid what was measured."""
        found: Origin = self.origin_at(*self._typical_load)[0].item()
        return found

    def decode_w(self, running: Floats, context: Floats | None = None) -> Floats:
        """Expected watts while ``running`` requests decode, of ``context`` tokens each so far.

        Below one request, on average, one runs that share of the time.
        """
        return self._decoding(self._log_share, running, context)

    def prompt_w(self) -> float:
        """Mean watts while working on prompts back to back: the most that was measured on this GPU type, or TDP."""
        return self._prompt_share_of_tdp * self.tdp_w

    def peak_w(self, running: Floats, input_tokens: float = TYPICAL_CONTEXT) -> Floats:
        """Highest watts in a load that starts with ``running`` prompts of ``input_tokens`` together.

        Exceeds TDP by 2% when prompts are long: so did A100. Its interval is ``peak_error``.
        """
        asked = np.asarray(running, dtype=np.float64)
        first = self._prompt_peak_w(np.maximum(asked, 1.0) * input_tokens)
        return np.where(asked > 0, np.maximum(first, self.at(asked)), self.idle_w)

    @property
    def peak_error(self) -> float:
        """Width of a 90% interval of ``peak_w``."""
        return PEAK_ERROR if self._replica.gpu.name.startswith("A100") else PEAK_ERROR_ELSEWHERE

    def mean_w(self, running: Floats, input_tokens: Floats, output_tokens: Floats, requests_per_s: Floats) -> Floats:
        """Expected watts in steady state: prompts for their share of the time, decoding for the rest."""
        decode_w = self.decode_w(running, input_tokens + output_tokens / 2)
        return self._mixed(decode_w, input_tokens, requests_per_s)

    def reserve_w(self, running: Floats, input_tokens: Floats, output_tokens: Floats, requests_per_s: Floats) -> Floats:
        """The most that ``mean_w`` is up to this load: more requests, or more of them a second, never take less."""
        most_w = self.at(running, input_tokens + output_tokens / 2)
        return self._mixed(most_w, input_tokens, requests_per_s)

    def at(self, running: Floats, context: Floats | None = None) -> Floats:
        """The most that ``decode_w`` is with up to ``running`` requests."""
        return self._decoding(self._most_log_share, running, context)

    def error_at(self, running: Floats, input_tokens: Floats, output_tokens: Floats) -> Floats:
        """Width of the 90% interval of ``mean_w`` at each load."""
        at = np.log(np.maximum(running, 1.0)), np.log(input_tokens + output_tokens / 2)
        return np.expm1(NORMAL_90 * self._between(self._spread, *at))

    def origin_at(self, running: Floats, input_tokens: Floats, output_tokens: Floats) -> Strings:
        """Where ``mean_w`` comes from at each load, arrays of one axis; ``roofline``: nothing known of model on GPU."""
        unmeasured = "roofline" if self._codes.place(self.layout) == NOWHERE else "extrapolated"
        origin = np.full(len(running), unmeasured, dtype="<U12")
        if len(self._measured):
            asked = np.log([np.maximum(running, 1.0), input_tokens + output_tokens / 2]).T
            low, high = self._measured.min(axis=0) - SAME_LOAD, self._measured.max(axis=0) + SAME_LOAD
            origin[((asked >= low) & (asked <= high)).all(axis=1)] = "interpolated"
            for load in self._measured:
                origin[(np.abs(asked - load) <= SAME_LOAD).all(axis=1)] = "measured"
        return origin

    @cached_property
    def _typical_load(self) -> tuple[Floats, Floats, Floats]:
        """(1,) running requests, their context, and no output, amid what was measured."""
        if len(self._measured):
            running, context = np.exp(np.median(self._measured, axis=0))
        else:
            running, context = TYPICAL_RUNNING * self.layout.num_gpus, TYPICAL_CONTEXT
        return np.array([running]), np.array([context]), np.zeros(1)

    @cached_property
    def _log_context(self) -> Floats:
        own = np.unique(np.round(self._measured[:, 1] / NEAR_CONTEXT)) * NEAR_CONTEXT
        return np.union1d(LOG_CONTEXT, own[:: -(-len(own) // OWN_CONTEXTS) or 1])

    @cached_property
    def _grid(self) -> Loads:
        running, context = (axis.ravel() for axis in np.meshgrid(LOG_RUNNING, self._log_context, indexing="ij"))
        features = self._replica.features(np.exp(running), np.exp(context))
        place, own = self._codes.place(self.layout), self._codes.of(self.layout)
        return Loads(features, np.full(len(features), place), np.full(len(features), own))

    @cached_property
    def _log_share(self) -> Floats:
        """(running, context) of the grid."""
        least = np.log(self.idle_w / self.tdp_w)
        return self._process.at(self._grid).reshape(len(LOG_RUNNING), -1).clip(least, 0.0)

    @cached_property
    def _most_log_share(self) -> Floats:
        return np.maximum.accumulate(self._log_share, axis=0)

    @cached_property
    def _spread(self) -> Floats:
        return self._process.spread(self._grid).reshape(len(LOG_RUNNING), -1)

    def _decoding(self, log_share: Floats, running: Floats, context: Floats | None) -> Floats:
        asked = np.asarray(running, dtype=np.float64)
        log_context = np.log(self._typical_load[1] if context is None else context)
        watts = self.tdp_w * np.exp(self._between(log_share, np.log(np.maximum(asked, 1.0)), log_context))
        return np.asarray(self.idle_w + np.minimum(asked, 1.0) * (watts.reshape(asked.shape) - self.idle_w))

    def _between(self, table: Floats, log_running: Floats, log_context: Floats) -> Floats:
        """``table`` (running, context), linear between the points of the grid and level beyond them."""
        (low, up), (left, right) = _step(LOG_RUNNING, log_running), _step(self._log_context, log_context)
        below = (1 - right) * table[low, left] + right * table[low, left + 1]
        above = (1 - right) * table[low + 1, left] + right * table[low + 1, left + 1]
        return np.asarray((1 - up) * below + up * above)

    def _mixed(self, decode_w: Floats, input_tokens: Floats, requests_per_s: Floats) -> Floats:
        prompts = self._replica.prompt_share(input_tokens, requests_per_s)
        return np.asarray(decode_w + prompts * np.maximum(self.prompt_w() - decode_w, 0.0))

    def _prompt_peak_w(self, tokens: Floats) -> Floats:
        ideal_ms = 1e3 * 2 * self._replica.active_parameters * tokens / self._replica.flops_per_s
        fill = -np.expm1(-ideal_ms / self._replica.num_layers / PEAK_KNEE_MS)
        return np.asarray(self.tdp_w * (LEAST_PEAK_SHARE + (PEAK_SHARE - LEAST_PEAK_SHARE) * fill))


class Powers:
    """Power of any layout on a known GPU, learned from all measured ones when first asked about."""

    def __init__(
        self,
        measured: Mapping[Layout, Sequence[Measurement]],
        gpus: Iterable[GpuType],
        card: Callable[[str], ModelCard | None],
    ) -> None:
        self._gpus = {gpu.name: gpu for gpu in gpus}
        self._measured = measured
        self._card = card

    def of(self, layout: Layout) -> Power | None:
        """Power of ``layout``; None when the GPU is unknown."""
        replica = self._replica(layout)
        if replica is None:
            return None
        process, codes = self._learned
        loads = [decoding_load(replica, m) for m in self._measured.get(layout, ())]
        own = np.log([load[:2] for load in loads if load is not None]).reshape(-1, 2)
        prompts = self._prompt_shares.get(layout.gpu, PROMPT_SHARE_OF_TDP)
        return Power(layout, replica.idle_w, replica.tdp_w, replica, process, codes, own, prompts)

    @cached_property
    def _learned(self) -> tuple[Process, Codes]:
        replicas = [(self._replica(layout), rows) for layout, rows in self._measured.items()]
        points, codes = read_points([(replica, rows) for replica, rows in replicas if replica is not None])
        return learn_power(points), codes

    @cached_property
    def _prompt_shares(self) -> dict[str, float]:
        """By GPU type, the most that prompts alone were measured to draw, as a share of TDP."""
        shares: dict[str, float] = {}
        for layout, rows in self._measured.items():
            replica = self._replica(layout)
            watts = [m.mean_power_w for m in rows if m.mean_power_w is not None and is_prompt(m)]
            if replica is not None and watts:
                most = min(max(watts) / replica.tdp_w, 1.0)
                shares[layout.gpu] = max(most, shares.get(layout.gpu, 0.0))
        return shares

    def _replica(self, layout: Layout) -> Replica | None:
        gpu = self._gpus.get(layout.gpu)
        return None if gpu is None else new_replica(layout, self._card(layout.model), gpu)


def _step(grid: Floats, asked: Floats) -> tuple[NDArray[np.intp], Floats]:
    """The step of ``grid`` that each value is in, and how far along, from 0 to 1."""
    step = np.clip(np.searchsorted(grid, asked, side="right") - 1, 0, len(grid) - 2)
    return step, np.clip((asked - grid[step]) / (grid[step + 1] - grid[step]), 0.0, 1.0)
