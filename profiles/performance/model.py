"""The performance model: from facts to predictions and capacities of layouts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from profiles.errors import InvalidInput
from profiles.names import KnownNames
from profiles.performance.answers import Capacity, Floats, Memory, Percentile, Prediction, Slo, Strings
from profiles.performance.capacity import ALONE, crowd, sustain
from profiles.performance.datasheet import Datasheet, datasheet
from profiles.performance.iteration import Iteration
from profiles.performance.latency import Latency, RunningLimit
from profiles.performance.layouts import ROOFLINE_ENGINE, FamilyKey, family_key, order, roofline_layouts
from profiles.performance.learn import Family, learn
from profiles.performance.memory import memory
from profiles.performance.power import Power, fit_power
from profiles.performance.replay import MOST_RUNNING, new_iteration
from profiles.performance.rows import Rows, read_rows
from profiles.performance.systems import Member
from profiles.performance.trust import Trust, borrowed_trust, trust
from profiles.types import Facts, GpuType, Layout, Measurement, ModelCard

MIN_POINTS = 3
"""Distinct operating points that a layout needs before it is offered to a plan."""

BEYOND_MEASURED = 2.0
"""Capacities go up to this multiple of the largest concurrency that was measured."""

UNMEASURED_CONCURRENCY = 128.0
"""Stands for it where nothing was measured: twice this is the default batch limit of vLLM (256 sequences)."""

RESERVES_ALL_OUTPUT = frozenset({"trtllm"})
"""Engines that admit a request only when all of its output fits."""


@dataclass(frozen=True)
class _Profile:
    """All that is known of one layout."""

    latency: Latency
    power: Power | None
    trust: Trust
    roofline: bool
    highest_concurrency: float
    num_rows: int

    def judge(self, input_tokens: Floats, output_tokens: Floats, concurrency: Floats) -> tuple[Strings, Floats]:
        """Origin and relative error at each point."""
        origin, error = self.trust.judge(input_tokens, output_tokens, concurrency)
        return (np.full(len(error), "roofline"), error) if self.roofline else (origin, error)


class PerformanceModel:
    """Predictions and capacities of layouts, from the measurements and datasheets in ``facts``.

    Cheap to build: a family of layouts is fitted when first asked about, and kept.
    Models and GPUs may be named by any alias that ``facts`` know.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._families: dict[FamilyKey, tuple[Family, dict[Layout, Member]]] = {}
        self._profiles: dict[Layout, _Profile] = {}
        self._rows: dict[Layout, Rows] = {}

    def layouts(
        self,
        model: str,
        *,
        gpus: Collection[str] | None = None,
        precisions: Collection[str] | None = None,
        engines: Collection[str] | None = None,
        tp: Collection[int] | None = None,
        allow_roofline: bool = False,
    ) -> tuple[Layout, ...]:
        """Every layout of ``model`` that can be planned with, in a fixed order; empty when there is none.

        A layout needs ``MIN_POINTS`` distinct measured points. With ``allow_roofline``, GPUs on which nothing was
        measured for the model are offered from their datasheets.
        """
        name = self._names.model(model)
        wanted = None if gpus is None else {self._names.gpu(gpu) for gpu in gpus}
        measured = [
            layout
            for layout in self._measured
            if layout.model == name and self._fits(layout) and self._num_points(layout) >= MIN_POINTS
        ]
        card = self._names.model_card(name)
        unmeasured = [gpu for gpu in self._facts.gpus if all(layout.gpu != gpu.name for layout in measured)]
        rooflines = roofline_layouts(name, card, unmeasured) if allow_roofline and card else ()
        offered = [*measured, *rooflines]
        return tuple(
            sorted(
                (
                    layout
                    for layout in offered
                    if (wanted is None or layout.gpu in wanted)
                    and (precisions is None or layout.precision in precisions)
                    and (engines is None or layout.engine in engines or layout.engine == ROOFLINE_ENGINE)
                    and (tp is None or layout.tp in tp)
                ),
                key=order,
            )
        )

    def predict(
        self,
        layout: Layout,
        input_tokens: ArrayLike,
        output_tokens: ArrayLike,
        concurrency: ArrayLike,
        percentile: Percentile = "mean",
        *,
        serving: bool = False,
    ) -> Prediction:
        """Latency, throughput and power with ``concurrency`` requests in flight. Arrays broadcast.

        A layout that was measured in static batches answers for such batches, or, when ``serving``, for continuous
        batching of requests that arrive one by one (as ``capacity`` does); for other layouts the two are the same.
        Raises ``InvalidInput`` for lengths or concurrency that are not positive and finite.
        """
        asked = _positive(input_tokens=input_tokens, output_tokens=output_tokens, concurrency=concurrency)
        shape, (tokens_in, tokens_out, in_flight) = asked[0].shape, [values.ravel() for values in asked]
        profile = self._profile(layout)
        latency = profile.latency.continuous() if serving else profile.latency
        mean = latency.at(tokens_in, tokens_out, in_flight)
        slow = latency.at(tokens_in, tokens_out, in_flight, crowd(in_flight, percentile))
        rate = 1e3 * in_flight / mean.e2e_ms
        origin, error = profile.judge(tokens_in, tokens_out, in_flight)
        return Prediction(
            ttft_ms=slow.ttft_ms.reshape(shape),
            tpot_ms=slow.tpot_ms.reshape(shape),
            e2e_ms=slow.e2e_ms.reshape(shape),
            output_tokens_per_s=(rate * tokens_out).reshape(shape),
            requests_per_s=rate.reshape(shape),
            power_w=_watts(profile.power, mean.running).reshape(shape),
            origin=origin.reshape(shape),
            relative_error=error.reshape(shape),
            ttft_error=error.reshape(shape),
            tpot_error=error.reshape(shape),
            throughput_error=error.reshape(shape),
            power_error=np.full(shape, 0.2),
        )

    def iteration(self, layout: Layout) -> Iteration:
        """What one engine step of ``layout`` costs, for a replay or for splitting prefill from decode.

        Raises ``InvalidInput`` like ``predict``.
        """
        profile = self._profile(layout)
        latency = profile.latency.continuous()
        most = int(np.clip(min(latency.limit.slots, BEYOND_MEASURED * profile.highest_concurrency), 1, MOST_RUNNING))
        return new_iteration(layout, latency, most, self._card(layout), profile.power, profile.trust.error)

    def capacity(
        self,
        layout: Layout,
        input_tokens: ArrayLike,
        output_tokens: ArrayLike,
        slo: Slo,
        max_context_tokens: int | None = None,
    ) -> Capacity:
        """Highest request rate of one replica within ``slo``, for each request size. Arrays broadcast to one axis.

        Requests longer than the model's context, or than ``max_context_tokens``, have rate 0 and bind on ``context``.
        """
        asked = _positive(input_tokens=input_tokens, output_tokens=output_tokens)
        tokens_in, tokens_out = (values.ravel() for values in asked)
        profile = self._profile(layout)
        latency = profile.latency.continuous()
        most = BEYOND_MEASURED * profile.highest_concurrency
        found = sustain(latency, tokens_in, tokens_out, slo, most)
        card = self._card(layout)
        context = min(card.max_context_tokens if card else np.inf, max_context_tokens or np.inf)
        allowed = tokens_in + tokens_out <= context
        alone = np.full_like(tokens_in, ALONE)
        best = latency.at(tokens_in, tokens_out, alone, crowd(alone, slo.percentile))
        origin, error = profile.judge(tokens_in, tokens_out, np.maximum(found.concurrency, 1.0))
        return Capacity(
            layout=layout,
            requests_per_s=np.where(allowed, found.requests_per_s, 0.0),
            concurrency=np.where(allowed, found.concurrency, 0.0),
            ttft_ms=found.timing.ttft_ms,
            tpot_ms=found.timing.tpot_ms,
            e2e_ms=found.timing.e2e_ms,
            power_w=_watts(profile.power, found.concurrency),
            origin=origin,
            relative_error=error,
            binding=np.where(allowed, found.binding, "context"),
            best_ttft_ms=best.ttft_ms,
            best_tpot_ms=best.tpot_ms,
            best_e2e_ms=best.e2e_ms,
            num_rows=profile.num_rows,
        )

    def memory(self, layout: Layout) -> Memory | None:
        """Memory of one replica; None when the facts have no shape of the model or no datasheet of the GPU.

        ``max_tokens`` is what measured rows show to fit, where they do, and else what ``kv_gib`` should hold.
        """
        expected = self._expected_memory(layout)
        return expected and replace(expected, max_tokens=self._profile(layout).latency.limit.tokens)

    @cached_property
    def _names(self) -> KnownNames:
        return KnownNames.of(self._facts)

    @cached_property
    def _measured(self) -> dict[Layout, list[Measurement]]:
        by_layout: dict[Layout, list[Measurement]] = {}
        for m in self._facts.measurements:
            layout = m.layout.model_copy(update={"model": self._names.model(m.model)})
            by_layout.setdefault(layout, []).append(m)
        return by_layout

    @cached_property
    def _by_family(self) -> dict[FamilyKey, list[Layout]]:
        families: dict[FamilyKey, list[Layout]] = {}
        for layout in self._measured:
            families.setdefault(family_key(layout), []).append(layout)
        return families

    def _card(self, layout: Layout) -> ModelCard | None:
        return self._names.model_card(layout.model)

    def _gpu(self, layout: Layout) -> GpuType | None:
        return next((gpu for gpu in self._facts.gpus if gpu.name == layout.gpu), None)

    def _sheet(self, layout: Layout) -> Datasheet:
        return datasheet(layout, self._card(layout), self._gpu(layout))

    def _expected_memory(self, layout: Layout) -> Memory | None:
        card, gpu = self._card(layout), self._gpu(layout)
        return None if card is None or gpu is None else memory(layout, card, gpu)

    def _fits(self, layout: Layout) -> bool:
        found = self._expected_memory(layout)
        return found is None or found.max_tokens >= 1

    def _layout_rows(self, layout: Layout) -> Rows:
        if layout not in self._rows:
            self._rows[layout] = read_rows(self._measured.get(layout, []))
        return self._rows[layout]

    def _num_points(self, layout: Layout) -> int:
        rows = self._layout_rows(layout)
        return len({*zip(rows.input_tokens, rows.output_tokens, rows.concurrency, strict=True)})

    def _limit(self, layout: Layout) -> RunningLimit:
        found = self._expected_memory(layout)
        reserved = 1.0 if layout.engine in RESERVES_ALL_OUTPUT else 0.5
        return RunningLimit(found.max_tokens if found else np.inf, reserved_output=reserved)

    def _family(self, layout: Layout) -> tuple[Family, dict[Layout, Member]]:
        key = family_key(layout)
        if key not in self._families:
            members = {
                sibling: Member(self._sheet(sibling), rows, self._limit(sibling))
                for sibling in sorted(self._by_family.get(key, []), key=order)
                if len(rows := self._layout_rows(sibling))
            }
            self._families[key] = learn(members), members
        return self._families[key]

    def _profile(self, layout: Layout) -> _Profile:
        layout = layout.model_copy(update={"model": self._names.model(layout.model)})
        if layout not in self._profiles:
            self._profiles[layout] = self._new_profile(layout)
        return self._profiles[layout]

    def _new_profile(self, layout: Layout) -> _Profile:
        family, members = self._family(layout)
        power = fit_power(layout, self._gpu(layout), self._measured.get(layout, []))
        learned = family.members.get(layout)
        if learned is None:
            if not members and (self._card(layout) is None or self._gpu(layout) is None):
                raise InvalidInput(
                    f"nothing is known about {layout.model} on {layout.label}",
                    fix="import measurements of it, or the shape of the model and the datasheet of the GPU",
                )
            latency = family.latency(self._sheet(layout), self._limit(layout))
            borrowed = borrowed_trust((m.rows, family.members[sibling]) for sibling, m in members.items())
            return _Profile(latency, power, borrowed, not members, UNMEASURED_CONCURRENCY, 0)
        siblings = [(m.rows, family.members[other]) for other, m in members.items() if other != layout]
        rows = members[layout].rows
        return _Profile(
            learned.latency, power, trust(rows, learned, siblings), False, float(rows.concurrency.max()), len(rows)
        )


def _watts(power: Power | None, running: Floats) -> Floats:
    return np.full(len(running), np.nan) if power is None else power.at(running)


def _positive(**values: ArrayLike) -> list[Floats]:
    arrays = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in values.values()))
    for name, array in zip(values, arrays, strict=True):
        if not (np.isfinite(array).all() and (array > 0).all()):
            raise InvalidInput("must be positive and finite", field=name)
    return [
        np.maximum(array, 1.0) if name.endswith("_tokens") else array
        for name, array in zip(values, arrays, strict=True)
    ]
