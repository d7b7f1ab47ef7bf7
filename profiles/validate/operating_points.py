"""Predicting measured operating points of inference, layout by layout: what serving and power files share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np

from profiles.errors import InvalidInput
from profiles.ingest import Row
from profiles.names import KnownNames
from profiles.performance import PerformanceModel
from profiles.performance.rows import prompt_tokens, software_of
from profiles.types import Facts, Layout, Measurement
from profiles.validate.part import Predicted

MEANT: Mapping[str, tuple[float, float]] = {
    "input_tokens": (1, 1e7),
    "output_tokens": (1, 1e7),
    "concurrency": (1e-3, 1e6),
    "output_tokens_per_s": (1e-3, 1e9),
}
"""Outside of these a number is a mistake: no request is longer, no replica runs or writes more."""

SPLITS: Mapping[str, Callable[[Row, Measurement], str]] = {
    "tp": lambda _, m: f"tp {m.tp}",
    "model": lambda _, m: m.model,
    "gpu": lambda _, m: m.gpu,
}
"""What can be held out of every such file."""


def required(m: Measurement, fields: Sequence[str], columns: Mapping[str, str]) -> list[float]:
    """The values of ``fields``; raises ``InvalidInput`` at the column of the first that cannot be meant."""
    values = []
    for field in fields:
        value, column = getattr(m, field), columns[field]
        if value is None:
            raise InvalidInput("is missing or blank", field=column)
        least, most = MEANT.get(field, (0.0, np.inf))
        if not least <= value <= most:
            raise InvalidInput(f"{value:g} cannot be meant (from {least:g} to {most:g} it could)", field=column)
        values.append(float(value))
    return values


def label(m: Measurement) -> str:
    """Layout and operating point, for people."""
    lengths = (
        f"{m.task}, {m.output_tokens:.6g} out"
        if m.input_tokens is None
        else f"{m.input_tokens:.6g} in, {m.output_tokens:.6g} out"
    )
    return f"{m.layout.label}; {lengths}, {m.concurrency:.6g} in flight"


def asked(m: Measurement) -> Hashable:
    """All that a prediction of ``m`` depends on."""
    return m.layout, software_of(m), m.task, m.input_tokens, m.output_tokens, m.concurrency


def only_measured(facts: Facts, measurements: Sequence[Measurement]) -> Facts:
    """The GPUs and models of ``facts`` with ``measurements`` as all that is known of their performance."""
    return Facts(gpus=facts.gpus, models=facts.models, measurements=tuple(measurements))


def predict(
    facts: Facts, measurements: Sequence[Measurement], fields: Mapping[str, tuple[str, str]]
) -> list[Predicted | str]:
    """What the performance model of ``facts`` says of each operating point, or why it says nothing.

    ``fields`` names, for each quantity, the fields of ``profiles.performance.Prediction`` that hold its value and its
    interval.
    """
    model, names = PerformanceModel(facts), KnownNames.of(facts)
    answers: list[Predicted | str] = [_beyond_context(m, names) for m in measurements]
    groups: dict[tuple[Layout, str], list[int]] = {}
    for i, m in enumerate(measurements):
        if not answers[i]:
            groups.setdefault((m.layout, software_of(m)), []).append(i)
    for (layout, software), places in groups.items():
        try:
            _require_memory(model, layout, names)
            found = _of_layout(model, layout, software, [measurements[i] for i in places], fields)
        except InvalidInput as refusal:
            found = [refusal.detail] * len(places)
        for i, answer in zip(places, found, strict=True):
            answers[i] = answer
    return answers


def _of_layout(
    model: PerformanceModel, layout: Layout, software: str, group: Iterable[Measurement],
    fields: Mapping[str, tuple[str, str]],
) -> list[Predicted | str]:  # fmt: skip
    points = np.array([(prompt_tokens(m), m.output_tokens, m.concurrency) for m in group], dtype=np.float64)
    found = model.predict(layout, *points.T, software=software)
    table = np.array([[getattr(found, value), getattr(found, width)] for value, width in fields.values()])
    usable = (np.isfinite(table) & (table >= 0)).all(axis=(0, 1)) & (table[:, 0] > 0).all(axis=0)
    return [
        Predicted(str(found.origin[i]), dict(zip(fields, map(tuple, table[:, :, i].tolist()), strict=True)))
        if usable[i]
        else "the model gives no finite prediction"
        for i in range(len(points))
    ]


def _require_memory(model: PerformanceModel, layout: Layout, names: KnownNames) -> None:
    """Raise ``InvalidInput`` where the weights exceed all memory there is; a precision nobody knows may be smaller."""
    memory, all_gib = model.memory(layout), names.gpu_type(layout.gpu).memory_gib * layout.num_gpus
    if memory is not None and memory.weights_gib > all_gib and layout.precision != "unknown":
        raise InvalidInput(
            f"does not fit in memory: {memory.weights_gib:.0f} GiB of weights on {layout.label}, {all_gib:.0f} GiB"
        )


def _beyond_context(m: Measurement, names: KnownNames) -> str:
    """Why no model can have served ``m``; "" when it can."""
    card, tokens = names.model_card(m.model), (prompt_tokens(m) or 0.0) + (m.output_tokens or 0.0)
    if card is None or tokens <= card.max_context_tokens:
        return ""
    return f"{tokens:,.0f} tokens are beyond the model's context of {card.max_context_tokens:,}"
