"""What NVML tells of a GPU: energy, power, clocks, temperature. Absent NVML, every answer is None.

Sources: NVML API reference, ``nvmlDeviceGetTotalEnergyConsumption`` (mJ since the driver was loaded; Volta and
newer), ``nvmlDeviceGetPowerUsage`` (mW; one-second mean on Ampere and newer, except GA100), ``nvmlDeviceGetClockInfo``.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

try:
    import pynvml
except ImportError:  # optional: a bare machine measures times without it
    pynvml = None


@dataclass(frozen=True)
class State:
    """A GPU at one moment; None: not told."""

    energy_mj: int | None = None
    power_w: float | None = None
    sm_clock_mhz: float | None = None
    temperature_c: float | None = None


class Sensors:
    """The sensors of the NVIDIA GPU that NVML finds under ``identity``: an index, or a UUID, which torch tells too.

    ``why_blind`` says why there are none, or is empty.
    """

    def __init__(self, identity: int | str) -> None:
        self.why_blind = ""
        self._handle: Any = None
        if pynvml is None:
            self.why_blind = "nvidia-ml-py is not installed"
            return
        try:
            pynvml.nvmlInit()
            if isinstance(identity, int):
                self._handle = pynvml.nvmlDeviceGetHandleByIndex(identity)
            else:
                self._handle = pynvml.nvmlDeviceGetHandleByUUID(identity)
        except pynvml.NVMLError as error:
            self.why_blind = f"NVML: {error}"

    def state(self) -> State:
        """Everything that can be read now."""
        if self._handle is None:
            return State()
        milliwatts = self._ask(pynvml.nvmlDeviceGetPowerUsage)
        return State(
            energy_mj=self._ask(pynvml.nvmlDeviceGetTotalEnergyConsumption),
            power_w=None if milliwatts is None else milliwatts / 1e3,
            sm_clock_mhz=self._ask(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM),
            temperature_c=self._ask(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU),
        )

    def name(self) -> str | None:
        """Marketing name, e.g. ``NVIDIA H100 80GB HBM3``."""
        return self._ask(pynvml.nvmlDeviceGetName) if self._handle is not None else None

    def power_limit_w(self) -> float | None:
        """Enforced power limit."""
        milliwatts = self._ask(pynvml.nvmlDeviceGetEnforcedPowerLimit) if self._handle is not None else None
        return None if milliwatts is None else milliwatts / 1e3

    def driver(self) -> str | None:
        """Driver version."""
        return str(pynvml.nvmlSystemGetDriverVersion()) if self._handle is not None else None

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(self._handle, *arguments)
        except pynvml.NVMLError:
            return None  # this GPU does not tell


def power_between_ticks_w(readings: Sequence[tuple[float, int | None]], least_s: float = 0.2) -> float | None:
    """Mean power out of (time in s, energy in mJ) readings, taken from the first change of the counter to its last.

    Between changes the counter stands still, so only the moments of change say when the energy was used. None where
    they lie less than ``least_s`` apart: too short to tell.
    """
    known = [(time_s, energy) for time_s, energy in readings if energy is not None]
    ticks = [later for earlier, later in pairwise(known) if later[1] != earlier[1]]
    if len(ticks) < 2 or ticks[-1][0] - ticks[0][0] < least_s:
        return None
    return (ticks[-1][1] - ticks[0][1]) / 1e3 / (ticks[-1][0] - ticks[0][0])


@dataclass(frozen=True)
class PowerSamples:
    """Power of several GPUs together over a time; clocks and temperature are means over GPUs and samples."""

    num_samples: int = 0
    mean_power_w: float | None = None
    peak_power_w: float | None = None
    sm_clock_mhz: float | None = None
    temperature_c: float | None = None


Window = Callable[[float, float], PowerSamples]


@contextlib.contextmanager
def sampled_power(gpus: Sequence[Sensors], interval_s: float = 0.1) -> Iterator[Window]:
    """Sample ``gpus`` every ``interval_s`` s while the block runs.

    The yielded function sums up what was seen between two times in seconds since 1970.
    """
    samples: list[tuple[float, float, float | None, float | None]] = []
    stop = threading.Event()

    def sample() -> None:
        while gpus and not stop.wait(interval_s):
            states = [gpu.state() for gpu in gpus]
            powers = [state.power_w for state in states if state.power_w is not None]
            if len(powers) == len(gpus):  # a sum over fewer would pass for the power of all
                clock = mean_of_known(state.sm_clock_mhz for state in states)
                samples.append(
                    (time.time(), sum(powers), clock, mean_of_known(state.temperature_c for state in states))
                )

    def between(begun_s: float, ended_s: float) -> PowerSamples:
        seen = [sample[1:] for sample in samples if begun_s <= sample[0] <= ended_s]
        if not seen:
            return PowerSamples()
        powers, clocks, temperatures = zip(*seen, strict=True)
        return PowerSamples(
            len(seen), statistics.fmean(powers), max(powers), mean_of_known(clocks), mean_of_known(temperatures)
        )

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield between
    finally:
        stop.set()
        thread.join()


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Mean of those that are not None; None where all are."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
