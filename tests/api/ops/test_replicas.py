"""The metric that autoscalers follow: replicas of this hour, over the server's port and the one without a key."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, create_engine

from api.app import create_app
from api.ops import replicas
from api.ops.exporter import exporting, pages
from planner import service
from planner.command import initialise_store
from planner.errors import InvalidInput, UnknownName
from planner.render.serving_aibrix import aibrix
from planner.render.serving_kubernetes import kubernetes
from planner.replan import store
from planner.replan.fleets import fleet_of
from planner.replan.service import Running, RunningPlan, SavedService
from planner.serving import ServingPlan, ServingSpec
from planner.settings import Settings
from planner.types import SolveOptions

CHAT = yaml.safe_load((Path(__file__).parents[3] / "examples/chat.yaml").read_text())
NOON = dt.datetime(2026, 3, 10, 12, 30, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, ServingPlan, ServingPlan]]:
    """A store with the plan of the example, and with one that runs more of one unit and none of the other."""
    engine, _ = initialise_store(f"sqlite:///{tmp_path_factory.mktemp('replicas') / 'store.db'}")
    spec = ServingSpec.model_validate(CHAT)
    plan = service.answer("serving", spec, engine, SolveOptions())
    assert isinstance(plan, ServingPlan)
    row = plan.allocation[0]
    routing = tuple(route.model_copy(update={"unit": row.unit}) for route in plan.routing)
    other = plan.model_copy(
        update={"allocation": (row.model_copy(update={"replicas": row.replicas + 6}),), "routing": routing}
    )
    yield engine, plan, other
    engine.dispose()


@pytest.fixture
def saved(catalogue: tuple[Engine, ServingPlan, ServingPlan], monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Service ``chat`` runs the second plan from 12 to 18 o'clock in Berlin, else the first; ``idle`` runs nothing."""
    engine, plan, other = catalogue
    spec = ServingSpec.model_validate(CHAT)
    ids = [service.keep(made, spec, engine) for made in (plan, other)]
    for name in ("chat", "idle", "unknown-plan"):
        store.save(engine, SavedService(name=name, spec=spec, time_zone="Europe/Berlin"))
    plans = tuple(RunningPlan(fleet=fleet_of(plan), plan_id=plan_id) for plan_id in ids)
    hours = tuple(int(12 <= hour < 18) for hour in range(24))
    store.set_running(engine, "chat", Running(since=NOON.date(), plans=plans, hours=hours))
    nobody_said = Running(since=NOON.date(), plans=(RunningPlan(fleet=fleet_of(plan)),))
    store.set_running(engine, "unknown-plan", nobody_said)
    monkeypatch.setattr(replicas, "now", lambda: NOON)
    return engine


def _wanted(text: bytes) -> dict[str, float]:
    (family,) = text_string_to_metric_families(text.decode())
    assert {sample.name for sample in family.samples} <= {"vllm:deployment_replicas"}
    return {sample.labels["deployment"]: sample.value for sample in family.samples}


def _rendered(plan: ServingPlan) -> dict[str, int]:
    """Deployments as Kubernetes gets them."""
    documents = [one for text in kubernetes(plan).values() for one in yaml.safe_load_all(text)]
    return {one["metadata"]["name"]: one["spec"]["replicas"] for one in documents if one["kind"] == "Deployment"}


def test_replicas_are_those_of_the_hour(
    saved: Engine, catalogue: tuple[Engine, ServingPlan, ServingPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plan, other = catalogue
    first, second = _rendered(plan), _rendered(other)
    assert len(first) == 2
    assert _wanted(replicas.exposition(saved, "chat")) == dict.fromkeys(first, 0) | second
    monkeypatch.setattr(replicas, "now", lambda: NOON - dt.timedelta(hours=2))  # 11:30 in Berlin
    assert _wanted(replicas.exposition(saved, "chat")) == dict.fromkeys(second, 0) | first
    for name, wanted in first.items():
        assert _wanted(replicas.exposition(saved, "chat", name)) == {name: wanted}


@pytest.mark.parametrize("names", [("nothing",), ("idle",), ("unknown-plan",), ("chat", "nothing"), ("../chat",)])
def test_what_does_not_run_has_no_replicas(saved: Engine, names: tuple[str, ...]) -> None:
    with pytest.raises(UnknownName):
        replicas.exposition(saved, *names)


def test_autoscalers_are_rendered_to_ask_for_what_is_here(
    saved: Engine, catalogue: tuple[Engine, ServingPlan, ServingPlan]
) -> None:
    _, plan, other = catalogue
    documents = [one for text in aibrix(plan).values() for one in yaml.safe_load_all(text) if isinstance(one, dict)]
    paths = [one["spec"]["metricsSources"][0]["path"] for one in documents if one.get("kind") == "PodAutoscaler"]
    asked = [path.removeprefix(replicas.PATH).split("/") for path in paths]
    found = [_wanted(replicas.exposition(saved, *names)) for names in asked]
    assert {name: count for one in found for name, count in one.items()} == dict.fromkeys(
        _rendered(plan), 0
    ) | _rendered(other)


def test_over_the_port_of_the_server(saved: Engine) -> None:
    async def got() -> list[httpx.Response]:
        app = create_app(saved, Settings(), open_to_loopback=True)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            names = list(_wanted(replicas.exposition(saved, "chat")))
            paths = ("chat", f"chat/{names[0]}", "nothing", "chat/nothing", "idle")
            return [await client.get(f"/metrics/replicas/{path}") for path in paths]

    answers = asyncio.run(got())
    assert [answer.status_code for answer in answers] == [200, 200, 404, 404, 404]
    assert len(_wanted(answers[0].content)) == 2
    assert len(_wanted(answers[1].content)) == 1
    assert answers[2].headers["content-type"] == "application/problem+json"


def test_over_the_port_without_a_key(saved: Engine) -> None:
    with exporting(pages(saved), "127.0.0.1", 0) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert "gpuplan_build_info" in client.get("/metrics").text
        assert client.get("/metrics?name=x").status_code == 200
        assert len(_wanted(client.get("/metrics/replicas/chat").content)) == 2
        for path in (
            "/",
            "/metrics/",
            "/metrics/replicas/",
            "/metrics/replicas/nothing",
            "/metrics/replicas/chat/x",
            "/v1/plans",
        ):
            assert client.get(path).status_code == 404
        assert client.post("/metrics").status_code == 501
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")


def test_a_port_that_is_taken_or_none(saved: Engine) -> None:
    with exporting(pages(saved), "127.0.0.1", 0) as port:
        for host, taken in (("127.0.0.1", port), ("192.0.2.1", 0), ("no.such.host.invalid", 0)):
            with pytest.raises(InvalidInput, match="cannot listen"), exporting(pages(saved), host, taken):
                pass


def test_a_store_that_is_away_is_told_and_not_shown(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/nowhere/store.db")
    with exporting(pages(engine), "127.0.0.1", 0) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert "gpuplan_store_up 0.0" in client.get("/metrics").text
        answer = client.get("/metrics/replicas/chat")
        assert (answer.status_code, answer.text) == (503, "profile store unavailable\n")
