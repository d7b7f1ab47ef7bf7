"""``/v1/workloads``: traffic that was seen, read from a file into the workload of a serving spec."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from api.observing import Seen, WorkloadFile, seen_in
from api.routing import ANY_FILE, READERS, v1_router
from planner.errors import InvalidInput

router = v1_router("workloads")


@router.post("/workloads", dependencies=[READERS], response_model=Seen, openapi_extra=ANY_FILE)
async def read_workload(request: Request, file: Annotated[WorkloadFile, Query()]) -> Response:
    """Read a trace, a log, a benchmark report or vLLM's metrics: the body is the file. Nothing is kept."""
    content = await request.body()
    if not content:
        raise InvalidInput("is empty", field="body", fix="send the file as the body")
    text = await request.app.state.apart.run(seen_in, content, file)
    return Response(text, media_type="application/json")
