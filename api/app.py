"""The service as an ASGI application: all its routes, and what they share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from api.access.auth import Keys
from api.access.rates import Rates
from api.apart import Apart
from api.checks import Checks
from api.docs import add_docs
from api.envelope import Envelope, is_loopback
from api.facts import KnownFacts
from api.ops.observe import Observed
from api.ops.routes import operations
from api.plan_texts import PlanTexts
from api.problems import PROBLEMS, Mistake, Problem, answer_problems
from api.routers import (
    audit,
    comparisons,
    coverage,
    deployments,
    imports,
    jobs,
    loads,
    planners,
    plans,
    prices,
    profiles,
    services,
    simulations,
    sweeps,
    timelines,
    validations,
    workloads,
)
from api.waiting import Waiting
from planner.settings import Settings, settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from api.jobs.supervisor import Supervisor

NUM_THREADS = 12
"""For what waits on the store: fewer than the connections that an engine opens (15), so that none waits for one."""

ROUTERS = (
    plans.router, comparisons.router, simulations.router, sweeps.router, jobs.router, planners.router,
    imports.router, coverage.router, profiles.router, validations.router,
    prices.router, services.router, deployments.router, audit.router, workloads.router,
    timelines.router, loads.router,
)  # fmt: skip


def create_app(
    engine: Engine, settings: Settings, *, open_to_loopback: bool, supervisor: Supervisor | None = None
) -> FastAPI:
    """The application on a store. ``open_to_loopback``: callers on this machine need no key.

    ``supervisor`` looks after workers beside the server, where there are any: it starts and stops with the application.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = NUM_THREADS
        if supervisor is not None:
            await run_in_threadpool(supervisor.start)
        yield
        if supervisor is not None:
            await run_in_threadpool(supervisor.stop)

    app = FastAPI(
        title="gpuplan", version="1", summary="Cost-aware GPU cluster planning: specs in, proven plans out",
        docs_url=None, redoc_url=None, lifespan=lifespan, responses=PROBLEMS, generate_unique_id_function=_operation_id,
    )  # fmt: skip
    state = app.state
    state.engine, state.settings, state.open_to_loopback, state.supervisor = (
        engine,
        settings,
        open_to_loopback,
        supervisor,
    )
    state.keys, state.rates, state.waiting = Keys(engine), Rates(settings), Waiting(engine)
    state.facts, state.plan_texts, state.apart = KnownFacts(engine), PlanTexts(engine), Apart()
    state.checks = Checks(engine, state.plan_texts, state.apart)
    answer_problems(app)
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(operations(engine, supervisor))
    add_docs(app)
    app.add_middleware(Envelope, loopback_only=open_to_loopback)
    app.add_middleware(Observed)
    app.openapi = lambda: _documented(app)  # type: ignore[method-assign]  # as FastAPI's documentation does
    return app


def from_environment() -> FastAPI:
    """The application as the environment has it (``planner.settings``), without workers: ``uvicorn --factory``."""
    from profiles.db import connect

    chosen = settings()
    return create_app(connect(chosen.database_url), chosen, open_to_loopback=is_loopback(chosen.host))


def _documented(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once, with the schema of problems that every route refers to."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        for model in (Problem, Mistake):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schema.pop("$defs", None)
            document["components"]["schemas"][model.__name__] = schema
        app.openapi_schema = document
    return app.openapi_schema


def _operation_id(route: APIRoute) -> str:
    """The name of the function, as JavaScript writes it: ``createPlan``."""
    first, *rest = route.name.split("_")
    return first + "".join(word.capitalize() for word in rest)
