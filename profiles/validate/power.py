"""Power and throughput by batch, in the columns of ``inference-power`` files.

They do not say how long the prompts were: the performance model assumes it by task, and so do we. To hold out lengths
is to hold out a task.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial

from profiles.errors import InvalidInput
from profiles.ingest import Row, survey
from profiles.ingest.inference_power import COLUMNS
from profiles.performance.rows import TYPICAL_INPUT_TOKENS, prompt_tokens
from profiles.types import Measurement
from profiles.validate.operating_points import SPLITS, asked, label, only_measured, predict, required
from profiles.validate.part import Part

FIELDS = {
    "mean_power_w": ("power_w", "power_error"),
    "output_tokens_per_s": ("output_tokens_per_s", "throughput_error"),
}
LEAST_W_PER_GPU = 5.0
"""No GPU of a machine that serves draws less, idle or not: such a number is in kilowatts."""


def observe(m: Measurement) -> Mapping[str, float]:
    """Power of all the replica's GPUs, and throughput.

    Raises ``InvalidInput`` for a row without one of them, without its mean batch or output length, of a task whose
    prompt length nobody knows, or with power that must be in another unit.
    """
    needed = ("output_tokens", "concurrency", "mean_power_w", "output_tokens_per_s")
    _, _, power_w, tokens_per_s = required(m, needed, COLUMNS)
    if power_w < LEAST_W_PER_GPU * m.layout.num_gpus:
        raise InvalidInput(f"{power_w:g} W is less than idle GPUs draw: kilowatts?", field=COLUMNS["mean_power_w"])
    if prompt_tokens(m) is None:
        known = ", ".join(TYPICAL_INPUT_TOKENS)
        raise InvalidInput(f"no prompt length is known for {m.task!r} (known: {known})", field="task")
    return {"mean_power_w": power_w, "output_tokens_per_s": tokens_per_s}


def _batch(row: Row, m: Measurement) -> str:
    """The batch limit that was set, or where the file lacks it the batch that ran."""
    return f"batch {row['max_batch'] or round(m.concurrency or 0)}"


def _point(row: Row, m: Measurement) -> Hashable:
    return m.layout, m.task, _batch(row, m)


POWER = Part(
    name="power",
    quantities=tuple(FIELDS),
    read=partial(survey, "inference-power"),
    observe=observe,
    label=label,
    point=_point,
    asked=asked,
    splits={**SPLITS, "lengths": lambda _, m: m.task, "concurrency": _batch, "batch": _batch},
    stored=lambda facts: facts.measurements,
    given=only_measured,
    predict=partial(predict, fields=FIELDS),
)
