"""What is known of the coefficients before any row of a store.

A coefficient of one framework on one architecture is the common one, shifted for the framework and for the
architecture; shifts are normal, in logits of shares and logarithms of all else. ``FIRST`` was never fitted: its medians
are published or assumed. ``SHIPPED`` is ``FIRST`` after the public measurements in ../shared/data and the published
steps in the catalogue; ``benchmarks/training_accuracy.py --calibrate`` prints its tables anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from profiles.performance.answers import Floats
from profiles.training.coefficients import NAMES, Coefficients
from profiles.training.remainder import Remainder, through

Place = tuple[str, str]
"""Framework family and GPU architecture."""

FAMILY = {"torchtitan": "fsdp", "deepspeed": "megatron-deepspeed"}
"""Whose coefficients a framework shares that has no measured steps of its own; the others are their own family."""

STRANGER = 2.0
"""How much wider the errors are of a framework or architecture that was never measured: an assumption."""


@dataclass(frozen=True)
class Prior:
    """Normal beliefs, in logits and logarithms.

    Attributes
    ----------
    common:
        (14,) medians
    framework, architecture:
        (14,) shifts of those that were measured
    widths:
        (14, 3) of what is common, of frameworks and of architectures
    left_over:
        what physics left over of the places that were measured
    spread:
        by framework: measured errors over those that ``noise`` and the posterior expect
    known:
        of the widths, what measuring leaves open
    """

    common: Floats
    framework: Mapping[str, Floats]
    architecture: Mapping[str, Floats]
    widths: Floats
    left_over: Mapping[Place, Remainder] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)
    known: float = 1.0

    def median(self, place: Place) -> Floats:
        """(14,) of one place."""
        nothing = np.zeros(len(NAMES))
        return self.common + self.framework.get(place[0], nothing) + self.architecture.get(place[1], nothing)

    def width(self, place: Place) -> Floats:
        """(14, 3) of one place: narrower for what was measured."""
        measured = np.array([True, place[0] in self.framework, place[1] in self.architecture])
        return self.widths * np.where(measured, self.known, 1.0)


def _first(rows: Mapping[str, tuple[float, float, float, float]]) -> Prior:
    medians, *widths = zip(*(rows[name] for name in NAMES), strict=True)
    return Prior(Coefficients(*np.array(medians)).learned, {}, {}, np.array(widths).T)


FIRST = _first({
    # median; widths common to all, by framework, by architecture
    "product_rate": (0.75, 0.2, 0.0, 0.8),  # large products on A100 (Megatron, SC 2021, section 5: 0.7 to 0.8)
    "product_memory": (0.8, 1.0, 0.0, 0.3),  # tiles overlap some of their loads with arithmetic
    "fp8_rate": (0.6, 0.7, 0.0, 0.5),  # casts and scales come on top
    "flash_rate": (0.35, 0.3, 0.3, 0.5),  # 0.25 to 0.4 on A100 (FlashAttention-2, Dao, 2023, section 1)
    "score_bytes": (13.0, 0.3, 0.3, 0.0),  # a write, softmax, dropout with its mask, a read
    "elementwise": (1.2, 0.15, 0.3, 0.1),  # eighty per cent of the bandwidth
    "layer_us": (300.0, 0.5, 0.8, 0.3),  # some thirty kernels of 10 µs
    "link_rate": (0.71, 0.2, 0.0, 0.5),  # vTrain's NCCL table
    "network_rate": (0.85, 0.7, 0.7, 0.0),
    "collective_us": (42.0, 0.2, 0.0, 0.2),  # vTrain's NCCL table
    "tp_exposed": (0.8, 0.5, 1.0, 0.0),  # gradients of weights hide some
    "dp_exposed": (0.5, 0.6, 1.0, 0.0),
    "p2p_exposed": (0.5, 0.6, 1.0, 0.0),
    "step_ms": (50.0, 0.5, 0.5, 0.0),
})  # fmt: skip
"""Where nothing was fitted: medians are natural, widths are of logits and logarithms."""

_FITTED = {
    # median; shift of fsdp, megatron-deepspeed, megatron-lm, of Ampere, Hopper
    "product_rate": (0.746, 0.00, 0.00, 0.00, 0.02, -0.34),
    "product_memory": (0.674, 0.00, 0.00, 0.00, -0.06, 0.00),
    "fp8_rate": (0.708, 0.00, 0.00, 0.00, 0.00, 0.25),
    # megatron-lm: no step with fused attention was fitted; FlashAttention-2 is twice as fast as 1 (Dao, 2023)
    "flash_rate": (0.319, -0.14, 0.00, 0.90, 0.16, -0.55),
    "score_bytes": (12.6, 0.00, 0.01, -0.04, 0.00, 0.00),
    "elementwise": (1.15, -0.21, -0.02, 0.06, -0.03, 0.01),
    "layer_us": (250.0, -0.53, 0.40, -0.34, -0.10, 0.03),
    "link_rate": (0.714, 0.00, 0.00, 0.00, 0.03, 0.09),
    "network_rate": (0.739, 0.16, -0.15, -0.70, 0.00, 0.00),
    "collective_us": (41.8, 0.00, 0.00, 0.00, -0.01, 0.01),
    "tp_exposed": (0.779, 0.00, 0.02, -0.52, 0.00, 0.00),
    "dp_exposed": (0.667, 0.91, 0.35, 0.67, 0.00, 0.00),
    "p2p_exposed": (0.433, 0.00, -0.84, 0.09, 0.00, 0.00),
    "step_ms": (38.7, -0.28, 0.01, 0.01, 0.00, 0.00),
}
_LEFT_OVER: dict[Place, tuple[tuple[int, int, float], ...]] = {
    ("megatron-deepspeed", "Ampere"): (
        (1, 3072, -0.02), (1, 8192, -0.03), (2, 3072, 0.03), (2, 8192, 0.17), (4, 3072, 0.06), (4, 8192, -0.01),
        (8, 3072, -0.03), (8, 8192, -0.05), (16, 3072, -0.03),
    ),
    ("fsdp", "Ampere"): (
        (1, 768, 0.07), (1, 1024, 0.05), (1, 1536, 0.03), (1, 2048, 0.02), (1, 2560, 0.01), (1, 4096, -0.03),
        (1, 5120, -0.05), (1, 7168, -0.09), (1, 8192, -0.09),
    ),
    ("fsdp", "Hopper"): (
        (1, 1536, 0.09), (1, 2048, 0.07), (1, 2560, 0.05), (1, 4096, 0.01), (1, 5120, 0.00), (1, 7168, -0.01),
        (1, 8192, -0.01),
    ),
}  # fmt: skip
"""TP degree, hidden size, logarithm of measured over physical time. Of megatron-lm next to nothing is left over."""

_SPREAD = {"fsdp": 1.00, "megatron-deepspeed": 2.31, "megatron-lm": 0.98}


def _shipped() -> Prior:
    medians, *shifts = np.array([_FITTED[name] for name in NAMES]).T
    frameworks, architectures = ("fsdp", "megatron-deepspeed", "megatron-lm"), ("Ampere", "Hopper")
    return Prior(
        Coefficients(*medians).learned, dict(zip(frameworks, shifts[:3], strict=True)),
        dict(zip(architectures, shifts[3:], strict=True)), FIRST.widths,
        {place: through(values) for place, values in _LEFT_OVER.items()}, _SPREAD, known=0.5,
    )  # fmt: skip


SHIPPED = _shipped()
"""After the public measurements. Of their widths half is left: an assumption, no two clusters are the same."""
