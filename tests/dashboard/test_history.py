"""The history page: what it says of plans is what the service says, and the address restores it."""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Iterator
from html import unescape
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from dashboard.history import comparison, entries
from dashboard.history.entries import Wanted
from dashboard.history.objective import UNITS, amount, unit
from planner.experts.spec import ExpertsSpec
from planner.serving.spec import ServingSpec
from planner.training.spec import TrainingSpec
from tests.dashboard.conftest import OpenPage

Document = dict[str, Any]


@pytest.fixture(scope="module")
def service(service_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service_url, timeout=60, headers={"Prefer": "wait=30"}) as client:
        yield client


@pytest.fixture(scope="module")
def name() -> str:
    """Of the plans that these tests make: others use the same service."""
    return f"history-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def serving(service: httpx.Client, name: str) -> list[Document]:
    """Three what-ifs of one spec, oldest first."""
    return [made(service, "serving", name, requests_per_s=rate) for rate in (8, 9, 40)]


@pytest.fixture(scope="module")
def experts(service: httpx.Client, name: str) -> Document:
    return made(service, "experts", name)


def made(service: httpx.Client, kind: str, name: str, requests_per_s: float = 8, **more: Any) -> Document:
    spec = {**copy.deepcopy(service.get(f"/v1/planners/{kind}").json()["example"]), "name": name, **more}
    if kind == "serving":
        spec["services"][0]["workload"]["requests_per_s"] = requests_per_s
    answer = service.post("/v1/plans", json={"kind": kind, "spec": spec, "time_limit_s": 10})
    assert answer.status_code == 201, answer.text
    plan: Document = answer.json()
    return plan


