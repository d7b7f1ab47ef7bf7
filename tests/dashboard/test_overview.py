"""The overview: services as the REST service has them, real decisions, and terms that two people change."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.client import Client, Refused
from dashboard.overview import attention, standing, terms
from dashboard.overview.standing import Standing
from tests.dashboard.conftest import OpenPage
from tests.dashboard.test_history import table, words

Document = dict[str, Any]

DEMAND = Path(__file__).parents[2] / "examples" / "replan" / "chat_demand.csv"
NOW = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
NAME = "nightly"


@pytest.fixture(scope="module")
def service(service_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service_url, timeout=60, headers={"Prefer": "wait=60"}) as client:
        yield client


@pytest.fixture(scope="module")
def decided(service: httpx.Client) -> Document:
    """The decision of a first night, planned from the example's demand of two weeks."""
    remove_all(service)
    rates = [float(row["requests_per_s"]) for row in csv.DictReader(DEMAND.open())][-14 * 24 :]
    example = service.get("/v1/planners/serving").json()["example"]
    observed = {"start": "2026-02-15T23:00:00Z", "requests_per_s": rates}
    saved = {
        "name": NAME, "time_zone": "Europe/Berlin", "spec": {**example, "offers": {"gpus": ["H100", "H200"]}},
        "demand": [{"service": example["services"][0]["name"], "observed": observed}],
    }  # fmt: skip
    assert service.put(f"/v1/services/{NAME}", json=saved).status_code == 201
    return replanned(service, "2026-03-01")


@pytest.fixture
def opened(open_page: OpenPage, decided: Document) -> AppTest:
    return open_page("overview", service=NAME, part="Terms")


def remove_all(service: httpx.Client) -> None:
    for saved in service.get("/v1/services").json()["services"]:
        service.delete(f"/v1/services/{saved['name']}", headers={"If-Match": "*"})


def replanned(service: httpx.Client, day: str) -> Document:
    asked = {"date": day, "services": [NAME], "options": {"solve": {"time_limit_s": 20}}}
    answer = service.post("/v1/replans", json=asked)
    assert answer.status_code == 201, answer.text
    (report,) = answer.json()["reports"]
    return dict(report)


def metric(page: AppTest, label: str) -> str:
    return str(next(m for m in page.metric if m.label == label).value)


def press(page: AppTest, label: str) -> AppTest:
    next(button for button in page.button if button.label == label).click().run()
    assert not page.exception
    return page


def saved_terms(service: httpx.Client) -> Document:
    found: Document = service.get(f"/v1/services/{NAME}").json()["service"]["terms"]
    return found


def save(service: httpx.Client, **changed: Any) -> None:
    """What somebody else does meanwhile."""
    read = service.get(f"/v1/services/{NAME}")
    body = read.json()["service"]
    body["terms"] = {**body["terms"], **changed}
    answer = service.put(f"/v1/services/{NAME}", json=body, headers={"If-Match": read.headers["ETag"]})
    assert answer.status_code == 200, answer.text


def test_money_fleet_and_decision_are_those_of_the_service(open_page: OpenPage, decided: Document) -> None:
    page = open_page("overview")
    assert not page.exception
    assert decided["decision"] == "first_plan"
    usd = decided["usd_plan"] * 365 / 12
    assert metric(page, "Cost") == f"${usd:,.0f}/month"
    assert metric(page, "Saved") == f"${decided['usd_static_peak'] * 365 / 12 - usd:,.0f}/month"
    row = table(page, "services")[1]
    assert row[0] == NAME
    assert row[4] == "2026-03-01: first plan"
    kinds = {one["instance_type"] for hour in decided["hours"] for one in hour["fleet"]}
    assert any(kind in row[1] for kind in kinds)
    assert "Decided: nothing ran before." in words(page)
    assert "Nothing ran before" not in words(page)  # the reason says no more than that
    money = {row[0]: row[1] for row in table(page, f"money of {NAME}")[1:]}
    assert money["one plan for the busiest hour"] == f"${decided['usd_static_peak']:,.0f}"


def test_the_charts_hold_what_was_decided(open_page: OpenPage, decided: Document) -> None:
    page = open_page("overview", service=NAME, night="2026-03-01")
    fleet = table(page, f"data of fleet of {NAME}")
    hours = decided["hours"]
    assert fleet[1][0] == "2026-03-01T00:00"
    assert int(fleet[1][3]) == hours[0]["fleet"][0]["instances"]
    demand = table(page, f"data of demand of {NAME}")
    (first,) = hours[0]["planned_requests_per_s"].values()
    assert float(demand[1][2]) == pytest.approx(first, rel=1e-3)


