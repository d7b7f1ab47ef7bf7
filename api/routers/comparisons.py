"""``/v1/comparisons``: what changed from one plan to another."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import Body, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.etags import FOR_EVER, tagged
from api.idempotency import MAY_REPEAT, once
from api.requests import ComparisonRequest
from api.routers.plans import READ, PlanId, id_in_path, saved_id
from api.routing import READERS, Reader, v1_router
from planner.compare import Comparison, compare

router = v1_router("plans")


@router.post("/comparisons", dependencies=[MAY_REPEAT], response_model=Comparison)
async def compare_plans(request: Request, caller: Reader, body: Annotated[ComparisonRequest, Body()]) -> Response:
    """Compare two saved plans of one kind: what changed in what was asked and in the answer, and why."""

    async def make(_: str) -> Response:
        ids = [await run_in_threadpool(saved_id, request, plan, "plans") for plan in body.plans]
        return Response(await run_in_threadpool(_compared, request, *ids), media_type="application/json")

    return await once(request, caller, make)


@router.get("/plans/{plan_id}/compare", dependencies=[READERS], response_model=Comparison, responses={304: READ[304]})
def compare_plan(
    request: Request, plan_id: PlanId,
    to: Annotated[str, Query(min_length=1, max_length=64, description="the newer plan")],
) -> Response:  # fmt: skip
    """Compare a saved plan with a newer one."""
    old, new = id_in_path(request, plan_id), saved_id(request, to, "to")
    return tagged(request, _compared(request, old, new), f"{old}-{new}", cache=FOR_EVER)


def _compared(request: Request, old: str, new: str) -> bytes:
    texts = request.app.state.plan_texts
    before, after = (json.loads(texts.read(plan)) for plan in (old, new))
    return compare(before, after).model_dump_json().encode()
