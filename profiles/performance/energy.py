"""Energy and carbon of what a replica serves, from its power and rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from profiles.errors import InvalidInput
from profiles.performance.answers import Floats, Prediction

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Energy:
    """Of the GPUs; arrays of the prediction's shape. NaN where the GPU is not known.

    ``error`` is the width ``r`` of a 90% interval ``[value / (1 + r), value · (1 + r)]`` of all three.
    """

    joules_per_output_token: Floats
    joules_per_request: Floats
    g_co2_per_request: Floats
    error: Floats


def energy(prediction: Prediction, g_co2_per_kwh: float = np.nan) -> Energy:
    """Energy of a predicted load, and carbon where the intensity of the grid is given.

    Errors of power and throughput add up as independent ones do: in the logarithm, by their squares.
    Raises ``InvalidInput`` for a negative intensity.
    """
    joules = prediction.power_w / prediction.requests_per_s
    widths = np.hypot(np.log1p(prediction.power_error), np.log1p(prediction.throughput_error))
    return Energy(
        joules_per_output_token=prediction.power_w / prediction.output_tokens_per_s,
        joules_per_request=joules,
        g_co2_per_request=g_co2(joules, g_co2_per_kwh),
        error=np.expm1(widths),
    )


def g_co2(joules: ArrayLike, g_co2_per_kwh: float) -> Floats:
    """Grams of CO2 from ``joules`` at the average intensity of a grid; NaN where either is not known.

    Raises ``InvalidInput`` for a negative or infinite intensity, or negative energy.
    """
    if g_co2_per_kwh < 0 or np.isinf(g_co2_per_kwh):
        raise InvalidInput("must be zero or more, and finite", field="g_co2_per_kwh")
    spent = np.asarray(joules, dtype=np.float64)
    if (spent < 0).any():
        raise InvalidInput("must be zero or more", field="joules")
    return np.asarray(spent / JOULES_PER_KWH * g_co2_per_kwh)
