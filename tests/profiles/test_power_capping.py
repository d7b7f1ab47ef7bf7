"""Caps on power and clocks, and energy and carbon: properties, and what was published."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.catalogue import load
from profiles.errors import InvalidInput
from profiles.performance import Prediction
from profiles.performance.capping import DECODING, HIGHEST_CLOCK_MHZ, PROMPTS, Cap, Phase, capped
from profiles.performance.energy import energy, g_co2

GPUS = {gpu.name: gpu for gpu in load().gpus}
A100, H100 = GPUS["A100-80GB"], GPUS["H100"]
phases = st.sampled_from([PROMPTS, DECODING])
watts = st.floats(1, 1400)
caps = st.builds(Cap, power_w=st.floats(1, 2000), clock_mhz=st.floats(1, 4000))


@given(phases, watts, caps)
def test_a_cap_never_speeds_up_and_never_draws_more(phase: Phase, power_w: float, cap: Cap) -> None:
    found = capped(phase, np.array([power_w]), H100, cap)
    assert found.time_factor >= 1
    assert found.power_w <= power_w
    assert 0 < found.clock <= 1
    assert found.holds == (found.power_w <= cap.power_w)
    assert found.origin == "assumption"


@given(phases, watts, st.floats(1, 2000), st.floats(1, 2000), st.floats(1, 4000))
def test_a_tighter_cap_is_slower_and_draws_less(phase: Phase, power_w: float, a: float, b: float, mhz: float) -> None:
    tight, loose = (capped(phase, np.array([power_w]), H100, Cap(cap, mhz)) for cap in sorted((a, b)))
    assert tight.time_factor >= loose.time_factor
    assert tight.power_w <= loose.power_w + 1e-9


@given(phases, watts)
def test_a_cap_above_what_is_drawn_changes_nothing(phase: Phase, power_w: float) -> None:
    found = capped(phase, np.array([power_w]), H100, Cap(max(power_w, H100.idle_w), HIGHEST_CLOCK_MHZ["H100"]))
    assert (found.power_w.item(), found.time_factor.item(), found.clock.item()) == (power_w, 1.0, 1.0)


def test_arrays_keep_their_shape_and_unknown_power_stays_unknown() -> None:
    found = capped(DECODING, np.array([[400.0, 500.0], [np.nan, 600.0]]), H100, Cap(power_w=450))
    assert found.power_w.shape == found.time_factor.shape == (2, 2)
    assert found.power_w[0].tolist() == pytest.approx([400, 450], rel=1e-4)
    assert np.isnan(found.power_w[1, 0])


def test_half_the_power_slows_prompts_and_hardly_decoding() -> None:
    """Splitwise: token latency unaffected; its simulator multiplies prompt times by 1.30."""
    prompts = capped(PROMPTS, np.array([700.0]), H100, Cap(power_w=350))
    decoding = capped(DECODING, np.array([420.0]), H100, Cap(power_w=350))
    assert prompts.time_factor == pytest.approx(1.30, abs=0.08)
    assert decoding.time_factor < 1.05
    assert prompts.power_w == pytest.approx(350, rel=1e-4)
    assert decoding.power_w == pytest.approx(350, rel=1e-4)


@pytest.mark.parametrize(("mhz", "decoding", "prompts"), [(1305, 1.02, 1.09), (1275, 1.02, 1.11), (1110, 1.05, 1.28)])
def test_clock_caps_of_polca_slow_a_conversation_by_less_than_5_percent(
    mhz: float, decoding: float, prompts: float
) -> None:
    """POLCA: low priority at 1275 MHz, or 1110 above 89% of the row's budget, keeps its median within 5%."""
    cap = Cap(clock_mhz=mhz)
    slower = [capped(phase, np.array([300.0]), A100, cap).time_factor.item() for phase in (DECODING, PROMPTS)]
    assert slower[0] < decoding
    assert slower[1] < prompts
    if mhz == 1275:
        assert 0.9 * slower[0] + 0.1 * slower[1] < 1.05


def test_even_the_lowest_clock_may_draw_more_than_the_cap() -> None:
    found = capped(PROMPTS, np.array([700.0]), H100, Cap(power_w=60))
    assert not found.holds.any()
    assert found.power_w > H100.idle_w


@pytest.mark.parametrize("value", [0.0, -5.0, float("nan")])
@pytest.mark.parametrize("field", ["power_w", "clock_mhz"])
def test_caps_that_cannot_be_meant(field: str, value: float) -> None:
    with pytest.raises(InvalidInput, match="is no cap") as refusal:
        Cap(**{field: value})
    assert refusal.value.field == field


def test_clock_caps_need_a_known_clock() -> None:
    strange = H100.model_copy(update={"name": "H900"})
    assert capped(PROMPTS, np.array([700.0]), strange, Cap(power_w=350)).time_factor > 1
    with pytest.raises(InvalidInput, match="highest clock of H900") as refusal:
        capped(PROMPTS, np.array([700.0]), strange, Cap(clock_mhz=1000))
    assert "power instead" in (refusal.value.fix or "")


def test_every_gpu_of_the_catalogue_has_a_clock() -> None:
    assert set(HIGHEST_CLOCK_MHZ) == set(GPUS)


def prediction(power_w: float, requests_per_s: float, tokens: float) -> Prediction:
    one = np.ones(1)
    return Prediction(
        ttft_ms=one, tpot_ms=one, e2e_ms=one, output_tokens_per_s=one * requests_per_s * tokens,
        requests_per_s=one * requests_per_s, power_w=one * power_w, origin=np.array(["measured"]),
        relative_error=0.3 * one, ttft_error=0.3 * one, tpot_error=0.3 * one, throughput_error=0.2 * one,
        power_error=0.1 * one,
    )  # fmt: skip


def test_energy_of_tokens_and_requests() -> None:
    found = energy(prediction(1400, 2, 350), g_co2_per_kwh=360)
    assert found.joules_per_request == pytest.approx(700)
    assert found.joules_per_output_token == pytest.approx(2)
    assert found.g_co2_per_request == pytest.approx(700 / 3.6e6 * 360)
    assert 0.2 < found.error < 1.1 * 1.2 - 1


def test_without_a_grid_or_a_gpu_carbon_is_unknown() -> None:
    assert np.isnan(energy(prediction(1400, 2, 350)).g_co2_per_request)
    assert np.isnan(energy(prediction(np.nan, 2, 350), 100).g_co2_per_request)
    assert energy(prediction(1400, 2, 350), 0).g_co2_per_request == 0


@pytest.mark.parametrize("intensity", [-1.0, float("inf")])
def test_intensities_that_cannot_be_meant(intensity: float) -> None:
    with pytest.raises(InvalidInput, match="g_co2_per_kwh"):
        g_co2(1.0, intensity)
    with pytest.raises(InvalidInput, match="joules"):
        g_co2([-1.0, 2.0], 100)
