"""The serving page: what-ifs are what the service says of the changed spec, and the address restores them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from streamlit.testing.v1 import AppTest

from dashboard.words import plain
from tests.dashboard.conftest import OpenPage

Document = dict[str, Any]


@pytest.fixture(scope="module")
def service(service_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service_url, timeout=60, headers={"Prefer": "wait=30"}) as client:
        yield client


@pytest.fixture(scope="module")
def example(service: httpx.Client) -> Document:
    spec: Document = service.get("/v1/planners/serving").json()["example"]
    return spec


@pytest.fixture(scope="module")
def small(service: httpx.Client, example: Document) -> Document:
    """A plan that is made quickly: few sizes, two GPU types."""
    distribution = {"input_tokens": [1, 512, 4096], "output_tokens": [1, 512], "fractions": [[0.7], [0.3]]}
    first = {**example["services"][0], "workload": {"requests_per_s": 8, "distribution": distribution}}
    return made(service, {**example, "services": [first], "offers": {"gpus": ["L4", "L40S"]}})


def made(service: httpx.Client, spec: Document) -> Document:
    answer = service.post("/v1/plans", json={"kind": "serving", "spec": spec, "time_limit_s": 10})
    assert answer.status_code == 201, answer.text
    plan: Document = answer.json()
    return plan


def metric(page: AppTest, label: str) -> str:
    return str(next(m for m in page.metric if m.label == label).value)


def shown(page: AppTest) -> str:
    """The id of the plan that is shown."""
    return str(page.session_state["serving plan shown"])


def test_it_begins_with_the_example_as_it_is(open_page: OpenPage, service: httpx.Client, example: Document) -> None:
    page = open_page("serving")
    plan = made(service, example)
    assert not page.exception
    assert shown(page) == plan["id"]
    assert metric(page, "Cost") == f"${plan['usd_per_hour']:.2f}/h"
    assert metric(page, "Proof") == "optimal"


def test_moving_the_rate_plans_again_and_the_address_restores_it(
    open_page: OpenPage, service: httpx.Client, small: Document
) -> None:
    page = open_page("serving", plan=small["id"])
    page.number_input(key="rate").set_value(40.0).run()
    first = small["spec"]["services"][0]
    faster = {**first, "workload": {**first["workload"], "requests_per_s": 40.0}}
    plan = made(service, {**small["spec"], "services": [faster]})
    assert metric(page, "Cost") == f"${plan['usd_per_hour']:.2f}/h"
    assert shown(page) == plan["id"]
    assert shown(open_page("serving", plan=small["id"], rate="40")) == plan["id"]


def test_slider_and_number_of_the_rate_agree(open_page: OpenPage, small: Document) -> None:
    page = open_page("serving", plan=small["id"], rate="12")
    assert page.select_slider(key="rate_slider").value == 12.0
    page.select_slider(key="rate_slider").set_value(24.0).run()
    assert page.number_input(key="rate").value == 24.0
    page.number_input(key="rate").set_value(1e6).run()
    assert page.select_slider(key="rate_slider").value == 80.0  # its last place


def test_nonsense_in_the_address_is_told_and_left_out(open_page: OpenPage, small: Document) -> None:
    page = open_page(
        "serving", plan=small["id"], rate="many", percentile="p7", gpus="<b>", edited_service="nobody", view="<script>"
    )
    assert not page.exception
    assert shown(page) == shown(open_page("serving", plan=small["id"]))
    assert plain("rate=many") in page.info[0].value


def test_an_infeasible_what_if_says_why(open_page: OpenPage, small: Document) -> None:
    page = open_page("serving", plan=small["id"], ttft_ms="5")
    assert not page.exception
    assert "No plan can do this" in page.warning[0].value
    assert not page.metric


def test_a_refused_what_if_leaves_the_controls(open_page: OpenPage, small: Document) -> None:
    page = open_page("serving", plan=small["id"], objective="goodput")
    assert "goodput needs a limit" in page.error[0].value
    page.selectbox(key="objective").set_value("cost").run()
    assert not page.error
    assert metric(page, "Cost").startswith("$")


def test_choosing_a_saved_plan_begins_anew(open_page: OpenPage, service: httpx.Client, small: Document) -> None:
    spec = {**small["spec"], "name": "other", "objective": "power"}
    plan = made(service, spec)
    page = open_page("serving", plan=small["id"], rate="40")
    box = next(b for b in page.selectbox if b.label == "Saved plan")
    box.set_value(plan["id"]).run()
    assert not page.exception
    assert page.number_input(key="rate").value == 8.0
    assert page.selectbox(key="objective").value == "power"
    assert shown(page) == plan["id"]
    assert page.query_params["plan"] == plan["id"]


def test_undo_goes_back_to_the_spec_it_began_with(open_page: OpenPage, small: Document) -> None:
    page = open_page("serving", plan=small["id"], rate="40", longer_prompts="2", spot="50")
    next(b for b in page.button if b.label == "Undo changes").click().run()
    assert not page.exception
    assert shown(page) == shown(open_page("serving", plan=small["id"]))


def everything(page: AppTest) -> str:
    """All texts of a page."""
    elements = [*page.markdown, *page.info, *page.get("html"), *page.button, *page.subheader]
    return "\n".join(
        str(getattr(e, "body", "") or getattr(e, "label", "") or getattr(e, "value", "")) for e in elements
    )


def two_services(spec: Document) -> Document:
    first = {**spec["services"][0], "name": "one"}
    second = {**first, "name": "two", "workload": {**first["workload"], "requests_per_s": 3}}
    return {**spec, "services": [first, second]}


def test_changes_of_one_service_stay_while_another_is_changed(
    open_page: OpenPage, service: httpx.Client, small: Document
) -> None:
    plan = made(service, two_services(small["spec"]))
    page = open_page("serving", plan=plan["id"])
    page.number_input(key="rate").set_value(20.0).run()
    page.selectbox(key="edited_service").set_value("two").run()
    assert page.number_input(key="rate").value == 3.0
    page.number_input(key="rate").set_value(5.0).run()
    found = service.get(f"/v1/plans/{shown(page)}").json()["spec"]["services"]
    assert [s["workload"]["requests_per_s"] for s in found] == [20.0, 5.0]


def test_every_tab_shows_this_plan(open_page: OpenPage, service: httpx.Client, small: Document) -> None:
    page = open_page("serving", plan=small["id"])
    plan = service.get(f"/v1/plans/{shown(page)}").json()
    expected = {
        "Mix": plan["rentals"][0]["instance_type"],
        "Savings": plan["baselines"][-1]["gpu"],
        "Sizes": "requests/s of this size on this unit",
        "Curves": "Draw the curve",
        "Limits": "No limit holds this plan back",
        "Simulate": "Simulate",
        "Keep": "Save as a nightly service",
    }
    for view, text in expected.items():
        page.session_state["view"] = view
        page.run()
        assert not page.exception
        assert not page.error
        assert text in everything(page), view


def test_curve_has_a_point_for_each_rate_also_where_there_is_no_plan(open_page: OpenPage, small: Document) -> None:
    page = open_page("serving", plan=small["id"], view="Curves", budget_usd_per_hour="7")
    page.button(key="draw_curve").click().run()
    assert not page.exception
    table = next(m.body for m in page.get("html") if "cost by requests/s" in m.body)
    assert table.count("<tr>") == 9
    assert "infeasible" in table
    assert "optimal" in table


def test_saving_a_nightly_service_and_somebody_else_first(
    open_page: OpenPage, service: httpx.Client, small: Document
) -> None:
    page = open_page("serving", plan=small["id"], view="Keep")
    page.text_input(key="nightly_name").set_value("night").run()
    page.button(key="save_nightly").click().run()
    assert "version 1" in page.success[0].value
    saved = service.get("/v1/services/night").json()
    assert saved["service"]["spec"]["services"][0]["workload"]["requests_per_s"] == 8

    theirs = {**saved["service"], "time_zone": "Europe/Berlin"}
    assert service.put("/v1/services/night", json=theirs, headers={"If-Match": '"1"'}).status_code == 200
    page.button(key="save_nightly").click().run()
    assert "Somebody else" in page.error[0].value
    page.number_input(key="rate").set_value(9.0).run()
    page.button(key="save_nightly").click().run()
    assert "version 3" in page.success[0].value
    assert service.get("/v1/services/night").json()["service"]["time_zone"] == "Europe/Berlin"


def test_a_bad_name_is_told_before_it_is_sent(open_page: OpenPage, small: Document) -> None:
    page = open_page("serving", plan=small["id"], view="Keep")
    page.text_input(key="nightly_name").set_value("../Admin").run()
    assert "small letters" in page.warning[0].value
    assert not [b for b in page.button if b.key == "save_nightly"]


def test_the_spec_to_keep_is_the_spec_that_is_planned(
    open_page: OpenPage, service: httpx.Client, small: Document
) -> None:
    page = open_page("serving", plan=small["id"], view="Keep", rate="12", spare_replicas="1")
    spec = yaml.safe_load(next(c.value for c in page.code if "services" in c.value))
    assert made(service, spec)["id"] == shown(page)


def test_names_are_text_never_markup(open_page: OpenPage, service: httpx.Client, small: Document) -> None:
    name = "<img src=x onerror=alert(1)> **bold** [a](http://b)"
    spec = {**small["spec"], "name": name, "services": [{**small["spec"]["services"][0], "name": name}]}
    plan = made(service, spec)
    page = open_page("serving", plan=plan["id"])
    for view in ("Mix", "Sizes", "Keep"):
        page.session_state["view"] = view
        page.run()
        assert not page.exception
        assert not any(" **bold**" in m.value or " <img" in m.value for m in page.markdown)
        assert not any("<img" in m.body for m in page.get("html"))


def test_editing_lists_begins_with_the_plan_of_what_was_edited(open_page: OpenPage, small: Document) -> None:
    page = open_page("serving", plan=small["id"], rate="12")
    page.session_state["edit_lists"] = True
    page.run()
    next(b for b in page.button if b.label == "Plan with these").click().run()
    assert not page.exception
    assert not page.error
    assert page.query_params["plan"] == shown(page)
    assert page.number_input(key="rate").value == 12.0


def test_going_on_from_a_plan_in_the_address_keeps_what_the_address_says(
    open_page: OpenPage, service: httpx.Client, small: Document
) -> None:
    plan = made(service, {**small["spec"], "name": "other"})
    page = open_page("serving", plan=plan["id"], rate="12")
    assert page.number_input(key="rate").value == 12.0
    assert service.get(f"/v1/plans/{shown(page)}").json()["spec"]["name"] == "other"
