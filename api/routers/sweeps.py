"""``/v1/sweeps``: the same question many times."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Request, Response
from starlette.concurrency import run_in_threadpool

from api.examples import SWEEP_REQUESTS
from api.idempotency import MAY_REPEAT, once
from api.making import found_or_how_far, made_by_job
from api.requests import as_document
from api.routers.jobs import JobId
from api.routers.plans import check_time_limit
from api.routers.simulations import MADE, READ
from api.routing import READERS, Maker, v1_router
from api.waiting import MAY_WAIT
from planner.sweep.run import base_of
from planner.sweep.spec import SweepRequest

router = v1_router("sweeps")


@router.post("/sweeps", dependencies=[MAY_WAIT, MAY_REPEAT], status_code=201, response_model=None, responses=MADE)
async def create_sweep(
    request: Request,
    caller: Maker,
    body: Annotated[SweepRequest, Body(openapi_examples=SWEEP_REQUESTS)],
) -> Response:
    """Plan one spec in every combination of some values, or in given scenarios: a row for each."""
    check_time_limit(request, body.time_limit_s)
    if body.kind == "simulation":  # its types compile kernels
        await request.app.state.apart.run(base_of, body)
    else:
        await run_in_threadpool(base_of, body)

    async def make(new_id: str) -> Response:
        return await made_by_job(request, caller, "sweep", as_document(body), new_id)

    return await once(request, caller, make)


@router.get("/sweeps/{job_id}", dependencies=[READERS], response_model=None, responses=READ)
def get_sweep(request: Request, job_id: JobId) -> Response:
    """Read the rows of a sweep, or how far it is."""
    return found_or_how_far(request, "sweep", job_id)
