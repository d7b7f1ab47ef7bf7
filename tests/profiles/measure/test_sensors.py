"""Power is that of all GPUs or of none, and a GPU that does not tell stops nobody."""

import sys
import time
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.measure import sensors
from profiles.measure.sensors import PowerSamples, Sensors, State, power_between_ticks_w, sampled_power


class NVMLError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for pynvml with two GPUs; the second can be made to refuse."""
    fake: Any = ModuleType("pynvml")
    fake.NVMLError, fake.NVML_CLOCK_SM, fake.NVML_TEMPERATURE_GPU = NVMLError, 1, 0
    fake.refuses = set()
    fake.nvmlInit = lambda: None

    def handle(index: int) -> int:
        if index > 1:
            raise NVMLError("Invalid Argument")
        return index

    def power(handle: int) -> int:
        if handle in fake.refuses:
            raise NVMLError("Not Supported")
        return (300_000, 200_000)[handle]

    fake.nvmlDeviceGetHandleByIndex, fake.nvmlDeviceGetPowerUsage = handle, power
    fake.nvmlDeviceGetTotalEnergyConsumption = lambda handle: 12_000
    fake.nvmlDeviceGetClockInfo = lambda handle, kind: (1700, 1500)[handle]
    fake.nvmlDeviceGetTemperature = lambda handle, kind: 60
    fake.nvmlDeviceGetEnforcedPowerLimit = lambda handle: 700_000
    fake.nvmlDeviceGetName = lambda handle: "NVIDIA H100 80GB HBM3"
    fake.nvmlSystemGetDriverVersion = lambda: "570.1"
    monkeypatch.setattr(sensors, "pynvml", fake)
    return fake


def watched(gpus: list[Sensors]) -> PowerSamples:
    begun = time.time()
    with sampled_power(gpus, interval_s=0.001) as power:
        time.sleep(0.1)
    return power(begun, time.time())


def test_power_is_the_sum_and_clocks_are_the_mean(nvml: Any) -> None:
    seen = watched([Sensors(0), Sensors(1)])
    assert (seen.mean_power_w, seen.peak_power_w) == (pytest.approx(500), 500)
    assert (seen.sm_clock_mhz, seen.temperature_c) == (1600, 60)
    assert seen.num_samples >= 1


def test_one_gpu_that_does_not_tell_leaves_no_power(nvml: Any) -> None:
    nvml.refuses = {1}
    assert watched([Sensors(0), Sensors(1)]) == PowerSamples()
    assert Sensors(1).state() == State(12_000, None, 1500, 60)


def test_only_the_window_counts(nvml: Any) -> None:
    with sampled_power([Sensors(0)], interval_s=0.001) as power:
        time.sleep(0.05)
    assert power(time.time() + 1, time.time() + 2) == PowerSamples()


def test_facts_of_a_gpu(nvml: Any) -> None:
    gpu = Sensors(0)
    assert (gpu.name(), gpu.driver(), gpu.power_limit_w()) == ("NVIDIA H100 80GB HBM3", "570.1", 700)


def test_a_gpu_that_is_not_there_says_why(nvml: Any) -> None:
    gpu = Sensors(7)
    assert gpu.why_blind == "NVML: Invalid Argument"
    assert gpu.state() == State()
    assert (gpu.name(), gpu.driver(), gpu.power_limit_w()) == (None, None, None)


@given(
    watts=st.floats(min_value=1, max_value=1000),
    tick_s=st.floats(min_value=0.02, max_value=0.1),
    offset_s=st.floats(min_value=0, max_value=0.1),
)
def test_power_does_not_depend_on_where_the_counter_stands(watts: float, tick_s: float, offset_s: float) -> None:
    times = np.arange(0, 1.0, 0.001)
    counter = np.floor((times + offset_s) / tick_s) * tick_s * watts * 1e3
    power = power_between_ticks_w([(float(t), round(mj)) for t, mj in zip(times, counter, strict=True)])
    # Readings tell a move to 1 ms, at both ends of 0.8 s or more.
    assert power == pytest.approx(watts, rel=0.005, abs=0.01)


@pytest.mark.parametrize(
    "readings",
    [[], [(0.0, 1), (9.0, 1)], [(0.0, 1), (0.1, 5), (0.15, 9)], [(0.0, None), (1.0, None)], [(0.0, 1), (1.0, 2)]],
)
def test_too_little_to_tell_power_from(readings: list[tuple[float, int | None]]) -> None:
    assert power_between_ticks_w(readings) is None


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "pynvml", None)
    assert Sensors(0).why_blind == "nvidia-ml-py is not installed"
    assert Sensors(0).state() == State()


def test_importing_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    namespace: dict[str, Any] = {"__name__": "again"}
    monkeypatch.setitem(sys.modules, "again", ModuleType("again"))
    exec(compile(open(sensors.__file__, encoding="utf-8").read(), sensors.__file__, "exec"), namespace)  # noqa: S102, SIM115
    assert namespace["pynvml"] is None
