"""``/v1/simulations``: what requests experience on a serving plan."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Request, Response
from starlette.concurrency import run_in_threadpool

from api.answers import Found, JobAnswer
from api.examples import SIMULATION_REQUESTS
from api.idempotency import MAY_REPEAT, once
from api.making import found_or_how_far, made_by_job
from api.requests import SimulationRequest, as_document
from api.routers.jobs import JobId
from api.routers.plans import saved_id
from api.routing import READERS, Maker, v1_router
from api.waiting import MAY_WAIT

router = v1_router("simulations")

MADE: dict[int | str, dict[str, Any]] = {
    201: {"model": Found, "description": "What was found, kept at `Location`"},
    202: {"model": JobAnswer, "description": "Not done yet: ask again at `Location`"},
}
READ: dict[int | str, dict[str, Any]] = {
    200: {"model": Found | JobAnswer, "description": "What was found, or why there will be nothing"},
    202: {"model": JobAnswer, "description": "Not done yet"},
    304: {"description": "The same as `If-None-Match` says"},
}


@router.post("/simulations", dependencies=[MAY_WAIT, MAY_REPEAT], status_code=201, response_model=None, responses=MADE)
async def create_simulation(
    request: Request,
    caller: Maker,
    body: Annotated[SimulationRequest, Body(openapi_examples=SIMULATION_REQUESTS)],
) -> Response:
    """Replay traffic on a serving plan: latencies, SLO attainment and power."""
    if body.plan_id is not None:
        plan_id = await run_in_threadpool(saved_id, request, body.plan_id, "plan_id")
        body = body.model_copy(update={"plan_id": plan_id})

    async def make(new_id: str) -> Response:
        return await made_by_job(request, caller, "simulation", as_document(body), new_id)

    return await once(request, caller, make)


@router.get("/simulations/{job_id}", dependencies=[READERS], response_model=None, responses=READ)
def get_simulation(request: Request, job_id: JobId) -> Response:
    """Read what a simulation found, or how far it is."""
    return found_or_how_far(request, "simulation", job_id)