def test_a_night_is_planned_when_asked_for(open_page: OpenPage, service: httpx.Client, decided: Document) -> None:
    page = open_page("overview", service=NAME, part="Plan now")
    page.date_input(key=f"day of {NAME}").set_value(dt.date(2026, 3, 2))
    press(page, "Plan tonight's now")
    newest = service.get(f"/v1/services/{NAME}/decisions", params={"limit": 1}).json()["decisions"][0]
    assert newest["date"] == "2026-03-02"
    assert f"{NAME}, 2026-03-02: {newest['decision'].replace('_', ' ')}" in words(page)


def test_a_night_that_cannot_be_planned_is_no_success(open_page: OpenPage, decided: Document) -> None:
    page = open_page("overview", service=NAME, part="Plan now")
    page.date_input(key=f"day of {NAME}").set_value(dt.date(2027, 3, 2))
    press(page, "Plan tonight's now")
    assert not page.success
    assert f"{NAME}, 2027-03-02: failed" in words(page)
    assert "What helps" in words(page)
    page = open_page("overview")
    assert "planning 2027-03-02 failed" in words(page)


def test_terms_are_changed(opened: AppTest, service: httpx.Client) -> None:
    number(opened, "Horizon (days)").set_value(2)
    number(opened, "Demand to plan for (quantile)").set_value(0.9)
    press(opened, "Save the terms")
    now = saved_terms(service)
    assert (now["horizon_days"], now["quantile"]) == (2, 0.9)
    assert "saved" in words(opened)


def number(page: AppTest, label: str) -> Any:
    return next(element for element in page.number_input if element.label == label)


@pytest.mark.parametrize("mine", [True, False])
def test_two_people_who_change_the_same_service_are_told(opened: AppTest, service: httpx.Client, mine: bool) -> None:
    save(service, horizon_days=3, quantile=0.8)
    number(opened, "Least saving ($ over the horizon)").set_value(7.0)
    number(opened, "Demand to plan for (quantile)").set_value(0.7)
    press(opened, "Save the terms")
    assert "Somebody else changed this service" in words(opened)
    assert saved_terms(service)["quantile"] == 0.8
    rows = {row[0]: row[1:] for row in table(opened, f"both versions of {NAME}")[1:]}
    assert rows["Demand to plan for (quantile)"][1:] == ["0.8", "0.7", "both"]
    assert rows["Least saving ($ over the horizon)"][2:] == ["7", "you"]

    press(opened, "Write mine" if mine else "Load theirs")
    now = saved_terms(service)
    assert (now["quantile"], now["least_saving_usd"]) == ((0.7, 7.0) if mine else (0.8, 0.0))
    if not mine:
        assert number(opened, "Demand to plan for (quantile)").value == 0.8
    save(service, horizon_days=1, quantile=0.95, least_saving_usd=0.0)


def test_a_night_meanwhile_is_no_conflict(opened: AppTest, service: httpx.Client, decided: Document) -> None:
    """What runs changes the version of a service, and not its terms."""
    read = service.get(f"/v1/services/{NAME}")
    running = service.put(f"/v1/services/{NAME}/running", json={"plan_id": None},
                          headers={"If-Match": read.headers["ETag"]})  # fmt: skip
    assert running.json()["version"] == read.json()["version"] + 1
    number(opened, "Shortest run (h)").set_value(4)
    press(opened, "Save the terms")
    assert saved_terms(service)["schedule"]["min_up_hours"] == 4


