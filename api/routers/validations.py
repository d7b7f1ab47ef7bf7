"""``/v1/validations``: how wrong predictions are about measurements."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Body, Request, Response
from pydantic import Field

from api.answers import AS_IT_IS, JobAnswer
from api.examples import VALIDATION_REQUESTS
from api.idempotency import MAY_REPEAT, once
from api.making import found_or_how_far, made_by_job
from api.requests import ValidationRequest, as_document
from api.routers.jobs import JobId
from api.routing import READERS, Maker, v1_router
from api.waiting import MAY_WAIT
from planner.types import Frozen

router = v1_router("validations")


class QuantityErrors(Frozen):
    """Errors of one quantity as fractions of the measured value: mean, median, 90th percentile; null: no rows.

    ``coverage`` is the share of rows inside their own 90% interval.
    """

    mape: float | None
    median_ape: float | None
    p90_ape: float | None
    coverage: float | None


class Errors(Frozen):
    """Errors over some rows, by quantity: those that the part has are there."""

    model_config = AS_IT_IS

    rows: int
    ttft_ms: QuantityErrors | None = None
    tpot_ms: QuantityErrors | None = None
    output_tokens_per_s: QuantityErrors | None = None
    mean_power_w: QuantityErrors | None = None
    step_ms: QuantityErrors | None = None
    tokens_per_s_per_gpu: QuantityErrors | None = None


class GroupErrors(Errors):
    """Errors of one model on one GPU type."""

    model: str
    gpu: str


class OriginErrors(Errors):
    """Errors of predictions of one origin."""

    origin: str


class FoldErrors(Errors):
    """Errors of what was held out at once."""

    held_out: str


class Pair(Frozen):
    """One quantity of one row; the 90% interval is ``predicted / (1 + interval)`` to ``predicted · (1 + interval)``."""

    predicted: float
    measured: float
    interval: float


class Prediction(Frozen):
    """One row (its line in the file, or its place in the store) and what was predicted for it."""

    model_config = AS_IT_IS

    row: int
    model: str
    gpu: str
    label: str
    origin: str
    fold: str
    compared: dict[str, Pair]


class UnpredictedRow(Frozen):
    """A row without a prediction, and why."""

    model_config = AS_IT_IS

    row: int
    reason: str


class ContradictoryRows(Frozen):
    """Rows of one and the same point whose values differ: the least and greatest of each."""

    rows: tuple[int, ...]
    ranges: dict[str, tuple[float, float]]


class RankedGroup(Frozen):
    """How well alternatives are ranked."""

    model_config = AS_IT_IS

    alternatives: str
    rows: int
    spearman: float
    top1_regret: float


class Validation(Errors):
    """As ``gpuplan validate --json`` prints it, with lists cut to a length: ``left_out`` counts the rest of each."""

    id: str
    part: Literal["serving", "power", "training"]
    file: str
    split: str = Field(description="what was held out; `store`: nothing, the predictions are from what is stored")
    seed: int | None
    profile_digest: str
    rows_in_store: int
    unpredicted: tuple[UnpredictedRow, ...]
    contradictions: tuple[ContradictoryRows, ...]
    groups: tuple[GroupErrors, ...]
    origins: tuple[OriginErrors, ...]
    folds: tuple[FoldErrors, ...]
    predictions: tuple[Prediction, ...]
    notes: tuple[str, ...]
    left_out: dict[str, int]
    spearman_within_group: float | None = None
    top1_regret_mean: float | None = None
    top1_regret_max: float | None = None
    ranked_groups: tuple[RankedGroup, ...] = ()


MADE: dict[int | str, dict[str, Any]] = {
    201: {"model": Validation, "description": "What was found, kept at `Location`"},
    202: {"model": JobAnswer, "description": "Not done yet: ask again at `Location`"},
}
READ: dict[int | str, dict[str, Any]] = {
    200: {"model": Validation | JobAnswer, "description": "What was found, or why there will be nothing"},
    202: {"model": JobAnswer, "description": "Not done yet"},
    304: {"description": "The same as `If-None-Match` says"},
}


@router.post("/validations", dependencies=[MAY_WAIT, MAY_REPEAT], status_code=201, response_model=None, responses=MADE)
async def create_validation(
    request: Request,
    caller: Maker,
    body: Annotated[ValidationRequest, Body(openapi_examples=VALIDATION_REQUESTS)],
) -> Response:
    """Predict every row of a file, or what is stored, and compare: errors overall, by model × GPU, and row by row."""

    async def make(new_id: str) -> Response:
        return await made_by_job(request, caller, "validation", as_document(body), new_id)

    return await once(request, caller, make)


@router.get("/validations/{job_id}", dependencies=[READERS], response_model=None, responses=READ)
def get_validation(request: Request, job_id: JobId) -> Response:
    """Read what a validation found, or how far it is."""
    return found_or_how_far(request, "validation", job_id)
