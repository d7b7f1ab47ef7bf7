"""How many requests a layout runs at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from profiles.performance.answers import Floats, Marks
from profiles.performance.rows import Rows

WAITING_BELOW = 0.6
"""A row of whose requests a smaller share was decoding may have met a limit on slots."""

CALM_ABOVE = 0.85
"""A row of whose requests a larger share was decoding cannot have waited for anything but a prompt."""

SAME_SLOTS = 0.15
"""Relative spread within which rows agree on a number of slots."""

WITNESSES, AGREEING = 2, 0.7
"""Different operating points that must show the same slots, and the share of the waiting rows that must agree."""


@dataclass(frozen=True)
class RunningLimit:
    """How many requests run at once: ``slots`` of the engine, and KV memory for ``tokens``.

    A request holds ``input + reserved_output · output`` tokens on average: engines that hand out KV blocks as tokens
    come (vLLM, SGLang) hold half of the output, those that never preempt (TensorRT-LLM's default) reserve all of it.
    """

    tokens: float = np.inf
    slots: float = np.inf
    reserved_output: float = 0.5

    def running(self, input_tokens: Floats, output_tokens: Floats) -> Floats:
        """Most requests of these lengths that run at once; below 1 where not even one fits."""
        return np.minimum(self.slots, self.tokens / (input_tokens + self.reserved_output * output_tokens))


def decoding_share(rows: Rows) -> Floats:
    """Share of the requests in flight that were decoding (Little's law); NaN where TTFT was not measured."""
    share: Floats = rows.decode_ms / rows.e2e_ms
    return share


def proven_tokens(rows: Rows, reserved_output: float) -> float:
    """Most tokens of KV cache that ran without waiting."""
    calm = rows.where(decoding_share(rows) > CALM_ABOVE)
    return float((calm.concurrency * (calm.input_tokens + reserved_output * calm.output_tokens)).max(initial=0.0))


def find_slots(rows: list[Rows]) -> float:
    """Slots of an engine, found from all layouts that ran with the same settings; inf where the rows show none.

    A queued row tells the limit it met, ``running = concurrency · decode / E2E``. Prompts and memory make requests
    wait too, but for limits that change with the lengths: only a number that different points have in common, and
    above which no row was calm, is believed. A queue that is not there would cost far more than one that is missed.
    """
    points = [np.stack([np.full(len(r), i), r.input_tokens, r.output_tokens], axis=1) for i, r in enumerate(rows)]
    point, share = np.concatenate(points), np.concatenate([decoding_share(r) for r in rows])
    concurrency = np.concatenate([r.concurrency for r in rows])
    calm = concurrency[share > CALM_ABOVE].max(initial=0.0)
    waited: Marks = (share > 0) & (share < WAITING_BELOW) & (concurrency > calm)  # 0: nothing to decode, no witness
    if waited.sum() < WITNESSES:
        return float("inf")
    slots = float(np.median((share * concurrency)[waited]))
    agree = waited & (np.abs(share * concurrency / slots - 1) < SAME_SLOTS)
    witnesses = len(np.unique(point[agree], axis=0))
    believed = witnesses >= WITNESSES and agree.sum() >= AGREEING * waited.sum() and slots >= calm
    return slots if believed else float("inf")