def test_a_key_that_may_only_read_is_told(
    opened: AppTest, service: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved_terms(service)

    def refuse(*_: Any, **__: Any) -> None:
        raise Refused(
            {"status": 403, "title": "forbidden", "detail": "this needs the scope plan", "fix": "another key"}
        )

    for method in ("put", "post", "delete"):
        monkeypatch.setattr(Client, method, refuse)
    number(opened, "Horizon (days)").set_value(5)
    press(opened, "Save the terms")
    assert "This key may not do that" in opened.error[0].value
    press(opened, "Yes, remove it")
    assert "This key may not do that" in opened.error[0].value
    assert saved_terms(service) == before


@pytest.mark.parametrize("query", [
    {"service": "nobody", "night": "tomorrow"}, {"service": "<b>", "night": "1", "part": "Cooking"},
])  # fmt: skip
def test_nonsense_in_the_address_is_told_in_words(
    open_page: OpenPage, decided: Document, query: dict[str, str]
) -> None:
    page = open_page("overview", **query)
    assert not page.exception
    assert not page.error


def test_removing_asks_first_and_a_first_service_is_one_click_away(
    open_page: OpenPage, service: httpx.Client, decided: Document
) -> None:
    page = open_page("overview", service=NAME, part="Terms")
    assert "Forget" in words(page)
    press(page, "Yes, remove it")
    assert service.get(f"/v1/services/{NAME}").status_code == 404
    remove_all(service)
    page = open_page("overview")
    assert "No service is saved yet" in words(page)
    press(page, "Save the example as a service")
    (saved,) = service.get("/v1/services").json()["services"]
    assert table(page, "services")[1][0] == saved["name"]
    assert "nothing is decided for it yet" in words(page)
    remove_all(service)


def saved(name: str = "a", running: Document | None = None) -> Document:
    spec = {"services": [{"model": "m"}]}
    return {"name": name, "running": running, "service": {"spec": spec, "time_zone": "Europe/Berlin"}}


def report(decision: str, date: str = "2026-03-02", **more: Any) -> Document:
    empty = {"reason": "r", "problem": None, "conflicts": [], "hours": [], "usd_keep": None, "usd_plan": None}
    return {
        **empty,
        "service": "a",
        "date": date,
        "decision": decision,
        "horizon_days": 1,
        "usd_static_peak": None,
        **more,
    }


def offer(name: str, instances: int, market: str = "on_demand") -> Document:
    return {"provider": "p", "region": "r", "instance_type": name, "market": market, "instances": instances}


@pytest.mark.parametrize(("utc", "expected"), [
    ("2026-03-02T22:59", "2 × day"),  # 23:59 in Berlin
    ("2026-03-02T23:00", "1 × night (spot)"),  # midnight there
    ("2026-07-02T21:59", "2 × day"),  # summer time: two hours ahead
    ("2026-07-02T22:00", "1 × night (spot)"),
])  # fmt: skip
def test_the_fleet_is_that_of_the_local_hour(utc: str, expected: str) -> None:
    plans = [{"fleet": [offer("night", 1, "spot")]}, {"fleet": [offer("day", 2)]}]
    running = {"since": "2026-03-01", "plans": plans, "hours": [0] + [1] * 23}
    now = dt.datetime.fromisoformat(utc).replace(tzinfo=dt.UTC)
    assert standing.in_words(standing.fleet_now(saved(running=running), now)) == expected


def test_what_runs_without_a_plan_is_nothing() -> None:
    assert standing.in_words(standing.fleet_now(saved(), NOW)) == "nothing"


def test_money_is_of_what_was_decided() -> None:
    hours = [{"usd": 1.0, "fleet": []}] * 48
    kept = report("keep", hours=hours, horizon_days=2, usd_keep=60.0, usd_plan=50.0, usd_static_peak=80.0)
    assert standing.money(Standing(saved(), kept)).usd_per_month == pytest.approx(30 * 365 / 12)
    assert standing.money(Standing(saved(), kept)).saved_usd_per_month == pytest.approx(10 * 365 / 12)
    changed = {**kept, "decision": "change"}
    assert standing.money(Standing(saved(), changed)).usd_per_month == pytest.approx(25 * 365 / 12)
    assert standing.money(Standing(saved(), None)) == standing.Money(None, None)
    assert standing.total([None, 2.0, None]) == 2.0
    assert standing.total([None]) is None


class Answers:
    """A service that says what it is told to."""

    def __init__(self, **documents: Document) -> None:
        self.documents = documents

    def get(self, path: str, kind: str = "", **query: Any) -> Document:
        quiet: Document = {
            "/readyz": {"ready": True}, "/v1/deployments": {"deployments": []}, "/v1/jobs": {"jobs": []},
            "/v1/prices": {"items": []}, "/v1/profiles/coverage": {"cells": []},
        }  # fmt: skip
        found = self.documents.get(kind or path.rsplit("/", 1)[-1], quiet.get(path))
        if isinstance(found, Exception):
            raise found
        assert found is not None, path
        return found


def noticed(*standings: Standing, **documents: Any) -> list[tuple[str, str]]:
    client: Any = Answers(**documents)
    found = attention.notices(client, standings, NOW)
    return [(notice.weight, f"{notice.subject}: {notice.detail} {notice.fix}".replace("\\", "")) for notice in found]


def test_nothing_is_wrong_where_all_is_well() -> None:
    assert noticed(Standing(saved(), report("keep", "2026-03-01"))) == []


def test_what_is_wrong_comes_first_with_what_helps() -> None:
    conflict = {"detail": "no **GPU**", "relaxations": [{"detail": "raise the budget to 9 $/h"}]}
    failed = report("failed", problem={"detail": "no file", "fix": "write it"})
    found = noticed(
        Standing(saved("old"), report("keep", "2026-01-01")),
        Standing(saved("never"), None),
        Standing(saved("tight"), report("infeasible", conflicts=[conflict])),
        Standing(saved("broken"), report("keep", "2026-03-01")),
        Standing(saved("mended"), report("keep", "2026-03-02")),
        replan={"jobs": [{"id": "night"}]},
        night={"result": {"reports": [{**failed, "service": "broken"}, {**failed, "service": "mended"}]}},
    )
    assert [weight for weight, _ in found] == ["wrong", "wrong", "mind", "mind"]
    assert "tight: no plan can do what it asks for (2026-03-02): no **GPU** raise the budget to 9 $/h" in found[0][1]
    assert "broken: planning 2026-03-02 failed: no file write it" in found[1][1]
    assert "2026-01-01" in found[2][1]


def test_deployments_jobs_and_readiness_are_looked_at() -> None:
    deployments = [
        {"name": "chat", "target": "kubernetes", "plan_id": "p1", "state": "failed", "reason": "quota",
         "created_at": "2026-03-02T00:00:00Z"},
        {"name": "code", "target": "local", "plan_id": "p2", "state": "applied", "reason": "",
         "created_at": "2026-03-02T00:00:00Z"},
    ]  # fmt: skip
    job = {"id": "j", "kind": "plan", "problem": {"detail": "gone", "fix": None}, "created_at": "2026-03-02T11:00:00Z"}
    jobs = [{**job, "finished_at": "2026-03-02T11:00:00Z"}, {**job, "finished_at": "2026-02-20T11:00:00Z"}]
    away = Refused({"status": 503, "title": "not ready"})
    found = noticed(deployments={"deployments": deployments}, jobs={"jobs": jobs}, readyz=away)
    assert [weight for weight, _ in found] == ["wrong", "wrong", "mind"]
    assert "its store or its workers" in found[0][1]
    assert "applying plan p1 failed: quota" in found[1][1]
    assert "failed at 2026-03-02 11:00 UTC: gone" in found[2][1]


def test_old_prices_and_measurements_of_what_runs_are_told() -> None:
    running = {"since": "2026-03-01", "plans": [{"fleet": [offer("g6", 1)]}], "hours": [0]}
    one = Standing(saved(running=running), report("keep"))
    cells = {"cells": [{"model": "m", "newest": "2024-01-01"}, {"model": "other", "newest": "2020-01-01"}]}
    fresh = {"items": [{"as_of": "2020-01-01"}, {"as_of": "2026-03-01"}]}
    assert len(noticed(one, prices=fresh, coverage=cells)) == 1
    found = noticed(one, prices={"items": [{"as_of": "2026-01-01"}]}, coverage=cells)
    assert "those of g6 are up to 60 days old" in found[0][1]
    assert "m: its newest measurement is 791 days old" in found[1][1]


def test_drift_is_named_field_by_field() -> None:
    deployment = {"name": "chat", "target": "kubernetes", "plan_id": "p1", "state": "applied"}
    status = {
        "as_planned": False, "drift": [{"key": "Deployment/x", "action": "change"}],
        "units": [{"unit": "L4", "wanted": 3, "ready": 1}, {"unit": "H100", "wanted": 1, "ready": 1}],
    }  # fmt: skip
    client: Any = Answers(deployments={"deployments": [deployment]}, chat=status)
    (found,) = attention.drift(client)
    assert found.detail.replace("\\", "") == "Deployment/x: change; L4: 1 of 3 ready"
    client = Answers(deployments={"deployments": [deployment]}, chat={**status, "as_planned": True})
    assert attention.drift(client) == []


def test_differences_say_who_changed_what() -> None:
    read = {"mode": "hourly", **{field.path[0]: 1 for field in terms.FIELDS}}
    read["schedule"] = {"start_up_s": 600, "usd_per_start": 0, "min_up_hours": 1}
    theirs, mine = {**read, "mode": "static"}, {**read, "quantile": 0.5}
    rows = {row["term"]: row["changed by"] for row in terms.differences(read, theirs, mine)}
    assert rows == {"Fleet": "they", "Demand to plan for (quantile)": "you"}
