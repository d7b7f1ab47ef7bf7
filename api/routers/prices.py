"""``/v1/prices``: what instances cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import Body, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.idempotency import MAY_REPEAT, once
from api.pages import Limit
from api.requests import PricesRequest
from api.routers.profiles import IMPORTED, SAME, FactPage, Imported, facts_page
from api.routing import READERS, Admin, v1_router
from planner import audit
from profiles import store
from profiles.fact import Market
from profiles.types import Batch

router = v1_router("prices")

Wanted = Annotated[str | None, Query(max_length=200)]


@router.get("/prices", dependencies=[READERS], responses=SAME, response_model=FactPage)
def list_prices(
    request: Request,
    provider: Wanted = None,
    instance_type: Wanted = None,
    region: Wanted = None,
    market: Market | None = None,
    gpu: Wanted = None,
    limit: Limit = 100,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """List prices: of each instance type, region and market the newest."""
    wanted = {"provider": provider, "instance_type": instance_type, "region": region, "market": market, "gpu": gpu}
    return facts_page(request, "prices", wanted, limit, cursor)


@router.post("/prices", dependencies=[MAY_REPEAT], status_code=201, response_model=None, responses=IMPORTED)
async def add_prices(request: Request, caller: Admin, body: Annotated[PricesRequest, Body()]) -> Response:
    """Add prices. Older ones stay; the newest of each counts."""

    async def make(_: str) -> Response:
        state = request.app.state
        changes = asdict(await run_in_threadpool(store.add, state.engine, Batch(prices=body.prices)))
        state.facts.forget()
        await run_in_threadpool(
            audit.record, state.engine, caller.actor, "prices.add", f"{len(body.prices)} prices",
            getattr(request.state, "request_id", None), changes["prices"],
        )  # fmt: skip
        return Response(Imported(changes=changes).model_dump_json(), 201, media_type="application/json")

    return await once(request, caller, make)
