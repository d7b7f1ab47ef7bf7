"""``/v1/plans/{plan_id}/timeline``: what the pipeline of a training plan does in one step."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Query, Request, Response

from api.etags import tagged
from api.routers.plans import READ, PlanId, id_in_path
from api.routing import READERS, v1_router
from planner.documents import validated
from planner.errors import Conflict, InvalidInput
from planner.training.plan import Configuration
from planner.training.spec import Finetune
from planner.training.timeline import Timeline, timeline

router = v1_router("plans")


@router.get("/plans/{plan_id}/timeline", dependencies=[READERS], response_model=Timeline, responses={304: READ[304]})
def get_timeline(
    request: Request, plan_id: PlanId,
    row: Annotated[int, Query(ge=0, le=100_000, description="of the plan's ranked configurations, from 0")] = 0,
) -> Response:  # fmt: skip
    """Read the pipeline schedule of one of a training plan's configurations: every pass with its start and end."""
    plan_id = id_in_path(request, plan_id)
    text = _timeline(json.loads(request.app.state.plan_texts.read(plan_id)), row)
    return tagged(request, text, f"{plan_id}-timeline-{row}")


def _timeline(plan: dict[str, Any], row: int) -> bytes:
    if plan["kind"] != "training":
        raise Conflict(f"this is a plan of the {plan['kind']} planner", fix="ask for the timeline of a training plan")
    ranked = plan["ranked"]
    if not ranked:
        raise Conflict(f"this plan has no configurations: it is {plan['outcome']}", fix="relax the spec, as it says")
    if row >= len(ranked):
        raise InvalidInput(f"row {row} of {len(ranked)} configurations", field="row", fix=f"0 to {len(ranked) - 1}")
    chosen: Configuration = validated(Configuration, ranked[row], f"ranked[{row}]")
    finetune = plan["spec"]["finetune"]
    return timeline(chosen, finetune and validated(Finetune, finetune, "finetune")).model_dump_json().encode()
