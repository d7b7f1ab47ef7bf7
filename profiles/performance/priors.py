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
    (56.2, 1.78, 1.43, 1.20, 0.17, 0.07, 0.42),  # launch
    (2.01, 1.57, 0.61, 0.96, 0.42, 0.10, 0.16),  # all-reduce
    (1.38, 0.87, 0.89, 0.88, 0.11, 0.06, 0.12),  # weights
    (1.6, 0.67, 0.64, 0.53, 0.16, 0.11, 0.14),  # experts
    (1.3, 1.11, 0.62, 1.03, 0.33, 0.08, 0.10),  # KV read
    (0.613, 1.23, 0.34, 0.75, 0.49, 0.10, 0.10),  # decode flops
    (0.618, 1.12, 0.87, 0.94, 0.17, 0.40, 0.21),  # host per request
    (1.11, 1.11, 2.01, 1.52, 0.39, 0.08, 0.17),  # prompt flops
    (1.61, 1.61, 0.69, 1.55, 0.34, 0.15, 0.15),  # prompt attention
    (1.53, 9.50, 2.73, 2.05, 0.71, 0.14, 0.35),  # prompt link
    (3.09, 0.59, 2.37, 2.09, 0.31, 0.15, 0.15),  # prompt host
    (1.13, 0.74, 0.99, 1.02, 0.11, 0.04, 0.02),  # share of prompts in steps
    (537, 11.53, 5.82, 1.06, 0.48, 0.51, 1.00),  # overhead
    (0.404, 2.28, 2.47, 4.09, 0.50, 0.16, 0.16),  # prompt
    (1.28, 1.06, 1.03, 1.51, 0.51, 0.20, 0.15),  # join
    (0.0583, 3.85, 1.81, 1.47, 0.20, 0.22, 0.30),  # burst
    (0.156, 0.19, 0.30, 1.26, 1.00, 0.30, 0.32),  # queue
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
    correction: tuple[float, float] = (0.06, 0.35)
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
