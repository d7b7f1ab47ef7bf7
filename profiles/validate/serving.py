"""Latency and throughput of serving engines, in the columns of ``inference-latency`` files."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial

from profiles.errors import InvalidInput
from profiles.ingest import Row, survey
from profiles.ingest.inference_latency import COLUMNS
from profiles.types import Measurement
from profiles.validate.operating_points import SPLITS, asked, label, only_measured, predict, required
from profiles.validate.part import Part

FIELDS = {
    "ttft_ms": ("ttft_ms", "ttft_error"),
    "tpot_ms": ("tpot_ms", "tpot_error"),
    "output_tokens_per_s": ("output_tokens_per_s", "throughput_error"),
}
SHORTEST_TTFT = 0.5
"""In token times: a first token costs at least a pass over the weights, as every other does (the least measured: 5)."""


def observe(m: Measurement) -> Mapping[str, float]:
    """TTFT, TPOT, and the throughput that they imply in a closed loop (Little's law).

    ``concurrency · output_tokens / E2E`` with ``E2E = TTFT + (output_tokens − 1) · TPOT``. Raises ``InvalidInput``
    for a row without one of these, and for times of which one must be in another unit.
    """
    needed = ("input_tokens", "output_tokens", "concurrency", "ttft_ms", "tpot_ms")
    _, tokens_out, in_flight, ttft_ms, tpot_ms = required(m, needed, COLUMNS)
    if ttft_ms < SHORTEST_TTFT * tpot_ms:
        raise InvalidInput(
            f"{ttft_ms:g} ms is less than the time of one token ({tpot_ms:g} ms): mixed units?", field="ttft_ms"
        )
    e2e_ms = ttft_ms + max(tokens_out - 1, 0.0) * tpot_ms
    return {"ttft_ms": ttft_ms, "tpot_ms": tpot_ms, "output_tokens_per_s": 1e3 * in_flight * tokens_out / e2e_ms}


def _in_flight(_: Row, m: Measurement) -> str:
    return f"{m.concurrency:g} in flight"


def _point(_: Row, m: Measurement) -> Hashable:
    return asked(m), m.engine_version, m.as_of


SERVING = Part(
    name="serving",
    quantities=tuple(FIELDS),
    read=partial(survey, "inference-latency"),
    observe=observe,
    label=label,
    point=_point,
    asked=asked,
    splits={
        **SPLITS,
        "lengths": lambda _, m: f"{m.input_tokens:g} in, {m.output_tokens:g} out",
        "concurrency": _in_flight,
        "batch": _in_flight,
    },
    stored=lambda facts: facts.measurements,
    given=only_measured,
    predict=partial(predict, fields=FIELDS),
)
