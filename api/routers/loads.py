"""``/v1/plans/{plan_id}/loads``: how evenly a plan of the experts planner loads the GPUs."""

from __future__ import annotations

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from api.etags import tagged
from api.routers.plans import MOST_VIEWED_HERE_BYTES, READ, PlanId, as_plan, id_in_path
from api.routing import READERS, v1_router
from planner.errors import Conflict
from planner.experts import ExpertsPlan
from planner.experts.loads import Loads, loads

router = v1_router("plans")


@router.get("/plans/{plan_id}/loads", dependencies=[READERS], response_model=Loads, responses={304: READ[304]})
async def get_loads(request: Request, plan_id: PlanId) -> Response:
    """Read the load of every GPU in every layer: with the plan, the placement in use, and the baselines."""
    state = request.app.state
    plan_id = await run_in_threadpool(id_in_path, request, plan_id)
    plan = await run_in_threadpool(state.plan_texts.read, plan_id)
    if len(plan) <= MOST_VIEWED_HERE_BYTES:
        text = await run_in_threadpool(_loads, plan)
    else:
        text = await state.apart.run(_loads, plan)
    return tagged(request, text, f"{plan_id}-loads")


def _loads(text: bytes) -> bytes:
    plan = as_plan(text)
    if not isinstance(plan, ExpertsPlan):
        raise Conflict(f"this is a plan of the {plan.kind} planner", fix="ask for the loads of an experts plan")
    return loads(plan).model_dump_json().encode()
