"""Jobs of the real kinds: what a request in the queue becomes."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from api.jobs import kinds, queue
from api.jobs.types import FINAL
from api.jobs.work import WORKS
from planner import audit, store
from planner.errors import InvalidInput, UnknownName
from planner.replan import store as services
from planner.replan.report import Report
from tests.api.jobs.conftest import Supervise, wait_until
from tests.planner.replan.services import FIRST_DAY, flat, service

SPEC = {
    "kind": "experts", "name": "small", "topology": {"gpus": 2, "nodes": 1, "slots_per_gpu": 3},
    "workloads": [{"name": "chat", "counts": [[900, 100, 300, 200]]}],
}  # fmt: skip
REQUEST = {"kind": "experts", "spec": SPEC, "time_limit_s": 5.0, "seed": 1, "gap": 0.0}


def test_a_plan_is_saved_and_the_same_plan_again_is_the_same_one(engine: Engine) -> None:
    first, second = kinds.plan(REQUEST, engine), kinds.plan(REQUEST, engine)
    assert first.plan_id == second.plan_id is not None
    saved = store.load_plan(engine, first.plan_id or "")
    assert (saved.kind, saved.name, saved.plan["check"]["passed"]) == ("experts", "small", True)
    assert first.result is not None
    assert (first.result["kind"], first.result["outcome"]) == ("experts", saved.outcome)
    assert len(store.list_plans(engine).plans) == 1


@pytest.mark.parametrize(
    ("changes", "error", "where"),
    [
        ({"kind": "nothing"}, UnknownName, "kind"),
        ({"spec": SPEC | {"topology": {"gpus": -1}}}, InvalidInput, "topology"),
        ({"time_limit_s": "soon"}, InvalidInput, "time_limit_s"),
        ({"spec": []}, InvalidInput, "spec"),
    ],
)
def test_a_request_that_cannot_be_meant_names_the_place(
    engine: Engine, changes: dict[str, Any], error: type[InvalidInput], where: str
) -> None:
    with pytest.raises(error) as caught:
        kinds.plan(REQUEST | changes, engine)
    assert where in str(caught.value)
    assert store.list_plans(engine).plans == ()


def test_a_sweep_has_a_row_for_each_scenario(engine: Engine) -> None:
    request = REQUEST | {"vary": [{"path": "topology.slots_per_gpu", "values": [2, 3]}]}
    done = kinds.sweep(request, engine)
    assert done.plan_id is None
    assert done.result is not None
    assert [row["changes"] for row in done.result["rows"]] == [
        {"topology.slots_per_gpu": 2}, {"topology.slots_per_gpu": 3},
    ]  # fmt: skip
    assert {row["outcome"] for row in done.result["rows"]} == {"optimal"}


def test_a_night_without_services_reports_none(engine: Engine) -> None:
    assert kinds.replan({"date": "2026-05-01"}, engine).result == {"reports": []}


@pytest.mark.parametrize(
    ("kind", "request_", "least_s"),
    [
        ("plan", REQUEST, 2 * 5.0),
        ("sweep", REQUEST | {"vary": [{"path": "topology.slots_per_gpu", "values": [2, 3]}]}, 2 * 2 * 5.0),
        ("simulation", {}, 600.0),
        ("replan", {"services": ["a", "b"], "options": {"solve": {"time_limit_s": 50.0}}}, 2 * 50.0),
        ("deployment", {"action": "apply", "actor": "ann", "wait_s": 900.0}, 900.0),
    ],
)
def test_every_kind_has_more_time_than_its_solver(kind: str, request_: dict[str, Any], least_s: float) -> None:
    assert least_s < WORKS[kind].limit_s(request_) < 10 * least_s + 3600


def test_a_real_worker_decides_a_night(any_engine: Engine, database_url: str, supervise: Supervise) -> None:
    services.save(any_engine, service(rates=flat(21, 1.4)))
    supervise(database_url, 1, module="api.jobs.worker")
    request = {"date": str(FIRST_DAY), "services": ["chat"], "actor": "ann"}
    name = queue.submit(any_engine, "replan", request, "ann", most_queued=99).id
    wait_until(lambda: queue.job(any_engine, name).state in FINAL, "the night")
    job = queue.job(any_engine, name)
    assert (job.state, job.problem) == ("done", None)
    assert job.result is not None
    (report,) = job.result["reports"]
    assert (report["decision"], report["date"]) == ("first_plan", str(FIRST_DAY))
    assert services.decision(any_engine, "chat", FIRST_DAY) == Report.model_validate(report)
    assert [entry.actor for entry in audit.entries(any_engine) if entry.action == "service.replan"] == ["ann"]


def test_real_workers_make_real_plans(any_engine: Engine, database_url: str, supervise: Supervise) -> None:
    supervise(database_url, 2, module="api.jobs.worker")
    requests = [REQUEST | {"seed": seed} for seed in range(6)] + [REQUEST | {"kind": "nothing"}]
    names = [queue.submit(any_engine, "plan", request, "ann", most_queued=99).id for request in requests]
    wait_until(lambda: all(queue.job(any_engine, name).state in FINAL for name in names), "all plans")
    jobs = [queue.job(any_engine, name) for name in names]
    assert [job.state for job in jobs] == ["done"] * 6 + ["failed"]
    assert jobs[-1].problem is not None
    assert jobs[-1].problem["status"] == 422
    assert {job.plan_id for job in jobs[:-1]} == {plan.id for plan in store.list_plans(any_engine).plans}
