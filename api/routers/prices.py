"""``/v1/prices``: what instances cost."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Annotated

from fastapi import Body, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.etags import tagged
from api.idempotency import MAY_REPEAT, once
from api.pages import Limit
from api.requests import PricesRequest
from api.routers.imports import IMPORTED, Imported
from api.routers.profiles import SAME, FactPage, facts_page
from api.routing import READERS, Admin, v1_router
from planner import audit
from planner.types import Frozen
from profiles import store
from profiles.fact import Market
from profiles.types import Batch, Facts, Price

router = v1_router("prices")

Wanted = Annotated[str | None, Query(max_length=200)]


class CheapestGpu(Frozen):
    """The cheapest way to rent one GPU of a type in a market: its share of the instance that it comes in."""

    gpu: str
    market: Market
    usd_per_gpu_hour: float
    usd_per_hour: float
    num_gpus: int
    provider: str
    instance_type: str
    region: str
    source: str
    as_of: dt.date
    num_prices: int


class CheapestGpus(Frozen):
    """One entry per GPU type and market, the cheapest GPU type first."""

    digest: str
    items: tuple[CheapestGpu, ...]


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


@router.get("/prices/cheapest", dependencies=[READERS], responses=SAME, response_model=CheapestGpus)
def list_cheapest_prices(request: Request) -> Response:
    """List for each GPU type and market what one GPU costs where it is cheapest."""
    facts: Facts = request.app.state.facts.read()
    found = CheapestGpus(digest=facts.digest, items=tuple(_cheapest(facts)))
    return tagged(request, found.model_dump_json().encode(), facts.digest)


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


def _cheapest(facts: Facts) -> list[CheapestGpu]:
    instances = {(instance.provider, instance.name): instance for instance in facts.instances}
    offers: dict[tuple[str, Market], list[tuple[float, Price]]] = {}
    for price in facts.prices:
        instance = instances[price.provider, price.instance_type]
        offers.setdefault((instance.gpu, price.market), []).append((price.usd_per_hour / instance.num_gpus, price))
    found = []
    for (gpu, market), prices in offers.items():
        per_gpu, price = min(prices, key=lambda offer: offer[0])
        found.append(CheapestGpu(
            gpu=gpu, market=market, usd_per_gpu_hour=per_gpu, usd_per_hour=price.usd_per_hour,
            num_gpus=instances[price.provider, price.instance_type].num_gpus, provider=price.provider,
            instance_type=price.instance_type, region=price.region, source=price.source, as_of=price.as_of,
            num_prices=len(prices),
        ))  # fmt: skip
    return sorted(found, key=lambda one: (one.usd_per_gpu_hour, one.gpu, one.market))
