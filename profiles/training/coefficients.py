"""What the time model does not know from datasheets: its coefficients, each with its meaning.

Shares lie between 0 and 1 and are learned as logits, all others as logarithms: no coefficient can leave what is
physical, and none has a bound to rest on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from profiles.performance.answers import Floats


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Positive numbers, each an array that broadcasts against (N,) configurations.

    Attributes
    ----------
    product_rate:
        share of the datasheet's FLOP/s that large 16-bit matrix products reach
    product_memory:
        share of a product's memory traffic that its arithmetic does not hide: what makes narrow products slow
    fp8_rate:
        share of the datasheet's fp8 FLOP/s over ``product_rate``
    flash_rate:
        share of the datasheet's FLOP/s that fused attention reaches
    score_bytes:
        memory traffic of each attention score where attention is not fused
    elementwise:
        memory traffic of norms, residuals and activations over what ``products.elementwise_bytes`` counts
    layer_us:
        host time of one layer and pass that the GPU waits for
    link_rate:
        share of the datasheet's link bandwidth inside a node that collectives reach
    network_rate:
        share of the network bandwidth between nodes that collectives reach
    collective_us:
        of any collective, however small
    tp_exposed, dp_exposed, p2p_exposed:
        share of tensor-parallel, data-parallel and pipeline messages that computation does not hide
    step_ms:
        once per step: clipping, loss, data, host
    """

    product_rate: Floats
    product_memory: Floats
    fp8_rate: Floats
    flash_rate: Floats
    score_bytes: Floats
    elementwise: Floats
    layer_us: Floats
    link_rate: Floats
    network_rate: Floats
    collective_us: Floats
    tp_exposed: Floats
    dp_exposed: Floats
    p2p_exposed: Floats
    step_ms: Floats

    @classmethod
    def of(cls, learned: Floats) -> Coefficients:
        """From (14, …) logits and logarithms."""
        odds = np.exp(learned)
        return cls(*(odd / (1 + odd) if name in SHARES else odd for name, odd in zip(NAMES, odds, strict=True)))

    @property
    def learned(self) -> Floats:
        """(14, …) logits and logarithms: the inverse of ``of``."""
        values = {name: getattr(self, name) for name in NAMES}
        return np.log([value / (1 - value) if name in SHARES else value for name, value in values.items()])


SHARES = frozenset({
    "product_rate", "product_memory", "fp8_rate", "flash_rate", "link_rate", "network_rate", "tp_exposed", "dp_exposed",
    "p2p_exposed",
})  # fmt: skip
"""Coefficients between 0 and 1."""

NAMES = tuple(field.name for field in fields(Coefficients))
