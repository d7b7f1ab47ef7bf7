"""What is known of the coefficients before any row of a family: medians, and how far families and layouts differ.

Every coefficient is log-normal: a family's around the engine's, a layout's and a software version's around the
family's. So no row, however odd, makes a coefficient vanish, and a coefficient on which no row bears stays where other
families have it. The table is what ``benchmarks/performance_accuracy.py --calibrate`` prints: empirical Bayes
(expectation maximisation) over the families of InferenceX, each with one vote.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from profiles.performance.answers import Floats
from profiles.performance.datasheet import Datasheet
from profiles.performance.terms import SHARE

ENGINES = ("sglang", "trtllm", "vllm")
TABLE = np.array([
    # median, × for sglang, trtllm, vllm; widths of the logarithm by family, layout, software
    (57.3, 1.67, 1.36, 1.16, 0.20, 0.08, 0.34),  # launch
    (2.39, 1.64, 0.68, 1.06, 0.42, 0.10, 0.16),  # all-reduce
    (1.37, 0.89, 0.91, 0.91, 0.14, 0.07, 0.13),  # weights
    (1.6, 0.67, 0.64, 0.55, 0.18, 0.11, 0.14),  # experts
    (1.22, 1.19, 0.65, 1.10, 0.35, 0.08, 0.10),  # KV read
    (0.712, 1.23, 0.38, 0.78, 0.50, 0.10, 0.10),  # decode flops
    (0.611, 1.14, 0.90, 0.97, 0.20, 0.37, 0.19),  # host per request
    (1.18, 1.01, 1.93, 1.47, 0.43, 0.09, 0.17),  # prompt flops
    (1.62, 1.48, 0.74, 1.48, 0.38, 0.15, 0.15),  # prompt attention
    (3.36, 4.32, 1.17, 1.08, 0.63, 0.14, 0.28),  # prompt link
    (3.12, 0.61, 2.23, 1.79, 0.39, 0.15, 0.15),  # prompt host
    (1.14, 0.76, 1.00, 1.01, 0.12, 0.04, 0.02),  # share of prompts in steps
    (639, 9.27, 4.72, 0.92, 0.52, 0.50, 1.00),  # overhead
    (0.55, 1.80, 1.88, 3.02, 0.52, 0.17, 0.16),  # prompt
    (1.36, 1.04, 0.96, 1.26, 0.53, 0.20, 0.15),  # join
    (0.0639, 3.63, 1.67, 1.33, 0.24, 0.25, 0.32),  # burst
    (0.186, 0.25, 0.45, 1.23, 0.99, 0.30, 0.31),  # queue
    (1, 1.00, 1.00, 1.00, 0.15, 0.05, 0.02),  # memory
])  # fmt: skip

APART = 3.0
"""Subtracted from the logarithm of the share of prompts in steps where a replica spreads over several machines: such
deployments work on prompts and decode on different GPUs."""

NOMINAL_WIDTH = 1.0
"""Added to a family's widths where a model or GPU has no datasheet, only nominal times."""

NUM_COEFFICIENTS = len(TABLE)


@dataclass(frozen=True)
class Prior:
    """Log-normal beliefs about one family's coefficients, and about what they cannot express; natural logarithms."""

    family: Floats
    layout: Floats
    software: Floats
    """(18,) widths of the three levels."""
    correction: tuple[float, float] = (0.06, 0.25)
    """Widths of the smooth remainders of log TPOT and of log TTFT."""
    common: float = 0.5
    """Share of a remainder's variance that siblings have in common."""
    reach: float = 1.5
    """Length scale of the remainders, in e-folds of input tokens, output tokens and concurrency."""
    release: tuple[float, float] = (0.2, 0.3)
    """Widths of log TPOT and log TTFT by which one software version is faster than another everywhere."""
    noise: tuple[float, float] = (0.04, 0.12)
    """Spread of repeated runs of the same point."""
    freedom: float = 3.0
    """Degrees of freedom of Student's t, which that spread follows: a few rows are far off."""


def median(sheet: Datasheet, engine: str) -> Floats:
    """(18,) logarithms of the coefficients that a layout has for all one knows."""
    middle: Floats = np.log(TABLE[:, 0])
    if engine in ENGINES:
        middle = middle + np.log(TABLE[:, 1 + ENGINES.index(engine)])
    if sheet.nodes > 1:
        middle[SHARE] -= APART
    return middle


def new_prior(*, known: bool) -> Prior:
    """Beliefs about a family whose datasheets are ``known``, or nominal."""
    family, layout, software = TABLE[:, 4:].T
    return Prior(family if known else np.hypot(family, NOMINAL_WIDTH), layout, software)
