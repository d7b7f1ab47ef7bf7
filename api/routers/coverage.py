"""``/v1/profiles/coverage``: what is measured, for which model on which GPU type."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from fastapi import Request, Response
from pydantic import Field

from api.etags import tagged
from api.routing import READERS, v1_router
from planner.types import Frozen
from profiles.types import Facts

router = v1_router("profiles")

MEASURED = {
    "measurements": "measurements",
    "training-measurements": "training_measurements",
    "layer-measurements": "layer_measurements",
    "rate-profiles": "rate_profiles",
}
"""Kinds of facts about a model on a GPU type, as paths have them, and the field of ``Facts``."""

MOST_CELLS, MOST_SOURCES = 2000, 10
"""Entries of an answer: dozens of models on a dozen GPU types, with room."""


class Cell(Frozen):
    """What is measured of a model on a GPU type: how much of each kind, in which layouts, from where, how old."""

    model: str
    gpu: str
    num: dict[str, int]
    num_latencies: int = Field(description="measurements with TTFT or TPOT")
    num_powers: int = Field(description="measurements with mean power")
    num_gpus: tuple[int, ...] = Field(description="GPUs of one replica (or training job), each that was measured")
    precisions: tuple[str, ...]
    engines: tuple[str, ...] = Field(description="serving engines and training frameworks")
    sources: tuple[str, ...]
    oldest: dt.date
    newest: dt.date


class Coverage(Frozen):
    """One cell per model and GPU type, the most measured first; ``num_left_out`` are not here."""

    digest: str
    cells: tuple[Cell, ...]
    num_left_out: int


@router.get("/profiles/coverage", dependencies=[READERS], response_model=Coverage,
            responses={304: {"description": "The same as `If-None-Match` says"}})  # fmt: skip
def read_coverage(request: Request) -> Response:
    """Read what is measured, by model and GPU type."""
    facts: Facts = request.app.state.facts.read()
    by_subject: dict[tuple[str, str], list[tuple[str, Any]]] = {}
    for kind, field in MEASURED.items():
        for fact in getattr(facts, field):
            by_subject.setdefault((fact.model, fact.gpu), []).append((kind, fact))
    subjects = sorted(by_subject.items(), key=lambda found: (-len(found[1]), found[0]))
    cells = tuple(_cell(model, gpu, found) for (model, gpu), found in subjects[:MOST_CELLS])
    coverage = Coverage(digest=facts.digest, cells=cells, num_left_out=len(subjects) - len(cells))
    return tagged(request, coverage.model_dump_json().encode(), facts.digest)


def _cell(model: str, gpu: str, found: list[tuple[str, Any]]) -> Cell:
    facts = [fact for _, fact in found]
    serving = [fact for kind, fact in found if kind == "measurements"]
    return Cell(
        model=model,
        gpu=gpu,
        num={kind: num for kind in MEASURED if (num := sum(one == kind for one, _ in found))},
        num_latencies=sum(bool(m.ttft_ms or m.ttft_p50_ms or m.tpot_ms or m.tpot_p50_ms) for m in serving),
        num_powers=sum(m.mean_power_w is not None for m in serving),
        num_gpus=tuple(sorted({_num_gpus(fact) for fact in facts})),
        precisions=_distinct(getattr(fact, "precision", "") for fact in facts),
        engines=_distinct(getattr(fact, "engine", "") or getattr(fact, "framework", "") for fact in facts),
        sources=_distinct(fact.source for fact in facts)[:MOST_SOURCES],
        oldest=min(fact.as_of for fact in facts),
        newest=max(fact.as_of for fact in facts),
    )


def _num_gpus(fact: Any) -> int:
    num_gpus: int = fact.layout.num_gpus if hasattr(fact, "layout") else fact.num_gpus
    return num_gpus


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({text for text in texts if text}))
