"""How long a step takes on a device, and what power it draws: warm-up, medians, and long windows for energy.

Times on CUDA are between two events around one step, with the L2 cache overwritten before it, so that operands come
from memory as they do inside a model, and the launch is hidden behind that overwriting. Power is energy over a
window of steps back to back, between two moves of NVML's counter (it moves every 20 to 100 ms).
On a CPU, times are those of one thread with cold caches, waiting for its turn left out; there is no power.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from profiles.errors import InvalidInput
from profiles.measure.sensors import Sensors, State, mean_of_known, power_between_ticks_w

Step = Callable[[], object]

FLUSH_BYTES = 256 * 2**20
"""Overwritten before each timed step: several times the L2 of any current GPU (H200: 50 MiB, B200: 126 MiB)."""


@dataclass(frozen=True)
class Effort:
    """How long to measure one point: timed steps within bounds and time, and the window for power."""

    least_repeats: int = 7
    most_repeats: int = 50
    timing_s: float = 0.2
    power_window_s: float = 0.6


@dataclass(frozen=True)
class Timing:
    """Median and 90th percentile of one step, and the state of the GPU over the power window; None: not measured."""

    time_us: float
    time_p90_us: float
    num_repeats: int
    mean_power_w: float | None = None
    sm_clock_mhz: float | None = None
    temperature_c: float | None = None

    def as_json(self) -> dict[str, float]:
        """The fields that were measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Stopwatch(Protocol):
    """A device that steps can be timed on."""

    device: torch.device
    note: str

    def measure(self, step: Step) -> Timing:
        """Time ``step``."""
        ...

    def run(self) -> dict[str, Any]:
        """What identifies a run on this device: its name and the software."""
        ...

    def free_bytes(self) -> int:
        """Memory that may still be allocated."""
        ...


class CudaStopwatch:
    """Times steps on one CUDA device."""

    def __init__(self, device: torch.device, effort: Effort) -> None:
        self.device, self._effort = device, effort
        torch.cuda.set_device(device)
        properties = torch.cuda.get_device_properties(device)
        uuid = getattr(properties, "uuid", None)
        self._sensors = Sensors(f"GPU-{uuid}" if uuid is not None else (device.index or 0))
        self.note = f"no power, clocks or temperature: {self._sensors.why_blind}" if self._sensors.why_blind else ""
        self._flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device=device)

    def measure(self, step: Step) -> Timing:
        """Time ``step`` with cold caches, then let it run back to back for the power."""
        estimate_s = self._warm_up(step)
        repeats = _repeats(self._effort, estimate_s)
        events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
        for start, end in events:
            self._flush.zero_()
            start.record()
            step()
            end.record()
        torch.cuda.synchronize(self.device)
        times_us = sorted(1e3 * start.elapsed_time(end) for start, end in events)
        return _timing(times_us, *self._state_while_busy(step, estimate_s))

    def run(self) -> dict[str, Any]:
        """Device, driver, power limit and software."""
        return {
            "device": torch.cuda.get_device_name(self.device),
            "driver": self._sensors.driver() or "",
            "power_limit_w": self._sensors.power_limit_w(),
            "software": f"torch {torch.__version__}, CUDA {torch.version.cuda}",
        }

    def free_bytes(self) -> int:
        """Free memory of the device as the driver tells it, and what torch holds unused."""
        unused = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return int(torch.cuda.mem_get_info(self.device)[0]) + int(unused)

    def _state_while_busy(self, step: Step, estimate_s: float) -> tuple[float | None, float | None, float | None]:
        """Power (W), SM clock (MHz) and temperature (°C) over steps back to back; None: not told."""
        if self._sensors.why_blind:
            return None, None, None
        batch = max(1, math.ceil(0.02 / estimate_s))
        readings: list[tuple[float, State]] = []
        begun = time.perf_counter()
        while time.perf_counter() - begun < self._effort.power_window_s:
            for _ in range(batch):
                step()
            readings.append((time.perf_counter(), self._sensors.state()))  # while the steps are running
            torch.cuda.synchronize(self.device)
        return (
            power_between_ticks_w([(when, state.energy_mj) for when, state in readings]),
            mean_of_known(state.sm_clock_mhz for _, state in readings),
            mean_of_known(state.temperature_c for _, state in readings),
        )

    def _warm_up(self, step: Step) -> float:
        """Seconds of one step, after enough of them for clocks and lazily loaded kernels to settle."""
        for _ in range(3):
            step()
        torch.cuda.synchronize(self.device)
        begun, steps = time.perf_counter(), 0
        while steps < 1000 and time.perf_counter() - begun < 0.05:
            step()
            torch.cuda.synchronize(self.device)
            steps += 1
        return (time.perf_counter() - begun) / steps


class CpuStopwatch:
    """Times steps on one core of the CPU: for trying the tool, never for facts about a GPU."""

    note = "a CPU was measured: for trying the tool, not to be stored"

    def __init__(self, effort: Effort) -> None:
        self.device, self._effort = torch.device("cpu"), effort
        self._flush = torch.empty(FLUSH_BYTES // 4, dtype=torch.int8)
        torch.set_num_threads(1)  # on a busy machine, threads that wait for each other measure the scheduler

    def measure(self, step: Step) -> Timing:
        """Time ``step`` by the clock of this thread, caches overwritten before each."""
        step()
        begun = time.thread_time()
        step()
        repeats = _repeats(self._effort, time.thread_time() - begun)
        times_us = []
        for _ in range(repeats):
            self._flush.add_(1)
            begun = time.thread_time()
            step()
            times_us.append(1e6 * (time.thread_time() - begun))
        return _timing(sorted(times_us))

    def run(self) -> dict[str, Any]:
        """Device and software."""
        return {"device": "CPU", "driver": "", "power_limit_w": None, "software": f"torch {torch.__version__}"}

    def free_bytes(self) -> int:
        """A bound that keeps trying it out from swapping."""
        return 2 * 2**30


def stopwatch(device_name: str, effort: Effort | None = None) -> Stopwatch:
    """The stopwatch of ``cuda``, ``cuda:N`` or ``cpu``; ``InvalidInput`` where there is no such device."""
    effort = effort or Effort()
    try:
        device = torch.device(device_name)
    except RuntimeError as error:
        raise InvalidInput(f"{device_name!r} is no device", field="--device", fix="cuda:0, or cpu to try it") from error
    if device.type == "cpu":
        return CpuStopwatch(effort)
    if device.type != "cuda":
        raise InvalidInput(f"cannot measure {device.type!r}", field="--device", fix="cuda:0, or cpu to try it")
    if not torch.cuda.is_available():
        raise InvalidInput(
            "there is no CUDA GPU here",
            field="--device",
            fix="run on a machine with an NVIDIA GPU; --device cpu tries the tool without one",
        )
    if (device.index or 0) >= torch.cuda.device_count():
        raise InvalidInput(f"there are {torch.cuda.device_count()} GPUs here", field="--device")
    return CudaStopwatch(torch.device("cuda", device.index or 0), effort)


def _repeats(effort: Effort, estimate_s: float) -> int:
    return min(effort.most_repeats, max(effort.least_repeats, int(effort.timing_s / max(estimate_s, 1e-6))))


def _timing(
    times_us: list[float],
    mean_power_w: float | None = None,
    sm_clock_mhz: float | None = None,
    temperature_c: float | None = None,
) -> Timing:
    p90 = times_us[min(len(times_us) - 1, math.ceil(0.9 * len(times_us)) - 1)]
    return Timing(statistics.median(times_us), p90, len(times_us), mean_power_w, sm_clock_mhz, temperature_c)
