"""What a store knows of training: step times for planners, with how wrong they may be and what they rest on."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from profiles.performance.answers import Floats, Strings
from profiles.training.coefficients import NAMES, Coefficients
from profiles.training.layouts import Layouts
from profiles.training.learn import NORMAL_LEVEL, NUDGE, Learned, learn
from profiles.training.machine import Machine
from profiles.training.observed import STEP_NOISE, observed, place_of, usable
from profiles.training.priors import SHIPPED, Place, Prior
from profiles.training.rows import Ran
from profiles.training.shape import Transformer
from profiles.training.time import AT_ONCE, PARTS, StepTime, step_time
from profiles.types import Facts

WORST_ERROR = 5.0
"""No interval is wider: beyond it a prediction says nothing anyway."""

NEAR = 1.5
"""Numbers within this factor of the least and the most that was measured count as among them."""

SAMPLE = 128
"""Configurations of which it is computed how their parts depend on the coefficients."""


class TrainingPerformance:
    """Step times as the measured steps, products and collectives of ``facts`` teach them; fitted at first use."""

    def __init__(self, facts: Facts, prior: Prior = SHIPPED) -> None:
        self._facts = facts
        self._prior = prior

    @cached_property
    def learned(self) -> Learned:
        """The fit."""
        return learn(observed(self._facts), self._prior)

    def step_time(
        self, shape: Transformer, layouts: Layouts, machine: Machine, *, sequence_length: int, framework: str,
        fused_attention: bool | None = None,
    ) -> StepTime:  # fmt: skip
        """Milliseconds of a step of each of N configurations, by part, with error and origin.

        ``fused_attention``: as the framework has it today unless said otherwise. Raises ``UnknownName`` for a framework
        nobody knows.
        """
        place = place_of(framework, machine.gpu.architecture)

        def timed(which: Layouts, learned: Floats) -> StepTime:
            return step_time(
                shape, which, machine, sequence_length=sequence_length, framework=framework,
                coefficients=Coefficients.of(learned[:, None]), fused_attention=fused_attention,
            )  # fmt: skip

        middle = self.learned.median(place)
        left_over, unknown = self.learned.remainder(place, layouts.tp, shape.hidden_size)
        found = timed(layouts, middle).times(np.exp(left_over))
        sample = layouts.take(np.linspace(0, len(layouts) - 1, min(SAMPLE, len(layouts))).astype(np.intp))
        slopes = _slopes_of_parts(
            [timed(sample, middle), *(timed(sample, middle + NUDGE * one) for one in np.eye(len(NAMES)))]
        )
        error = self._error(place, found, slopes, unknown)
        return replace(found, error=error, origin=self._origin(place, shape, layouts, sequence_length))

    def _error(self, place: Place, found: StepTime, slopes: Floats, unknown: Floats) -> Floats:
        """Widths ``r`` from how far coefficients, remainder and repeated steps may be off."""
        of_parts = slopes @ self.learned.covariance(place) @ slopes.T
        variance = np.empty(len(unknown))
        for start in range(0, len(unknown), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            ms = np.stack([getattr(found, name)[rows] for name in PARTS])
            variance[rows] = np.einsum("pn,pn->n", np.einsum("pq,qn->pn", of_parts, ms), ms) / ms.sum(axis=0) ** 2
        expected = np.sqrt(np.maximum(variance, 0.0) + unknown**2 + STEP_NOISE**2)
        widths: Floats = np.expm1(NORMAL_LEVEL * self.learned.spread_of(place) * expected)
        return np.minimum(widths, WORST_ERROR)

    @cached_property
    def _ran(self) -> dict[Place, list[Ran]]:
        """What the measured steps ran, by place."""
        found: dict[Place, list[Ran]] = {}
        for _, row in usable(self._facts):
            found.setdefault(place_of(row.framework, row.machine.gpu.architecture), []).append(row)
        return found

    def _origin(self, place: Place, shape: Transformer, layouts: Layouts, sequence_length: int) -> Strings:
        """Measured: a row has the same numbers. Interpolated: each lies among those of rows of the same place."""
        rows = self._ran.get(place, [])
        told = "extrapolated" if rows or place[1] in self.learned.prior.architecture else "roofline"
        origin = np.full(len(layouts), told, dtype="<U12")
        if not rows:
            return origin
        of_models = np.array([_model_numbers(row.shape, row.sequence_length) for row in rows])
        asked = np.array(_model_numbers(shape, sequence_length))
        if not _among(asked, of_models).all():
            return origin
        measured = np.concatenate([_layout_numbers(row.layout) for row in rows], axis=1)
        numbers = _layout_numbers(layouts)
        inside = np.ones(len(layouts), dtype=bool)
        for own, column in zip(numbers, measured, strict=True):
            inside &= _among(own, column)
        origin[inside] = "interpolated"
        for row in measured[:, (of_models == asked).all(axis=1)].T:
            origin[(numbers == row[:, None]).all(axis=0)] = "measured"
        return origin


def _slopes_of_parts(nudged: list[StepTime]) -> Floats:
    """(parts, 14) derivatives of the logarithm of each part in the coefficients, over a sample of configurations."""
    sums = np.array([[getattr(found, name).sum() for name in PARTS] for found in nudged])
    base = np.where(sums[0] > 0, sums[0], 1.0)
    return np.asarray(((sums[1:] - sums[0]) / (NUDGE * base)).T)


def _among(numbers: Floats, measured: Floats) -> Floats:
    return np.asarray((numbers * NEAR >= measured.min(axis=0)) & (numbers <= measured.max(axis=0) * NEAR))


def _model_numbers(shape: Transformer, sequence_length: int) -> tuple[int, ...]:
    return shape.hidden_size, shape.num_layers, sequence_length, max(shape.num_experts, 1)


def _layout_numbers(layouts: Layouts) -> Floats:
    """(11, N) of what tells configurations of one model apart; none is zero."""
    return np.stack([
        layouts.tp, layouts.pp, layouts.cp, layouts.dp, layouts.ep, layouts.micro_batch, layouts.num_micro_batches,
        layouts.virtual_stages, layouts.recompute + 1, layouts.zero + 1, layouts.precision + 1,
    ]).astype(float)  # fmt: skip