def table(page: AppTest, label: str) -> list[list[str]]:
    """The texts in the rows of a table, its head first."""
    body = next((h.body for h in page.get("html") if f'aria-label="{label}"' in h.body), "")
    rows = re.findall(r"<tr>(.*?)</tr>", body)
    return [[unescape(re.sub(r"<[^>]+>", "", cell)) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


def words(page: AppTest) -> str:
    """Everything that is said, without the marks that make names plain."""
    said = [element.value for kind in (page.markdown, page.info, page.warning, page.success) for element in kind]
    return "\n".join(said).replace("\\", "")


def test_of_each_name_the_newest_stands_for_all(
    open_page: OpenPage, serving: list[Document], experts: Document, name: str
) -> None:
    page = open_page("history", named=name)
    assert not page.exception
    by_kind = {row[1]: row for row in table(page, "plans")[1:]}
    assert by_kind.keys() == {"serving", "experts"}
    assert by_kind["serving"][0] == name
    assert by_kind["serving"][3] == f"${serving[-1]['objective']:.2f}/h"
    assert by_kind["serving"][5] == "3"
    assert by_kind["experts"][3] == f"{experts['objective']:.4f}"

    page.toggle(key="newest").set_value(False).run()
    assert len(table(page, "plans")) == 1 + 4


def test_filters_are_in_the_address(
    open_page: OpenPage, service: httpx.Client, name: str, serving: list[Document]
) -> None:
    budget = {"limits": {"budget_usd_per_hour": 0.01}}
    assert made(service, "serving", name, **budget)["outcome"] == "infeasible"
    page = open_page("history", named=name.upper(), kind="serving", outcome="infeasible", newest="false")
    assert [row[2] for row in table(page, "plans")[1:]] == ["infeasible"]
    page.selectbox(key="outcome").set_value("no_solution").run()
    assert "No plan is like that" in words(page)


def test_older_plans_are_further_back(
    open_page: OpenPage, service: httpx.Client, serving: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "WINDOW", 2)
    newest = service.get("/v1/plans", params={"kind": "serving", "limit": 3}).json()["plans"]
    page = open_page("history", kind="serving", newest="false")
    assert "there are older ones" in words(page)
    next(button for button in page.button if button.label == "Older plans").click().run()
    about = [entries.rows([plan], {})[0]["saved"].about for plan in newest]
    shown = "".join(element.body for element in page.get("html"))
    assert [text in shown for text in about] == [False, False, True]
    next(button for button in page.button if button.label == "Newest plans").click().run()
    shown = "".join(element.body for element in page.get("html"))
    assert [text in shown for text in about] == [True, True, False]


def test_choosing_a_plan_opens_it(open_page: OpenPage, serving: list[Document], name: str) -> None:
    page = open_page("history", named=name, kind="serving", newest="false")
    page.selectbox(key="open of 1").set_value(serving[0]["id"]).run()
    assert serving[0]["id"] in words(page)


@pytest.mark.parametrize("kind", ["serving", "experts"])
def test_a_plan_is_shown_as_its_planner_sees_it(
    open_page: OpenPage, service: httpx.Client, serving: list[Document], experts: Document, kind: str
) -> None:
    plan = experts if kind == "experts" else serving[0]
    view = service.get(f"/v1/plans/{plan['id']}/view").json()
    page = open_page("history", plan=plan["id"])
    assert page.header[0].value.replace("\\", "") == view["headline"]
    assert [tuple(row) for row in table(page, "facts")[1:]] == [tuple(fact) for fact in view["facts"]]
    for shown in view["tables"]:
        rows = [[cell or "–" for cell in row] for row in shown["rows"]]
        label = shown["title"].replace("&", "&amp;")
        assert [[cell or "–" for cell in row] for row in table(page, label)[1:]] == rows[:20]
    assert amount(plan["objective"], unit(kind, plan["spec"])) in words(page)


def test_it_is_checked_again_now(open_page: OpenPage, service: httpx.Client, serving: list[Document]) -> None:
    page = open_page("history", plan=serving[0]["id"], tab="Check")
    now = service.get(f"/v1/plans/{serving[0]['id']}/check").json()
    assert now["passed"]
    assert "It holds" in words(page)
    assert [row[1] for row in table(page, "facts behind it")[1:]] == [
        serving[0]["profile_digest"],
        now["profile_digest"],
    ]


def what_changed_facts_say() -> None:
    from dashboard.history import check

    class Service:
        def get(self, path: str) -> dict[str, object]:
            broken = [{"constraint": "price", "detail": "costs <b>more</b>"}]
            return {"passed": False, "violations": broken, "profile_digest": "new"}

    check.show(Service(), "x", {"profile_digest": "old"})  # type: ignore[arg-type]


def test_facts_that_changed_since_are_told() -> None:
    page = AppTest.from_function(what_changed_facts_say).run()
    assert "does not hold any more" in page.error[0].value
    assert "Facts have changed since" in page.info[0].value
    assert table(page, "violations")[1] == ["price", "costs <b>more</b>"]


def test_the_spec_can_be_read_and_planned_again(
    open_page: OpenPage, service: httpx.Client, serving: list[Document], name: str
) -> None:
    page = open_page("history", plan=serving[1]["id"], tab="Spec")
    spec = yaml.safe_load(page.code[0].value)
    assert spec == serving[1]["spec"]
    again = service.post("/v1/plans", json={"kind": "serving", "spec": spec}).json()
    assert again["id"] == serving[1]["id"]
    assert f"gpuplan plan serving {name}.yaml" in words(page)


def test_files_for_a_system_are_those_of_the_service(
    open_page: OpenPage, service: httpx.Client, experts: Document
) -> None:
    page = open_page("history", plan=experts["id"], tab="Files", target="vllm")
    files = service.get(f"/v1/plans/{experts['id']}/render", params={"target": "vllm"}).json()["files"]
    first = sorted(files)[0]
    assert page.code[0].value.splitlines() == files[first].splitlines()[:400]
    page = open_page("history", plan=experts["id"], tab="Files", target="nonsense")
    assert not page.exception
    assert "nonsense" in words(page)
    assert not page.code


def test_what_has_no_files_says_so(open_page: OpenPage, service: httpx.Client, name: str) -> None:
    plan = made(service, "serving", name, limits={"budget_usd_per_hour": 0.02})
    page = open_page("history", plan=plan["id"])
    assert "No plan can do this" in words(page)
    page = open_page("history", plan=plan["id"], tab="Files", target="kubernetes")
    assert not page.exception
    assert page.error


def test_two_plans_side_by_side(open_page: OpenPage, service: httpx.Client, serving: list[Document]) -> None:
    old, new = serving[0], serving[2]
    page = open_page("history", **{"plan": old["id"], "with": new["id"]})
    said = service.post("/v1/comparisons", json={"plans": [old["id"], new["id"]]}).json()
    cost = next(m for m in page.metric if m.label == "Cost of the second")
    assert cost.value == f"${new['usd_per_hour']:.2f}/h"
    assert cost.delta.startswith(f"+${new['usd_per_hour'] - old['usd_per_hour']:.2f}/h")
    assert ["services[chat].workload.requests_per_s", "8", "40", "▲ +32"] in table(page, "what was asked")
    mix = {row[0]: row[1:] for row in table(page, "the mix")[1:]}
    assert {unit: int(row[1]) for unit, row in mix.items() if row[1] != "0"} == {
        a["unit"]: a["replicas"] for a in new["allocation"]
    }
    for reason in said["reasons"]:
        assert reason[1:].rstrip(".") in words(page)

    page.button[next(i for i, b in enumerate(page.button) if b.label == "Swap")].click().run()
    assert (page.query_params["plan"], page.query_params["with"]) == (new["id"], old["id"])
    assert ["services[chat].workload.requests_per_s", "40", "8", "▼ −32"] in table(page, "what was asked")


def test_what_cannot_be_compared_is_said(open_page: OpenPage, serving: list[Document], experts: Document) -> None:
    page = open_page("history", **{"plan": serving[0]["id"], "with": experts["id"]})
    assert "only plans of one kind" in words(page)
    page = open_page("history", **{"plan": serving[0]["id"], "with": "nobody"})
    assert "does not have" in words(page)
    page = open_page("history", plan=serving[0]["id"], tab="Compare")
    assert "Choose a second plan" in words(page)


@pytest.mark.parametrize("query", [
    {"plan": "none"}, {"plan": "../services"}, {"plan": "`x` <img src=y>" + "a" * 500},
    {"before": "yesterday", "kind": "cooking", "outcome": "great", "newest": "perhaps", "page": "minus one"},
    {"page": "99999", "named": "<b>*x*", "tab": "Nothing", "plan": ""},
])  # fmt: skip
def test_nonsense_in_the_address_is_told_in_words(
    open_page: OpenPage, serving: list[Document], query: dict[str, str]
) -> None:
    page = open_page("history", **query)
    assert not page.exception
    assert not page.error
    assert not any("<img" in element.body for element in page.get("html"))


def test_names_are_shown_as_they_are(open_page: OpenPage, service: httpx.Client) -> None:
    nasty = "**x** <img src=q> :red[y]"
    plan = made(service, "experts", nasty)
    page = open_page("history", plan=plan["id"])
    assert page.header[0].value.startswith(r"\*\*x\*\* \<img src")
    page = open_page("history", named=nasty)
    assert table(page, "plans")[1][0] == nasty


PLANS = st.lists(
    st.fixed_dictionaries({
        "kind": st.sampled_from(["serving", "power"]), "name": st.sampled_from([None, "a", "b", "ab"]),
        "outcome": st.sampled_from(["optimal", "infeasible"]), "spec_id": st.sampled_from(["s", "t"]),
        "id": st.uuids().map(str),
    })
)  # fmt: skip


@given(PLANS, st.sampled_from(["", "optimal"]), st.sampled_from(["", "a", "B"]))
def test_no_plan_is_lost_by_grouping(plans: list[Document], outcome: str, name: str) -> None:
    every = entries.chosen(plans, Wanted("", outcome, name, newest_only=False))
    grouped = entries.chosen(plans, Wanted("", outcome, name))
    assert [p["id"] for p in every] == [
        p["id"] for p in plans if outcome in ("", p["outcome"]) and name.lower() in (p["name"] or "")
    ]
    assert sum(p["num_plans"] for p in grouped) == len(every)
    assert [p["id"] for p in grouped] == [
        p["id"] for i, p in enumerate(every)
        if (p["kind"], p["name"] or p["spec_id"]) not in {(q["kind"], q["name"] or q["spec_id"]) for q in every[:i]}
    ]  # fmt: skip


def test_every_objective_has_a_unit() -> None:
    known = {"serving": ServingSpec, "experts": ExpertsSpec, "training": TrainingSpec}
    for kind, spec in known.items():
        named = str(spec.model_fields["objective"].annotation)
        objectives = re.findall(r"'(\w+)'", named)
        assert objectives, named
        assert {(kind, objective) for objective in objectives} == {key for key in UNITS if key[0] == kind}


@pytest.mark.parametrize(("change", "said"), [
    ({"old": 1, "new": 3, "difference": 2, "detail": ""}, "▲ +2"),
    ({"old": 3, "new": 1, "difference": -2, "detail": ""}, "▼ −2"),
    ({"old": None, "new": {"gpu": "L4"}, "difference": None, "detail": ""}, "added"),
    ({"old": "x", "new": None, "difference": None, "detail": ""}, "removed"),
    ({"old": "x", "new": "y", "difference": None, "detail": ""}, "≠ other"),
    ({"old": None, "new": None, "difference": None, "detail": "3 of 9 entries differ"}, "≠ 3 of 9 entries differ"),
])  # fmt: skip
def test_differences_have_a_word_or_a_sign(change: Document, said: str) -> None:
    (row,) = comparison.rows([{"path": "x", **change}])
    assert row["change"] == said
