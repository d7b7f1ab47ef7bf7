"""The performance model: from facts to predictions and capacities of layouts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike

from profiles.errors import InvalidInput
from profiles.names import KnownNames
from profiles.performance.answers import Capacity, Floats, Memory, Percentile, Prediction, Slo, Strings
from profiles.performance.capacity import ALONE, sustain
from profiles.performance.datasheet import Datasheet, datasheet
from profiles.performance.iteration import Iteration
from profiles.performance.latency import Latency
from profiles.performance.layouts import ROOFLINE_ENGINE, FamilyKey, family_key, order, roofline_layouts
from profiles.performance.learn import Family, Member, learn, unmeasured
from profiles.performance.limits import RunningLimit, find_slots, proven_tokens
from profiles.performance.memory import memory
from profiles.performance.power import Power, Powers
from profiles.performance.priors import new_prior
from profiles.performance.replay import MOST_RUNNING, new_iteration
from profiles.performance.rows import Rows, read_rows
from profiles.performance.terms import MEMORY
from profiles.performance.trust import Trust
from profiles.types import Facts, GpuType, Layout, Measurement, ModelCard

MIN_POINTS = 3
"""Distinct operating points that a layout needs before it is offered to a plan."""

BEYOND_MEASURED = 2.0
"""Capacities go up to this multiple of the largest concurrency that was measured."""

UNMEASURED_CONCURRENCY = 128.0
"""Stands for it where nothing was measured: twice this is the default batch limit of vLLM (256 sequences)."""

MOST_CAPACITIES = 512
"""Answers to ``capacity`` that are kept: a plan asks some 50, and the next one, at another rate, asks the same."""

RESERVES_ALL_OUTPUT = frozenset({"trtllm"})
"""Engines that admit a request only when all of its output fits."""


@dataclass(frozen=True)
class _Profile:
    """All that is known of one layout."""

    latency: Latency
    serving: Latency
    """The same for requests that arrive one by one, and never faster for more or longer ones."""
    power: Power | None
    trust: Trust
    roofline: bool
    highest_concurrency: float
    num_rows: int

    def origin(self, input_tokens: Floats, output_tokens: Floats, concurrency: Floats) -> Strings:
        """Origin at each point."""
        if self.roofline:
            return np.full(len(concurrency), "roofline")
        return self.trust.origin(input_tokens, output_tokens, concurrency)


@dataclass(frozen=True)
class _Family:
    """The measured layouts of a family and what they teach."""

    members: Mapping[Layout, Member]
    software: tuple[str, ...]
    """Versions that ``learned`` tells apart; none where it does not."""
    learned: Family | None
    """None where nothing was measured."""


class PerformanceModel:
    """Predictions and capacities of layouts, from the measurements and datasheets in ``facts``.

    Cheap to build: a family of layouts is fitted when first asked about, and kept.
    Models and GPUs may be named by any alias that ``facts`` know.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._families: dict[tuple[FamilyKey, bool], _Family] = {}
        self._profiles: dict[tuple[Layout, str | None], _Profile] = {}
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
        software: str | None = None,
    ) -> Prediction:
        """Latency, throughput and power with ``concurrency`` requests in flight. Arrays broadcast.

        As measured, a layout that was measured in static batches answers for such batches, and mean times follow the
        rows wherever they lead. When ``serving`` (as ``capacity`` does), the answer is for continuous batching of
        requests that arrive one by one, and longer requests and more of them never look faster.
        ``software`` is an engine version (``profiles.performance.rows.software_of``): versions can differ by half, and
        without it the answer is for whichever of them was measured.
        Raises ``InvalidInput`` for lengths or concurrency that are not positive and finite.
        """
        asked = _positive(input_tokens=input_tokens, output_tokens=output_tokens, concurrency=concurrency)
        shape, (tokens_in, tokens_out, in_flight) = asked[0].shape, [values.ravel() for values in asked]
        profile = self._profile(layout, software)
        latency = profile.serving if serving else profile.latency
        mean = latency.at(tokens_in, tokens_out, in_flight)
        slow = latency.at(tokens_in, tokens_out, in_flight, percentile)
        rate = 1e3 * in_flight / mean.e2e_ms
        errors = profile.trust.errors(tokens_in, tokens_out, in_flight)
        load = mean.running, tokens_in, tokens_out
        power_w = _watts(profile.power, *load, rate, reserve=serving)
        power_error = np.full(len(rate), np.nan) if profile.power is None else profile.power.error_at(*load)
        return Prediction(
            ttft_ms=slow.ttft_ms.reshape(shape),
            tpot_ms=slow.tpot_ms.reshape(shape),
            e2e_ms=slow.e2e_ms.reshape(shape),
            output_tokens_per_s=(rate * tokens_out).reshape(shape),
            requests_per_s=rate.reshape(shape),
            power_w=power_w.reshape(shape),
            origin=profile.origin(tokens_in, tokens_out, in_flight).reshape(shape),
            relative_error=errors.e2e.reshape(shape),
            ttft_error=errors.ttft.reshape(shape),
            tpot_error=errors.tpot.reshape(shape),
            throughput_error=errors.e2e.reshape(shape),
            power_error=power_error.reshape(shape),
        )

    def iteration(self, layout: Layout) -> Iteration:
        """What one engine step of ``layout`` costs, for a replay or for splitting prefill from decode.

        Raises ``InvalidInput`` like ``predict``.
        """
        profile = self._profile(layout)
        latency = profile.serving
        most = int(np.clip(min(latency.limit.slots, BEYOND_MEASURED * profile.highest_concurrency), 1, MOST_RUNNING))
        return new_iteration(layout, latency, most, self._card(layout), profile.power, profile.trust.middle_error)

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
        The arrays of the answer are read-only.
        """
        tokens_in, tokens_out = _positive(input_tokens=input_tokens, output_tokens=output_tokens)
        return self._capacities(layout, tokens_in.tobytes(), tokens_out.tobytes(), slo, max_context_tokens)

    @cached_property
    def _capacities(self) -> Callable[[Layout, bytes, bytes, Slo, int | None], Capacity]:
        return lru_cache(MOST_CAPACITIES)(self._capacity)

    def _capacity(
        self, layout: Layout, tokens_in_bytes: bytes, tokens_out_bytes: bytes, slo: Slo, max_context_tokens: int | None
    ) -> Capacity:
        tokens_in, tokens_out = np.frombuffer(tokens_in_bytes), np.frombuffer(tokens_out_bytes)
        profile = self._profile(layout)
        latency = profile.serving
        most = BEYOND_MEASURED * profile.highest_concurrency
        found = sustain(latency, tokens_in, tokens_out, slo, most)
        card = self._card(layout)
        context = min(card.max_context_tokens if card else np.inf, max_context_tokens or np.inf)
        allowed = tokens_in + tokens_out <= context
        alone = np.full_like(tokens_in, ALONE)
        best = latency.at(tokens_in, tokens_out, alone, slo.percentile)
        at = tokens_in, tokens_out, np.maximum(found.concurrency, 1.0)
        capacity = Capacity(
            layout=layout,
            requests_per_s=np.where(allowed, found.requests_per_s, 0.0),
            concurrency=np.where(allowed, found.concurrency, 0.0),
            ttft_ms=found.timing.ttft_ms,
            tpot_ms=found.timing.tpot_ms,
            e2e_ms=found.timing.e2e_ms,
            power_w=_watts(profile.power, found.concurrency, tokens_in, tokens_out, found.requests_per_s, reserve=True),
            origin=profile.origin(*at),
            relative_error=profile.trust.errors(*at).e2e,
            binding=np.where(allowed, found.binding, "context"),
            best_ttft_ms=np.where(allowed, best.ttft_ms, np.inf),
            best_tpot_ms=np.where(allowed, best.tpot_ms, np.inf),
            best_e2e_ms=np.where(allowed, best.e2e_ms, np.inf),
            num_rows=profile.num_rows,
        )
        for array in vars(capacity).values():
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
        return capacity

    def power(self, layout: Layout) -> Power | None:
        """Power of one replica by phase and load; None when the facts have no datasheet of the GPU."""
        return self._powers.of(layout.model_copy(update={"model": self._names.model(layout.model)}))

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

    @cached_property
    def _powers(self) -> Powers:
        return Powers(self._measured, self._facts.gpus, self._names.model_card)

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

    def _member(self, layout: Layout, rows: Rows, slots: float) -> Member:
        expected = self._limit(layout)
        limit = replace(expected, slots=slots)
        return Member(self._sheet(layout), rows, limit, proven_tokens(rows, expected.reserved_output))

    def _family(self, layout: Layout, *, by_software: bool) -> _Family:
        key = family_key(layout)
        if (key, by_software) not in self._families:
            siblings = sorted(self._by_family.get(key, []), key=order)
            rows = {sibling: found for sibling in siblings if len(found := self._layout_rows(sibling))}
            slots = find_slots(list(rows.values())) if rows else np.inf
            members = {sibling: self._member(sibling, found, slots) for sibling, found in rows.items()}
            prior = new_prior(known=all(member.sheet.known for member in members.values()))
            learned = learn(list(members.values()), layout.engine, prior, by_software=by_software) if members else None
            names = tuple(np.unique(np.concatenate([found.software for found in rows.values()]))) if by_software else ()
            self._families[key, by_software] = _Family(members, names, learned)
        return self._families[key, by_software]

    def _profile(self, layout: Layout, software: str | None = None) -> _Profile:
        layout = layout.model_copy(update={"model": self._names.model(layout.model)})
        if software not in self._software(layout):
            software = None
        if (layout, software) not in self._profiles:
            self._profiles[layout, software] = self._new_profile(layout, software)
        return self._profiles[layout, software]

    def _software(self, layout: Layout) -> set[str]:
        """Versions that the layout's family was measured with; none where there is but one."""
        rows = [self._layout_rows(sibling).software for sibling in self._by_family.get(family_key(layout), [])]
        names = {str(name) for found in rows for name in found}
        return names if len(names) > 1 else set()

    def _new_profile(self, layout: Layout, software: str | None) -> _Profile:
        family = self._family(layout, by_software=software is not None)
        members, sheet = family.members, self._sheet(layout)
        member = members.get(layout)
        if family.learned is None:
            if self._card(layout) is None or self._gpu(layout) is None:
                raise InvalidInput(
                    f"nothing is known about {layout.model} on {layout.label}",
                    fix="import measurements of it, or the shape of the model and the datasheet of the GPU",
                )
            learned = unmeasured(sheet, layout.engine, new_prior(known=sheet.known))
        else:
            place = list(members).index(layout) if member else None
            version = family.software.index(software) if software is not None else None
            learned = family.learned.learned(sheet, layout.engine, place, version)
        if member is None:
            member = self._member(layout, self._layout_rows(layout), np.inf)
            if members:
                member = replace(member, limit=replace(member.limit, slots=next(iter(members.values())).limit.slots))
        tokens = max(member.limit.tokens * float(np.exp(learned.log_coefficients[MEMORY])), member.proven_tokens)
        limit = replace(member.limit, tokens=tokens)
        rows = member.rows
        latency = Latency(sheet, learned, limit, rows.static_batch)
        points = np.log(np.stack([rows.input_tokens, rows.output_tokens, rows.concurrency], axis=1))
        trust = Trust(
            sheet, learned, member.limit, rows.static_batch, np.unique(points, axis=0), bool(rows.guessed.any())
        )
        highest = float(rows.concurrency.max()) if len(rows) else UNMEASURED_CONCURRENCY
        return _Profile(
            latency,
            replace(latency, as_measured=False),
            self._powers.of(layout),
            trust,
            not members,
            highest,
            len(rows),
        )


def _watts(
    power: Power | None, running: Floats, tokens_in: Floats, tokens_out: Floats, rate: Floats, *, reserve: bool
) -> Floats:
    """Expected power, or what to ``reserve``; NaN where the GPU is not known."""
    if power is None:
        return np.full(len(running), np.nan)
    return (power.reserve_w if reserve else power.mean_w)(running, tokens_in, tokens_out, rate)


def _positive(**values: ArrayLike) -> list[Floats]:
    arrays = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in values.values()))
    for name, array in zip(values, arrays, strict=True):
        if not (np.isfinite(array).all() and (array > 0).all()):
            raise InvalidInput("must be positive and finite", field=name)
    return [
        np.maximum(array, 1.0) if name.endswith("_tokens") else array
        for name, array in zip(values, arrays, strict=True)
    ]
